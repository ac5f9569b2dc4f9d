//! A place of the demo's own: a mount namespace that takes everything made in it along when the
//! process ends, inside a user namespace where the caller is not root.
//!
//! All of this must happen before the process has a second thread (man 2 unshare).

use crate::host::nftables::{NftError, ProbeError, probe_nftables};
use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Which users the packets of the demo can come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Users {
    /// Any: the application's and the proxy's can live in one network namespace.
    Any,
    /// The caller's alone, under a name of our choice for each user namespace. One network namespace then shows
    /// either the application or the proxy.
    One,
}

/// Leaves the caller's mount namespace, and its user namespace where that is needed to.
pub fn isolate() -> Result<Users> {
    match unshare(CloneFlags::CLONE_NEWNS) {
        Ok(()) => {}
        Err(Errno::EPERM) => become_root_of_a_user_namespace()?,
        Err(errno) => return Err(errno).context("cannot make a mount namespace"),
    }
    // What is mounted from here on must not be seen, and not stay, anywhere else.
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).map_err(|errno| forbidden(errno, read_sysctl))?;
    let maps = ["/proc/self/uid_map", "/proc/self/gid_map"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let needed = [super::pods::APPLICATION_UID, super::pods::PROXY_UID];
    let all = needed.iter().all(|id| maps.iter().all(|map| maps_id(map, *id)));
    Ok(if all { Users::Any } else { Users::One })
}

/// Makes sure that the kernel can do with these users what the demo is about.
pub fn check_kernel(users: Users) -> Result<()> {
    if users == Users::Any {
        return Ok(());
    }
    probe_nftables().map_err(|error| {
        let why = match error {
            // Its own advice is for a node.
            ProbeError::Refused(NftError::Unsupported { subject, source }) => format!("{subject}: {source}"),
            other => format!("{:#}", anyhow::Error::new(other)),
        };
        anyhow!(
            "nf_tables does not work here ({why}), and without root the demo needs it, for iptables takes no rule about \
             a user whom the user namespace does not have: let the kernel load it (sudo modprobe -a nf_tables \
             nft_chain_nat nft_ct nft_redir nft_tproxy), or run the demo as root"
        )
    })
}

fn become_root_of_a_user_namespace() -> Result<()> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).map_err(|errno| forbidden(errno, read_sysctl))?;
    write_maps(0, uid, gid)
}

/// Names the caller `inside` in the user namespace just entered; without privilege that is the one user that a map
/// can have (man 7 user_namespaces).
fn write_maps(inside: u32, uid: u32, gid: u32) -> Result<()> {
    let maps = [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{inside} {uid} 1")),
        ("gid_map", format!("{inside} {gid} 1")),
    ];
    for (file, text) in maps {
        let path = format!("/proc/self/{file}");
        fs::write(&path, &text).with_context(|| format!("cannot write {text:?} to {path}"))?;
    }
    Ok(())
}

fn read_sysctl(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Why the kernel does not let this user have namespaces of its own, as far as its settings tell.
fn forbidden(errno: Errno, read: impl Fn(&str) -> Option<String>) -> anyhow::Error {
    const SWITCHES: [(&str, &str, &str, &str); 3] = [
        ("kernel.unprivileged_userns_clone", "/proc/sys/kernel/unprivileged_userns_clone", "0", "1"),
        ("user.max_user_namespaces", "/proc/sys/user/max_user_namespaces", "0", "10000"),
        (
            "kernel.apparmor_restrict_unprivileged_userns",
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "0",
        ),
    ];
    let cause = SWITCHES.iter().find(|(_, path, forbids, _)| read(path).as_deref() == Some(*forbids));
    let uid = geteuid();
    match cause {
        Some((name, _, value, wanted)) => anyhow!(
            "the kernel does not let uid {uid} make a user namespace ({errno}): the sysctl {name} is {value}; \
             set it (sudo sysctl -w {name}={wanted}), or run the demo as root"
        ),
        None => anyhow!(
            "the kernel does not let uid {uid} make namespaces ({errno}): look at the sysctls {}, {} and {}, and, in a \
             container, at its seccomp profile; or run the demo as root with CAP_SYS_ADMIN",
            SWITCHES[0].0,
            SWITCHES[1].0,
            SWITCHES[2].0
        ),
    }
}

/// Whether a `uid_map` or `gid_map` has a name for this id.
fn maps_id(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u64>);
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(first)), Some(Ok(_)), Some(Ok(count))) => (first..first + count).contains(&u64::from(id)),
            _ => false,
        }
    })
}

/// A child that makes a network namespace and stays in it, as a pod's pause container does. With a user that is the
/// namespace's only one, under this name: it then belongs to a user namespace of its own, and the kernel names the
/// sender of a packet by the map of the namespace's owner.
pub struct Holder {
    child: Child,
}

impl Holder {
    /// Starts the child, and returns when the namespace is there.
    pub fn start(user: Option<u32>) -> Result<Holder> {
        let child = Command::new("/proc/self/exe")
            .args(["demo", super::args::HOLD_NETNS])
            .args(user.map(|uid| uid.to_string()))
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start this program again to hold a network namespace")?;
        let mut holder = Holder { child };
        let mut said = [0_u8; READY.len()];
        let stdout = holder.child.stdout.as_mut().context("the child that holds a network namespace has no output")?;
        stdout.read_exact(&mut said).context("the child that holds a network namespace ended")?;
        if said != *READY {
            bail!("the child that holds a network namespace said {said:?}");
        }
        Ok(holder)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its network namespace is.
    pub fn netns(&self) -> String {
        format!("/proc/{}/ns/net", self.pid())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It ends when its standard input does.
        drop(self.child.stdin.take());
        let _ended = self.child.wait();
    }
}

const READY: &[u8; 6] = b"ready\n";

/// The child's side of [`Holder`].
pub fn hold_netns(user: Option<u32>) -> Result<()> {
    match user {
        Some(uid) => {
            let (own_uid, own_gid) = (geteuid().as_raw(), getegid().as_raw());
            unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)
                .map_err(|errno| forbidden(errno, read_sysctl))?;
            write_maps(uid, own_uid, own_gid)?;
        }
        None => unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?,
    }
    let mut stdout = std::io::stdout();
    stdout.write_all(READY)?;
    stdout.flush()?;
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

/// Mounts the namespace at `source` on the file `at`, so that it has a path that stays.
pub fn bind(source: &str, at: &Path) -> nix::Result<()> {
    mount(Some(source), at, None::<&str>, MsFlags::MS_BIND, None::<&str>)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_of_one_user_has_no_other() {
        assert!(maps_id("         0          0 4294967295\n", 1337));
        assert!(maps_id("0 1000 1\n1 100000 65536\n", 1337));
        assert!(!maps_id("         0      65534          1\n", 1337));
        assert!(maps_id("1337 65534 1\n", 1337));
        assert!(!maps_id("", 0));
    }

    #[test]
    fn a_refusal_names_the_setting_that_causes_it() {
        let restricted = |path: &str| path.ends_with("apparmor_restrict_unprivileged_userns").then(|| "1".to_owned());
        let text = forbidden(Errno::EACCES, restricted).to_string();
        assert!(text.contains("sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"), "{text}");
        let off = |path: &str| path.ends_with("unprivileged_userns_clone").then(|| "0".to_owned());
        let text = forbidden(Errno::EPERM, off).to_string();
        assert!(text.contains("sysctl -w kernel.unprivileged_userns_clone=1"), "{text}");
    }

    #[test]
    fn a_refusal_without_a_known_cause_names_every_place_to_look_at() {
        let text = forbidden(Errno::EPERM, |_| None).to_string();
        for name in ["unprivileged_userns_clone", "max_user_namespaces", "apparmor_restrict", "seccomp"] {
            assert!(text.contains(name), "{text}");
        }
    }
}
