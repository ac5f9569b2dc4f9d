//! Taking the local server's addresses. An agent that cannot have one says so and goes on without it: pods start without
//! anybody looking.

use super::listener::PeerListener;
use super::protected;
use crate::agent::http::{serve, serve_on};
use crate::agent::tasks::Tasks;
use crate::domain::failure::whole;
use crate::host::uds_listener::Listener;
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::pipeline::Telemetry;
use axum::Router;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use tokio::runtime::Handle;

/// The socket's name in the run directory.
pub const SOCKET: &str = "page.sock";
/// What is said in the log of what is served.
const PURPOSE: &str = "the page";

/// What the local server listens on.
pub struct Addresses {
    port: Option<TcpListener>,
    socket: Option<Listener>,
}

impl Addresses {
    /// Takes what can be had, and says what cannot.
    pub fn take(page: Option<SocketAddr>, run_dir: &Path, telemetry: &Telemetry) -> Addresses {
        let unavailable = |address: String, error: &dyn std::error::Error| {
            let problem = whole(error);
            telemetry.event(AgentEvent::HttpUnavailable { purpose: PURPOSE.to_owned(), address, problem });
        };
        let port =
            page.and_then(|address| listen(address).inspect_err(|error| unavailable(address.to_string(), error)).ok());
        let path = run_dir.join(SOCKET);
        let socket = Listener::bind(&path).inspect_err(|error| unavailable(path.display().to_string(), error)).ok();
        Addresses { port, socket: socket.map(|(listener, _)| listener) }
    }

    /// The address of the port, if there is one.
    pub fn port(&self) -> Option<SocketAddr> {
        self.port.as_ref().and_then(|port| port.local_addr().ok())
    }

    /// Says what is listened on.
    pub fn announce(&self, telemetry: &Telemetry) {
        if let Some(address) = self.port() {
            let (host, port) = (address.ip().to_string(), address.port().into());
            telemetry.event(AgentEvent::HttpListening { purpose: PURPOSE.to_owned(), address: host, port });
        }
    }

    /// Serves these routes on all of it, as tasks. The socket's name goes with the value that is given back.
    pub fn serve(self, routes: Router, telemetry: &Telemetry, tasks: &mut Tasks<'_>, runtime: &Handle) -> Name {
        let routes = protected(routes);
        if let Some(port) = self.port {
            tasks.spawn("page", serve(port, routes.clone()));
        }
        if let Some(listener) = &self.socket {
            let own_uid = nix::unistd::geteuid().as_raw();
            let _entered = runtime.enter();
            let opened = listener.socket().and_then(tokio::net::UnixListener::from_std);
            let telemetry = telemetry.clone();
            tasks.spawn("page's socket", async move {
                serve_on(PeerListener { socket: opened?, own_uid, telemetry }, routes).await
            });
        }
        Name(self.socket)
    }
}

/// The socket's name, which is taken away with this, unless a successor has it by now.
pub struct Name(Option<Listener>);

impl Drop for Name {
    fn drop(&mut self) {
        if let Some(listener) = &self.0 {
            listener.unlink();
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
