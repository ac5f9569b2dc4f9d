//! The validation of a pod's redirection from inside, as an init container does it: listen where
//! the rules lead to, send probes that they must catch, and see whether one comes back with the
//! destination that it had. The first probe decides at once where the rules are right.

use super::ports::{Arrived, BoxedError, ProbeSockets, Probed};
use crate::domain::failure::{Classify, Failure};
use crate::domain::ruleset::Family;
use crate::domain::step::{ErrorType, Step};
use crate::domain::validation::{AttemptError, ErrorRun, FamilyResult, Plan, Validation, ValidationFailure};
use crate::domain::validation_run::VALIDATE;
use crate::telemetry::event::{self, Level};
use crate::telemetry::keys;
use crate::telemetry::story::{Clock, Open, Story, attribute};
use std::net::SocketAddr;
use std::time::Duration;

/// The pauses after the first probes, and after all later ones.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(10), Duration::from_millis(20), Duration::from_millis(50), Duration::from_millis(100)];
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// How long one probe may take; the last one may take the shorter time beyond the end.
const PROBE_LIMIT: Duration = Duration::from_secs(1);
const LAST_PROBE_LIMIT: Duration = Duration::from_millis(100);
/// How often what repeats itself is said, as the reference says it.
const AGAIN: Duration = Duration::from_secs(1);

/// So many different lines are said and remembered.
const MOST_SAID: usize = 64;

const STARTING: &str =
    "Starting iptables validation. This check verifies that iptables rules are properly established for the network.";
const PASSED: &str = "Validation passed, iptables rules established";
const TIMEOUT: &str = "validation timeout";
/// What the reference says in the end, a line for each of its lines.
const NOT_READY: [&str; 4] = [
    "iptables validation failed; workload is not ready for Istio.",
    "When using Istio CNI, this can occur if a pod is scheduled before the node is ready.",
    "If installed with 'cni.repair.deletePods=true', this pod should automatically be deleted and retry.",
    "Otherwise, this pod will need to be manually removed so that it is scheduled on a node with istio-cni running, allowing iptables rules to be established.",
];

/// Why a validation failed.
#[derive(Debug, thiserror::Error)]
enum ValidateError {
    #[error("no listener available: {}", list(.0))]
    NoListener(Vec<SocketAddr>),
    #[error("{what}: {why}")]
    NotRedirected { kind: ErrorType, what: String, why: String },
}

impl Classify for ValidateError {
    fn error_type(&self) -> ErrorType {
        match self {
            ValidateError::NoListener(_) => ErrorType::PortTaken,
            ValidateError::NotRedirected { kind, .. } => *kind,
        }
    }
}

/// Validates the namespace of the sockets, and tells of it.
pub fn validate(story: &Story, clock: Clock, plan: &Plan, sockets: &mut dyn ProbeSockets) -> Validation {
    let mut run = Run { story, clock, plan, sockets, taken: Vec::new(), said: Vec::new() };
    let (mut listened_ns, mut families) = (None, Vec::new());
    let result = story.request(VALIDATE, |_| {
        run.say(Level::Info, STARTING);
        let listening = run.listen();
        listened_ns = Some(clock.now_ns());
        let result = listening.and_then(|listening| {
            // Each family is tried, so that all that is wrong is told at once.
            let results: Vec<_> = listening.into_iter().map(|family| run.connect(family, &mut families)).collect();
            results.into_iter().collect::<Result<(), Failure>>()
        });
        run.conclude(&result);
        result
    });
    let end_ns = clock.now_ns();
    let failure = result.err().map(|Failure { error_type, message, .. }| ValidationFailure { error_type, message });
    let listened_ns = listened_ns.unwrap_or(end_ns);
    Validation { start_ns: clock.start_ns(), listened_ns, end_ns, families, failure, told: None }
}

/// A validation under way.
struct Run<'a> {
    story: &'a Story,
    clock: Clock,
    plan: &'a Plan,
    sockets: &'a mut dyn ProbeSockets,
    /// Where it could not be listened, and why.
    taken: Vec<(SocketAddr, String)>,
    /// What was said last, and when.
    said: Vec<(String, Duration)>,
}

impl Run<'_> {
    /// Listens for every family that the pod's rules are for, and says which they are.
    fn listen(&mut self) -> Result<Vec<Family>, Failure> {
        let story = self.story;
        story.step(Step::ValidateListen, |open| {
            let families = self.families()?;
            let mut listening: usize = 0;
            for family in &families {
                let before = listening;
                for at in self.plan.listeners(*family) {
                    self.say(Level::Info, &format!("Listening on {at}"));
                    match self.sockets.listen(at) {
                        Ok(()) => listening += 1,
                        Err(error) => {
                            self.say(Level::Error, &format!("Error on listening: {error}"));
                            self.taken.push((at, short(&error).to_owned()));
                        }
                    }
                }
                open.set(keys::VALIDATION_LISTENERS, listening);
                if listening == before {
                    let none = self.plan.listeners(*family).to_vec();
                    return Err(BoxedError::new(ValidateError::NoListener(none)));
                }
            }
            Ok(families)
        })
    }

    /// Where the addresses cannot be asked for, IPv4 is validated, which every pod's rules have.
    fn families(&mut self) -> Result<Vec<Family>, BoxedError> {
        match self.sockets.addresses() {
            Ok(addresses) => self.plan.families(&addresses).map_err(BoxedError::new),
            Err(error) => {
                self.say(
                    Level::Warn,
                    &format!("only IPv4 is validated, because the pod's addresses are unknown: {error}"),
                );
                Ok(vec![Family::V4])
            }
        }
    }

    /// Probes until one comes back or time is up.
    fn connect(&mut self, family: Family, families: &mut Vec<FamilyResult>) -> Result<(), Failure> {
        let story = self.story;
        story.step(Step::ValidateConnect, |open| {
            let mut result = FamilyResult::new(family, self.clock.now_ns());
            self.probe_until_caught(&mut result);
            result.end_ns = self.clock.now_ns();
            open.set(keys::NETWORK_TYPE, family.name());
            open.set(keys::VALIDATION_ATTEMPTS, u64::from(result.attempts));
            let outcome = self.judge(open, &result);
            families.push(result);
            outcome
        })
    }

    fn probe_until_caught(&mut self, result: &mut FamilyResult) {
        let (from, to) = (self.plan.source(result.family), self.plan.target(result.family));
        let mut pauses = PAUSES.into_iter();
        loop {
            let left = self.plan.timeout.saturating_sub(self.sockets.elapsed());
            result.attempts += 1;
            let probed = self.sockets.probe(from, to, left.clamp(LAST_PROBE_LIMIT, PROBE_LIMIT));
            match self.look_at(&probed, from, to) {
                None => {
                    result.passed = true;
                    return;
                }
                Some((kind, text)) => {
                    let family = result.family;
                    let run = result.failed(kind, &text, self.clock.now_ns());
                    self.tell_failed(family, run);
                }
            }
            let left = self.plan.timeout.saturating_sub(self.sockets.elapsed());
            if left.is_zero() {
                return;
            }
            self.sockets.pause(pauses.next().unwrap_or(LONGEST_PAUSE).min(left));
        }
    }

    /// How a probe failed, if it did. What others send to the listeners is said, and decides nothing.
    fn look_at(&mut self, probed: &Probed, from: SocketAddr, to: SocketAddr) -> Option<(AttemptError, String)> {
        for lost in &probed.lost {
            self.say_again(Level::Error, &format!("Listener failed to accept connection: {lost}"));
        }
        let mut wrong = None;
        for Arrived { local, remote, original } in &probed.arrived {
            let ours = remote.ip() == from.ip();
            match original {
                Ok(original) => {
                    self.say_again(Level::Info, &format!("Local addr {local}"));
                    self.say_again(Level::Info, &format!("Original addr {}: {}", remote.ip(), original.port()));
                    if ours && *original == to {
                        return None;
                    }
                    let text = format!("a connection came back with the original destination {original}, not {to}");
                    wrong = ours.then_some((AttemptError::WrongDestination, text)).or(wrong);
                }
                Err(error) => {
                    let call = if remote.is_ipv4() { "ipv4" } else { "to ipv6" };
                    self.say_again(Level::Error, &format!("Error {call} getsockopt: {error}"));
                    let text = format!("Error getting original dst: {error}");
                    wrong = ours.then_some((AttemptError::NoDestination, text)).or(wrong);
                }
            }
        }
        let refused =
            probed.refused.as_ref().map(|(kind, error)| (*kind, format!("Error connecting to {to}: {error}")));
        let elsewhere = || (AttemptError::Elsewhere, format!("the connection to {to} was taken by somebody else"));
        Some(refused.or(wrong).unwrap_or_else(elsewhere))
    }

    /// What the probes of a family show.
    fn judge(&self, open: &Open, result: &FamilyResult) -> Result<(), ValidateError> {
        if result.passed {
            return Ok(());
        }
        let plan = self.plan;
        let last = result.errors.last();
        let kind = last.map_or(AttemptError::Other, |run| run.kind);
        open.set(keys::VALIDATION_ERROR, kind.name());
        let what = format!(
            "no probe to {} came back to {} within {:?} ({} sent, the last one: {})",
            plan.target(result.family),
            list(&plan.listeners(result.family)),
            plan.timeout,
            result.attempts,
            last.map_or("", |run| short(&run.text))
        ) + &self.unheard();
        let wrong_user = plan.proxy_uid.filter(|uid| *uid != plan.own_uid);
        let (kind, why) = match (kind, wrong_user) {
            (AttemptError::Elsewhere, _) if !self.taken.is_empty() => {
                (ErrorType::PortTaken, "another process may have answered there; stop it, or free the port".to_owned())
            }
            (AttemptError::WrongDestination | AttemptError::NoDestination, _) => (
                ErrorType::RedirectWrong,
                "other rules than istio-cni's act on this pod; find out what else writes rules there".to_owned(),
            ),
            (_, Some(uid)) => (
                ErrorType::RedirectMissing,
                format!("the probes are of user {}, and user {uid} is the proxy; run this as user {uid}", plan.own_uid),
            ),
            (_, None) => (
                ErrorType::RedirectMissing,
                "istio-cni has not set this pod up, or for another user or other ports; delete the pod, so that it is \
                 set up again"
                    .to_owned(),
            ),
        };
        Err(ValidateError::NotRedirected { kind, what, why })
    }

    /// Where nothing could come back to, if there is such a place.
    fn unheard(&self) -> String {
        let each: Vec<String> = self.taken.iter().map(|(at, why)| format!("{at} ({why})")).collect();
        if each.is_empty() { String::new() } else { format!("; nothing could listen on {}", each.join(", ")) }
    }

    fn conclude(&self, result: &Result<(), Failure>) {
        let Err(failure) = result else { return self.say(Level::Info, PASSED) };
        if failure.step == Step::ValidateListen {
            self.say(Level::Error, &format!("Validation failed: {}", failure.message));
        } else {
            self.say(Level::Error, TIMEOUT);
        }
        if failure.error_type != ErrorType::AddressMissing {
            NOT_READY.iter().for_each(|line| self.say(Level::Error, line));
        }
    }

    fn tell_failed(&mut self, family: Family, run: &ErrorRun) {
        let level = self.level_of(Level::Error, &run.text);
        let attributes = vec![
            attribute(keys::NETWORK_TYPE, family.name()),
            attribute(keys::VALIDATION_ERROR, run.kind.name()),
            attribute(keys::VALIDATION_ATTEMPTS, u64::from(run.count)),
        ];
        self.story.log(level, event::VALIDATION_ATTEMPT, &run.text, attributes);
    }

    fn say(&self, level: Level, text: &str) {
        self.story.log(level, event::VALIDATION_PROGRESS, text, Vec::new());
    }

    fn say_again(&mut self, level: Level, text: &str) {
        let level = self.level_of(level, text);
        self.say(level, text);
    }

    /// What was said less than a second ago is of interest only to those who search, and so is what
    /// comes after many other things: connections of others may each be another line.
    fn level_of(&mut self, level: Level, text: &str) -> Level {
        let (now, full) = (self.sockets.elapsed(), self.said.len() >= MOST_SAID);
        match self.said.iter_mut().find(|(said, _)| said == text) {
            Some((_, at)) if now.saturating_sub(*at) < AGAIN => return Level::Debug,
            Some((_, at)) => *at = now,
            None if full => return Level::Debug,
            None => self.said.push((text.to_owned(), now)),
        }
        level
    }
}

/// The end of a line of Go's, which says what happened.
fn short(text: &str) -> &str {
    text.rsplit(": ").next().unwrap_or(text)
}

fn list(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
