//! What the agent knows: whether it answers, is ready and hears of its pods, and what it knows of them.

use crate::node::{self, broken, name, pod};
use crate::scene::{Findings, Scene, Seen, text};
use crate::support::agent::PATIENCE;
use crate::support::api::Fault;
use crate::support::runtime_node::LIST;
use crate::support::{crippled, forbid_netfilter_netlink};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Asks until exactly this is wrong: what the agent knows, it learns by and by.
#[track_caller]
fn until_only(scene: &Scene, check: &str, status: &str, words: &str) -> Seen {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let findings: Findings = scene.doctor(&[]);
        if findings.wrong() == [format!("{check}: {status}")] || Instant::now() > deadline {
            return findings.only(check, status, words);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_dead_agent_is_the_finding_and_the_files_are_looked_at_regardless() {
    let scene = Scene::installed();
    let finding = scene.doctor(&[]).only("agent.answers", "problem", "nobody answers at");
    assert!(finding["evidence"].to_string().contains("what only an agent knows was not looked at"), "{finding}");
    fs::remove_file(scene.runtime.layout.bin().join("istio-cni")).unwrap();
    assert_eq!(scene.doctor(&[]).wrong(), ["agent.answers: problem", "plugin.binary: problem"]);
}

pub fn an_agent_that_does_not_answer_keeps_nobody_waiting() -> Seen {
    let mut scene = Scene::new();
    scene.hangs.push("agent.answers");
    let agent = scene.agent.as_ref().unwrap();
    agent.signal(nix::sys::signal::Signal::SIGSTOP);
    let findings = scene.doctor(&[]);
    // It is about four seconds, and a busy machine has its own.
    assert!(findings.took < Duration::from_secs(30), "it took {:?}", findings.took);
    findings.only("agent.answers", "problem", "no whole answer came from")
}

/// Something that is no agent answers at the agent's socket, always with what is said last.
fn answering(scene: &Scene) -> Arc<Mutex<String>> {
    let path = scene.runtime.node.path("page.sock");
    let _ = fs::remove_file(&path);
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let says: Arc<Mutex<String>> = Arc::default();
    let answer = says.clone();
    // It ends with the test's process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            use std::io::{Read, Write};
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(answer.lock().unwrap().as_bytes());
        }
    });
    says
}

#[test]
fn something_else_at_the_agents_socket_is_no_agent() {
    let scene = Scene::installed();
    let says = answering(&scene);
    for (answer, words) in [
        ("HTTP/1.0 200 OK\r\n\r\n<html>", "no report of doctor"),
        ("HTTP/1.0 404 Not Found\r\n\r\n", "of a version that cannot be asked"),
        ("SSH-2.0\r\n", "no answer of HTTP"),
    ] {
        answer.clone_into(&mut says.lock().unwrap());
        scene.doctor(&[]).only("agent.answers", "problem", words);
    }
}

pub fn a_socket_that_others_may_use_is_found() -> Seen {
    let scene = Scene::new();
    fs::set_permissions(scene.runtime.node.path("agent.sock"), Permissions::from_mode(0o666)).unwrap();
    scene.doctor(&[]).only("agent.socket", "problem", "has mode 0666")
}

pub fn an_agent_that_waits_for_its_pods_says_so() -> Seen {
    let mut scene = Scene::installed();
    for verb in ["list", "watch"] {
        scene.runtime.api.fail(verb, Some(Fault::Status(403)));
    }
    let proc = scene.host.path().join("proc").display().to_string();
    scene.agent = Some(scene.runtime.start(&[("SKIP_INSTALL", "true"), ("HOST_PROC", &proc)]));
    let findings = scene.doctor(&[]);
    // The one explains the other.
    findings.with_its_cause("agent.ready", "problem", "this node's pods", &["watch.fresh: problem"])
}

pub fn pods_whose_validation_fails_are_named() -> Seen {
    let mut scene = Scene::installed();
    scene.agent = Some(scene.start(&[("SKIP_INSTALL", "true"), ("AUDIT_INTERVAL", "0")]));
    scene.runtime.api.put(&broken(900));
    let seen = until_only(&scene, "pods.validation", "problem", "exit code 126");
    assert!(
        seen["evidence"].to_string().contains(&format!("shop/{}, container istio-validation", name(900))),
        "{seen}"
    );
    let of_pod = scene.doctor(&["--pod", &format!("shop/{}", name(900))]);
    of_pod.only("pod.validation", "problem", "exit code 126");
    scene.runtime.api.put(&node::passed(broken(900)));
    let deadline = Instant::now() + PATIENCE;
    while !scene.doctor(&[]).wrong().is_empty() {
        assert!(Instant::now() < deadline, "{:#?}", scene.doctor(&[]));
        std::thread::sleep(Duration::from_millis(100));
    }
    seen
}

pub fn pods_that_are_deleted_over_and_over_are_found() -> Seen {
    let mut scene = Scene::installed();
    scene.agent = Some(scene.start(&[("SKIP_INSTALL", "true"), ("REPAIR_DELETE_PODS", "true")]));
    for number in 910..913 {
        scene.runtime.api.put(&broken(number));
    }
    let agent = scene.agent.as_ref().unwrap();
    agent.wait_for_metric(r#"istio_cni_repair_pods_repaired_total{type="delete",result="success"}"#, 3.0);
    until_only(&scene, "pods.repair", "problem", "shop/web: 3 pods in 30 minutes")
}

pub fn a_pod_without_its_rules_is_found_and_one_that_cannot_be_looked_into_is_not_sure() -> Seen {
    let mut scene = Scene::installed();
    let sandbox = node::Sandbox::new(920);
    scene.runtime.api.put(&pod(920));
    let quick = [("SKIP_INSTALL", "true"), ("AUDIT_INTERVAL", "1s"), ("HOST_PROC", "/proc")];
    scene.agent = Some(scene.start(&quick));
    scene.agent.as_ref().unwrap().wait_for_metric(r#"istio_cni_pods{state="broken"}"#, 1.0);
    let seen = until_only(&scene, "pods.redirected", "problem", "are not as they should be");
    assert!(seen["evidence"].to_string().contains("shop/web-920"));
    let of_pod = scene.doctor(&["--pod", "shop/web-920"]);
    of_pod.only("pod.redirected", "problem", "does not have the rules");
    assert_eq!(text(&of_pod.of("pod.known")["status"]), "ok");
    drop(sandbox);
    let unknown = scene.doctor(&["--pod", "shop/nobody"]);
    unknown.only("pod.known", "warning", "no pod shop/nobody is known on node node-a");
    seen
}

pub fn telemetry_that_is_lost_is_counted_and_named() -> Seen {
    let scene = Scene::new();
    fs::create_dir_all(scene.runtime.node.path("spool")).unwrap();
    fs::write(scene.runtime.node.path("spool").join("1-1.spool"), "this is nobody's telemetry").unwrap();
    until_only(&scene, "telemetry", "warning", "were lost in the last 30 minutes: invalid")
}

#[test]
fn a_collector_that_is_away_is_found_before_anything_is_lost() {
    let mut scene = Scene::installed();
    let settings = [
        ("SKIP_INSTALL", "true"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://127.0.0.1:1/v1/metrics"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "200"),
    ];
    scene.agent = Some(scene.start(&settings));
    let seen = until_only(&scene, "telemetry", "warning", "does not reach its collector");
    assert!(seen["evidence"].to_string().contains("metrics go to http://127.0.0.1:1"), "{seen}");
}

pub fn an_agent_of_another_version_is_named() -> Seen {
    let scene = Scene::installed();
    let report = r#"{"node":"node-a","version":"0.0.9","findings":[{"check":"new.check","status":"ok","what":"w"}]}"#;
    *answering(&scene).lock().unwrap() = format!("HTTP/1.0 200 OK\r\n\r\n{report}");
    let findings = scene.doctor(&[]);
    assert_eq!(findings.of("new.check")["status"], "ok", "what another version knows is passed on");
    findings.only("versions", "warning", "of version 0.0.9")
}

pub fn whoever_undoes_the_entry_of_a_living_agent_is_found() -> Seen {
    let mut scene = Scene::bare();
    let agent = scene.start(&[]);
    scene.runtime.layout.write(LIST, crate::support::layout::PRIMARY);
    agent.wait_for_metric("istio_cni_config_reverts_total", 1.0);
    scene.agent = Some(agent);
    let seen =
        until_only(&scene, "network.writers", "warning", "has undone the plugin's entry once in the last 30 minutes");
    assert!(seen["evidence"].to_string().contains(LIST), "{seen}");
    seen
}

pub fn what_the_agents_process_may_not_do_is_named() -> Seen {
    // The process ends with the thread that has started it, so all of it is done there.
    crippled(
        || {
            const CAP_SYS_PTRACE: u64 = 19;
            // SAFETY: it takes numbers and changes this thread alone (man 2 prctl).
            let dropped = unsafe { nix::libc::prctl(nix::libc::PR_CAPBSET_DROP, CAP_SYS_PTRACE, 0, 0, 0) };
            assert_eq!(dropped, 0);
        },
        || Scene::new().doctor(&[]).only("agent.capabilities", "warning", "CAP_SYS_PTRACE"),
    )
}

pub fn a_kernel_without_what_the_rules_need_is_found() -> Seen {
    let mut scene = Scene::installed();
    let proc = scene.host.path().join("proc").display().to_string();
    crippled(forbid_netfilter_netlink, move || {
        let settings = [("SKIP_INSTALL", "true"), ("HOST_PROC", proc.as_str()), ("REDIRECT_BACKEND", "nftables")];
        let mut agent = scene.runtime.start(&settings);
        agent.wait_for("no meshed pod can start on this node");
        scene.agent = Some(agent);
        let findings = scene.doctor(&[]);
        // The one explains the other.
        let seen = findings.with_its_cause("backend", "problem", "no pod can be set up", &["agent.ready: problem"]);
        assert!(seen["evidence"].to_string().contains("kernel "), "{seen}");
        seen
    })
}

#[test]
fn pods_that_nobody_looks_at_are_not_said_to_be_well() {
    let mut scene = Scene::installed();
    scene.agent = Some(scene.start(&[("SKIP_INSTALL", "true"), ("AUDIT_INTERVAL", "0")]));
    let findings = scene.doctor(&[]);
    findings.fine();
    let finding = findings.of("pods.redirected");
    assert_eq!(finding["status"], "unknown");
    assert!(text(&finding["next"]).contains("AUDIT_INTERVAL"), "{finding}");
    scene.agent = None;
    scene.agent = Some(scene.start(&[("SKIP_INSTALL", "true"), ("AUDIT_INTERVAL", "1s")]));
    let deadline = Instant::now() + PATIENCE;
    while scene.doctor(&[]).of("pods.redirected")["status"] != "ok" {
        assert!(Instant::now() < deadline, "the first round does not end");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn what_an_agent_without_a_collector_leaves_for_others_is_no_warning() {
    let scene = Scene::new();
    let spool = scene.runtime.node.path("spool");
    fs::create_dir_all(&spool).unwrap();
    (0..20).for_each(|n| fs::write(spool.join(format!("{n:020}.told.spool")), "").unwrap());
    scene.doctor(&[]).fine();
    assert!(fs::read_dir(&spool).unwrap().count() >= 20, "nobody has taken them away");
}

#[test]
fn five_thousand_pods_whose_validation_fails_are_one_finding_in_time() {
    let mut scene = Scene::installed();
    (0..5000).for_each(|number| scene.runtime.api.put(&broken(number)));
    let settings = [("SKIP_INSTALL", "true"), ("AUDIT_INTERVAL", "0"), ("STARTUP_TRACES", "off")];
    scene.agent = Some(scene.start(&settings));
    let seen = until_only(&scene, "pods.validation", "problem", "the validation of 5000 pods fails");
    let evidence = seen["evidence"].as_array().unwrap();
    assert_eq!((evidence.len(), text(&evidence[10])), (11, "and 4990 more"));
}

/// Waits for as long as a watch may be away before it is said: this is about time.
pub fn a_watch_that_hears_nothing_any_more_is_found() -> Seen {
    let scene = Scene::new();
    for verb in ["list", "watch"] {
        scene.runtime.api.fail(verb, Some(Fault::Status(500)));
    }
    scene.runtime.api.end_watches(false);
    let deadline = Instant::now() + Duration::from_secs(60) + PATIENCE;
    while scene.doctor(&[]).of("watch.fresh")["status"] == "ok" {
        assert!(Instant::now() < deadline, "{:#?}", scene.doctor(&[]));
        std::thread::sleep(Duration::from_millis(500));
    }
    scene.doctor(&[]).only("watch.fresh", "warning", "has heard nothing from the API server for")
}

#[test]
fn telemetry_that_waits_in_the_spool_is_found_before_it_is_lost() {
    let mut scene = Scene::installed();
    let spool = scene.runtime.node.path("spool");
    fs::create_dir_all(&spool).unwrap();
    // Whoever has claimed them does not come on with them.
    let claimed: Vec<_> = (0..16)
        .map(|n| {
            let file = fs::File::create(spool.join(format!("{n:020}.spool"))).unwrap();
            nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive).unwrap()
        })
        .collect();
    let to = [("SKIP_INSTALL", "true"), ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:1/v1/traces")];
    scene.agent = Some(scene.start(&to));
    let seen = until_only(&scene, "telemetry", "warning", "16 files with 0 bytes wait in the spool");
    assert!(seen["evidence"].to_string().contains("traces go to http://127.0.0.1:1"), "{seen}");
    drop(claimed);
}

#[test]
fn an_agent_that_may_not_enter_namespaces_is_told_so() {
    let mut scene = Scene::installed();
    let proc = scene.host.path().join("proc").display().to_string();
    crippled(
        || {
            const CAP_SYS_ADMIN: u64 = 21;
            // SAFETY: it takes numbers and changes this thread alone (man 2 prctl).
            let dropped = unsafe { nix::libc::prctl(nix::libc::PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0) };
            assert_eq!(dropped, 0);
        },
        move || {
            let mut agent = scene.runtime.start(&[("SKIP_INSTALL", "true"), ("HOST_PROC", &proc)]);
            agent.wait_for("no meshed pod can start on this node");
            scene.agent = Some(agent);
            // No backend can be used without it either.
            let beside = ["agent.ready: problem", "backend: problem"];
            let words = "CAP_SYS_ADMIN: without it no pod's network namespace";
            scene.doctor(&[]).with_its_cause("agent.capabilities", "problem", words, &beside);
        },
    );
}
