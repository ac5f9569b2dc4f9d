//! The watch against API servers old and new, forgetful and refusing: the cache ends up right.

#![expect(clippy::unwrap_used, reason = "tests assert by panicking")]

mod support;

use istio_cni_otel::domain::pod::PodRef;
use istio_cni_otel::domain::prune::Kept;
use istio_cni_otel::k8s::cache::PodCache;
use istio_cni_otel::k8s::client::{ApiClient, ApiSource};
use istio_cni_otel::k8s::watch::{News, Watch};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;
use support::agent::PATIENCE;
use support::api::{Api, Fault, Streaming};
use support::{Node, loopback, pod};

/// A watch at work; it ends when this is dropped.
struct Watching {
    cache: Arc<PodCache>,
    news: Receiver<String>,
    _runtime: tokio::runtime::Runtime,
}

impl Watching {
    fn start(api: &Api) -> Watching {
        let node = Node::new();
        node.write_kubeconfig(&format!("http://{}", api.address));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = ApiClient::new(ApiSource::Kubeconfig(node.path("istio-cni-kubeconfig")), |_| {});
        let cache = Arc::new(PodCache::default());
        let (tell, news) = channel();
        let watch =
            Watch { client: Arc::new(client), cache: cache.clone(), node: "node-a".into(), kept: Kept::default() };
        runtime.spawn(async move {
            // The kubeconfig must last as long as the client may read it.
            let _node = node;
            let say = move |news: News<'_>| {
                let text = match news {
                    News::Heard => return,
                    News::Synced { pods, streamed } => format!("synced {pods} {streamed}"),
                    News::Resumed { .. } => "resumed".to_owned(),
                    News::Failed { error, .. } => format!("failed {:?}", error.http_status()),
                };
                let _ = tell.send(text);
            };
            watch.run(say).await;
        });
        Watching { cache, news, _runtime: runtime }
    }

    /// The next thing that the watch has to tell.
    fn told(&self) -> String {
        self.news.recv_timeout(PATIENCE).unwrap()
    }

    /// Whether the pod comes to be known.
    fn knows(&self, name: &str) -> bool {
        let wanted = PodRef { namespace: "shop".into(), name: name.into(), uid: Some(format!("uid-of-{name}")) };
        self.cache.wait(&wanted, Instant::now() + PATIENCE).is_some()
    }

    /// Waits until so many pods are known.
    fn has(&self, pods: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.cache.count() != pods {
            assert!(Instant::now() < deadline, "{} pods are known, not {pods}", self.cache.count());
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

fn named(name: &str) -> Value {
    let mut pod = pod(json!({}));
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["uid"] = json!(format!("uid-of-{name}"));
    pod
}

fn api_with(names: &[&str]) -> Api {
    loopback();
    let api = Api::start();
    names.iter().for_each(|name| api.put(&named(name)));
    api
}

#[test]
fn a_streaming_list_takes_one_request_and_goes_on_as_the_watch() {
    let api = api_with(&["a", "b", "c"]);
    let watching = Watching::start(&api);
    assert_eq!(watching.told(), "synced 3 true");
    api.put(&named("d"));
    assert!(watching.knows("d"));
    api.remove(&named("a"));
    watching.has(3);
    let requests = api.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(requests[0].contains("fieldSelector=spec.nodeName%3Dnode-a"), "this node's pods only: {requests:?}");
}

#[test]
fn a_server_that_refuses_streaming_is_listed_in_pages_and_watched() {
    let api = api_with(&["a", "b", "c", "d", "e"]);
    api.set_streaming(Streaming::Refused);
    let watching = Watching::start(&api);
    assert_eq!(watching.told(), "synced 5 false");
    assert_eq!(api.count("list"), 3, "{:?}", api.requests());
    api.put(&named("f"));
    assert!(watching.knows("f"));
}

#[test]
fn a_server_that_does_not_know_streaming_is_found_out() {
    let api = api_with(&["a"]);
    api.set_streaming(Streaming::Unmarked);
    let watching = Watching::start(&api);
    assert!(watching.knows("a"), "what it sends is used at once");
    assert_eq!(watching.told(), "synced 1 false");
}

#[test]
fn a_watch_that_ends_is_resumed_where_it_was() {
    let api = api_with(&["a"]);
    let watching = Watching::start(&api);
    assert_eq!(watching.told(), "synced 1 true");
    api.hold_watches(true);
    api.put(&named("b"));
    api.end_watches(false);
    api.hold_watches(false);
    assert_eq!(watching.told(), "resumed");
    assert!(watching.knows("b"));
    assert_eq!((api.count("list"), api.count("watch")), (0, 2), "{:?}", api.requests());
}

#[test]
fn a_server_that_forgot_is_listed_again_and_what_went_meanwhile_is_gone() {
    let api = api_with(&["a", "b"]);
    let watching = Watching::start(&api);
    assert_eq!(watching.told(), "synced 2 true");
    api.hold_watches(true);
    api.remove(&named("a"));
    api.put(&named("c"));
    api.end_watches(true);
    api.hold_watches(false);
    assert_eq!(watching.told(), "synced 2 true");
    assert!(watching.knows("c") && watching.knows("b"));
    watching.has(2);
}

#[test]
fn a_server_that_refuses_or_talks_nonsense_is_asked_again() {
    for fault in [Fault::Status(401), Fault::Status(403), Fault::Status(500), Fault::Garbage] {
        let api = api_with(&["a"]);
        api.fail("watch", Some(fault));
        let watching = Watching::start(&api);
        api.wait_for("watch", 2);
        let told = watching.told();
        assert!(told.starts_with("failed"), "{fault:?}: {told}");
        api.fail("watch", None);
        assert!(watching.knows("a"), "{fault:?}");
    }
}
