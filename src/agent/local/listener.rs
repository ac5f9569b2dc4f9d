//! The socket in the run directory as something that connections come from: of root, or of the agent's own user, alone.

use crate::agent::http::Accept;
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::pipeline::Telemetry;
use std::io;
use tokio::net::{UnixListener, UnixStream};

/// The listening socket, and who may connect.
pub(super) struct PeerListener {
    pub(super) socket: UnixListener,
    pub(super) own_uid: u32,
    pub(super) telemetry: Telemetry,
}

impl Accept for PeerListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.socket.accept().await?;
            // Who has gone already needs no answer.
            let Ok(uid) = stream.peer_cred().map(|peer| peer.uid()) else { continue };
            if uid == 0 || uid == self.own_uid {
                return Ok(stream);
            }
            self.telemetry.event(AgentEvent::PeerRefused { uid: uid.into() });
        }
    }
}
