//! The UID of the pod that this process is in, where nobody said it: the kubelet mounts files of the
//! pod's directory, which has the UID for its name, into each container, and the kernel tells every
//! process where its mounts come from (man 5 proc_pid_mountinfo).

use std::path::Path;

/// The UID of this process' pod, if it is in one.
pub fn of_this_process() -> Option<String> {
    uid_in(&std::fs::read_to_string(Path::new("/proc/self/mountinfo")).ok()?)
}

/// The fourth field of a line is the mount's root within its file system, such as
/// `/var/lib/kubelet/pods/UID/etc-hosts`; the fifth is where it is seen.
fn uid_in(mountinfo: &str) -> Option<String> {
    mountinfo.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, seen_at) = (fields.next()?, fields.next()?);
        let of_kubelet = ["/etc/hosts", "/dev/termination-log"].contains(&seen_at);
        let (_, below) = root.rsplit_once("/pods/").filter(|_| of_kubelet)?;
        let (uid, file) = below.split_once('/')?;
        let known = file == "etc-hosts" || file.starts_with("containers/");
        (known && is_uid(uid)).then(|| uid.to_owned())
    })
}

/// The form that the API server gives UIDs. Pods of files have others, and they are not injected.
fn is_uid(text: &str) -> bool {
    let dashes = [8, 13, 18, 23];
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| {
            if dashes.contains(&at) { byte == b'-' } else { matches!(byte, b'0'..=b'9' | b'a'..=b'f') }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "11111111-2222-4333-8444-555555555555";

    #[test]
    fn the_kubelets_files_name_the_pod() {
        let line = |root: &str, at: &str| format!("1520 1498 254:1 {root} {at} rw,relatime - ext4 /dev/vda1 rw\n");
        let pods = format!("/var/lib/kubelet/pods/{UID}");
        let overlay = line("/", "/");
        for (root, at) in [
            (format!("{pods}/etc-hosts"), "/etc/hosts"),
            (format!("{pods}/containers/istio-validation/8a1b"), "/dev/termination-log"),
            (format!("/pods/{UID}/etc-hosts"), "/etc/hosts"),
        ] {
            assert_eq!(uid_in(&(overlay.clone() + &line(&root, at))).as_deref(), Some(UID), "{root}");
        }
        for (root, at) in [
            (format!("{pods}/volumes/kubernetes.io~empty-dir/etc-hosts"), "/etc/hosts"),
            (format!("{pods}/etc-hosts"), "/tmp/hosts"),
            ("/var/lib/kubelet/pods/0123456789abcdef0123456789abcdef/etc-hosts".to_owned(), "/etc/hosts"),
            (format!("/pods/{}/etc-hosts", UID.replace('1', "G")), "/etc/hosts"),
            ("/var/lib/docker/containers/cafe/hosts".to_owned(), "/etc/hosts"),
        ] {
            assert_eq!(uid_in(&line(&root, at)), None, "{root}");
        }
        assert_eq!(uid_in("\n1 2 3\n"), None);
    }
}
