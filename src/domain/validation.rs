//! What a validation found: by address family, whether a probe came back with its original
//! destination, and how the attempts before went. The validator makes the value, its termination
//! message carries it, and the agent reads it there.

use super::identity::{SpanId, TraceId};
use super::ruleset::{Family, NoAddress, wants_ipv6};
use super::step::ErrorType;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// The exit status of the validator when the redirection is not in place, by which repair knows it.
pub const EXIT_NOT_REDIRECTED: u8 = 126;

/// What is to be validated, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The proxy's ports, to which the rules redirect.
    pub outbound_port: u16,
    pub inbound_port: u16,
    /// The port that probes are for; nobody listens there.
    pub probe_port: u16,
    /// How long it is tried in all.
    pub timeout: Duration,
    /// Whether the rules look for an IPv6 address beyond the first one.
    pub dual_stack: bool,
    /// The user whose traffic the rules know as the proxy's, if that is said.
    pub proxy_uid: Option<u32>,
    /// The user that the probes are of.
    pub own_uid: u32,
}

impl Plan {
    /// Where to listen for the probes of a family: REDIRECT on `lo` leads there.
    pub fn listeners(&self, family: Family) -> [SocketAddr; 2] {
        [self.outbound_port, self.inbound_port].map(|port| SocketAddr::new(own_address(family), port))
    }

    /// Where a family's probes come from.
    pub fn source(&self, family: Family) -> SocketAddr {
        SocketAddr::new(own_address(family), 0)
    }

    /// Where a family's probes are sent: on `lo`, and not to the address that the rules leave alone.
    pub fn target(&self, family: Family) -> SocketAddr {
        let address = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6)),
            Family::V6 => IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6)),
        };
        SocketAddr::new(address, self.probe_port)
    }

    /// The families that the pod's rules are made for, told from its namespace's addresses in the
    /// kernel's order: the first one's, as the reference validates it, and IPv6 beside it where the
    /// rules look for that too. IPv4 rules are made in a pod with IPv6 alone as well, but nothing
    /// depends on them.
    pub fn families(&self, addresses: &[IpAddr]) -> Result<Vec<Family>, NoAddress> {
        let v4 = !wants_ipv6(addresses, false)?;
        let v6 = wants_ipv6(addresses, self.dual_stack)?;
        Ok([(Family::V4, v4), (Family::V6, v6)].into_iter().filter_map(|(family, is)| is.then_some(family)).collect())
    }
}

const fn own_address(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Family::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

/// The most runs of equal errors that a family keeps: the first ones and the last.
pub const MAX_RUNS: usize = 4;

/// One run of the validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validation {
    /// Its beginning, nanoseconds of the Unix epoch.
    pub start_ns: u64,
    /// When it listened, or knew that it could not.
    pub listened_ns: u64,
    /// Its end.
    pub end_ns: u64,
    /// The families that were probed, in their order; none when nothing could be listened on.
    pub families: Vec<FamilyResult>,
    /// What failed; `None` when every family passed.
    pub failure: Option<ValidationFailure>,
    /// Where the collector has the validator's own spans, if they have arrived there.
    pub told: Option<Told>,
}

impl Validation {
    /// Whether the redirection is in place.
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }

    /// Whether it found that nothing redirects.
    pub fn found_none(&self) -> bool {
        self.failure.as_ref().is_some_and(|failure| failure.error_type == ErrorType::RedirectMissing)
    }
}

/// Why a validation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidationFailure {
    /// The type; of a validator that is newer than its reader it may be a type unknown here, then
    /// `Internal`.
    pub error_type: ErrorType,
    /// One sentence.
    pub message: String,
}

/// The span `validate` that has arrived at a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its trace: the pod's where the validator knew the pod, else one of its own.
    pub trace_id: TraceId,
    /// Its id.
    pub span_id: SpanId,
}

/// What came of the probes of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilyResult {
    /// The family.
    pub family: Family,
    /// Whether a probe came back with its original destination.
    pub passed: bool,
    /// How many probes were sent.
    pub attempts: u32,
    /// The end of its probes, nanoseconds of the Unix epoch.
    pub end_ns: u64,
    /// The failed attempts in their order, equal ones together; at most [`MAX_RUNS`], of more the
    /// middle is left out.
    pub errors: Vec<ErrorRun>,
}

impl FamilyResult {
    /// Before the first probe.
    pub fn new(family: Family, now_ns: u64) -> FamilyResult {
        FamilyResult { family, passed: false, attempts: 0, end_ns: now_ns, errors: Vec::new() }
    }

    /// Takes down an attempt that failed; gives the run of equal failures that it is in now.
    pub fn failed(&mut self, kind: AttemptError, text: &str, now_ns: u64) -> &ErrorRun {
        let same = self.errors.last().is_some_and(|last| last.kind == kind && last.text == text);
        let run = match self.errors.pop_if(|_| same) {
            Some(last) => ErrorRun { count: last.count.saturating_add(1), last_ns: now_ns, ..last },
            None => ErrorRun { kind, text: text.to_owned(), count: 1, first_ns: now_ns, last_ns: now_ns },
        };
        if self.errors.len() == MAX_RUNS {
            self.errors.remove(MAX_RUNS / 2);
        }
        self.errors.push_mut(run)
    }
}

/// Attempts, one after the other, that failed in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorRun {
    /// In what way.
    pub kind: AttemptError,
    /// The log line; may be cut.
    pub text: String,
    /// How many.
    pub count: u32,
    /// When the first of them failed, nanoseconds of the Unix epoch.
    pub first_ns: u64,
    /// When the last of them failed.
    pub last_ns: u64,
}

/// How an attempt failed: a closed list, for whoever counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptError {
    /// Nobody listens where the probe went: it was not redirected.
    Refused,
    /// There is no route or no address to probe from or to.
    Unreachable,
    /// The connection was not made in time.
    TimedOut,
    /// The probe was taken by somebody else than our listeners.
    Elsewhere,
    /// It came back, with another destination than the probe's.
    WrongDestination,
    /// Its original destination could not be asked for.
    NoDestination,
    /// Anything else.
    Other,
}

impl AttemptError {
    /// Every kind.
    pub const ALL: [AttemptError; 7] = [
        AttemptError::Refused,
        AttemptError::Unreachable,
        AttemptError::TimedOut,
        AttemptError::Elsewhere,
        AttemptError::WrongDestination,
        AttemptError::NoDestination,
        AttemptError::Other,
    ];

    /// The word in the termination message and on log events.
    pub const fn name(self) -> &'static str {
        match self {
            AttemptError::Refused => "refused",
            AttemptError::Unreachable => "unreachable",
            AttemptError::TimedOut => "timed_out",
            AttemptError::Elsewhere => "elsewhere",
            AttemptError::WrongDestination => "wrong_destination",
            AttemptError::NoDestination => "no_destination",
            AttemptError::Other => "other",
        }
    }

    /// The kind with this name; one that is not known is `Other`.
    pub fn from_name(name: &str) -> AttemptError {
        AttemptError::ALL.into_iter().find(|kind| kind.name() == name).unwrap_or(AttemptError::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn families(addresses: &[&str], dual_stack: bool) -> Result<Vec<Family>, NoAddress> {
        let (timeout, proxy_uid) = (Duration::from_secs(5), None);
        let ports = (15001, 15006, 15002);
        let (outbound_port, inbound_port, probe_port) = ports;
        let plan = Plan { outbound_port, inbound_port, probe_port, timeout, dual_stack, proxy_uid, own_uid: 0 };
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        plan.families(&addresses)
    }

    #[test]
    fn the_families_are_those_of_the_rules() {
        let (v4, v6) = ("10.1.0.5", "fd00::5");
        for dual_stack in [false, true] {
            assert_eq!(families(&["127.0.0.1", v4, "::1", "fe80::1"], dual_stack), Ok(vec![Family::V4]));
            assert_eq!(families(&["127.0.0.1", "::1", "fe80::1", v6], dual_stack), Ok(vec![Family::V6]));
            assert_eq!(families(&["127.0.0.1", "::1"], dual_stack), Err(NoAddress));
        }
        assert_eq!(families(&[v4, v6], false), Ok(vec![Family::V4]));
        assert_eq!(families(&[v4, v6], true), Ok(vec![Family::V4, Family::V6]));
    }

    #[test]
    fn equal_failures_are_one_run() {
        let mut result = FamilyResult::new(Family::V4, 1);
        assert_eq!(result.failed(AttemptError::Refused, "refused", 2).count, 1);
        assert_eq!(result.failed(AttemptError::Refused, "refused", 5).count, 2);
        assert_eq!(result.failed(AttemptError::TimedOut, "timed out", 9).count, 1);
        let runs: Vec<_> = result.errors.iter().map(|run| (run.count, run.first_ns, run.last_ns)).collect();
        assert_eq!(runs, [(2, 2, 5), (1, 9, 9)]);
    }

    #[test]
    fn of_many_runs_the_first_and_the_last_are_kept() {
        let mut result = FamilyResult::new(Family::V4, 0);
        for index in 0..100 {
            result.failed(AttemptError::Other, &index.to_string(), index);
        }
        let texts: Vec<_> = result.errors.iter().map(|run| run.text.as_str()).collect();
        assert_eq!(texts, ["0", "1", "98", "99"]);
    }

    #[test]
    fn names_read_back() {
        for kind in AttemptError::ALL {
            assert_eq!(AttemptError::from_name(kind.name()), kind);
        }
        assert_eq!(AttemptError::from_name("eaten"), AttemptError::Other);
    }
}
