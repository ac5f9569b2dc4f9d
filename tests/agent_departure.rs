//! Is this an uninstall? The real client against API servers in every mood, when the agent is told to
//! stop, and the watch that knows before it is.

#![expect(clippy::unwrap_used, reason = "tests assert by panicking")]

mod support;

use istio_cni_otel::domain::departure::{DaemonSetName, Departure, Watched};
use istio_cni_otel::domain::step::ErrorType;
use istio_cni_otel::k8s::client::{ApiClient, ApiSource};
use istio_cni_otel::k8s::daemonset_watch::{DaemonSetWatch, News, Pauses};
use istio_cni_otel::k8s::parent::{Parent, Patience};
use istio_cni_otel::telemetry::api_request::ApiRequest;
use serde_json::{Value, json};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::agent::PATIENCE;
use support::api::{Api, Fault};
use support::scripted_api::{Reply, ScriptedApi};
use support::{Node, loopback};
use tokio::sync::watch;

const MOMENT: Duration = Duration::from_millis(20);

/// An agent's way to its DaemonSet, without the agent.
struct Agent {
    client: Arc<ApiClient>,
    counted: Arc<Mutex<Vec<ApiRequest>>>,
    patience: Patience,
    runtime: tokio::runtime::Runtime,
    /// The kubeconfig must last as long as the client may read it.
    _node: Node,
}

/// A watch at work; it ends with the agent's runtime.
struct Watching {
    state: watch::Receiver<Watched>,
    news: Receiver<String>,
}

impl Agent {
    /// One that asks the server at this address.
    fn of(address: std::net::SocketAddr) -> Agent {
        loopback();
        let node = Node::new();
        node.write_kubeconfig(&format!("http://{address}"));
        let counted = Arc::new(Mutex::new(Vec::new()));
        let seen = counted.clone();
        let source = ApiSource::Kubeconfig(node.path("istio-cni-kubeconfig"));
        let client = Arc::new(ApiClient::new(source, move |request| seen.lock().unwrap().push(request)));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let patience = Patience { pause: MOMENT, settle: MOMENT, ..Patience::default() };
        Agent { client, counted, patience, runtime, _node: node }
    }

    /// What it decides if the watch is not permitted, and the DaemonSet was there when it was asked for once.
    fn departure(&self) -> Departure {
        self.departure_with(watch::channel(Watched::Unknown { seen: true, why: None }).1)
    }

    fn departure_with(&self, watched: watch::Receiver<Watched>) -> Departure {
        let (client, node, patience) = (self.client.clone(), "node-a".to_owned(), self.patience);
        let parent = Parent { client, name: name(), node, watched, patience };
        self.runtime.block_on(parent.departure())
    }

    fn watching(&self) -> Watching {
        let pauses = Pauses { between: MOMENT, first: MOMENT, longest: MOMENT, forbidden: MOMENT };
        let (watch, state) = DaemonSetWatch::new(self.client.clone(), name(), pauses);
        let (tell, news) = channel();
        self.runtime.spawn(watch.run(move |news| {
            let text = match news {
                News::Watching(state) => format!("watching {state:?}"),
                News::Forbidden(error) => format!("forbidden {error}"),
                News::Failed(error) => format!("failed {error}"),
            };
            let _ = tell.send(text);
        }));
        Watching { state, news }
    }
}

impl Watching {
    /// Waits until this is known.
    fn until(&mut self, agent: &Agent, known: impl FnMut(&Watched) -> bool) {
        let waited =
            agent.runtime.block_on(async { tokio::time::timeout(PATIENCE, self.state.wait_for(known)).await.is_ok() });
        assert!(waited, "only {:?} is known", self.state.borrow());
    }

    fn told(&self) -> String {
        self.news.recv_timeout(PATIENCE).unwrap()
    }
}

fn name() -> DaemonSetName {
    DaemonSetName::of_agent("istio-system", "istio-cni-node-x2b5k").unwrap()
}

fn daemonset(spec: &Value) -> Value {
    json!({"kind": "DaemonSet", "apiVersion": "apps/v1", "metadata": {"name": "istio-cni-node", "namespace": "istio-system"},
        "spec": {"template": {"spec": spec}}})
}

fn another() -> Value {
    let mut another = daemonset(&json!({}));
    another["metadata"]["name"] = json!("istio-cni-node-canary");
    another
}

fn deleting() -> Value {
    let mut deleting = daemonset(&json!({}));
    deleting["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    deleting
}

fn on_linux() -> Value {
    let expression = json!({"key": "os", "operator": "In", "values": ["linux"]});
    let terms = json!([{"matchExpressions": [expression]}]);
    let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
    daemonset(&json!({"affinity": {"nodeAffinity": required}}))
}

fn node(os: &str) -> Value {
    json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": "node-a", "labels": {"os": os}}})
}

fn reply(code: u16, body: &Value) -> Reply {
    Reply::Json(code, body.to_string())
}

fn status(code: u16, reason: &str, details: &Value) -> Reply {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": "so", "metadata": {}, "details": details});
    reply(code, &status)
}

fn gone() -> Reply {
    status(404, "NotFound", &json!({"name": "istio-cni-node", "group": "apps", "kind": "daemonsets"}))
}

/// What an agent decides in this cluster.
fn decided(objects: &[Value]) -> &'static str {
    let api = Api::start();
    let agent = Agent::of(api.address);
    objects.iter().for_each(|object| api.put(object));
    agent.departure().reason()
}

#[test]
fn the_daemonset_as_it_is_decides() {
    assert_eq!(decided(&[daemonset(&json!({}))]), "daemonset_stands");
    assert_eq!(decided(&[deleting()]), "daemonset_deleting");
    assert_eq!(decided(&[another()]), "daemonset_gone");
    assert_eq!(decided(&[on_linux(), node("linux")]), "daemonset_stands");
    assert_eq!(decided(&[on_linux(), node("windows")]), "node_not_selected");
    let selecting = daemonset(&json!({"nodeSelector": {"os": "linux"}}));
    assert_eq!(decided(&[selecting.clone(), node("linux")]), "daemonset_stands");
    assert_eq!(decided(&[selecting, node("windows")]), "node_not_selected");
    assert_eq!(decided(&[on_linux()]), "placement_unknown", "there is no such node");
}

#[test]
fn whatever_is_not_proof_keeps_and_is_said() {
    let api = Api::start();
    let mut agent = Agent::of(api.address);
    agent.patience.answer = Duration::from_millis(200);
    let faults = [
        (Fault::Status(401), "(401)"),
        (Fault::Status(403), "get, list and watch of its DaemonSet"),
        // Something in between that knows no such page.
        (Fault::Status(404), "(404)"),
        (Fault::Status(500), "status 500"),
        (Fault::Garbage, "something that is no DaemonSet"),
        (Fault::Silence, "did not answer within 200.0ms"),
    ];
    for (fault, said) in faults {
        api.fail("daemonsets.get", Some(fault));
        let departure = agent.departure();
        assert_eq!(departure.reason(), "daemonset_unknown", "{fault:?}");
        let sentence = departure.sentence(Some(&name()), "node-a");
        assert!(sentence.contains(said), "{sentence}");
    }
    api.fail("daemonsets.get", None);
    api.put(&on_linux());
    api.fail("nodes.get", Some(Fault::Status(403)));
    let departure = agent.departure();
    assert_eq!(departure.reason(), "placement_unknown");
    assert!(departure.sentence(Some(&name()), "node-a").contains("needs get of nodes"));
    let address = api.address;
    drop(api);
    assert_eq!(Agent::of(address).departure().reason(), "daemonset_unknown", "nobody is there");
}

#[test]
fn an_api_server_that_hangs_takes_no_longer_than_the_patience_lasts() {
    let api = Api::start();
    let mut agent = Agent::of(api.address);
    api.fail("daemonsets.get", Some(Fault::Silence));
    agent.patience = Patience { total: Duration::from_millis(500), ..Patience::default() };
    let start = Instant::now();
    assert_eq!(agent.departure().reason(), "daemonset_unknown");
    assert!((Duration::from_millis(500)..Duration::from_secs(5)).contains(&start.elapsed()), "{:?}", start.elapsed());
    let usual = Patience::default();
    assert!(usual.total + usual.settle <= Duration::from_secs(15), "within the grace period, with time left to remove");
}

#[test]
fn a_trouble_that_passes_is_got_over() {
    loopback();
    let script = vec![status(500, "", &json!({})), Reply::HangUp, reply(200, &daemonset(&json!({})))];
    let api = ScriptedApi::http(script);
    let agent = Agent::of(api.address);
    assert_eq!(agent.departure().reason(), "daemonset_stands");
    let counted = agent.counted.lock().unwrap().clone();
    let request = |code| ApiRequest { verb: "get", resource: "daemonsets", code };
    assert_eq!(counted, [request(Some(500)), request(None), request(Some(200))]);
}

#[test]
fn a_daemonset_that_is_replaced_by_force_keeps() {
    loopback();
    let api = ScriptedApi::http(vec![gone(), reply(200, &daemonset(&json!({})))]);
    assert_eq!(Agent::of(api.address).departure().reason(), "daemonset_stands");
    assert_eq!(api.requests().len(), 2);
}

#[test]
fn what_was_gone_stays_gone_when_our_own_rights_go_too() {
    loopback();
    for code in [401, 403] {
        let api = ScriptedApi::http(vec![gone(), status(code, "", &json!({}))]);
        assert_eq!(Agent::of(api.address).departure().reason(), "daemonset_gone");
        let api = ScriptedApi::http(vec![status(code, "", &json!({}))]);
        assert_eq!(Agent::of(api.address).departure().reason(), "daemonset_unknown", "alone, {code} is no proof");
    }
}

#[test]
fn an_object_of_another_name_decides_nothing() {
    loopback();
    for other in [json!({}), another()] {
        let api = ScriptedApi::http(vec![reply(200, &other)]);
        assert_eq!(Agent::of(api.address).departure().reason(), "daemonset_unknown");
    }
    let details = json!({"name": "somebody-else"});
    let api = ScriptedApi::http(vec![status(404, "NotFound", &details)]);
    assert_eq!(Agent::of(api.address).departure().reason(), "daemonset_unknown");
}

#[test]
fn an_api_server_with_an_ipv6_address_is_asked() {
    loopback();
    let api = Api::start_at("[::1]:0".parse().unwrap());
    api.put(&deleting());
    assert_eq!(Agent::of(api.address).departure().reason(), "daemonset_deleting");
}

#[test]
fn the_watch_sees_the_deletion_before_the_account_goes() {
    let api = Api::start();
    let agent = Agent::of(api.address);
    api.put(&daemonset(&json!({})));
    let mut watching = agent.watching();
    watching.until(&agent, |state| *state == Watched::Present);
    assert_eq!(watching.told(), "watching Present");
    // helm uninstall
    api.remove(&daemonset(&json!({})));
    watching.until(&agent, |state| matches!(state, Watched::Gone { seen: true, blind: None }));
    api.take_only_token("nobody's");
    assert_eq!(agent.departure().reason(), "daemonset_unknown", "without the watch");
    assert_eq!(agent.departure_with(watching.state.clone()).reason(), "daemonset_seen_deleted");
    // The watch itself is refused, too.
    api.end_watches(false);
    watching.until(&agent, |state| matches!(state, Watched::Gone { blind: Some(_), .. }));
    assert_eq!(agent.departure_with(watching.state.clone()).reason(), "daemonset_seen_deleted");
}

#[test]
fn the_watch_sees_a_deletion_that_lasts() {
    let api = Api::start();
    let agent = Agent::of(api.address);
    api.put(&daemonset(&json!({})));
    let mut watching = agent.watching();
    watching.until(&agent, |state| *state == Watched::Present);
    api.put(&deleting());
    watching.until(&agent, |state| *state == Watched::Deleting);
    api.fail("daemonsets.get", Some(Fault::Status(403)));
    assert_eq!(agent.departure_with(watching.state.clone()).reason(), "daemonset_deleting");
}

#[test]
fn the_watch_sees_that_it_came_back() {
    let api = Api::start();
    let agent = Agent::of(api.address);
    api.put(&daemonset(&json!({})));
    let mut watching = agent.watching();
    watching.until(&agent, |state| *state == Watched::Present);
    api.remove(&daemonset(&json!({})));
    watching.until(&agent, |state| matches!(state, Watched::Gone { .. }));
    api.put(&daemonset(&json!({})));
    watching.until(&agent, |state| *state == Watched::Present);
    // The old pod's token is one of the service account that was replaced as well.
    api.take_only_token("the new account's");
    assert_eq!(agent.departure_with(watching.state.clone()).reason(), "daemonset_unknown");
}

#[test]
fn a_watch_that_cannot_see_for_another_reason_proves_nothing() {
    let api = Api::start();
    let agent = Agent::of(api.address);
    api.put(&daemonset(&json!({})));
    let mut watching = agent.watching();
    watching.until(&agent, |state| *state == Watched::Present);
    api.remove(&daemonset(&json!({})));
    watching.until(&agent, |state| matches!(state, Watched::Gone { .. }));
    let blind_by = |kind| move |state: &Watched| matches!(state, Watched::Gone { blind: Some(doubt), .. } if doubt.error_type == kind);
    api.fail("daemonsets.watch", Some(Fault::Status(500)));
    api.fail("daemonsets.list", Some(Fault::Status(500)));
    api.end_watches(false);
    watching.until(&agent, blind_by(ErrorType::ApiError));
    // In the meantime it may have come back: a refusal proves nothing any more.
    let asked = api.count("refused");
    api.take_only_token("nobody's");
    api.wait_for("refused", asked + 2);
    watching.until(&agent, blind_by(ErrorType::ApiError));
    assert_eq!(agent.departure_with(watching.state.clone()).reason(), "daemonset_unknown");
}

#[test]
fn a_watch_that_lost_its_place_looks_again() {
    let api = Api::start();
    let agent = Agent::of(api.address);
    api.put(&daemonset(&json!({})));
    api.put(&another());
    let mut watching = agent.watching();
    watching.until(&agent, |state| *state == Watched::Present);
    api.hold_watches(true);
    api.remove(&daemonset(&json!({})));
    api.end_watches(true);
    watching.until(&agent, |state| matches!(state, Watched::Gone { seen: true, blind: None }));
    assert_eq!(api.count("daemonsets.list"), 2, "{:?}", api.requests());
}

#[test]
fn a_watch_that_ends_as_it_should_costs_one_request() {
    let api = Api::start();
    let agent = Agent::of(api.address);
    api.put(&daemonset(&json!({})));
    let _watching = agent.watching();
    support::eventually("the third watch", || {
        // It is not known whether the one that was asked for is open yet.
        api.end_watches(false);
        (api.count("daemonsets.watch") >= 3).then_some(())
    });
    assert_eq!(api.count("daemonsets.list"), 1, "{:?}", api.requests());
    for request in api.requests() {
        assert!(request.contains("/namespaces/istio-system/daemonsets?"), "{request}");
        assert!(request.contains("fieldSelector=metadata.name%3Distio-cni-node"), "{request}");
    }
}

#[test]
fn a_watch_asks_for_metadata_alone() {
    loopback();
    let list = json!({"kind": "PartialObjectMetadataList", "metadata": {"resourceVersion": "7"}, "items": []});
    let api = ScriptedApi::http(vec![reply(200, &list), Reply::Silence]);
    let agent = Agent::of(api.address);
    let mut watching = agent.watching();
    watching.until(&agent, |state| matches!(state, Watched::Gone { seen: false, blind: None }));
    support::eventually("the watch is asked for", || (api.requests().len() == 2).then_some(()));
    let [list, watch] = &api.requests()[..] else { unreachable!() };
    let (list, watch) = (list.to_lowercase(), watch.to_lowercase());
    assert!(list.contains("accept: application/json;as=partialobjectmetadatalist;g=meta.k8s.io;v=v1\r\n"), "{list}");
    assert!(watch.contains("accept: application/json;as=partialobjectmetadata;g=meta.k8s.io;v=v1\r\n"), "{watch}");
    for part in ["watch=true", "resourceversion=7", "timeoutseconds=290", "allowwatchbookmarks=true"] {
        assert!(watch.contains(part), "{part} is not in {watch}");
    }
}

#[test]
fn what_is_not_permitted_is_told_once_and_tried_again() {
    let api = Api::start();
    let agent = Agent::of(api.address);
    api.put(&daemonset(&json!({})));
    api.fail("daemonsets.list", Some(Fault::Status(403)));
    let mut watching = agent.watching();
    let told = watching.told();
    assert!(told.starts_with("forbidden ") && told.contains("get, list and watch of its DaemonSet"), "{told}");
    watching.until(
        &agent,
        |state| matches!(state, Watched::Unknown { why: Some(doubt), .. } if doubt.error_type == ErrorType::ApiForbidden),
    );
    api.wait_for("daemonsets.list", 4);
    api.fail("daemonsets.list", None);
    assert_eq!(watching.told(), "watching Present", "and nothing else before");
    assert!(Pauses::default().forbidden >= Duration::from_secs(120));
}

#[test]
fn what_was_asked_for_once_counts_where_the_watch_is_not_permitted() {
    let api = Api::start();
    let agent = Agent::of(api.address);
    api.put(&daemonset(&json!({})));
    api.fail("daemonsets.list", Some(Fault::Status(403)));
    let mut watching = agent.watching();
    watching.until(&agent, |state| matches!(state, Watched::Unknown { seen: true, why: Some(_) }));
    assert_eq!(agent.departure_with(watching.state.clone()).reason(), "daemonset_stands");
    api.wait_for("daemonsets.list", 4);
    assert_eq!(api.count("daemonsets.get"), 2, "the watch asks until it knows, and no longer");
    api.remove(&daemonset(&json!({})));
    assert_eq!(agent.departure_with(watching.state.clone()).reason(), "daemonset_gone");
    api.fail("daemonsets.get", Some(Fault::Status(403)));
    assert_eq!(agent.departure_with(watching.state.clone()).reason(), "daemonset_unknown", "the refusal is no proof");
}

#[test]
fn a_daemonset_that_never_was_there_proves_nothing() {
    let api = Api::start();
    let agent = Agent::of(api.address);
    let mut watching = agent.watching();
    watching.until(&agent, |state| matches!(state, Watched::Gone { seen: false, blind: None }));
    assert_eq!(agent.departure_with(watching.state.clone()).reason(), "daemonset_unseen");
    // Nor does it when asking and watching are refused from now on.
    for request in ["daemonsets.get", "daemonsets.list", "daemonsets.watch"] {
        api.fail(request, Some(Fault::Status(403)));
    }
    api.end_watches(false);
    watching.until(&agent, |state| matches!(state, Watched::Gone { seen: false, blind: Some(_) }));
    assert_eq!(agent.departure_with(watching.state.clone()).reason(), "daemonset_unknown");
    // The same where it may be asked for, but not watched.
    api.fail("daemonsets.get", None);
    assert_eq!(agent.departure_with(agent.watching().state).reason(), "daemonset_unseen");
}

#[test]
fn a_watch_that_works_again_says_so() {
    let api = Api::start();
    let agent = Agent::of(api.address);
    api.put(&daemonset(&json!({})));
    let watching = agent.watching();
    assert_eq!(watching.told(), "watching Present");
    api.fail("daemonsets.watch", Some(Fault::Status(500)));
    api.end_watches(false);
    assert!(watching.told().starts_with("failed "));
    api.fail("daemonsets.watch", None);
    assert_eq!(watching.told(), "watching Present");
}
