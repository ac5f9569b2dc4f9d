//! A namespace without a name, held by a descriptor, and two of them joined by a wire.

use istio_cni_otel::host::netns::{enter, enter_scratch};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::{Command, Output, Stdio};

pub const POD4: &str = "10.1.0.5";
pub const PEER4: &str = "10.1.0.1";
pub const POD6: &str = "fd00:1::5";
pub const PEER6: &str = "fd00:1::1";
/// Addresses of the peer behind its wire's end.
pub const FAR4: [&str; 2] = ["10.2.0.9", "192.0.2.9"];
pub const FAR6: [&str; 1] = ["fd00:2::9"];

/// Whether the test can be other users than its own: not where it is not root.
pub fn other_users() -> bool {
    std::fs::read_to_string("/proc/self/uid_map").unwrap().split_whitespace().nth(2) != Some("1")
}

/// As [`other_users`], for a part of a test that is left out without: that is said, past the
/// harness' capture.
pub fn other_users_for(what: &str) -> bool {
    let has = other_users();
    if !has {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or_default();
        let _ = writeln!(std::io::stderr(), "NOT tested without root, in {test}: {what}");
    }
    has
}

/// A network namespace that lives as long as this value.
pub struct Namespace(OwnedFd);

impl Namespace {
    /// A new one, with nothing but `lo`, which is up.
    pub fn new() -> Namespace {
        let own = || File::open("/proc/thread-self/ns/net").unwrap().into();
        let namespace = Namespace(enter_scratch(own).unwrap());
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `work` on a thread inside.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        enter(self.as_fd(), work).unwrap()
    }

    /// Runs `work` on a thread inside that is another user; only where [`other_users`] exist.
    pub fn run_as<T: Send>(&self, id: u32, work: impl FnOnce() -> T + Send) -> T {
        self.run(|| {
            // SAFETY: plain system calls on numbers; unlike their namesakes in libc they change
            // this thread alone, which ends here (man 2 setresuid, NOTES).
            let changed = unsafe {
                libc::syscall(libc::SYS_setresgid, id, id, id) == 0
                    && libc::syscall(libc::SYS_setresuid, id, id, id) == 0
            };
            assert!(changed, "user {id}: {}", std::io::Error::last_os_error());
            work()
        })
    }

    /// Runs a command line inside, whatever comes of it.
    pub fn try_sh(&self, line: &str) -> Output {
        self.run(|| {
            Command::new("sh")
                .args(["-c", line])
                .env("PATH", "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin")
                .output()
                .unwrap()
        })
    }

    /// Runs a command line inside, which must succeed, and returns what it printed.
    pub fn sh(&self, line: &str) -> String {
        let output = self.try_sh(line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs lines of `ip` inside.
    pub fn ip(&self, lines: &str) {
        let output = self.run(|| {
            let mut child = Command::new("ip")
                .args(["-batch", "-"])
                .env("PATH", "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        });
        assert!(output.status.success(), "ip: {lines}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A path by which other processes can open it while this one lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// The names of its nf_tables tables.
    pub fn nft_tables(&self) -> Vec<String> {
        self.sh("nft list tables").lines().map(|line| line.trim_start_matches("table ").to_owned()).collect()
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Which addresses the pod has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    V4,
    V6,
    Dual,
}

impl Addresses {
    pub fn v4(self) -> bool {
        self != Addresses::V6
    }

    pub fn v6(self) -> bool {
        self != Addresses::V4
    }
}

/// A pod's namespace and a peer's, each with an `eth0` of the same wire.
pub struct Wire {
    pub pod: Namespace,
    pub peer: Namespace,
    pub addresses: Addresses,
}

impl Wire {
    pub fn new(addresses: Addresses) -> Wire {
        let wire = Wire { pod: Namespace::new(), peer: Namespace::new(), addresses };
        wire.pod.ip(&format!("link add eth0 type veth peer name eth0 netns {}", wire.peer.path()));
        let ends = [(&wire.pod, POD4, POD6), (&wire.peer, PEER4, PEER6)];
        for (namespace, v4, v6) in ends {
            if !addresses.v6() {
                namespace.run(|| std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").unwrap());
            }
            let mut lines = "link set eth0 up\n".to_owned();
            if addresses.v4() {
                lines += &format!("addr add {v4}/24 dev eth0\n");
            }
            if addresses.v6() {
                lines += &format!("addr add {v6}/64 dev eth0 nodad\n");
            }
            namespace.ip(&lines);
        }
        let (mut pod, mut peer) = (String::new(), String::new());
        if addresses.v4() {
            pod += &format!("route add default via {PEER4}\n");
            peer.extend(FAR4.map(|far| format!("addr add {far}/32 dev lo\n")));
        }
        if addresses.v6() {
            pod += &format!("route add ::/0 via {PEER6}\n");
            peer.extend(FAR6.map(|far| format!("addr add {far}/128 dev lo nodad\n")));
        }
        wire.pod.ip(&pod);
        wire.peer.ip(&peer);
        wire
    }
}
