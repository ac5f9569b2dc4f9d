//! What the agent's log says of the watch of its DaemonSet, of its decision at the end, and of Events
//! that it cannot put on an object.

#![expect(clippy::unwrap_used, reason = "tests assert by panicking")]

mod support;

use istio_cni_otel::agent::config::Settings;
use istio_cni_otel::agent::departure::Departing;
use istio_cni_otel::agent::notices;
use istio_cni_otel::domain::notice::{AGENT, Notice, ObjectRef, Severity};
use istio_cni_otel::k8s::client::ApiClient;
use istio_cni_otel::telemetry::pipeline::Telemetry;
use serde_json::{Value, json};
use std::sync::Arc;
use support::api::{Api, Fault};
use support::{Node, Screen, eventually, loopback};

/// The parts of an agent that are concerned, and its log.
struct World {
    api: Api,
    client: Arc<ApiClient>,
    telemetry: Telemetry,
    departing: Departing,
    screen: Screen,
    runtime: tokio::runtime::Runtime,
    _node: Node,
}

impl World {
    /// An agent whose pod has this name.
    fn new(pod_name: &str, prepare: impl FnOnce(&Api)) -> World {
        loopback();
        let (api, node, screen) = (Api::start(), Node::new(), Screen::default());
        prepare(&api);
        node.write_kubeconfig(&format!("http://{}", api.address));
        let kubeconfig = node.path("istio-cni-kubeconfig").display().to_string();
        let lookup = |key: &str| match key {
            "KUBECONFIG" => Some(kubeconfig.clone()),
            "POD_NAMESPACE" => Some("istio-system".to_owned()),
            "POD_NAME" => Some(pod_name.to_owned()),
            _ => None,
        };
        let settings = Settings::read(&lookup, "node-a").unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let telemetry = screen.telemetry(runtime.handle());
        let client = Arc::new(ApiClient::new(settings.api.clone(), |_| {}));
        let (departing, watching) = Departing::new(&settings, client.clone(), telemetry.clone());
        runtime.spawn(watching.run());
        World { api, client, telemetry, departing, screen, runtime, _node: node }
    }

    /// The first log line with this in its message, once there is one.
    fn logged(&self, level: &str, message: &str) -> Value {
        let line = eventually(message, || {
            let has_it = |line: &Value| line["msg"].as_str().is_some_and(|text| text.contains(message));
            self.lines().into_iter().find(has_it)
        });
        assert_eq!(line["level"], level, "{line}");
        line
    }

    fn lines(&self) -> Vec<Value> {
        self.screen.text().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn removes(&self) -> bool {
        self.runtime.block_on(self.departing.decide()).removes()
    }
}

fn daemonset() -> Value {
    json!({"kind": "DaemonSet", "apiVersion": "apps/v1", "metadata": {"name": "istio-cni-node", "namespace": "istio-system"}})
}

#[test]
fn a_restart_is_said_with_what_was_watched() {
    let world = World::new("istio-cni-node-x2b5k", |api| api.put(&daemonset()));
    world.logged("info", "watching DaemonSet istio-system/istio-cni-node: it is present");
    assert!(!world.removes());
    let kept = world.logged("info", "is still present, this is an upgrade or a node reboot, leaving plugin in place");
    assert_eq!(kept["istio_cni.departure.reason"], "daemonset_stands");
}

#[test]
fn an_uninstall_is_said_with_its_proof() {
    let world = World::new("istio-cni-node-x2b5k", |api| api.put(&daemonset()));
    world.logged("info", "watching DaemonSet");
    world.api.remove(&daemonset());
    assert!(world.removes());
    let removed = world.logged("info", "is not found, this is not an upgrade, removing the plugin");
    assert_eq!(removed["istio_cni.departure.reason"], "daemonset_gone");
}

#[test]
fn what_is_uncertain_is_left_in_place_and_said() {
    let world = World::new("istio-cni-node-x2b5k", |api| {
        api.fail("daemonsets.list", Some(Fault::Status(403)));
        api.fail("daemonsets.get", Some(Fault::Status(403)));
    });
    world.logged("warn", "the service account needs get, list and watch of its DaemonSet");
    assert!(!world.removes());
    let unproven = world.logged("warn", "if this was an uninstall, remove the istio-cni entry");
    assert_eq!(unproven["istio_cni.departure.reason"], "daemonset_unknown");
}

#[test]
fn an_agent_that_is_nobodys_pod_removes_nothing() {
    let world = World::new("", |_| {});
    assert!(!world.removes());
    let unproven = world.logged("warn", "with POD_NAME and POD_NAMESPACE of a DaemonSet's pod in its environment");
    assert_eq!(unproven["istio_cni.departure.reason"], "daemonset_unseen");
}

#[test]
fn an_event_that_cannot_be_put_on_the_node_is_said_once() {
    let world = World::new("istio-cni-node-x2b5k", |api| api.fail("events.create", Some(Fault::Status(403))));
    let (events, sender) = notices::events(world.client.clone(), "node-a");
    world.runtime.spawn(notices::send(sender, world.telemetry.clone()));
    let about = ObjectRef::node("node-a", None);
    for message in ["one", "two"] {
        events.say(Notice {
            component: AGENT,
            about: about.clone(),
            severity: Severity::Warning,
            reason: "CNIConfigReverted",
            message: message.to_owned(),
        });
    }
    let unsent = "cannot put the Event CNIConfigReverted on Node/node-a: ";
    world.logged("warn", unsent);
    world.api.wait_for("events.create", 2);
    world.api.fail("events.create", None);
    (0..20).for_each(|number| {
        events.say(Notice {
            component: AGENT,
            about: about.clone(),
            severity: Severity::Warning,
            reason: "CNIConfigReverted",
            message: format!("number {number}"),
        });
    });
    world.logged("debug", "1 Events were not sent: there were too many at once");
    let told = world.lines().into_iter().filter(|line| line["msg"].as_str().is_some_and(|text| text.contains(unsent)));
    assert_eq!(told.count(), 1);
}
