//! Putting files in their place.

use crate::scene::*;
use crate::support::other_users_for;
use istio_cni_otel::domain::cni_files::{Placement, Reason, Removal, Verdict};
use istio_cni_otel::domain::failure::Classify;
use istio_cni_otel::domain::step::ErrorType;
use istio_cni_otel::host::atomic_file::{Permissions, remove, replace};
use istio_cni_otel::host::conf_dir::ConfDir;
use istio_cni_otel::host::file_error::FileError;
use nix::mount::{MsFlags, mount};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;
use std::process::Command;

#[test]
fn a_list_keeps_its_mode_and_owner_and_a_new_file_has_the_agents() {
    let scene = Scene::new().with("10-a.conflist", LIST);
    scene.set_mode("10-a.conflist", 0o640);
    let root = other_users_for("a file keeps its owner");
    if root {
        chown(scene.at("10-a.conflist"), Some(12), Some(34)).unwrap();
    }
    scene.install().unwrap();
    let found = fs::metadata(scene.at("10-a.conflist")).unwrap();
    assert_eq!(scene.mode("10-a.conflist"), 0o640);
    assert!(!root || (found.uid(), found.gid()) == (12, 34));
    let owned = Placement::Owned { file: "02-istio.conflist".to_owned(), primary: None };
    install(&scene.path, &owned).unwrap();
    assert_eq!(scene.mode("02-istio.conflist"), 0o600);
    uninstall(&scene.path, &owned);
    assert_eq!((scene.text("10-a.conflist").as_str(), scene.mode("10-a.conflist")), (LIST, 0o640));
    assert_eq!(scene.contents().len(), 1);
}

#[test]
fn a_conf_gives_its_place_and_mode_to_the_list() {
    let scene = Scene::new().with("10-a.conf", BRIDGE);
    scene.set_mode("10-a.conf", 0o444);
    scene.install().unwrap();
    assert_eq!(scene.contents().into_keys().collect::<Vec<_>>(), ["10-a.conflist"]);
    assert_eq!(scene.mode("10-a.conflist"), 0o444);
}

#[test]
fn a_link_stays_and_what_it_leads_to_is_written() {
    let scene = Scene::new();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("real"), LIST).unwrap();
    symlink(elsewhere.path().join("real"), scene.at("10-a.conflist")).unwrap();
    scene.install().unwrap();
    assert!(scene.at("10-a.conflist").is_symlink());
    assert!(fs::read_to_string(elsewhere.path().join("real")).unwrap().contains("istio-cni"));
    assert_eq!(contents(elsewhere.path()).len(), 1, "the temporary file is gone");
    uninstall(&scene.path, &first_found());
    assert!(scene.at("10-a.conflist").is_symlink());
    assert_eq!(fs::read_to_string(elsewhere.path().join("real")).unwrap(), LIST);
}

#[test]
fn what_somebody_writes_meanwhile_is_not_lost() {
    let scene = Scene::new().with("10-a.conf", BRIDGE);
    let directory = ConfDir::new(&scene.path);
    let files = directory.list(&first_found()).unwrap();
    let Verdict::Write(write) = scene.decide().verdict else { panic!("to be written") };
    let scene = scene.with("10-a.conf", BRIDGE.replace("podnet", "newnet"));
    let error = directory.write(&write, &files, 0o600).unwrap_err();
    assert!(matches!(error, FileError::Changed { .. }) && error.retryable(), "{error}");
    assert_eq!(scene.contents().into_keys().collect::<Vec<_>>(), ["10-a.conf"], "not even a temporary file");
    scene.install().unwrap();
    assert!(scene.text("10-a.conflist").contains("newnet"));
}

#[test]
fn what_somebody_writes_before_a_removal_is_not_lost() {
    let scene = Scene::new().with("10-a.conflist", LIST);
    let owned = Placement::Owned { file: "02-istio.conflist".to_owned(), primary: None };
    install(&scene.path, &owned).unwrap();
    let directory = ConfDir::new(&scene.path);
    let files = directory.list(&owned).unwrap();
    let removals = istio_cni_otel::wire::conflist::remove(&files, &owned);
    let delete = Removal::Delete { file: "02-istio.conflist".to_owned() };
    assert!(removals.contains(&delete), "{removals:?}");
    let scene = scene.with("02-istio.conflist", LIST);
    let error = directory.remove(&delete, &files).unwrap_err();
    assert!(matches!(error, FileError::Changed { .. }) && error.retryable(), "{error}");
    assert_eq!(scene.text("02-istio.conflist"), LIST);
    fs::remove_file(scene.at("02-istio.conflist")).unwrap();
    directory.remove(&delete, &files).unwrap();
}

#[test]
fn what_killed_writers_left_goes_and_what_living_ones_write_stays() {
    let scene = Scene::new().with("10-a.conflist", LIST);
    let (dead, alive) =
        (".10-a.conflist.istio-cni-0123456789abcdef.tmp", ".10-a.conflist.istio-cni-0123456789abcde0.tmp");
    let (other_place, others) = (".10-b.conf.istio-cni-0123456789abcde1.tmp", ".10-a.conflist.istio-cni-x.tmp");
    let scene = scene.with(dead, "torn").with(alive, "torn").with(other_place, "torn").with(others, "torn");
    let writer = File::open(scene.at(alive)).unwrap();
    writer.lock().unwrap();
    assert_eq!(scene.skipped(), [], "no runtime looks at them");
    scene.install().unwrap();
    assert_eq!(scene.contents().into_keys().collect::<Vec<_>>(), [alive, others, "10-a.conflist"]);
}

#[test]
fn two_agents_at_once_end_with_one_valid_file() {
    let scene = Scene::new().with("10-a.conf", BRIDGE);
    let directory = ConfDir::new(&scene.path);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let files = directory.list(&first_found()).unwrap();
                    match istio_cni_otel::wire::conflist::decide(&files, &first_found(), &entry(), None).verdict {
                        Verdict::Write(write) => match directory.write(&write, &files, 0o600) {
                            Ok(()) | Err(FileError::Changed { .. }) => {}
                            Err(error) => panic!("{error}"),
                        },
                        Verdict::Valid { .. } => {}
                        // Between the look at the names and the reading, the one file has become the other.
                        Verdict::Wait { .. } => assert!(files.is_empty()),
                    }
                }
            });
        }
    });
    assert_eq!(scene.contents().into_keys().collect::<Vec<_>>(), ["10-a.conflist"]);
    assert!(matches!(scene.decide().verdict, Verdict::Valid { .. }));
}

#[test]
fn a_read_only_file_system_is_said_with_what_to_do_and_mended_by_time() {
    let scene = Scene::on_tmpfs("size=1m").with("10-a.conflist", LIST);
    let remount = |flags| mount(None::<&str>, &scene.path, None::<&str>, MsFlags::MS_REMOUNT | flags, None::<&str>);
    remount(MsFlags::MS_RDONLY).unwrap();
    let error = scene.install().unwrap_err();
    assert_eq!(error.error_type(), ErrorType::ReadOnly);
    assert!(error.to_string().contains("10-a.conflist") && error.to_string().contains("global.platform"), "{error}");
    assert_eq!(scene.text("10-a.conflist"), LIST);
    let error = remove(&scene.at("10-a.conflist")).unwrap_err();
    assert!(error.to_string().contains("cannot be removed: its file system is read-only"), "{error}");
    remount(MsFlags::empty()).unwrap();
    assert_eq!(scene.install().unwrap(), Reason::FirstInstallation);
}

#[test]
fn a_full_disk_loses_nothing_and_is_mended_by_time() {
    let scene = Scene::on_tmpfs("size=64k").with("10-a.conflist", LIST);
    let filler = scene.at("filler");
    let full = fs::write(&filler, vec![0; 1 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let error = scene.install().unwrap_err();
    assert_eq!((error.error_type(), error.retryable()), (ErrorType::NoSpace, true));
    assert!(error.to_string().contains("no room left; make room"), "{error}");
    assert_eq!(scene.contents().into_keys().collect::<Vec<_>>(), ["10-a.conflist", "filler"]);
    assert_eq!(scene.text("10-a.conflist"), LIST);
    fs::remove_file(filler).unwrap();
    assert_eq!(scene.install().unwrap(), Reason::FirstInstallation);
}

#[test]
fn an_immutable_file_is_said_with_what_to_do() {
    let scene = Scene::new().with("10-a.conflist", LIST);
    let chattr = |flag: &str| {
        let output = Command::new("chattr").arg(flag).arg(scene.at("10-a.conflist")).output().unwrap();
        output.status.success()
    };
    // Only root of the machine may set the mark, and only some file systems have it.
    if !chattr("+i") {
        assert!(!other_users_for("a file that is immutable"), "the temporary directory's file system has no chattr +i");
        return;
    }
    let error = scene.install();
    let removal = remove(&scene.at("10-a.conflist"));
    assert!(chattr("-i"));
    let error = error.unwrap_err();
    assert!(matches!(error, FileError::Immutable { .. }), "{error:?}");
    assert_eq!(error.error_type(), ErrorType::ReadOnly);
    assert!(error.to_string().ends_with("is immutable; see it with lsattr, and let it be changed with chattr -i"));
    assert!(matches!(removal, Err(FileError::Immutable { .. })));
    assert_eq!(scene.contents().into_keys().collect::<Vec<_>>(), ["10-a.conflist"], "the temporary file is gone");
    assert_eq!(scene.text("10-a.conflist"), LIST);
}

#[test]
fn a_file_that_is_mounted_over_is_busy() {
    let scene = Scene::new().with("10-a.conflist", LIST).with("source", LIST);
    let path = scene.at("10-a.conflist");
    mount(Some(&scene.at("source")), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    let error = scene.install().unwrap_err();
    nix::mount::umount(&path).unwrap();
    assert!(matches!(error, FileError::Busy { .. }) && error.retryable(), "{error:?}");
    assert!(error.to_string().contains("mount its directory instead"), "{error}");
    assert_eq!(scene.contents().into_keys().collect::<Vec<_>>(), ["10-a.conflist", "source"]);
}

#[test]
fn what_is_no_file_is_not_replaced() {
    let scene = Scene::new();
    fs::create_dir(scene.at("directory")).unwrap();
    symlink("nowhere", scene.at("dangling")).unwrap();
    let write = |name: &str| replace(&scene.at(name), b"x", &Permissions::Mode(0o600)).unwrap_err().to_string();
    let said = "directory cannot be written: it is a directory, and no file; move it out of the way";
    assert!(write("directory").contains(said));
    assert!(write("dangling").contains("it is a link that leads nowhere that the agent sees"));
    assert!(write("missing/file").contains("missing/file cannot be written: No such file or directory"));
    assert!(!remove(&scene.at("absent")).unwrap());
    assert!(remove(&scene.at("dangling")).unwrap());
    assert_eq!(scene.contents().len(), 1);
}

#[test]
fn a_path_without_a_directory_is_in_the_current_one() {
    // What is not there is neither removed nor an error, which is as much as can be seen without changing directory.
    assert!(!remove(Path::new("no-such-file-of-the-tests")).unwrap());
}
