//! How pods start, in their traces: told by the real agent from what the API server says, as a collector
//! gets it over the wire.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

#[path = "trace_startup/late.rs"]
mod late;
#[path = "support/otlp.rs"]
mod otlp;
#[path = "support/registry.rs"]
mod registry;
#[path = "trace_startup/scene.rs"]
mod scene;
mod support;
#[path = "trace/told.rs"]
mod told;
#[path = "trace/world.rs"]
mod world;

use nix::sys::signal::Signal;
use otlp::{Speaks, hex, text};
use serde_json::{Value, json};

use scene::{READY, ROOT, ago, as_the_registry_says, begun, event, lines, outline, ready, start, uid};
use support::*;
use world::{World, args, same};

#[test]
fn a_pod_that_becomes_ready_is_one_trace_with_its_add_inside() {
    let mut world = World::new(Speaks::Grpc, &[begun()]).call_with(|node| node.env("CNI_ARGS", &args("web-0", UID)));
    for event in [
        event("FailedCreatePodSandBox", "Failed to create pod sandbox: no network", 19, ""),
        event("Pulling", "Pulling image \"web:1\"", 16, "web"),
        event("Pulled", "Successfully pulled image \"web:1\" in 812ms (1s including waiting)", 15, "web"),
    ] {
        world.api.put(&event);
    }
    let wire = world.wire();
    start(&mut world, &[]);
    assert!(world.node.call("ADD", &wire.pod.path()).success);
    world.api.put(&ready(begun()));
    world.agent.as_ref().unwrap().wait_for_metric(READY, 1.0);
    let told = world.told();
    let shown = [
        "istio_cni.startup.outcome",
        "istio_cni.time.precision",
        "istio_cni.startup.attempts",
        "istio_cni.image.pull_ms",
    ];
    let outline = outline(&told, &shown);
    let starts: String = outline
        .lines()
        .filter(|line| !line.starts_with("    "))
        .fold(String::new(), |all, line| all + line.split_once("cni.add").map_or(line, |_| "  cni.add") + "\n");
    same(
        &starts,
        "
pod.startup 15s outcome=ready precision=second
  pod.schedule 0s precision=second
  pod.sandbox 1s precision=second attempts=2
  pod.init istio-validation 1s precision=second
  pod.image web 1s precision=second attempts=1 pull_ms=812
  pod.container web 10s precision=second
  cni.add
",
    );
    assert_eq!(hex(&told.span("pod.startup").span_id), ROOT);
    assert_eq!(told.span("pod.init istio-validation").trace_id, told.span("cni.add").trace_id);
    let said = lines(&told);
    assert!(said.contains(&"info istio_cni.pod.started | pod shop/web-0 is ready after 15 s".to_owned()), "{said:?}");
    let warned = "warn istio_cni.pod.event | Failed to create pod sandbox: no network".to_owned();
    assert!(said.contains(&warned), "{said:?}");
    let (count, exemplars) = told
        .histogram("istio_cni_pod_startup_duration_seconds", &[("phase", "startup"), ("outcome", "ready")])
        .unwrap();
    assert_eq!((count, exemplars.into_iter().next().unwrap()), (1, (TRACE.to_owned(), ROOT.to_owned())));
    let samples = |phase| {
        told.histogram("istio_cni_pod_startup_duration_seconds", &[("phase", phase), ("outcome", "done")]).unwrap().0
    };
    assert_eq!(["schedule", "sandbox", "image", "init", "container"].map(samples), [1; 5]);
    as_the_registry_says(&told);
}

#[test]
fn restarts_and_crashes_of_the_agent_neither_repeat_nor_lose_a_start() {
    let named = |name: &str, number: usize, pod: Value| {
        let mut pod = pod;
        pod["metadata"]["name"] = json!(name);
        pod["metadata"]["uid"] = json!(uid(number));
        pod
    };
    let told_before = named("told", 0, begun());
    let open = named("open", 1, begun());
    let mut world = World::new(Speaks::Grpc, &[told_before, open]);
    start(&mut world, &[]);
    world.api.put(&named("told", 0, ready(begun())));
    let agent = world.agent.as_mut().unwrap();
    agent.wait_for_metric(READY, 1.0);
    let remembered = world.node.path("startups");
    eventually("the told pod in the file", || {
        std::fs::read_to_string(&remembered).ok().filter(|text| text.contains(&format!("{} told", uid(0))))
    });
    let agent = world.agent.as_mut().unwrap();
    agent.signal(Signal::SIGTERM);
    assert!(agent.ended().success());
    // One starts and becomes ready while there is no agent, the other only becomes ready.
    world.api.put(&named("open", 1, ready(begun())));
    world.api.put(&named("missed", 2, ready(begun())));
    let agent = start(&mut world, &[]);
    agent.wait_for_metric(READY, 2.0);
    eventually("both in the file", || {
        std::fs::read_to_string(&remembered).ok().filter(|text| text.matches(" told").count() == 3)
    });
    // What was told arrives before the crash, so that nothing but the book keeps it from being told again.
    world.wait(world.collector.until("three starts", |received| {
        otlp::spans(received).iter().filter(|span| span.name == "pod.startup").count() == 3
    }));
    let agent = world.agent.as_mut().unwrap();
    agent.signal(Signal::SIGKILL);
    agent.ended();
    world.api.put(&named("new", 3, begun()));
    start(&mut world, &[]);
    world.api.put(&named("new", 3, ready(begun())));
    world.agent.as_ref().unwrap().wait_for_metric(READY, 1.0);
    let told = world.told();
    let mut roots: Vec<String> =
        told.spans.iter().filter(|(_, span)| span.name == "pod.startup").map(|(_, span)| hex(&span.trace_id)).collect();
    roots.sort();
    let wanted: Vec<String> = (0..4).map(|number| uid(number).replace('-', "")).collect();
    assert_eq!(roots, wanted, "each once");
}

#[test]
fn pods_that_become_ready_together_are_told_from_one_answer_for_their_namespace() {
    let named = |number: usize| {
        let mut pod = ready(begun());
        pod["metadata"]["name"] = json!(format!("web-{number}"));
        pod["metadata"]["uid"] = json!(uid(number));
        // Their validations are another test's.
        pod["status"]["initContainerStatuses"] = json!([]);
        pod
    };
    let pods: Vec<Value> = (0..40).map(named).collect();
    let mut world = World::new(Speaks::Grpc, &pods);
    for number in 0..40 {
        let mut said = event("Pulling", "Pulling image \"web:1\"", 16, "web");
        said["metadata"]["name"] = json!(format!("web-{number}.pulling"));
        said["involvedObject"]["uid"] = json!(uid(number));
        world.api.put(&said);
        said["reason"] = json!("Pulled");
        said["message"] = json!("Successfully pulled image \"web:1\" in 812ms");
        said["metadata"]["name"] = json!(format!("web-{number}.pulled"));
        world.api.put(&said);
    }
    start(&mut world, &[]);
    world.agent.as_ref().unwrap().wait_for_metric(READY, 40.0);
    let told = world.told();
    let images = told.spans.iter().filter(|(_, span)| span.name == "pod.image web").count();
    assert_eq!(images, 40, "each has its own Events");
    assert!(world.api.count("events.list") <= 4, "{:?}", world.api.count("events.list"));
}

#[test]
fn whose_starts_are_told_a_setting_says() {
    let mut plain = ready(begun());
    plain["metadata"]["annotations"] = json!({});
    plain["metadata"]["uid"] = json!(uid(1));
    plain["metadata"]["name"] = json!("plain");
    for (scope, names) in [("meshed", &["web-0"][..]), ("all", &["plain", "web-0"]), ("off", &[])] {
        let mut world = World::new(Speaks::Grpc, &[ready(begun()), plain.clone()]);
        let agent = start(&mut world, &[("STARTUP_TRACES", scope)]);
        if names.is_empty() {
            // The validation is told in any case; by then a start would be on its way.
            agent.wait_for_metric(r#"istio_cni_validations_total{result="passed"}"#, 1.0);
        } else {
            agent.wait_for_metric(READY, names.len() as f64);
        }
        let told = world.told();
        let roots = told.spans.iter().map(|(_, span)| span).filter(|span| span.name == "pod.startup");
        let mut found: Vec<String> = roots.map(|span| text(&span.attributes, "k8s.pod.name").unwrap()).collect();
        found.sort();
        assert_eq!(found, names, "{scope}");
        // Whoever tells writes down whom, as soon as all pods are known.
        assert_eq!(world.node.path("startups").exists(), !names.is_empty(), "{scope}");
    }
}

/// A node with far more pods than it may have, which started long ago; then many at once.
#[test]
fn five_thousand_pods_cost_little_memory_and_no_requests_and_many_that_start_at_once_are_all_told() {
    const MANY: usize = 5000;
    const AT_ONCE: usize = 150;
    let named = |number: usize, ago_s: u64| {
        let mut pod = ready(begun());
        pod["metadata"]["name"] = json!(format!("web-{number}"));
        pod["metadata"]["uid"] = json!(uid(number));
        pod["status"]["startTime"] = json!(ago(ago_s));
        // Their validations are another test's.
        pod["status"]["initContainerStatuses"] = json!([]);
        pod
    };
    let pods: Vec<Value> = (0..MANY).map(|number| named(number, 100_000)).collect();
    let resident = |world: &mut World, scope: &str| start(world, &[("STARTUP_TRACES", scope)]).resident();
    let without = resident(&mut World::new(Speaks::Grpc, &pods), "off");
    let mut world = World::new(Speaks::Grpc, &pods);
    let with = resident(&mut world, "meshed");
    println!("{without} kB without, {with} kB with");
    assert!(with < without + 4 * 5000, "more than 4 kB a pod: {without} kB without, {with} kB with");
    let remembered = world.node.path("startups");
    let told = |count: usize| {
        eventually("all in the file", || {
            let text = std::fs::read_to_string(&remembered).ok()?;
            (text.matches(" told").count() == count).then_some(())
        });
    };
    told(MANY);
    assert_eq!(world.api.count("events.list"), 0);
    (MANY..MANY + AT_ONCE).for_each(|number| world.api.put(&named(number, 10)));
    let agent = world.agent.as_ref().unwrap();
    agent.wait_for_metric(READY, AT_ONCE as f64);
    // How many depends on how fast the pods come: five requests go out a second at most.
    assert!(world.api.count("events.list") < AT_ONCE / 2, "one answer is for many");
    told(MANY + AT_ONCE);
}
