//! A node that lacks something, host tools for instance, as far as the calling thread can tell.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Makes the calling thread, and all that it starts, see empty directories of programs.
pub fn hide_system_programs() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
    let directories = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    for directory in directories.iter().filter_map(|directory| std::fs::canonicalize(directory).ok()) {
        mount(Some("tmpfs"), &directory, Some("tmpfs"), MsFlags::empty(), nothing).unwrap();
    }
}

/// Works on a thread that lacks something of the machine.
pub fn crippled<T: Send>(lack: impl FnOnce() + Send, work: impl FnOnce() -> T + Send) -> T {
    let both = || {
        lack();
        work()
    };
    std::thread::scope(|scope| scope.spawn(both).join().unwrap())
}
