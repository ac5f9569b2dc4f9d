//! An Event on the node when the agent is unready for long: whoever looks at a node on which pods do not start
//! reads why.

use super::readiness::Readiness;
use crate::domain::notice::{AGENT, Notice, ObjectRef, Severity};
use crate::k8s::events::Events;
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

/// What was said of the agent's readiness.
pub struct Unready {
    node: String,
    /// Since when it is unready.
    since: Option<Instant>,
    /// When that was said last.
    said: Option<Instant>,
}

/// Says it for ever.
pub async fn say(readiness: Arc<Readiness>, node: String, events: Events) -> Result<(), Infallible> {
    let mut unready = Unready::new(node);
    loop {
        if let Some(notice) = unready.look(Instant::now(), &readiness.waiting_for()) {
            events.say(notice);
        }
        sleep(EVERY).await;
    }
}

impl Unready {
    /// Nothing was said yet.
    pub fn new(node: String) -> Unready {
        Unready { node, since: None, said: None }
    }

    /// What is to be said now that these things stand in the way of being ready.
    pub fn look(&mut self, now: Instant, reasons: &[String]) -> Option<Notice> {
        if reasons.is_empty() {
            self.since = None;
            let said = self.said.take();
            return said.map(|_| {
                self.notice(
                    Severity::Normal,
                    "CNIReady",
                    "the node agent of Istio's CNI plugin is ready again".to_owned(),
                )
            });
        }
        let long = now.saturating_duration_since(*self.since.get_or_insert(now)) >= LONG;
        let lately = self.said.is_some_and(|said| now.saturating_duration_since(said) < AGAIN);
        if !long || lately {
            return None;
        }
        self.said = Some(now);
        let message = format!(
            "the node agent of Istio's CNI plugin is not ready: {}; until it is, pods may not start on this node: look \
             at its log, or run istio-cni-otel doctor in its pod",
            reasons.join("; ")
        );
        Some(self.notice(Severity::Warning, "CNINotReady", message))
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
            let notice = unready.look(start + Duration::from_secs(seconds), &reasons)?;
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
}
