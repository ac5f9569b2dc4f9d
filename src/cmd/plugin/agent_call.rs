//! The step that hands a request to the node agent: within its limit, and with every way in which
//! there is no answer told apart.

use super::session::{Presence, Session};
use crate::domain::failure::{Classify, Failure};
use crate::domain::request::{Answer, Command, Conclusion, Request};
use crate::domain::step::{ErrorType, Step};
use crate::host::uds::Connection;
use crate::telemetry::keys;
use crate::telemetry::story::{Lost, Open};
use crate::wire::agent::{self as wire, Call, HEADER, Kind, ProtocolError, Tells};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

/// What is told after the call was sent, at most: the spans of the call and of the request, the line
/// of the call, and two of a request that failed.
const REST: Tells = Tells { spans: 2, logs: 3 };

/// What came of calling the agent.
pub enum Reached {
    /// It answered; what it says is the conclusion of the request.
    Concluded(Conclusion),
    /// Nobody serves its socket. It is no error of the step: the plugin does the same work.
    Nobody(Absent),
    /// It is there, but there was no usable answer.
    Failed(Failure),
}

/// Nobody serves the agent's socket.
#[derive(Debug, thiserror::Error)]
#[error("the node agent does not answer at {} ({source})", .socket.display())]
pub struct Absent {
    socket: PathBuf,
    source: io::Error,
}

impl Absent {
    /// Whether there is not even a socket: no agent has started since the run directory is new.
    pub fn has_no_socket(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// Why there was no usable answer.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("the node agent's socket {} cannot be connected to", .socket.display())]
    Connect { socket: PathBuf, source: io::Error },
    #[error("the process that serves {} runs as user {uid}, not as root: it is not the node agent", .socket.display())]
    Stranger { socket: PathBuf, uid: u32 },
    #[error("the node agent at {} did not answer within {} ms (agent_timeout_ms)", .socket.display(), .limit.as_millis())]
    Timeout { socket: PathBuf, limit: Duration },
    #[error("the node agent at {} hung up without an answer", .socket.display())]
    HungUp { socket: PathBuf },
    #[error("what the process that serves {} says is no answer of a node agent", .socket.display())]
    Protocol { socket: PathBuf, source: ProtocolError },
    #[error("the node agent at {} answered with a {kind:?} frame instead of a conclusion", .socket.display())]
    OutOfOrder { socket: PathBuf, kind: Kind },
    #[error("the node agent at {} does not say whether the pod has its rules", .socket.display())]
    Undecided { socket: PathBuf },
    #[error("{0}")]
    Refused(Failure),
}

impl Classify for CallError {
    fn error_type(&self) -> ErrorType {
        match self {
            CallError::Connect { .. } => ErrorType::AgentUnreachable,
            CallError::Timeout { .. } => ErrorType::AgentTimeout,
            CallError::Stranger { .. }
            | CallError::HungUp { .. }
            | CallError::Protocol { .. }
            | CallError::OutOfOrder { .. }
            | CallError::Undecided { .. } => ErrorType::AgentProtocol,
            CallError::Refused(failure) => failure.error_type,
        }
    }

    fn retryable(&self) -> bool {
        true
    }
}

/// Calls the agent, as a step of the session's story, and waits at most for `limit`.
pub fn call(session: &Session<'_>, request: &Request, netns: Option<BorrowedFd<'_>>, limit: Duration) -> Reached {
    let caller = Caller { session, limit };
    let reached = session.story.step(Step::AgentCall, |open| {
        let answer = caller.converse(request, netns)?;
        open.set(keys::AGENT, if answer.is_ok() { "answered" } else { "absent" });
        note_pod(open, answer.as_ref().ok());
        Ok::<_, CallError>(answer)
    });
    let presence = if matches!(reached, Ok(Ok(_))) { Presence::Answered } else { Presence::Away };
    session.presence.set(presence);
    match reached {
        Ok(Ok(conclusion)) => Reached::Concluded(conclusion),
        Ok(Err(absent)) => Reached::Nobody(absent),
        Err(failure) => Reached::Failed(failure),
    }
}

/// The type of a failure that the agent reports stands on the call's step too.
fn note_pod(open: &Open, answer: Option<&Conclusion>) {
    if let Some(Err(failure)) = answer.map(|conclusion| &conclusion.result) {
        open.set(keys::REASON, failure.error_type.as_str());
    }
}

struct Caller<'a> {
    session: &'a Session<'a>,
    limit: Duration,
}

impl Caller<'_> {
    /// The whole conversation, unless nobody listens.
    fn converse(
        &self,
        request: &Request,
        netns: Option<BorrowedFd<'_>>,
    ) -> Result<Result<Conclusion, Absent>, CallError> {
        let socket = || self.session.settings().agent_socket.clone();
        let mut connection = match Connection::connect(&socket(), self.limit) {
            Ok(connection) => connection,
            Err(source) if is_absent(&source) => return Ok(Err(Absent { socket: socket(), source })),
            Err(source) => return Err(CallError::Connect { socket: socket(), source }),
        };
        self.check_peer(&connection)?;
        let frame = self.call_frame(request).map_err(|source| CallError::Protocol { socket: socket(), source })?;
        let sent = match netns {
            Some(netns) => connection.send_with(&frame, netns),
            None => connection.send(&frame),
        };
        // An agent at its limit answers without reading, so an answer counts even if sending failed.
        let conclusion = self.receive(&mut connection).map_err(|error| match sent {
            Err(sent) => self.io_error(&sent),
            Ok(()) => error,
        })?;
        match conclusion.result {
            Err(failure) if failure.step == Step::AgentCall => Err(CallError::Refused(failure)),
            // "Done" answers other commands; a pod must not start on the strength of it.
            Ok(Answer::Done) if matches!(request.command, Command::Add | Command::Check) => {
                Err(CallError::Undecided { socket: socket() })
            }
            _ => {
                self.session.agent.replace(Some(connection));
                Ok(Ok(conclusion))
            }
        }
    }

    /// Only root, or whoever runs the plugin, may tell it that a pod is set up.
    fn check_peer(&self, connection: &Connection) -> Result<(), CallError> {
        let socket = || self.session.settings().agent_socket.clone();
        let uid = connection.peer_uid().map_err(|source| CallError::Connect { socket: socket(), source })?;
        if uid == 0 || uid == nix::unistd::geteuid().as_raw() {
            Ok(())
        } else {
            Err(CallError::Stranger { socket: socket(), uid })
        }
    }

    fn call_frame(&self, request: &Request) -> Result<Vec<u8>, ProtocolError> {
        let (trace, parent) = self.session.story.context();
        let settings = self.session.settings();
        let level = if settings.log_level.is_empty() { "info".to_owned() } else { settings.log_level.clone() };
        let pinned = self.session.story.pinned_flags();
        let call = Call { request: request.clone(), trace, parent, pinned, level, tells: self.tells() };
        wire::frame(Kind::Call, &wire::encode_call(&call)?)
    }

    /// How much there will be to tell, if there is a place to tell it to.
    fn tells(&self) -> Option<Tells> {
        let Lost { spans, logs } = self.session.story.so_far();
        let most = |so_far: u64, rest| u32::try_from(so_far).unwrap_or(u32::MAX).saturating_add(rest);
        let tells = Tells { spans: most(spans, REST.spans), logs: most(logs, REST.logs) };
        self.session.has_run_dir().then_some(tells)
    }

    fn receive(&self, connection: &mut Connection) -> Result<Conclusion, CallError> {
        let socket = || self.session.settings().agent_socket.clone();
        let protocol = |source| CallError::Protocol { socket: socket(), source };
        let mut header = [0; HEADER];
        connection.receive(&mut header).map_err(|error| self.io_error(&error))?;
        let (kind, length) = wire::header(header).map_err(protocol)?;
        if kind != Kind::Conclusion {
            return Err(CallError::OutOfOrder { socket: socket(), kind });
        }
        let mut body = vec![0; length];
        connection.receive(&mut body).map_err(|error| self.io_error(&error))?;
        wire::decode_conclusion(&body).map_err(protocol)
    }

    fn io_error(&self, error: &io::Error) -> CallError {
        let socket = self.session.settings().agent_socket.clone();
        match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => CallError::Timeout { socket, limit: self.limit },
            _ => CallError::HungUp { socket },
        }
    }
}

/// Nobody has made the socket, or whoever made it is gone.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}
