//! An Event on the node when the agent is unready for long: whoever looks at a node on which pods do not start
//! reads why.

use super::readiness::Readiness;
use crate::domain::notice::{AGENT, Notice, ObjectRef, Severity};
use crate::k8s::events::{Events, Fate};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(5);
/// What is over sooner is not said: a start, a token that is renewed.
const LONG: Duration = Duration::from_secs(60);
/// Kubernetes forgets Events after an hour, by default: what lasts is said again.
const AGAIN: Duration = Duration::from_secs(1800);
/// What could not be sent, because the API server was away, is said again sooner, while it is true.
const UNSENT: Duration = Duration::from_secs(60);
/// The reasons of both Events.
const NOT_READY: &str = "CNINotReady";
const READY: &str = "CNIReady";

/// What was said of the agent's readiness.
pub struct Unready {
    node: String,
    /// Since when it is unready.
    since: Option<Instant>,
    /// When that was said last.
    said: Option<Instant>,
    /// When it was said last that it is over; nothing once that was sent.
    over: Option<Instant>,
}

/// Says it for ever.
pub async fn say(readiness: Arc<Readiness>, node: String, events: Events) -> Result<(), Infallible> {
    let mut unready = Unready::new(node);
    loop {
        let fate = |reason: &str| events.fate(reason);
        if let Some(notice) = unready.look(Instant::now(), &readiness.waiting_for(), fate) {
            events.say(notice);
        }
        sleep(EVERY).await;
    }
}

impl Unready {
    /// Nothing was said yet.
    pub fn new(node: String) -> Unready {
        Unready { node, since: None, said: None, over: None }
    }

    /// What is to be said now that these things stand in the way of being ready; `fate` is what became of what was
    /// said before.
    pub fn look(&mut self, now: Instant, reasons: &[String], fate: impl Fn(&str) -> Option<Fate>) -> Option<Notice> {
        let since = |said: Option<Instant>| said.map(|said| now.saturating_duration_since(said));
        if reasons.is_empty() {
            self.since = None;
            // Of what nobody could read it need not be said that it is over.
            let begins = self.said.take().is_some() && fate(NOT_READY) != Some(Fate::Lost);
            let again = since(self.over).is_some_and(|ago| ago >= UNSENT) && fate(READY) == Some(Fate::Lost);
            if fate(READY) == Some(Fate::Sent) {
                self.over = None;
            }
            return (begins || again).then(|| self.is_over(now));
        }
        self.over = None;
        let long = now.saturating_duration_since(*self.since.get_or_insert(now)) >= LONG;
        let pause = if fate(NOT_READY) == Some(Fate::Lost) { UNSENT } else { AGAIN };
        if !long || since(self.said).is_some_and(|ago| ago < pause) {
            return None;
        }
        self.said = Some(now);
        let message = format!(
            "the node agent of Istio's CNI plugin is not ready: {}; until it is, pods may not start on this node: look \
             at its log, or run istio-cni-otel doctor in its pod",
            reasons.join("; ")
        );
        Some(self.notice(Severity::Warning, NOT_READY, message))
    }

    fn is_over(&mut self, now: Instant) -> Notice {
        self.over = Some(now);
        self.notice(Severity::Normal, READY, "the node agent of Istio's CNI plugin is ready again".to_owned())
    }

    fn notice(&self, severity: Severity, reason: &'static str, message: String) -> Notice {
        Notice { component: AGENT, about: ObjectRef::node(&self.node, None), severity, reason, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_said_and_said_again_before_it_is_forgotten_and_its_end_once() {
        let (mut unready, start) = (Unready::new("node-a".into()), Instant::now());
        let mut look = |seconds: u64, reasons: &[&str]| {
            let reasons: Vec<String> = reasons.iter().map(|reason| (*reason).to_owned()).collect();
            let notice = unready.look(start + Duration::from_secs(seconds), &reasons, |_| Some(Fate::Sent))?;
            Some(format!("{} {}: {}", notice.about, notice.reason, notice.message.split(';').next()?))
        };
        let not_ready = "Node/node-a CNINotReady: the node agent of Istio's CNI plugin is not ready: this node's pods";
        assert_eq!(look(0, &["this node's pods"]), None);
        assert_eq!(look(59, &["the socket"]), None);
        assert_eq!(look(60, &["this node's pods"]).as_deref(), Some(not_ready));
        assert_eq!(look(65, &["this node's pods"]), None);
        assert_eq!(look(1860, &["this node's pods"]).as_deref(), Some(not_ready));
        let ready = "Node/node-a CNIReady: the node agent of Istio's CNI plugin is ready again";
        assert_eq!(look(1865, &[]).as_deref(), Some(ready));
        assert_eq!(look(1870, &[]), None);
        assert_eq!((look(1875, &["x"]), look(1880, &[]), look(1940, &["x"])), (None, None, None), "short, twice");
    }

    #[test]
    fn what_could_not_be_sent_is_said_again_while_it_is_true() {
        let (mut unready, start) = (Unready::new("node-a".into()), Instant::now());
        let mut look = |seconds: u64, reasons: &[&str], fates: [Option<Fate>; 2]| {
            let reasons: Vec<String> = reasons.iter().map(|reason| (*reason).to_owned()).collect();
            let fate = |reason: &str| fates[usize::from(reason == READY)];
            unready.look(start + Duration::from_secs(seconds), &reasons, fate).map(|notice| notice.reason)
        };
        let (lost, sent) = (Some(Fate::Lost), Some(Fate::Sent));
        assert_eq!(look(0, &["x"], [None, None]), None);
        assert_eq!(look(60, &["x"], [None, None]), Some(NOT_READY));
        assert_eq!(look(65, &["x"], [Some(Fate::Waits), None]), None);
        assert_eq!(look(119, &["x"], [lost, None]), None);
        assert_eq!(look(120, &["x"], [lost, None]), Some(NOT_READY));
        assert_eq!(look(181, &["x"], [sent, None]), None, "the API server is back");
        assert_eq!(look(185, &[], [sent, None]), Some(READY));
        assert_eq!(look(200, &[], [sent, lost]), None);
        assert_eq!(look(246, &[], [sent, lost]), Some(READY));
        assert_eq!(look(400, &[], [sent, sent]), None);
        assert_eq!(look(500, &[], [sent, lost]), None, "that is over");
        assert_eq!((look(600, &["x"], [sent, sent]), look(660, &["x"], [sent, sent])), (None, Some(NOT_READY)));
        assert_eq!(look(670, &[], [lost, sent]), None, "nobody has read that it was not ready");
    }
}
