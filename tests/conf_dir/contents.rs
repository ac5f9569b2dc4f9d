//! What stands in the directory.

use crate::scene::*;
use crate::support::{TestProcess, other_users_for};
use istio_cni_otel::domain::cni_files::{Obstacle, Placement, Reason, Verdict};
use istio_cni_otel::domain::failure::Classify;
use istio_cni_otel::domain::step::ErrorType;
use istio_cni_otel::host::conf_dir::{ConfDir, ConfDirError};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

#[test]
fn whatever_is_no_configuration_is_skipped_and_the_first_valid_one_is_used() {
    let scene = Scene::new()
        .with("00-empty.conflist", "")
        .with("01-truncated.conflist", &LIST[..30])
        .with("02-binary.conf", b"\x7fELF\x02\x01\x01\0\xff\xfe")
        .with("05-shape.conflist", "[1, 2]")
        .with("06-shape.conf", "\"text\"")
        .with("90-list.conflist", LIST)
        .with("91-list.conflist", LIST);
    File::create(scene.at("03-huge.conflist")).unwrap().set_len(64 << 20).unwrap();
    fs::create_dir(scene.at("07-directory.conflist")).unwrap();
    symlink("nowhere", scene.at("08-dangling.conf")).unwrap();
    symlink("10-loop.conf", scene.at("09-loop.conf")).unwrap();
    symlink("09-loop.conf", scene.at("10-loop.conf")).unwrap();
    mkfifo(&scene.at("11-pipe.conf"), Mode::S_IRWXU).unwrap();
    let _socket = UnixListener::bind(scene.at("12-socket.conf")).unwrap();
    symlink("/dev/zero", scene.at("13-device.conf")).unwrap();
    let said = [
        ("00-empty.conflist", "it is empty"),
        ("01-truncated.conflist", "it is not JSON: EOF while parsing a string at line 3 column 9"),
        ("02-binary.conf", "it is not JSON: expected value at line 1 column 1"),
        ("03-huge.conflist", "its 67108864 bytes are more than the 1048576 allowed"),
        (
            "05-shape.conflist",
            "it is JSON of another shape: invalid type: sequence, expected an object at line 1 column 0",
        ),
        (
            "06-shape.conf",
            "it is JSON of another shape: invalid type: string \"text\", expected an object at line 1 column 6",
        ),
        ("07-directory.conflist", "it is a directory, and no file"),
        ("08-dangling.conf", "it is a link to something that is not there"),
        ("09-loop.conf", "it is a link that leads in a circle"),
        ("10-loop.conf", "it is a link that leads in a circle"),
        ("11-pipe.conf", "it is a pipe, and no file"),
        ("12-socket.conf", "it is a socket, and no file"),
        ("13-device.conf", "it is a device, and no file"),
    ];
    assert_eq!(scene.skipped(), said.map(|(file, problem)| (file.to_owned(), problem.to_owned())));
    let before = scene.contents();
    assert_eq!(scene.install().unwrap(), Reason::FirstInstallation);
    let mut after = scene.contents();
    assert!(
        String::from_utf8(after.insert("90-list.conflist".to_owned(), LIST.into()).unwrap())
            .unwrap()
            .contains("istio-cni")
    );
    assert_eq!(after, before, "everything else is as it was");
    assert_eq!(scene.decide().verdict, Verdict::Valid { file: "90-list.conflist".to_owned() });
}

#[test]
fn a_file_that_grows_while_it_is_read_is_never_read_whole() {
    let scene = Scene::new();
    File::create(scene.at("a.conf")).unwrap().set_len(1 << 20).unwrap();
    assert_eq!(scene.skipped()[0].1, "it is not JSON: expected value at line 1 column 1");
    File::create(scene.at("a.conf")).unwrap().set_len((1 << 20) + 1).unwrap();
    assert_eq!(scene.skipped()[0].1, "its 1048577 bytes are more than the 1048576 allowed");
}

#[test]
fn an_unreadable_file_is_skipped() {
    if !other_users_for("a file that may not be read") {
        return;
    }
    let scene = Scene::new().with("a.conflist", LIST);
    scene.set_mode("a.conflist", 0);
    fs::set_permissions(scene.path.parent().unwrap(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    // Root reads everything, so somebody else has to look.
    let reader = TestProcess::start(&[("WORK", "read"), ("DIRECTORY", scene.path.to_str().unwrap())]);
    assert_eq!(reader.answer(), "a.conflist: permission to read it is denied");
}

#[test]
fn a_missing_directory_or_something_else_in_its_place_is_an_error_that_names_the_setting() {
    let scene = Scene::new().with("file", "");
    let missing = ConfDir::new(scene.at("missing")).list(&first_found()).unwrap_err();
    assert!(matches!(missing, ConfDirError::Missing { .. }));
    assert!(missing.to_string().contains("missing does not exist; mount the node's"), "{missing}");
    assert_eq!((missing.error_type(), missing.retryable()), (ErrorType::Io, true));
    let file = ConfDir::new(scene.at("file")).list(&first_found()).unwrap_err();
    assert!(matches!(file, ConfDirError::NoDirectory { .. }), "{file}");
}

#[test]
fn more_entries_than_any_node_has_are_refused() {
    let scene = Scene::on_tmpfs("size=64m");
    for number in 0..4097 {
        fs::write(scene.at(&format!("{number}")), "").unwrap();
    }
    let error = ConfDir::new(&scene.path).list(&first_found()).unwrap_err();
    assert!(error.to_string().contains("more than 4096 entries"), "{error}");
}

#[test]
fn many_large_files_do_not_fill_the_memory() {
    let scene = Scene::on_tmpfs("size=64m").with("00-list.conflist", LIST);
    for number in 10..30 {
        fs::write(scene.at(&format!("{number}.conf")), vec![b' '; 1 << 20]).unwrap();
    }
    let said = scene.skipped();
    let too_many = said.iter().filter(|(_, problem)| problem.contains("more than the 16777216 bytes allowed"));
    assert_eq!((said.len(), too_many.count()), (20, 4));
    assert_eq!(scene.install().unwrap(), Reason::FirstInstallation);
}

#[test]
fn what_the_settings_name_is_looked_at_whatever_it_is_called() {
    let scene = Scene::new().with("undetectable.file", LIST).with("other.file", LIST);
    let named = Placement::Chained { file: Some("undetectable.file".to_owned()) };
    assert_eq!(install(&scene.path, &named).unwrap(), Reason::FirstInstallation);
    assert!(scene.text("undetectable.file").contains("istio-cni"));
    assert_eq!(scene.text("other.file"), LIST);
    symlink("nowhere", scene.at("dangling")).unwrap();
    let dangling = Placement::Chained { file: Some("dangling".to_owned()) };
    let Verdict::Wait { why, sentence } = decided(&scene.path, &dangling).verdict else { panic!("waits") };
    assert_eq!(why, Obstacle::NamedInvalid);
    assert!(sentence.contains("dangling") && sentence.contains("a link to something that is not there"), "{sentence}");
}

#[test]
fn plugins_in_a_directory_named_like_the_network_belong_to_it() {
    let scene = Scene::new().with("a.conflist", r#"{"name":"n","plugins":[{"type":"ptp"}]}"#);
    fs::create_dir(scene.at("n")).unwrap();
    let scene = scene.with("n/10-x.conf", "{}").with("n/readme", "{}");
    assert_eq!(scene.skipped(), [("a.conflist".to_owned(), "its plugin n/10-x.conf: it has no type".to_owned())]);
    let scene = scene.with("n/10-x.conf", r#"{"type":"x"}"#);
    assert_eq!(scene.install().unwrap(), Reason::FirstInstallation);
}
