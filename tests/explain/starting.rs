//! What an explanation says of a pod's start: what its containers wait for, what was said of it, that it was
//! late and what came of that, and what is not known of a pod that was there before the agent.

use crate::support::agent::sandbox;
use crate::support::*;
use crate::tool::*;
use crate::world::World;
use istio_cni_otel::telemetry::timestamp::Timestamp;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

const ALL: (&str, &str) = ("STARTUP_TRACES", "all");

/// So many seconds ago, as the API writes it.
fn ago(seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let time = Timestamp((now - seconds) * 1_000_000_000).to_string();
    format!("{}Z", time.split('.').next().unwrap())
}

fn condition(kind: &str, met: bool, ago_s: u64) -> Value {
    json!({"type": kind, "status": if met { "True" } else { "False" }, "lastTransitionTime": ago(ago_s)})
}

/// The pod, begun so many seconds ago, not ready, with its containers in these states.
fn begun(ago_s: u64, states: &[(&str, Value)]) -> Value {
    let mut pod = web_0();
    pod["metadata"]["creationTimestamp"] = json!(ago(ago_s));
    let containers: Vec<Value> = states
        .iter()
        .map(|(name, state)| json!({"name": name, "ready": false, "restartCount": 0, "state": state}))
        .collect();
    pod["status"] = json!({"phase": "Pending", "podIP": "10.1.0.5", "startTime": ago(ago_s),
        "conditions": [condition("PodScheduled", true, ago_s), condition("PodReadyToStartContainers", true, ago_s),
            condition("Ready", false, ago_s)],
        "containerStatuses": containers});
    pod
}

fn ready(mut pod: Value, ago_s: u64) -> Value {
    pod["status"]["conditions"][2] = condition("Ready", true, ago_s);
    pod["status"]["phase"] = json!("Running");
    for container in pod["status"]["containerStatuses"].as_array_mut().unwrap() {
        container["ready"] = json!(true);
        container["state"] = json!({"running": {"startedAt": ago(ago_s)}});
    }
    pod
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({"waiting": {"reason": reason, "message": message}})
}

fn event(reason: &str, message: &str, count: u64) -> Value {
    json!({"apiVersion": "v1", "kind": "Event", "type": "Warning", "reason": reason, "message": message,
        "count": count, "metadata": {"namespace": "shop", "name": format!("web-0.{reason}"), "creationTimestamp": ago(4)},
        "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "web-0", "uid": UID},
        "source": {"component": "kubelet"}, "firstTimestamp": ago(9), "lastTimestamp": ago(4)})
}

/// The entries of the timeline of this kind.
fn entries<'a>(said: &'a Value, what: &str) -> Vec<&'a Value> {
    said["timeline"].as_array().unwrap().iter().filter(|entry| entry["what"] == what).collect()
}

fn sentence(said: &Value) -> &str {
    said["summary"]["sentence"].as_str().unwrap()
}

#[test]
fn what_containers_wait_for_in_vain_stands_among_the_errors() {
    let states = [
        ("web", waiting("ImagePullBackOff", "Back-off pulling image \"web:1\"")),
        ("log", waiting("CreateContainerConfigError", "secret \"log\" not found")),
        ("istio-proxy", waiting("ContainerCreating", "")),
    ];
    let (world, sandbox) = (World::new(&[begun(5, &states)]), sandbox());
    let _agent = world.start(&[ALL]);
    world.node.call("ADD", &sandbox.path()).result();
    let said = once(&world, "a whole call", |said| said["calls"][0]["outcome"] == "enrolled");
    let errors = said["errors"].as_array().unwrap().iter();
    let errors: Vec<_> = errors.map(|it| [&it["step"], &it["error_type"], &it["message"]].map(text)).collect();
    assert_eq!(
        errors,
        [
            [
                "pod.container web",
                "image_pull_failed",
                "container web has no image (ImagePullBackOff): Back-off pulling image \"web:1\""
            ],
            [
                "pod.container log",
                "container_failed",
                "container log cannot start (CreateContainerConfigError): secret \"log\" not found"
            ],
        ]
    );
    assert!(text(&said["errors"][0]["next"]).contains("registry"), "{said}");
    assert!(
        sentence(&said).ends_with("container web has no image (ImagePullBackOff): Back-off pulling image \"web:1\"")
    );
    assert_eq!(entries(&said, "pod.startup")[0]["outcome"], "unfinished");
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn a_late_start_is_told_with_what_was_said_of_it_and_with_what_came_of_it() {
    let pod = begun(10, &[("web", waiting("ImagePullBackOff", "back-off"))]);
    let (world, sandbox) = (World::new(&[]), sandbox());
    world.api.put(&event("BackOff", "Back-off pulling image", 7));
    let _agent = world.start(&[ALL, ("STARTUP_LIMIT", "1s")]);
    world.api.put(&pod);
    world.node.call("ADD", &sandbox.path()).result();
    let late = once(&world, "a late start", |said| {
        entries(said, "pod.startup").iter().any(|entry| entry["outcome"] == "failed")
    });
    assert!(sentence(&late).contains("container web has no image (ImagePullBackOff)"), "{}", sentence(&late));
    let events = entries(&late, "pod.event");
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(
        (&events[0]["outcome"], text(&events[0]["text"])),
        (&json!("failed"), "BackOff (7 times): Back-off pulling image")
    );
    let errors = late["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1, "what the container says is not told again by the start: {errors:#?}");

    world.api.put(&ready(pod, 0));
    let said = once(&world, "what came of it", |said| !entries(said, "pod.started_late").is_empty());
    let after_all = entries(&said, "pod.started_late")[0];
    assert_eq!(after_all["outcome"], "ok");
    assert!(text(&after_all["text"]).contains("is ready after all"), "{after_all}");
    assert!(sentence(&said).contains("; its start was late, and it was ready by "), "{}", sentence(&said));
    assert_eq!(entries(&said, "pod.container web").len(), 1, "it is told although it began after the start was told");
    assert_eq!(entries(&said, "pod.startup").len(), 1);
}

#[test]
fn a_pod_that_was_ready_before_the_agent_came_is_not_told_as_if_it_started_still() {
    const LONG: u64 = 120 * 3600;
    let mut pod = ready(begun(LONG, &[("web", json!(null))]), LONG - 5);
    pod["status"]["conditions"][2] = condition("Ready", false, 60);
    pod["status"]["containerStatuses"][0]["ready"] = json!(false);
    let world = World::new(&[pod.clone()]);
    let _agent = world.start(&[ALL]);
    let said = once(&world, "the pod", |said| said["pod"]["presence"] == "here");
    let timeline = said["timeline"].as_array().unwrap();
    assert!(timeline.iter().all(|entry| entry["outcome"] == "ok"), "{timeline:#?}");
    assert!(!entries(&said, "pod.schedule").is_empty() && entries(&said, "pod.startup").is_empty(), "{timeline:#?}");
    let note = text(&said["notes"][0]);
    assert!(note.starts_with("the pod was ready before and is not now"), "{note}");

    // It is ready again; nobody says whether it was for the first time.
    world.api.put(&ready(pod, 30));
    let said = once(&world, "a pod that is ready", |said| !entries(said, "pod.startup").is_empty());
    let startup = entries(&said, "pod.startup")[0];
    assert_eq!((&startup["outcome"], &startup["took_ns"]), (&json!("ok"), &json!(null)), "{startup}");
    assert!(text(&startup["text"]).ends_with("perhaps not for the first time"), "{startup}");
}

#[test]
fn a_node_whose_clock_is_behind_is_spoken_of() {
    let mut pod = begun(30, &[]);
    pod["metadata"]["creationTimestamp"] = json!(ago(21));
    pod["status"]["conditions"][0] = condition("PodScheduled", true, 20);
    let world = World::new(&[pod]);
    let _agent = world.start(&[ALL]);
    let said = once(&world, "the pod", |said| said["pod"]["presence"] == "here");
    let note = text(&said["notes"][0]);
    assert!(note.contains("the node's is 10.0 s behind the API server's"), "{note}");
}

#[test]
fn lists_are_bounded_and_say_how_much_is_left_out() {
    let mut pod = web_0();
    pod["metadata"]["annotations"]["traffic.sidecar.istio.io/excludeInboundPorts"] = json!("none at all");
    let (world, sandbox) = (World::new(&[pod]), sandbox());
    let _agent = world.start(&[("HISTORY_BYTES", "64Mi")]);
    for _ in 0..53 {
        assert!(!world.node.call("ADD", &sandbox.path()).success);
    }
    let said = once(&world, "all calls", |said| said["errors"][0]["count"] == 53);
    assert_eq!(
        (said["calls"].as_array().unwrap().len(), &said["left_out"]["calls"], &said["left_out"]["errors"]),
        (50, &json!(3), &json!(0))
    );
    let run_dir = world.node.run_dir.path().to_str().unwrap();
    let page = tool(&["shop/web-0", "--run-dir", run_dir], &[]);
    assert!(page.out.contains("53 calls in all are remembered."), "{}", page.out);
}
