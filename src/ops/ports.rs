//! What the use cases need of the world: pods, and the kernel of a pod's namespace.

use crate::domain::failure::{Classify, Failure};
use crate::domain::outbound::Outbound;
use crate::domain::pod::{PodFacts, PodRef};
use crate::domain::request::{Backend, Bounds};
use crate::domain::ruleset::{Difference, Ruleset};
use crate::domain::step::ErrorType;
use crate::domain::validation::AttemptError;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// Any classified error, as the traits return it.
#[derive(Debug)]
pub struct BoxedError(Box<dyn Classify + Send + Sync>);

impl BoxedError {
    /// Boxes a room's own error.
    pub fn new(error: impl Classify + Send + Sync + 'static) -> BoxedError {
        BoxedError(Box::new(error))
    }
}

impl std::fmt::Display for BoxedError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for BoxedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl Classify for BoxedError {
    fn error_type(&self) -> ErrorType {
        self.0.error_type()
    }

    fn retryable(&self) -> bool {
        self.0.retryable()
    }

    fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after()
    }

    fn nothing_done(&self) -> bool {
        self.0.nothing_done()
    }

    fn code(&self) -> u32 {
        self.0.code()
    }
}

/// Where a pod's API object comes from: the agent's cache, or the API server.
pub trait PodSource: Sync {
    /// Finds the pod that the runtime means, with the same UID, within the bounds.
    fn find(&self, pod: &PodRef, bounds: &Bounds) -> Lookup;
}

/// What a lookup came to, and how.
pub struct Lookup {
    /// `cache` or `api`: where the pod was found, or looked for last.
    pub source: &'static str,
    /// How many times it was looked for, in the cache and at the API server.
    pub attempts: u32,
    /// The pod.
    pub found: Result<PodFacts, BoxedError>,
}

/// The kernel of one network namespace, seen from a thread that entered it.
pub trait PodKernel {
    /// The addresses of the namespace in the kernel's order (IPv4 first).
    fn addresses(&mut self) -> Result<Vec<IpAddr>, BoxedError>;

    /// Makes the namespace have exactly these rules of ours, in one transaction per table or
    /// family. What is there already and equal is not touched.
    fn apply(&mut self, rules: &Ruleset) -> Result<Applied, BoxedError>;

    /// Reads the rules back and lists every difference; empty means equal. Also says by which
    /// backend the rules were looked for.
    fn differences(&mut self, rules: &Ruleset) -> Result<(Backend, Vec<Difference>), BoxedError>;

    /// What is there now in that backend, in its language, with what stands beside the tables: for people. The
    /// `rules` say which families and which routing are ours to look at.
    fn found(&mut self, rules: &Ruleset, backend: Backend) -> Result<String, BoxedError>;
}

/// What [`PodKernel::apply`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The backend that was used; never `Auto`.
    pub backend: Backend,
    /// False when the rules were there already.
    pub changed: bool,
}

/// The work done inside a namespace.
pub type Work<'a> = Box<dyn FnOnce(&mut dyn PodKernel) -> Result<Applied, Failure> + Send + 'a>;

/// Gives access to the kernel of network namespaces.
pub trait Namespaces: Sync {
    /// Runs `work` inside the namespace, holding the namespace's lock. The thread that entered it
    /// never does anything else afterwards.
    ///
    /// The outer error is that the namespace could not be entered or locked; it is the caller's
    /// `netns.open` step.
    fn inside(
        &self,
        netns: BorrowedFd<'_>,
        backend: Backend,
        bounds: &Bounds,
        work: Work<'_>,
    ) -> Result<Result<Applied, Failure>, BoxedError>;
}

/// Finds the network namespace of a pod that is set up already.
pub trait PodNamespaces: Send + Sync {
    /// The namespace in which the pod's addresses are; never the host's own, nor that of a pod
    /// that has the address by now.
    fn find(&self, pod: &PodFacts) -> Result<FoundNamespace, BoxedError>;
}

/// A pod's network namespace.
#[derive(Debug)]
pub struct FoundNamespace {
    pub netns: OwnedFd,
    /// Its path, for people: the one that the runtime gave at ADD, or that of a process in it.
    pub path: String,
    /// `recorded` or `proc`: how it was found.
    pub source: &'static str,
    /// What the node said about outbound traffic at the pod's ADD, where that was recorded.
    pub outbound: Option<Outbound>,
}

/// The sockets of a validation, in the namespace that the process is in.
pub trait ProbeSockets {
    /// The addresses of the namespace in the kernel's order (IPv4 first).
    fn addresses(&mut self) -> Result<Vec<IpAddr>, BoxedError>;

    /// Listens at an address, beside others that allow it. The error is in Go's words.
    fn listen(&mut self, at: SocketAddr) -> Result<(), String>;

    /// Connects once from one address to another, within the limit, and takes whatever arrives at
    /// the listeners meanwhile.
    fn probe(&mut self, from: SocketAddr, to: SocketAddr, limit: Duration) -> Probed;

    /// How long ago these sockets were made.
    fn elapsed(&self) -> Duration;

    /// Waits.
    fn pause(&mut self, time: Duration);
}

/// What came of a probe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probed {
    /// The connections that arrived at the listeners, this probe's or others'.
    pub arrived: Vec<Arrived>,
    /// Why the connection was not made, in Go's words.
    pub refused: Option<(AttemptError, String)>,
    /// Connections that arrived and could not be taken, in Go's words.
    pub lost: Vec<String>,
}

/// A connection that a listener took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// The listener's end.
    pub local: SocketAddr,
    /// The client's end.
    pub remote: SocketAddr,
    /// Where the client wanted to go, as the kernel remembers; the error is in Go's words.
    pub original: Result<SocketAddr, String>,
}

/// What the API server can be asked to do about a pod: never about another one of that name, nor
/// about one that has changed since.
pub trait PodChanges: Sync {
    /// Deletes it.
    fn delete(&self, pod: &PodFacts) -> Result<Changed, BoxedError>;

    /// Deletes it unless a disruption budget forbids that now.
    fn evict(&self, pod: &PodFacts) -> Result<Changed, BoxedError>;

    /// Puts a label on it.
    fn label(&self, pod: &PodFacts, key: &str, value: &str) -> Result<Changed, BoxedError>;
}

/// What came of asking for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is done.
    Done,
    /// The pod was gone already.
    Gone,
}
