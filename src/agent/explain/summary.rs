//! The answer in one sentence.

use super::subject::Subject;
use crate::wire::explain::{Call, Explanation, Summary};

/// What the rest comes to; `start` is what there is to say of the pod's start.
pub fn summary(explanation: &Explanation, subject: &Subject, start: Option<&str>, set_up: bool) -> Summary {
    let name = match subject.pod.name.as_str() {
        "" => format!("the pod {}", subject.uid()),
        name => format!("{}/{name}", subject.pod.namespace),
    };
    let (state, rest) = state(explanation, subject, set_up);
    let start = start.map(|start| format!("; {start}")).unwrap_or_default();
    Summary { state: state.to_owned(), sentence: format!("{name} {rest}{start}") }
}

fn state(explanation: &Explanation, subject: &Subject, set_up: bool) -> (&'static str, String) {
    let Explanation { rules, decision, .. } = explanation;
    let last_add = explanation.calls.iter().rfind(|call| matches!(call.command.as_str(), "add" | ""));
    let Some(facts) = &subject.facts else { return ("gone", gone(explanation, last_add)) };
    let failed = last_add.and_then(|call| call.error.as_ref());
    if set_up {
        return ("setting_up", "is being set up right now: an ADD is under way".to_owned());
    }
    // A pod that is to get no rules may fail all the same: nobody could find that out.
    if let Some(problem) = failed.filter(|_| facts.status.addresses.is_empty() && !facts.status.is_over()) {
        return ("failed", format!("was not set up: {}", problem.message));
    }
    if let Some(decision) = decision.as_ref().filter(|decision| decision.result != "enroll") {
        return match decision.result.as_str() {
            "skip" => ("skipped", format!("gets no rules: {}", decision.why)),
            _ => ("failed", format!("cannot be set up: {}", decision.why)),
        };
    }
    match rules.state.as_str() {
        "redirected" => (
            "redirected",
            format!(
                "is redirected: its namespace has exactly the {} rules that it should have ({})",
                rules.count, rules.backend
            ),
        ),
        "broken" => {
            let places = match rules.differences.len() {
                1 => "one place".to_owned(),
                count => format!("{count} places"),
            };
            let differ = format!("its rules differ in {places} from those that it should have");
            ("broken", format!("is not redirected as it should be: {differ}"))
        }
        _ if facts.status.is_over() => ("over", "is over: its containers have ended".to_owned()),
        _ => match (failed, &rules.problem) {
            (Some(problem), _) => ("failed", format!("was not set up: {}", problem.message)),
            (None, Some(problem)) => ("unknown", format!("may be redirected or not: {}", problem.message)),
            (None, None) if last_add.is_none() => ("waiting", "was not set up yet: no ADD came for it".to_owned()),
            (None, None) => ("waiting", "was set up, and the API server does not know its address yet".to_owned()),
        },
    }
}

fn gone(explanation: &Explanation, last_add: Option<&Call>) -> String {
    let was = match last_add {
        None => String::new(),
        Some(Call { error: Some(problem), .. }) => format!("; its last ADD failed: {}", problem.message),
        Some(call) => match call.outcome.as_str() {
            "enrolled" => "; it was set up".to_owned(),
            "skipped" => "; it got no rules".to_owned(),
            _ => String::new(),
        },
    };
    let last = explanation.timeline.last().map(|entry| format!(", and was heard of last at {}", entry.at));
    format!("is gone from this node{}{was}", last.unwrap_or_default())
}
