//! Real network namespaces for tests: before any thread starts, the test process moves into
//! namespaces of its own, with a user namespace where it is not root. So nothing that a test does
//! can reach the machine, and everything is gone when the process ends.

#![allow(dead_code, unused_imports, reason = "each test file uses another part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test's helper fails by panicking, and a child process speaks through its output"
)]

pub mod agent;
pub mod api;
mod killed_call;
pub mod layout;
mod namespace;
mod plugin;
mod process;
mod programming;
pub mod runtime_node;
mod sandboxed;
mod screen;
pub mod scripted_api;
mod seccomp;
mod traffic;
mod validator;
mod waiting;
mod without_tools;

pub use killed_call::{Counted, add_with_agent_killed_at, call_killed_at, kill_agent_at};
pub use namespace::{Addresses, FAR4, FAR6, Namespace, PEER4, PEER6, POD4, POD6, Wire, other_users, other_users_for};
pub use plugin::*;
pub use process::{TestProcess, argument, child, ready, work_if_child};
pub use programming::*;
pub use sandboxed::{Proc, Sandboxed, meshed, pod_netns, story_of};
pub use screen::Screen;
pub use seccomp::forbid_netfilter_netlink;
pub use traffic::{Listeners, Probe};
pub use validator::{Started, TEMPLATE, Validated, Validator, program, proxy_uid};
pub use waiting::eventually;
pub use without_tools::{crippled, hide_system_programs};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};
use std::fs;

/// Set for a process that a test started: it is in the right namespaces already, and works for it.
pub const CHILD: &str = "ISTIO_CNI_TEST_CHILD";

/// Run by the loader before `main`: joining a user namespace needs a process with one thread, and
/// the test harness has more as soon as it runs.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = {
    extern "C" fn before_main() {
        if std::env::var_os(CHILD).is_none() {
            enter_own_namespaces();
        }
    }
    before_main
};

fn enter_own_namespaces() {
    let (uid, gid) = (geteuid(), getegid());
    let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET;
    if !uid.is_root() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(flags).expect("tests need root, or a kernel that gives user namespaces to everybody");
    if !uid.is_root() {
        fs::write("/proc/self/setgroups", "deny").unwrap();
        fs::write("/proc/self/uid_map", format!("0 {uid} 1")).unwrap();
        fs::write("/proc/self/gid_map", format!("0 {gid} 1")).unwrap();
    }
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
    // The xtables lock and the names of namespaces live there.
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), nothing).unwrap();
}
