//! What is to be done with the pod and why: decided anew from its object, or as its trace says.

use super::Explainer;
use super::spans::{Told, body, text};
use super::subject::Subject;
use crate::domain::decision::{Decision as Decided, decide, skip_by_name, warnings};
use crate::domain::failure::{Classify, whole};
use crate::domain::pod::PodFacts;
use crate::domain::settings::{Mode, Ports, Ranges, RedirectSettings};
use crate::domain::step::Step;
use crate::telemetry::event;
use crate::telemetry::keys;
use crate::wire::explain::{Decision, Setting};

impl Explainer {
    /// The decision, if anything is known of it.
    pub(super) fn decide(&self, subject: &Subject, told: &Told) -> Option<Decision> {
        match &subject.facts {
            Some(facts) => Some(self.now(facts)),
            None => then(told),
        }
    }

    fn now(&self, pod: &PodFacts) -> Decision {
        let skip = |reason: &str, why: String| decision("skip", Some(reason), why, "now");
        if pod.status.host_network {
            let why = "it uses the host's network (hostNetwork), for which the runtime calls no plugin";
            return skip("host_network", why.to_owned());
        }
        if let Some(by_name) = skip_by_name(&pod.namespace, &pod.name, &self.own_namespace, &self.excluded) {
            return skip(by_name.reason.name(), by_name.message);
        }
        match decide(pod) {
            Ok(Decided::Skip(by_facts)) => skip(by_facts.reason.name(), by_facts.message),
            Ok(Decided::Enroll(settings)) => Decision {
                settings: described(&settings),
                warnings: warnings(pod).into_iter().map(|warning| warning.message).collect(),
                ..decision("enroll", None, "it has a sidecar that was injected".to_owned(), "now")
            },
            Err(error) => decision("refuse", Some(error.error_type().as_str()), whole(&error), "now"),
        }
    }
}

/// As it was decided then.
fn then(told: &Told) -> Option<Decision> {
    let span = told.spans.iter().rfind(|span| span.name == Step::RedirectDecide.name())?;
    let (result, reason) = (text(span, keys::DECISION), text(span, keys::REASON));
    let said =
        told.logs.iter().rfind(|log| log.event_name == event::POD_SKIPPED.as_str()).map(|log| body(log).to_owned());
    Some(match result.as_str() {
        "skip" => decision("skip", Some(&reason), said.unwrap_or_default(), "trace"),
        "enroll" => decision("enroll", None, "it had a sidecar that was injected".to_owned(), "trace"),
        _ => {
            let problem = super::problems::of_span(span)?;
            decision("refuse", Some(&problem.error_type), problem.message, "trace")
        }
    })
}

fn decision(result: &str, reason: Option<&str>, why: String, source: &str) -> Decision {
    Decision {
        result: result.to_owned(),
        reason: reason.filter(|reason| !reason.is_empty()).map(str::to_owned),
        why,
        source: source.to_owned(),
        ..Decision::default()
    }
}

/// The settings in words; what is not set is left out.
fn described(settings: &RedirectSettings) -> Vec<Setting> {
    let mut all = vec![
        (
            "mode",
            match settings.mode {
                Mode::Redirect => "REDIRECT".to_owned(),
                Mode::Tproxy => "TPROXY".to_owned(),
            },
        ),
        (
            "inbound ports",
            match &settings.include_inbound {
                Ports::All => format!("all but {}", list(&settings.exclude_inbound)),
                Ports::These(ports) if ports.is_empty() => "none".to_owned(),
                Ports::These(ports) => list(ports),
            },
        ),
        (
            "outbound ranges",
            match &settings.include_ranges {
                Ranges::All => "all".to_owned(),
                Ranges::These { v4, v6 } if v4.is_empty() && v6.is_empty() => "none".to_owned(),
                Ranges::These { v4, v6 } => {
                    [list(v4), list(v6)].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
                }
            },
        ),
    ];
    all.extend([
        (
            "outbound ranges left alone",
            [list(&settings.exclude_ranges_v4), list(&settings.exclude_ranges_v6)]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join(", "),
        ),
        ("outbound ports captured besides", list(&settings.include_outbound)),
        ("outbound ports left alone", list(&settings.exclude_outbound)),
        ("interfaces left alone", settings.exclude_interfaces.join(", ")),
        ("interfaces of virtual machines", settings.reroute_interfaces.join(", ")),
    ]);
    all.push(("proxy", format!("uid {}, gid {}", settings.proxy_uid, settings.proxy_gid)));
    let switches = [
        ("DNS", settings.dns_capture),
        ("dual stack", settings.dual_stack),
        ("invalid packets dropped", settings.invalid_drop),
    ];
    all.extend(switches.into_iter().filter(|(_, is)| *is).map(|(name, _)| (name, "yes".to_owned())));
    let given = all.into_iter().filter(|(_, value)| !value.is_empty());
    given.map(|(name, value)| Setting { name: name.to_owned(), value }).collect()
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
