//! The first two parts of the agent's life: build (what can be wrong with the settings is found
//! out), bind (every address is taken and known). The third, run, is in `run.rs`.

use super::backend::{self, Decision};
use super::config::Settings;
use super::http::{self, ListenError};
use super::local::Addresses;
use super::log_control::LogControl;
use crate::host::uds_listener::{BindError, Listener, Stopper};
use crate::k8s::error::ApiError;
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::dependency_log;
use crate::telemetry::pipeline::{Setup, Telemetry};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::{Handle, Runtime};

/// The socket's name in the run directory.
pub const SOCKET: &str = "agent.sock";
/// The stack of the runtime's threads; the default of 2 MiB is never used.
const RUNTIME_STACK: usize = 1 << 20;

/// The agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the runtime's threads could not be started")]
    Runtime { source: std::io::Error },
    #[error(transparent)]
    Api(ApiError),
    #[error(transparent)]
    Socket(#[from] BindError),
    #[error(transparent)]
    Http(#[from] ListenError),
}

/// An agent that is put together, but has touched nothing outside yet.
pub struct Agent {
    pub(super) settings: Settings,
    pub(super) runtime: Runtime,
    pub(super) telemetry: Telemetry,
    pub(super) backend: Decision,
    pub(super) log: Arc<LogControl>,
    pub(super) started: Instant,
}

/// An agent whose addresses are taken.
pub struct Bound {
    pub(super) agent: Agent,
    pub(super) listener: Listener,
    pub(super) stopper: Stopper,
    pub(super) metrics: Option<TcpListener>,
    pub(super) health: TcpListener,
    pub(super) local: Addresses,
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
        let server = runtime.block_on(settings.api.check()).map_err(StartError::Api)?;
        let version = setup.identity.version.clone();
        let telemetry = Telemetry::start(setup, runtime.handle());
        dependency_log::install(&telemetry);
        telemetry.event(AgentEvent::Starting { version, node: settings.node.clone() });
        telemetry.event(AgentEvent::Configured { settings: settings.describe(Some(&server)).join(" ") });
        for unknown in &settings.unknown {
            let (variable, problem) = (unknown.name.clone(), unknown.problem());
            telemetry.event(AgentEvent::ConfigIgnored { variable, problem });
        }
        for setting in &settings.without_effect {
            let (variable, problem) = (setting.name.to_owned(), setting.problem.to_owned());
            telemetry.event(AgentEvent::ConfigIgnored { variable, problem });
        }
        if let Err(error) = &settings.outbound {
            telemetry.event(AgentEvent::ConfigRefused { problem: error.to_string() });
        }
        let log = Arc::new(LogControl::new(settings.run_dir.clone(), settings.levels, telemetry.clone()));
        Ok(Agent { settings, runtime, telemetry, backend, log, started })
    }

    /// What drives the agent's tasks.
    pub fn runtime(&self) -> &Handle {
        self.runtime.handle()
    }

    /// Takes the addresses. The socket is the last: whoever finds it finds an agent behind it.
    pub fn bind(self) -> Result<Bound, StartError> {
        let Settings { monitoring, health, page, .. } = self.settings;
        let metrics = monitoring.map(|port| http::listen("/metrics", "MONITORING_PORT", port)).transpose()?;
        let health = http::listen("/healthz and /readyz", "HEALTH_PORT", health)?;
        let local = Addresses::take(page, &self.settings.run_dir, &self.telemetry);
        let (listener, stopper) = Listener::bind(&socket(&self.settings))?;
        Ok(Bound { agent: self, listener, stopper, metrics, health, local })
    }
}

impl Bound {
    /// What is told of the agent.
    pub fn telemetry(&self) -> &Telemetry {
        &self.agent.telemetry
    }

    /// What decides how much is logged.
    pub fn log_control(&self) -> Arc<LogControl> {
        self.agent.log.clone()
    }

    /// Where `/metrics` is served, if it is.
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Where `/healthz` and `/readyz` are served.
    pub fn health(&self) -> Option<SocketAddr> {
        self.health.local_addr().ok()
    }

    /// Where the page is served, besides its socket, if it is.
    pub fn page(&self) -> Option<SocketAddr> {
        self.local.port()
    }

    /// The socket's path.
    pub fn socket(&self) -> PathBuf {
        socket(&self.agent.settings)
    }

    pub(super) fn announce(&self) {
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
        self.local.announce(telemetry);
    }
}

/// Where the socket is.
pub(super) fn socket(settings: &Settings) -> PathBuf {
    settings.run_dir.join(SOCKET)
}
