//! The agent's life: build (everything that can be wrong is found out), bind (every address is
//! taken and known), run (until a signal, or until a task ends that should not).

use super::backend::{self, Chosen};
use super::config::Settings;
use super::http::{self, ListenError};
use super::inflight::InFlight;
use super::readiness::Readiness;
use super::service::Service;
use super::tasks::{Ended, Tasks};
use super::{pods, server};
use crate::domain::request::Backend;
use crate::host::kernel::HostNamespaces;
use crate::host::uds_listener::{BindError, Listener, Stopper};
use crate::k8s::cache::PodCache;
use crate::k8s::client::ApiClient;
use crate::k8s::lookup::{BlockingApi, Pods};
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::dependency_log;
use crate::telemetry::pipeline::{Setup, Telemetry};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// The socket's name in the run directory.
pub const SOCKET: &str = "agent.sock";
/// More requests than this at once are sent away: a node has fewer pods.
const UNDER_WAY: usize = 256;
/// How long requests under way may take after a signal. The DaemonSet's grace period is 30 s.
const DRAIN: Duration = Duration::from_secs(20);
/// How long telemetry may take to go out at the end.
const FLUSH: Duration = Duration::from_secs(5);
/// How long the runtime may take to end its threads.
const RUNTIME_END: Duration = Duration::from_secs(1);
/// The stack of the runtime's threads; the default of 2 MiB is never used.
const RUNTIME_STACK: usize = 1 << 20;

/// The agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the runtime's threads could not be started")]
    Runtime { source: std::io::Error },
    #[error(transparent)]
    Socket(#[from] BindError),
    #[error(transparent)]
    Http(#[from] ListenError),
}

/// An agent that is put together, but has touched nothing outside yet.
pub struct Agent {
    settings: Settings,
    runtime: Runtime,
    telemetry: Telemetry,
    backend: JoinHandle<Chosen>,
    started: Instant,
}

/// An agent whose addresses are taken.
pub struct Bound {
    agent: Agent,
    listener: Listener,
    stopper: Stopper,
    metrics: Option<TcpListener>,
    health: TcpListener,
}

/// Why the agent ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was asked to.
    Asked,
    /// A task ended that should run as long as the process.
    TaskEnded(String),
}

impl Agent {
    /// Puts the agent together, and begins to find out what the kernel can do.
    pub fn build(settings: Settings, setup: Setup) -> Result<Agent, StartError> {
        let started = Instant::now();
        let threads = |source| StartError::Runtime { source };
        let backend = backend::choose(settings.backend).map_err(threads)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(8)
            .thread_stack_size(RUNTIME_STACK)
            .thread_name("agent")
            .enable_all()
            .build()
            .map_err(threads)?;
        let version = setup.identity.version.clone();
        let telemetry = Telemetry::start(setup, runtime.handle());
        dependency_log::install(&telemetry);
        telemetry.event(AgentEvent::Starting { version, node: settings.node.clone() });
        Ok(Agent { settings, runtime, telemetry, backend, started })
    }

    /// Takes the addresses. The socket is the last: whoever finds it finds an agent behind it.
    pub fn bind(self) -> Result<Bound, StartError> {
        let Settings { monitoring, health, .. } = self.settings;
        let metrics = monitoring.map(|port| http::listen("/metrics", "MONITORING_PORT", port)).transpose()?;
        let health = http::listen("/healthz and /readyz", "HEALTH_PORT", health)?;
        let (listener, stopper) = Listener::bind(&self.settings.run_dir.join(SOCKET))?;
        Ok(Bound { agent: self, listener, stopper, metrics, health })
    }
}

impl Bound {
    /// Where `/metrics` is served, if it is.
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Where `/healthz` and `/readyz` are served.
    pub fn health(&self) -> Option<SocketAddr> {
        self.health.local_addr().ok()
    }

    /// The socket's path.
    pub fn socket(&self) -> PathBuf {
        self.agent.settings.run_dir.join(SOCKET)
    }

    /// Runs until `stop` says why to stop, or until a task ends unasked. Stopping is in order:
    /// unready, no more calls, those under way finished, telemetry out.
    pub fn run(self, stop: impl Future<Output = String>) -> Ending {
        self.announce();
        let Bound { agent, listener, stopper, metrics, health } = self;
        let Agent { settings, runtime, telemetry, backend, started } = agent;
        let readiness = Arc::new(Readiness::default());
        let cache = Arc::new(PodCache::default());
        let under_way = InFlight::new(UNDER_WAY);
        let listener = Arc::new(listener);

        let counting = telemetry.clone();
        let client = Arc::new(ApiClient::new(settings.api.clone(), move |asked| {
            counting.metrics().api_request(asked.verb, asked.resource, asked.code);
        }));
        let synced = cache.clone();
        let service = Arc::new(Service {
            pods: Box::new(Pods::new(cache.clone(), BlockingApi::new(client.clone(), runtime.handle().clone()))),
            namespaces: Box::new(HostNamespaces),
            backend: chosen(backend, &telemetry),
            synced: Box::new(move || synced.is_synced()),
            telemetry: telemetry.clone(),
            own_uid: nix::unistd::geteuid().as_raw(),
        });
        let mut tasks = Tasks::new(&runtime);
        tasks.thread("socket", {
            let (listener, service, under_way) = (listener.clone(), service.clone(), under_way.clone());
            move || server::serve(&listener, &service, &under_way)
        });
        let watched =
            pods::Watched { telemetry: telemetry.clone(), token: Some(readiness.token("this node's pods")), started };
        tasks.spawn("pod watch", pods::watch(client, cache.clone(), settings.node.clone(), watched));
        if let Some(listener) = metrics {
            tasks.spawn("metrics server", http::serve(listener, http::metrics(telemetry.clone())));
        }
        let socket = settings.run_dir.join(SOCKET);
        tasks.spawn("health server", http::serve(health, http::health(readiness.clone(), move || missing(&socket))));

        let (ending, cause) = match tasks.first_end(stop) {
            Ended::Asked(cause) => (Ending::Asked, cause),
            Ended::Task { name, problem } => {
                telemetry.event(AgentEvent::TaskEnded { task: name.to_owned(), problem });
                (Ending::TaskEnded(name.to_owned()), format!("task {name} ended"))
            }
        };
        telemetry.event(AgentEvent::Stopping { cause });
        readiness.stop();
        cache.close();
        listener.unlink();
        drop(stopper);
        tasks.join_threads();
        under_way.drained(DRAIN);
        tasks.abort();
        runtime.block_on(telemetry.shutdown(FLUSH));
        runtime.shutdown_timeout(RUNTIME_END);
        ending
    }

    fn announce(&self) {
        let telemetry = &self.agent.telemetry;
        telemetry.event(AgentEvent::SocketListening { path: self.socket().display().to_string() });
        for (purpose, address) in [("/metrics", self.metrics()), ("/healthz and /readyz", self.health())] {
            if let Some(address) = address {
                telemetry.event(AgentEvent::HttpListening {
                    purpose: purpose.to_owned(),
                    address: address.ip().to_string(),
                    port: address.port().into(),
                });
            }
        }
    }
}

/// Waits for the decision about the backend. Calls that come meanwhile wait in the socket's queue.
fn chosen(backend: JoinHandle<Chosen>, telemetry: &Telemetry) -> Backend {
    let chosen = backend.join().unwrap_or_else(|_| Chosen {
        backend: Backend::Nftables,
        cause: "trying what the kernel has failed".to_owned(),
    });
    telemetry.event(AgentEvent::BackendChosen { backend: chosen.backend.name().to_owned(), cause: chosen.cause });
    chosen.backend
}

/// A socket that somebody removed cannot be found by the plugin any more; a restart makes a new one.
fn missing(socket: &Path) -> Option<String> {
    (!socket.exists()).then(|| format!("the socket {} is gone", socket.display()))
}
