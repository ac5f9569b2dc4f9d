//! Events on objects: created, counted up, held back, and never in anybody's way.

#![expect(clippy::unwrap_used, reason = "tests assert by panicking")]

mod support;

use istio_cni_otel::domain::notice::{AGENT, Notice, ObjectRef, REPAIR, Rate, Severity};
use istio_cni_otel::k8s::client::{ApiClient, ApiSource};
use istio_cni_otel::k8s::events::{Events, Fate, Limits, News};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use support::agent::{Agent, PATIENCE};
use support::api::{Api, Fault};
use support::{Node, eventually, loopback};

/// The queue and its task, which ends when this is dropped.
struct World {
    api: Api,
    events: Events,
    news: Receiver<String>,
    _runtime: tokio::runtime::Runtime,
    _node: Node,
}

impl World {
    fn new(limits: Limits) -> World {
        loopback();
        let (api, node) = (Api::start(), Node::new());
        node.write_kubeconfig(&format!("http://{}", api.address));
        let client = ApiClient::new(ApiSource::Kubeconfig(node.path("istio-cni-kubeconfig")), |_| {});
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (events, sender) = Events::new(Arc::new(client), "node-a", limits);
        let (tell, news) = channel();
        runtime.spawn(sender.run(move |news| {
            let text = match news {
                News::Unsent { notice, error } => format!("{} on {}: {error}", notice.reason, notice.about),
                News::Dropped(count) => format!("dropped {count}"),
            };
            let _ = tell.send(text);
        }));
        World { api, events, news, _runtime: runtime, _node: node }
    }

    fn told(&self) -> String {
        self.news.recv_timeout(PATIENCE).unwrap()
    }

    /// The one Event that there is, once it is counted so far.
    fn counted(&self, count: u64) -> Value {
        eventually(&format!("an Event that is counted {count} times"), || {
            let events = self.api.events();
            assert!(events.len() <= 1, "{events:?}");
            events.into_iter().find(|event| event["count"] == count)
        })
    }
}

fn limits() -> Limits {
    let rate = Rate { burst: 100, interval: Duration::from_secs(3600) };
    Limits { rate, pause: Duration::from_millis(5), ..Limits::default() }
}

fn notice(message: &str) -> Notice {
    let about = ObjectRef::node("node-a", Some("uid-of-node-a"));
    let (severity, reason, message) = (Severity::Warning, "CNIConfigReverted", message.to_owned());
    Notice { component: AGENT, about, severity, reason, message }
}

#[test]
fn an_event_on_a_node_is_what_kubectl_describe_looks_for() {
    let world = World::new(limits());
    world.events.say(notice("somebody\nreverted it"));
    let event = world.counted(1);
    assert_eq!(
        event["involvedObject"],
        json!({"apiVersion": "v1", "kind": "Node", "name": "node-a", "uid": "uid-of-node-a"})
    );
    for (key, value) in [
        ("kind", json!("Event")),
        ("type", json!("Warning")),
        ("reason", json!("CNIConfigReverted")),
        ("message", json!("somebody reverted it")),
        ("source", json!({"component": "istio-cni-otel", "host": "node-a"})),
        ("reportingComponent", json!("istio-cni-otel")),
        ("reportingInstance", json!("node-a")),
    ] {
        assert_eq!(event[key], value, "{key}");
    }
    assert_eq!(event["metadata"]["namespace"], "default");
    assert!(event["metadata"]["name"].as_str().unwrap().starts_with("node-a."), "{event}");
    for key in ["firstTimestamp", "lastTimestamp"] {
        let time = event[key].as_str().unwrap();
        assert!(time.len() == 20 && time.ends_with('Z'), "{time}");
    }
}

#[test]
fn an_event_on_a_pod_is_in_the_pods_namespace() {
    let world = World::new(limits());
    let about = ObjectRef::pod("shop", "web-0", "u-1");
    world.events.say(Notice { component: REPAIR, about, severity: Severity::Normal, ..notice("repaired") });
    let event = world.counted(1);
    assert_eq!(
        (&event["source"]["component"], &event["reportingComponent"]),
        (&json!("cni-repair"), &json!("cni-repair"))
    );
    assert_eq!(event["metadata"]["namespace"], "shop");
    let object = json!({"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "web-0", "uid": "u-1"});
    assert_eq!((&event["involvedObject"], &event["type"]), (&object, &json!("Normal")));
}

#[test]
fn the_same_said_again_counts_the_one_event_up() {
    let world = World::new(limits());
    (0..5).for_each(|_| world.events.say(notice("reverted")));
    world.counted(5);
    assert_eq!((world.api.count("events.create"), world.api.count("events.patch")), (1, 4));
    world.events.say(notice("reverted by somebody else"));
    eventually("another Event", || (world.api.events().len() == 2).then_some(()));
}

#[test]
fn an_event_that_kubernetes_has_forgotten_is_created_again_with_its_count() {
    let world = World::new(limits());
    world.events.say(notice("reverted"));
    let event = world.counted(1);
    world.api.remove(&event);
    world.events.say(notice("reverted"));
    let again = world.counted(2);
    assert_ne!(again["metadata"]["name"], event["metadata"]["name"]);
}

#[test]
fn one_reason_cannot_flood_and_what_was_held_back_is_counted_later() {
    let rate = Rate { burst: 2, interval: Duration::from_millis(300) };
    let world = World::new(Limits { rate, ..limits() });
    (0..4).for_each(|_| world.events.say(notice("reverted")));
    assert_eq!([world.told(), world.told()], ["dropped 1", "dropped 1"]);
    world.counted(2);
    let other = Notice { reason: "Another", ..notice("something else") };
    world.events.say(other);
    eventually("another reason's Event", || (world.api.events().len() == 2).then_some(()));
    let counts = eventually("an Event that may go again", || {
        world.events.say(notice("reverted"));
        let events = world.api.events();
        let counts: Vec<u64> = events.iter().filter_map(|event| event["count"].as_u64()).collect();
        counts.iter().any(|count| *count >= 5).then_some(counts)
    });
    assert!(counts.contains(&1), "{counts:?}");
}

#[test]
fn a_failure_is_told_once_until_one_is_sent() {
    let world = World::new(limits());
    world.api.fail("events.create", Some(Fault::Status(403)));
    world.events.say(notice("one"));
    world.events.say(notice("two"));
    let told = world.told();
    assert!(told.starts_with("CNIConfigReverted on Node/node-a: "), "{told}");
    assert!(told.contains("create and patch of events"), "{told}");
    world.api.wait_for("events.create", 2);
    world.api.fail("events.create", None);
    world.events.say(notice("two"));
    world.counted(2);
    world.api.fail("events.patch", Some(Fault::Status(403)));
    world.events.say(notice("two"));
    assert!(world.told().contains("(403)"), "nothing was told in between");
    assert_eq!(world.api.count("events.create"), 3, "who may not is not asked again for one notice");
}

#[test]
fn a_trouble_that_passes_is_tried_again() {
    let world = World::new(Limits { attempts: 1000, ..limits() });
    world.api.fail("events.create", Some(Fault::Status(500)));
    world.events.say(notice("reverted"));
    world.api.wait_for("events.create", 2);
    world.api.fail("events.create", None);
    world.counted(1);
}

#[test]
fn a_hanging_api_server_makes_nobody_wait_and_the_rest_is_counted() {
    let world = World::new(Limits { answer: Duration::from_secs(1), attempts: 1, ..limits() });
    world.api.fail("events.create", Some(Fault::Silence));
    world.events.say(notice("first"));
    world.api.wait_for("events.create", 1);
    // The task hangs with the first, so that the queue is full after 64 more.
    (0..100).for_each(|number| world.events.say(notice(&format!("number {number}"))));
    assert!(world.told().contains("did not answer within 1.0s"));
    assert_eq!(world.told(), "dropped 36");
}

#[test]
fn whoever_says_something_can_ask_what_became_of_it() {
    let world = World::new(Limits { attempts: 1, ..limits() });
    assert_eq!(world.events.fate("CNIConfigReverted"), None);
    world.api.fail("events.create", Some(Fault::Status(503)));
    world.events.say(notice("reverted"));
    let is = |fate| eventually("its fate", || (world.events.fate("CNIConfigReverted") == Some(fate)).then_some(()));
    is(Fate::Lost);
    world.api.fail("events.create", None);
    world.events.say(notice("reverted"));
    is(Fate::Sent);
    assert_eq!(world.counted(2)["reason"], "CNIConfigReverted");
}

/// How long an agent is unready before that is said, and how much later it is looked at.
const LONG: Duration = Duration::from_secs(60 + 5);

#[test]
fn an_agent_that_is_unready_for_a_minute_says_so_on_its_node_and_when_it_is_over() {
    loopback();
    let (node, api) = (Node::new(), Api::start());
    node.write_kubeconfig(&format!("http://{}", api.address));
    for verb in ["list", "watch"] {
        api.fail(verb, Some(Fault::Status(403)));
    }
    let began = Instant::now();
    let settings = [("AUDIT_INTERVAL", "0"), ("STARTUP_TRACES", "off"), ("PAGE_ADDRESS", "off")];
    let mut agent = Agent::start_with(&node, &settings);
    let said = |reason: &str, deadline: Instant| loop {
        let events: Vec<Value> = api.events().into_iter().filter(|event| event["reason"] == reason).collect();
        assert!(events.len() <= 1 && Instant::now() < deadline, "{reason}: {:#?}", api.events());
        if let Some(event) = events.into_iter().next() {
            return event;
        }
        // Nobody tells when an Event comes.
        std::thread::sleep(Duration::from_millis(50));
    };
    let event = said("CNINotReady", began + LONG + PATIENCE);
    assert!(began.elapsed() >= Duration::from_secs(60), "a start is not worth an Event: {:?}", began.elapsed());
    assert_eq!((&event["type"], &event["involvedObject"]["kind"]), (&json!("Warning"), &json!("Node")));
    assert_eq!(event["involvedObject"]["name"], "node-a");
    let message = event["message"].as_str().unwrap();
    assert!(message.contains("is not ready: this node's pods") && message.contains("doctor"), "{message}");
    for verb in ["list", "watch"] {
        api.fail(verb, None);
    }
    agent.wait_for("ms after the start");
    let event = said("CNIReady", Instant::now() + PATIENCE);
    assert_eq!((&event["type"], &event["involvedObject"]["name"]), (&json!("Normal"), &json!("node-a")));
    assert_eq!(event["message"], "the node agent of Istio's CNI plugin is ready again");
    assert_eq!(api.events().len(), 2, "{:#?}", api.events());
    assert_eq!(agent.stop().code(), Some(0));
}
