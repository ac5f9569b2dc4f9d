//! Records are read back as they were kept, and nothing else is taken for one.

use super::*;
use tempfile::TempDir;

const UID: &str = "1b4e28ba-2fa1-11d2-883f-b9a761bde3fb";

fn record(container: &str) -> Record {
    Record {
        pod: UID.into(),
        container: container.into(),
        netns: "/var/run/netns/cni-1".into(),
        id: NetnsId { device: 4, inode: 4_026_532_281 },
        outbound: Outbound::default(),
    }
}

fn place() -> (TempDir, Records) {
    let directory = TempDir::new().unwrap();
    let records = Records::new(directory.path());
    (directory, records)
}

#[test]
fn a_record_is_read_back_with_all_that_it_says() {
    let (_directory, records) = place();
    assert_eq!(records.of(UID).unwrap(), None);
    for groups in [
        OwnerGroups::AllBut(vec![]),
        OwnerGroups::AllBut(vec![7]),
        OwnerGroups::Only(vec![]),
        OwnerGroups::Only(vec![1, 2]),
    ] {
        let outbound = Outbound { groups, loopback: "127.1.0.0/16".parse().unwrap() };
        let kept = Record { outbound, ..record("cafe") };
        records.keep(&kept).unwrap();
        assert_eq!(records.of(UID).unwrap(), Some(kept));
    }
    assert_eq!(std::fs::read_dir(&records.directory).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn the_end_of_an_earlier_sandbox_leaves_the_later_ones_record() {
    let (_directory, records) = place();
    records.keep(&record("old")).unwrap();
    records.keep(&record("new")).unwrap();
    assert!(!records.forget(UID, "old"));
    assert_eq!(records.of(UID).unwrap(), Some(record("new")));
    assert!(records.forget(UID, "new"));
    assert_eq!(records.of(UID).unwrap(), None);
}

#[test]
fn garbage_is_no_record() {
    let (_directory, records) = place();
    records.keep(&record("cafe")).unwrap();
    let path = records.path(UID).unwrap();
    let other = serde_json::to_vec(&Stored::from(&Record { pod: "u-2".into(), ..record("cafe") })).unwrap();
    let garbage = [Vec::new(), b"{}".to_vec(), b"\xff\x00".to_vec(), other, vec![b' '; 20_000]];
    for content in garbage {
        std::fs::write(&path, content).unwrap();
        records.of(UID).unwrap_err();
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    records.of(UID).unwrap_err();
    std::fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink("nowhere", &path).unwrap();
    records.of(UID).unwrap_err();
    assert!(records.discard(UID));
}

#[test]
fn a_uid_that_is_a_path_leads_nowhere() {
    let (_directory, records) = place();
    for uid in ["", "..", "../agent", "a/b", ".hidden", "a\0b"] {
        records.keep(&Record { pod: uid.into(), ..record("cafe") }).unwrap();
        assert_eq!(records.of(uid).unwrap(), None);
        assert!(!records.discard(uid), "{uid:?}");
    }
    assert!(!records.directory.exists());
}

#[test]
fn the_records_of_pods_that_are_gone_are_swept_once_they_are_old() {
    let (_directory, records) = place();
    for pod in ["u-1", "u-2", "u-3"] {
        records.keep(&Record { pod: pod.into(), ..record("cafe") }).unwrap();
    }
    let left_over = records.directory.join(".u-9-4711");
    std::fs::write(&left_over, "").unwrap();
    for path in [records.path("u-1").unwrap(), records.path("u-2").unwrap(), left_over] {
        let long_ago = SystemTime::now() - 2 * YOUNG;
        std::fs::File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
    }
    assert_eq!(records.sweep(|pod| pod == "u-1"), 2);
    let left = ["u-1", "u-2", "u-3"].map(|pod| records.of(pod).unwrap().is_some());
    assert_eq!(left, [true, false, true]);
}

#[test]
fn there_are_never_more_than_a_node_can_have_pods() {
    let (_directory, records) = place();
    std::fs::create_dir(&records.directory).unwrap();
    (0..MOST).for_each(|number| std::fs::write(records.directory.join(number.to_string()), "").unwrap());
    assert!(matches!(records.keep(&record("cafe")), Err(RecordError::TooMany { .. })));
}

#[test]
fn what_cannot_be_read_now_may_be_read_later() {
    use crate::host::file_error::Action;
    let of = |code| FileError::new(Path::new("/run/u-1"), Action::Read, io::Error::from_raw_os_error(code));
    for code in [nix::libc::EMFILE, nix::libc::EIO, nix::libc::EACCES] {
        assert!(!RecordError::File(of(code)).is_no_record(), "{code}");
    }
    assert!(RecordError::File(of(nix::libc::ELOOP)).is_no_record());
    assert!(RecordError::OtherPod { path: "/run/u-1".into(), pod: "u-2".into() }.is_no_record());
}
