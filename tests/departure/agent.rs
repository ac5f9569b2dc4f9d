//! An agent's way to its DaemonSet, without the agent.

use crate::objects::{daemonset, name};
use crate::support::agent::PATIENCE;
use crate::support::api::Api;
use crate::support::{Node, loopback};
use istio_cni_otel::domain::departure::{Departure, Watched};
use istio_cni_otel::k8s::client::{ApiClient, ApiSource};
use istio_cni_otel::k8s::daemonset_watch::{DaemonSetWatch, News, Pauses};
use istio_cni_otel::k8s::parent::{Parent, Patience};
use istio_cni_otel::telemetry::api_request::ApiRequest;
use serde_json::json;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

const MOMENT: Duration = Duration::from_millis(20);

/// An agent's way to its DaemonSet, without the agent.
pub struct Agent {
    client: Arc<ApiClient>,
    pub counted: Arc<Mutex<Vec<ApiRequest>>>,
    pub patience: Patience,
    runtime: tokio::runtime::Runtime,
    /// The kubeconfig must last as long as the client may read it.
    _node: Node,
}

/// A watch at work; it ends with the agent's runtime.
pub struct Watching {
    pub state: watch::Receiver<Watched>,
    news: Receiver<String>,
}

impl Agent {
    /// One that asks the server at this address.
    pub fn of(address: std::net::SocketAddr) -> Agent {
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
    pub fn departure(&self) -> Departure {
        self.departure_with(watch::channel(Watched::Unknown { seen: true, why: None }).1)
    }

    pub fn departure_with(&self, watched: watch::Receiver<Watched>) -> Departure {
        let (client, node, patience) = (self.client.clone(), "node-a".to_owned(), self.patience);
        let parent = Parent { client, name: name(), node, watched, patience };
        self.runtime.block_on(parent.departure())
    }

    pub fn watching(&self) -> Watching {
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
    pub fn until(&mut self, agent: &Agent, known: impl FnMut(&Watched) -> bool) {
        let waited =
            agent.runtime.block_on(async { tokio::time::timeout(PATIENCE, self.state.wait_for(known)).await.is_ok() });
        assert!(waited, "only {:?} is known", self.state.borrow());
    }

    pub fn told(&self) -> String {
        self.news.recv_timeout(PATIENCE).unwrap()
    }
}

/// An API server with the DaemonSet, an agent, and its watch that has seen it.
pub fn seeing_it() -> (Api, Agent, Watching) {
    let api = Api::start();
    let agent = Agent::of(api.address);
    api.put(&daemonset(&json!({})));
    let mut watching = agent.watching();
    watching.until(&agent, |state| *state == Watched::Present);
    (api, agent, watching)
}
