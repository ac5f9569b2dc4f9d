//! A stand-in for the API server whose objects change while it runs: GET, LIST and WATCH (with and
//! without streaming lists) of pods and DaemonSets; DELETE, eviction and labelling of pods, each with
//! its preconditions; port-forward to pods; GET of nodes, POST and PATCH of Events; over plain HTTP on
//! loopback. It can be told to fail, hang, hold back, and take another token.
//!
//! What is asked of pods is called by its verb alone (`get`), all else by resource and verb
//! (`daemonsets.get`).

mod changes;
mod forward;
mod routes;

use axum::http::Uri;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What a kind of request meets instead of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An error status.
    Status(u16),
    /// A 200 with something that is no JSON.
    Garbage,
    /// No answer until the caller gives up.
    Silence,
    /// A disruption budget allows no eviction; so many seconds are to be waited.
    Budget(u32),
    /// Too busy: a 429 that says in its header alone how many seconds are to be waited.
    Busy(u32),
}

/// How a watch that asks for a streaming list is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streaming {
    /// As servers since 1.34 do.
    Yes,
    /// Refused, as by a server that has it switched off.
    Refused,
    /// The initial events come, but never the mark of their end, as from an old server.
    Unmarked,
}

/// The server; it ends, with all its connections, when this is dropped.
pub struct Api {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

struct Shared {
    state: Mutex<Objects>,
    /// The latest version; a change wakes the watches and whoever waits for a request.
    changed: watch::Sender<u64>,
}

/// Resource, namespace and name.
type Key = (&'static str, String, String);

struct Objects {
    objects: BTreeMap<Key, Value>,
    /// Changes, by version and resource.
    events: Vec<(u64, &'static str, Value)>,
    version: u64,
    /// Watches that are older than this are told 410.
    oldest: u64,
    held: bool,
    /// Raised to end every open watch.
    epoch: u64,
    streaming: Streaming,
    faults: HashMap<String, Fault>,
    /// The only token that is taken; none takes anything.
    token: Option<String>,
    requests: Vec<String>,
    /// Where the ports of pods are, by namespace and name of the pod.
    ports: HashMap<(String, String), SocketAddr>,
}

impl Api {
    /// Serves on a free port.
    pub fn start() -> Api {
        Api::start_at("127.0.0.1:0".parse().unwrap())
    }

    /// Serves at this address, for instance that of one that is gone.
    pub fn start_at(address: SocketAddr) -> Api {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind(address)).unwrap();
        let address = listener.local_addr().unwrap();
        let objects = Objects {
            objects: BTreeMap::new(),
            events: Vec::new(),
            version: 10,
            oldest: 0,
            held: false,
            epoch: 0,
            streaming: Streaming::Yes,
            faults: HashMap::new(),
            token: None,
            requests: Vec::new(),
            ports: HashMap::new(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(objects), changed: watch::Sender::new(0) });
        let routes = routes::all(&shared);
        runtime.spawn(async move { axum::serve(listener, routes).await });
        Api { address, shared, _runtime: runtime }
    }

    /// Puts a pod, DaemonSet or node there, or another one in its place.
    pub fn put(&self, object: &Value) {
        self.change(|objects| {
            let mut object = object.clone();
            object["metadata"]["resourceVersion"] = json!(objects.version.to_string());
            let key = key(&object);
            let kind = if objects.objects.insert(key.clone(), object.clone()).is_some() { "MODIFIED" } else { "ADDED" };
            objects.events.push((objects.version, key.0, json!({"type": kind, "object": object})));
        });
    }

    /// Takes an object away.
    pub fn remove(&self, object: &Value) {
        self.change(|objects| {
            let key = key(object);
            let mut object = objects.objects.remove(&key).unwrap();
            object["metadata"]["resourceVersion"] = json!(objects.version.to_string());
            objects.events.push((objects.version, key.0, json!({"type": "DELETED", "object": object})));
        });
    }

    /// An object as it is now, if it is there.
    pub fn object(&self, of: &Value) -> Option<Value> {
        self.shared.lock().objects.get(&key(of)).cloned()
    }

    /// The Events that were created, as they are now.
    pub fn events(&self) -> Vec<Value> {
        let objects = self.shared.lock();
        let all = objects.objects.iter();
        all.filter(|((resource, ..), _)| *resource == "events").map(|(_, event)| event.clone()).collect()
    }

    /// From now on only this token is taken.
    pub fn take_only_token(&self, token: &str) {
        self.change(|objects| objects.token = Some(token.to_owned()));
    }

    /// A port-forward to this pod, whatever the port, leads to this address.
    pub fn forward(&self, pod: &Value, to: SocketAddr) {
        let (_, namespace, name) = key(pod);
        self.change(|objects| _ = objects.ports.insert((namespace, name), to));
    }

    /// Keeps events from the watches until it is called with false.
    pub fn hold_watches(&self, held: bool) {
        self.change(|objects| objects.held = held);
    }

    /// Ends every open watch, and forgets the events before now if `forget` is set.
    pub fn end_watches(&self, forget: bool) {
        self.change(|objects| {
            objects.epoch += 1;
            if forget {
                objects.oldest = objects.version;
            }
        });
    }

    /// How streaming lists are treated.
    pub fn set_streaming(&self, streaming: Streaming) {
        self.change(|objects| objects.streaming = streaming);
    }

    /// What requests of this kind (`get`, `daemonsets.watch`, …) meet from now on.
    pub fn fail(&self, verb: &str, fault: Option<Fault>) {
        self.change(|objects| match fault {
            Some(fault) => drop(objects.faults.insert(verb.to_owned(), fault)),
            None => drop(objects.faults.remove(verb)),
        });
    }

    /// The requests so far, as `verb path?query`.
    pub fn requests(&self) -> Vec<String> {
        self.shared.lock().requests.clone()
    }

    /// How many requests of this kind there were.
    pub fn count(&self, verb: &str) -> usize {
        self.requests().iter().filter(|request| request.starts_with(verb)).count()
    }

    /// Waits until there were so many requests of this kind.
    pub fn wait_for(&self, verb: &str, count: usize) {
        let mut changed = self.shared.changed.subscribe();
        let deadline = Instant::now() + Duration::from_secs(10);
        self._runtime.block_on(async {
            while self.count(verb) < count {
                let news = tokio::time::timeout_at(deadline.into(), changed.changed()).await;
                assert!(news.is_ok(), "no {count} requests {verb:?}, only {:?}", self.requests());
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Objects)) {
        let mut objects = self.shared.lock();
        objects.version += 1;
        change(&mut objects);
        drop(objects);
        self.shared.news();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.state.lock().unwrap()
    }

    fn news(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Writes a request down; what it meets instead of its answer, if anything.
    fn asked(&self, resource: &str, verb: &str, uri: &Uri) -> Option<Fault> {
        let verb = if resource == "pods" { verb.to_owned() } else { format!("{resource}.{verb}") };
        let mut objects = self.lock();
        objects.requests.push(format!("{verb} {uri}"));
        let fault = objects.faults.get(&verb).copied();
        drop(objects);
        self.news();
        fault
    }
}

/// The key of an object; what is in no namespace has an empty one.
fn key(object: &Value) -> Key {
    let resource = match object["kind"].as_str() {
        Some("DaemonSet") => "daemonsets",
        Some("Node") => "nodes",
        Some("Event") => "events",
        _ => "pods",
    };
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    (resource, text("namespace"), text("name"))
}
