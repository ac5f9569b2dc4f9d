//! What CNI_NETNS may name, and what happens in a thread inside.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests assert by panicking")]

mod support;

use istio_cni_otel::domain::failure::Classify;
use istio_cni_otel::domain::step::ErrorType;
use istio_cni_otel::host::netns::{NetnsError, OwnNamespace, check, enter, open};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use support::*;

fn refusal(path: &Path) -> NetnsError {
    open(path, OwnNamespace::Refused).expect_err(&path.display().to_string())
}

fn inode(namespace: &impl AsFd) -> u64 {
    File::from(namespace.as_fd().try_clone_to_owned().unwrap()).metadata().unwrap().ino()
}

#[test]
fn a_pods_namespace_is_opened() {
    let pod = Namespace::new();
    let opened = open(Path::new(&pod.path()), OwnNamespace::Refused).unwrap();
    assert_eq!(inode(&opened), inode(&pod));
}

#[test]
fn a_path_without_anything_is_a_sandbox_that_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    for path in [directory.path().join("gone"), Path::new("/dev/null/below").to_owned()] {
        assert_eq!(refusal(&path).error_type(), ErrorType::NetnsMissing);
    }
}

#[test]
fn what_is_no_namespace_is_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let (file, fifo) = (directory.path().join("file"), directory.path().join("fifo"));
    File::create(&file).unwrap();
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let others = ["/dev/null", "/proc/self/status", "/"].map(|path| Path::new(path).to_owned());
    for path in [file, fifo, directory.path().to_owned()].into_iter().chain(others) {
        let error = refusal(&path);
        assert!(matches!(error, NetnsError::NotNamespace { .. }), "{}: {error}", path.display());
        assert_eq!(error.error_type(), ErrorType::NetnsInvalid);
    }
}

#[test]
fn a_namespace_of_another_kind_is_refused() {
    for kind in ["mnt", "uts", "user"] {
        let error = refusal(Path::new(&format!("/proc/self/ns/{kind}")));
        assert!(matches!(error, NetnsError::NotNetwork { .. }), "{kind}: {error}");
        assert_eq!(error.error_type(), ErrorType::NetnsInvalid);
    }
}

#[test]
fn the_callers_own_namespace_needs_to_be_allowed() {
    let own = Path::new("/proc/self/ns/net");
    let error = refusal(own);
    assert_eq!(error.error_type(), ErrorType::NetnsHost);
    assert!(error.to_string().contains("CNI_NETNS_OVERRIDE"), "{error}");
    let opened = open(own, OwnNamespace::Allowed).unwrap();
    check(opened.as_fd(), own, OwnNamespace::Refused).unwrap_err();
}

#[test]
fn only_the_thread_inside_is_inside() {
    let pod = Namespace::new();
    let current = || std::fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
    let before = current();
    assert_eq!(enter(pod.as_fd(), current).unwrap(), inode(&pod));
    assert_eq!(current(), before);
}

#[test]
fn a_panic_inside_is_an_error_outside() {
    let pod = Namespace::new();
    let error = enter(pod.as_fd(), || panic!("on purpose")).unwrap_err();
    assert_eq!(error.error_type(), ErrorType::Internal);
}

#[test]
fn a_descriptor_that_cannot_be_entered_is_an_error() {
    let file = File::open("/dev/null").unwrap();
    let error = enter(file.as_fd(), || ()).unwrap_err();
    assert!(matches!(error, NetnsError::Enter { .. }), "{error}");
}
