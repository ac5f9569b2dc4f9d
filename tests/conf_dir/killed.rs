//! An installation and its removal killed before each of their system calls: what a runtime finds then is always the
//! primary's network, whole, with us or without, and the next pass brings it to its end.

use crate::scene::*;
use crate::support::{TestProcess, argument, ready};
use istio_cni_otel::domain::cni_files::{Placement, Verdict};
use istio_cni_otel::host::conf_dir::ConfDir;
use std::path::Path;

/// No installation makes as many system calls.
const LIMIT: usize = 500;

/// What the processes that these tests start do.
pub fn install_or_uninstall() {
    let directory = argument("DIRECTORY");
    let path = Path::new(&directory);
    match argument("WORK").as_str() {
        "read" => read_as_nobody(path),
        work if ready() => {
            let placement = placement(&argument("PLACEMENT"));
            let go = || {
                if work == "install" {
                    install(path, &placement).map(drop).unwrap()
                } else {
                    uninstall(path, &placement)
                }
            };
            std::thread::scope(|scope| scope.spawn(go).join().unwrap());
        }
        _ => {}
    }
}

#[expect(clippy::print_stdout, reason = "a child process speaks through its output")]
fn read_as_nobody(path: &Path) {
    // SAFETY: a plain system call on a number, in a process with one thread.
    assert_eq!(unsafe { libc::setresuid(65534, 65534, 65534) }, 0);
    assert!(ready());
    let files = ConfDir::new(path).list(&first_found()).unwrap();
    let said = files.iter().map(|file| format!("{}: {}", file.name, file.content.as_ref().unwrap_err()));
    println!("{}", said.collect::<Vec<_>>().join("; "));
}

fn placement(name: &str) -> Placement {
    match name {
        "owned" => Placement::Owned { file: "02-istio.conflist".to_owned(), primary: None },
        _ => first_found(),
    }
}

/// Kills `work` before its first system call, and so on, until one comes to its end.
fn kill_everywhere(work: &str, placed: &str, start: impl Fn() -> Scene, check: impl Fn(&Scene, usize)) {
    for n in 1..LIMIT {
        let scene = start();
        let directory = scene.path.to_str().unwrap().to_owned();
        let victim = TestProcess::start(&[("WORK", work), ("PLACEMENT", placed), ("DIRECTORY", &directory)]);
        let killed = victim.kill_at(n);
        check(&scene, n);
        if !killed {
            assert!(n > 20, "it ended before it could be killed often");
            return;
        }
    }
    panic!("it never came to its end");
}

/// The network that a runtime uses: the plugins of the first file that it takes.
fn network(scene: &Scene) -> (String, Vec<String>) {
    let names = scene.contents().into_keys().filter(|name| name.ends_with(".conf") || name.ends_with(".conflist"));
    let first = names.min().unwrap();
    let value: serde_json::Value = serde_json::from_str(&scene.text(&first)).unwrap();
    let kind = |plugin: &serde_json::Value| plugin["type"].as_str().unwrap().to_owned();
    let plugins = match value.get("plugins") {
        Some(plugins) => plugins.as_array().unwrap().iter().map(kind).collect(),
        None => vec![kind(&value)],
    };
    (value["name"].as_str().unwrap().to_owned(), plugins)
}

fn assert_whole(scene: &Scene, name: &str, n: usize) {
    let (network, plugins) = network(scene);
    assert_eq!(network, name, "killed before call {n}");
    assert!(plugins == ["bridge"] || plugins == ["bridge", "istio-cni"], "killed before call {n}: {plugins:?}");
}

/// The next pass, if there is anything to do for it, leaves nothing but these files.
fn assert_mended(scene: &Scene, placed: &str, names: &[&str], n: usize) {
    if let Verdict::Write(_) = decided(&scene.path, &placement(placed)).verdict {
        install(&scene.path, &placement(placed)).unwrap();
    }
    let found = decided(&scene.path, &placement(placed));
    assert!(matches!(found.verdict, Verdict::Valid { .. }) && found.skipped.is_empty(), "{n}: {found:?}");
    assert_eq!(visible(scene), names, "killed before call {n}");
    assert_eq!(network(scene).1, ["bridge", "istio-cni"]);
}

fn visible(scene: &Scene) -> Vec<String> {
    scene.contents().into_keys().filter(|name| !name.starts_with('.')).collect()
}

#[test]
fn a_conf_that_becomes_a_list() {
    let start = || Scene::new().with("10-a.conf", BRIDGE);
    kill_everywhere("install", "chained", start, |scene, n| {
        assert_whole(scene, "podnet", n);
        assert_mended(scene, "chained", &["10-a.conflist"], n);
        assert_eq!(scene.contents().len(), 1, "killed before call {n}: left-over files stay");
    });
}

#[test]
fn a_list_that_we_are_chained_to() {
    let start = || Scene::new().with("10-a.conflist", LIST);
    kill_everywhere("install", "chained", start, |scene, n| {
        assert_whole(scene, "dbnet", n);
        assert_mended(scene, "chained", &["10-a.conflist"], n);
    });
}

#[test]
fn a_copy_of_our_own() {
    let start = || Scene::new().with("10-a.conflist", LIST);
    kill_everywhere("install", "owned", start, |scene, n| {
        assert_whole(scene, "dbnet", n);
        assert_eq!(scene.text("10-a.conflist"), LIST);
        assert_mended(scene, "owned", &["02-istio.conflist", "10-a.conflist"], n);
    });
}

#[test]
fn the_way_out() {
    for placed in ["chained", "owned"] {
        let start = || {
            let scene = Scene::new().with("10-a.conflist", LIST);
            install(&scene.path, &placement(placed)).unwrap();
            scene
        };
        kill_everywhere("uninstall", placed, start, |scene, n| {
            assert_whole(scene, "dbnet", n);
            uninstall(&scene.path, &placement(placed));
            assert_eq!(visible(scene), ["10-a.conflist"]);
            assert_eq!(scene.text("10-a.conflist"), LIST, "{placed}, killed before call {n}");
        });
    }
}
