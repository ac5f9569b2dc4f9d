//! The socket server: one thread per connection, the answer first, telemetry after it.
//!
//! Threads stand by before a connection comes: whoever accepts one serves it on the spot, so that
//! no call waits for a thread to start, and ends with it, because it may have entered a pod's
//! network namespace.

use super::inflight::{InFlight, Slot};
use super::service::{Service, concluded};
use crate::domain::failure::{CODE_ISTIO, Failure};
use crate::domain::request::Conclusion;
use crate::domain::step::{ErrorType, Step};
use crate::host::uds::Connection;
use crate::host::uds_listener::Listener;
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::batch;
use crate::telemetry::held::Share;
use crate::telemetry::metrics::{DropReason, Signal};
use crate::telemetry::resource::Origin;
use crate::telemetry::story::Lost;
use crate::wire::agent::{self as wire, Call, Kind, ProtocolError, Tells};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a caller may take to say what it wants, and to take its answer.
const TALK: Duration = Duration::from_secs(5);
/// How long the caller's own telemetry is waited for after the answer.
const TELEMETRY: Duration = Duration::from_secs(1);
/// The stack of a connection's thread: the deepest way is JSON of at most a megabyte, not nested.
const STACK: usize = 512 << 10;
/// How many threads wait for connections: enough for those that come before the next has started.
const STANDING_BY: usize = 4;
/// The pause after the kernel refused to give a connection or a thread.
const EXHAUSTED: Duration = Duration::from_millis(20);

/// Serves connections until the listener is stopped, then returns; threads may still be at work.
pub fn serve(listener: &Arc<Listener>, service: &Arc<Service>, under_way: &Arc<InFlight>) -> io::Result<()> {
    let (listener, service, under_way) = (listener.clone(), service.clone(), under_way.clone());
    let server = Arc::new(Server { listener, service, under_way, turn: Mutex::new(()) });
    let (tell, told) = channel();
    for _ in 0..STANDING_BY {
        server.stand_by(&tell)?;
    }
    loop {
        match told.recv() {
            Ok(Turn::Accepted) => {
                // Without a thread for the next connection, somebody still has to answer it.
                while server.stand_by(&tell).is_err() {
                    if !server.send_next_away()? {
                        return Ok(());
                    }
                }
            }
            Ok(Turn::Over(result)) => return result,
            Err(_) => return Ok(()),
        }
    }
}

/// What the threads that stand by share.
struct Server {
    listener: Arc<Listener>,
    service: Arc<Service>,
    under_way: Arc<InFlight>,
    /// Held by the one thread that waits for the next connection.
    turn: Mutex<()>,
}

/// How a thread's turn to wait for a connection ended.
enum Turn {
    /// It serves one; another thread is needed in its place.
    Accepted,
    /// There will be no more connections.
    Over(io::Result<()>),
}

impl Server {
    /// Starts a thread that serves one connection.
    fn stand_by(self: &Arc<Self>, tell: &Sender<Turn>) -> io::Result<()> {
        let (server, tell) = (self.clone(), tell.clone());
        let work = move || {
            let accepted = server.accept();
            // Nobody listens any more once the server has returned.
            let _ = tell.send(match &accepted {
                Ok(Some(_)) => Turn::Accepted,
                Ok(None) => Turn::Over(Ok(())),
                Err(error) => Turn::Over(Err(io::Error::new(error.kind(), error.to_string()))),
            });
            match accepted {
                Ok(Some((stream, Some(_slot)))) => handle(stream, &server.service),
                Ok(Some((stream, None))) => refuse(stream, "the node agent is at its limit of requests under way"),
                Ok(None) | Err(_) => {}
            }
        };
        std::thread::Builder::new().name("cni-request".into()).stack_size(STACK).spawn(work).map(drop)
    }

    /// The next connection, and its place among the requests under way if there is one.
    fn accept(&self) -> io::Result<Option<(UnixStream, Option<Slot>)>> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match self.listener.accept() {
                Ok(Some(stream)) => return Ok(Some((stream, self.under_way.enter()))),
                Ok(None) => return Ok(None),
                Err(error) if passes(&error) => std::thread::sleep(EXHAUSTED),
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends the next connection away; false when there will be no more.
    fn send_next_away(&self) -> io::Result<bool> {
        let Some((stream, _slot)) = self.accept()? else { return Ok(false) };
        refuse(stream, "the node agent could not start a thread for the request");
        Ok(true)
    }
}

/// Whether accepting may work again a moment later: the peer hung up, or something ran out.
fn passes(error: &io::Error) -> bool {
    use nix::libc::{ECONNABORTED, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM, EPROTO};
    error
        .raw_os_error()
        .is_some_and(|code| [ECONNABORTED, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM, EPROTO].contains(&code))
}

/// Answers a connection without reading it: it fits the socket's buffer, so nobody waits.
fn refuse(stream: UnixStream, message: &str) {
    let mut connection = Connection::new(stream, TALK);
    let failure = agent_failure(ErrorType::AgentBusy, message.to_owned());
    // Whoever hangs up before the answer goes on alone, as it does after the answer.
    let _ = answer(&mut connection, &concluded(Err(failure)));
}

/// One connection from its first byte to its last.
fn handle(stream: UnixStream, service: &Service) {
    let mut connection = Connection::new(stream, TALK);
    match connection.peer_uid() {
        Ok(uid) if service.trusts(uid) => {}
        Ok(uid) => return service.telemetry.event(AgentEvent::PeerRefused { uid: uid.into() }),
        Err(_) => return,
    }
    let (call, netns) = match receive(&mut connection) {
        Ok(Received::Call(call, netns)) => (call, netns),
        Ok(Received::Telemetry(bytes)) => {
            return ingest(&bytes, service, &mut service.telemetry.hold(Lost::default()));
        }
        // Somebody only looked whether we are there.
        Err(ReceiveError::Nothing) => return,
        Err(error) => return service.telemetry.event(unreadable(&mut connection, &error)),
    };
    let under_way = service.answered.begins(&call.request);
    let (story, conclusion) = service.conclude(&call, netns.as_ref());
    let (told, tells) = (story.into_batch(), tells(&call));
    // With the answer the caller believes that it is told, here and by itself.
    let mut held = service.telemetry.hold(sum(service.telemetry.to_send(&told), tells));
    connection.limit(TALK);
    let answered = answer(&mut connection, &conclusion);
    // Before the caller's telemetry, which may take its time: the pod's DEL may come meanwhile.
    service.answered.ends(&call.request, netns.as_ref(), &conclusion, under_way);
    service.telemetry.ingest_held(told, Origin::Agent, &mut held);
    let heard = take_telemetry(&mut connection, service, &mut held);
    let goes_alone = matches!(&conclusion.result, Err(failure) if failure.step == Step::AgentCall);
    if heard == Heard::Nothing && answered.is_ok() && !goes_alone {
        service.telemetry.killed(tells);
    }
    drop(held);
    service.telemetry.settle();
}

/// How much the caller says that it will tell, as far as that can be true.
fn tells(call: &Call) -> Lost {
    let most = |said: u32, most: usize| u64::from(said).min(most as u64);
    call.tells.map_or(Lost::default(), |Tells { spans, logs }| Lost {
        spans: most(spans, batch::MAX_SPANS),
        logs: most(logs, batch::MAX_LOGS),
    })
}

fn sum(one: Lost, other: Lost) -> Lost {
    Lost { spans: one.spans + other.spans, logs: one.logs + other.logs }
}

/// What became of the caller's own telemetry.
#[derive(PartialEq, Eq)]
enum Heard {
    /// It came, or the caller knows that it did not arrive and keeps it.
    Enough,
    /// It did not come, and the caller is gone.
    Nothing,
}

/// The caller's own telemetry, after its answer. A caller that died meanwhile has none.
fn take_telemetry(connection: &mut Connection, service: &Service, held: &mut Share) -> Heard {
    connection.limit(TELEMETRY);
    let mut received = telemetry(connection);
    if matches!(&received, Err(ReceiveError::Io(error)) if is_timeout(error)) {
        // It may come right now: either it is here already, or the caller learns that it is not taken.
        let refused = connection.refuse_more();
        connection.limit(TELEMETRY);
        received = telemetry(connection);
        if refused.is_ok() && received.is_err() {
            return Heard::Enough;
        }
    }
    match received {
        Ok(bytes) => ingest(&bytes, service, held),
        Err(ReceiveError::Io(_)) => return Heard::Nothing,
        // Whatever came, it was not lost with its sender.
        Err(_) => {}
    }
    Heard::Enough
}

fn telemetry(connection: &mut Connection) -> Result<Vec<u8>, ReceiveError> {
    let mut head = [0; wire::HEADER];
    connection.receive(&mut head)?;
    match body(connection, head)? {
        (Kind::Telemetry, bytes) => Ok(bytes),
        (found, _) => Err(ReceiveError::OutOfOrder { found }),
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

fn ingest(bytes: &[u8], service: &Service, held: &mut Share) {
    match batch::decode(bytes) {
        Ok(batch) => service.telemetry.ingest_held(batch, Origin::Plugin, held),
        Err(error) => {
            service.telemetry.metrics().dropped(Signal::Traces, DropReason::Invalid, 1);
            service.telemetry.event(AgentEvent::CallRefused { problem: error.to_string() });
        }
    }
}

/// Tells a caller whose call makes no sense, so that it goes on alone at once.
fn unreadable(connection: &mut Connection, error: &ReceiveError) -> AgentEvent {
    let message = format!("the node agent could not read the call: {error}");
    let failure = agent_failure(ErrorType::AgentProtocol, message);
    let _ = answer(connection, &concluded(Err(failure)));
    AgentEvent::CallRefused { problem: error.to_string() }
}

/// What a connection gave instead of a call.
#[derive(Debug, thiserror::Error)]
enum ReceiveError {
    #[error("the peer hung up without a word")]
    Nothing,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Protocol(#[from] ProtocolError),
    #[error("a {found:?} frame came where a call was expected")]
    OutOfOrder { found: Kind },
}

/// What a connection begins with.
enum Received {
    Call(Box<Call>, Option<OwnedFd>),
    /// The telemetry of a call for which the agent was not needed; nothing is answered.
    Telemetry(Vec<u8>),
}

fn receive(connection: &mut Connection) -> Result<Received, ReceiveError> {
    let mut head = [0; wire::HEADER];
    let netns = connection.receive_with(&mut head).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof if head == [0; wire::HEADER] => ReceiveError::Nothing,
        _ => ReceiveError::Io(error),
    })?;
    match body(connection, head)? {
        (Kind::Call, body) => Ok(Received::Call(Box::new(wire::decode_call(&body)?), netns)),
        (Kind::Telemetry, body) => Ok(Received::Telemetry(body)),
        (found @ Kind::Conclusion, _) => Err(ReceiveError::OutOfOrder { found }),
    }
}

fn body(connection: &mut Connection, head: [u8; wire::HEADER]) -> Result<(Kind, Vec<u8>), ReceiveError> {
    let (kind, length) = wire::header(head)?;
    let mut body = vec![0; length];
    connection.receive(&mut body)?;
    Ok((kind, body))
}

fn answer(connection: &mut Connection, conclusion: &Conclusion) -> Result<(), ReceiveError> {
    let body = wire::encode_conclusion(conclusion)?;
    connection.send(&wire::frame(Kind::Conclusion, &body)?)?;
    Ok(())
}

fn agent_failure(error_type: ErrorType, message: String) -> Failure {
    Failure { step: Step::AgentCall, error_type, code: CODE_ISTIO, message, retryable: true }
}
