//! An explanation for people: the answer first, then what it rests on. Every text of others has been made
//! safe before it comes here.

use crate::cmd::demo::style::{Style, column, wrap};
use crate::wire::explain::{
    Call, Decision, Entry, Explanation, LeftOut, Problem, Repair, Rules, Setting, Step, Trace, Validation,
};

/// Where values stand, after the names of what they are.
const NAMES: usize = 10;
/// The column of a step's name, with how deep it stands.
const STEPS: usize = 22;

/// The whole explanation.
pub fn text(explanation: &Explanation, style: Style, rules: bool) -> String {
    let mut page = Page { style, text: String::new() };
    page.summary(explanation);
    page.head(explanation);
    page.decision(explanation.decision.as_ref());
    let more = &explanation.left_out;
    page.timeline(&explanation.timeline, more.timeline);
    page.calls(&explanation.calls, more.calls);
    page.problems(&explanation.errors, more.errors);
    page.rules(&explanation.rules, rules, more);
    page.validations(&explanation.validations, more.validations);
    page.repairs(&explanation.repairs, more.repairs);
    page.others(explanation);
    page.text
}

struct Page {
    style: Style,
    text: String,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn heading(&mut self, text: &str) {
        let text = self.style.bold(text);
        self.line(&format!("\n{text}"));
    }

    /// Text that hangs below its first line.
    fn hanging(&mut self, first: &str, text: &str, indent: usize) {
        let room = self.style.width.saturating_sub(indent).max(20);
        let mut lines = wrap(text, room).into_iter();
        self.line(&format!("{first}{}", lines.next().unwrap_or_default()));
        for line in lines {
            self.line(&format!("{:indent$}{line}", ""));
        }
    }

    /// That there are more than are shown.
    fn more(&mut self, count: u64, what: &str) {
        if count > 0 {
            let text = self.style.dim(&format!("  … {count} more {what} are left out"));
            self.line(&text);
        }
    }

    fn named(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.hanging(&format!("{name:NAMES$}"), value, NAMES);
        }
    }

    fn summary(&mut self, explanation: &Explanation) {
        let summary = &explanation.summary;
        let style = self.style;
        for line in wrap(&summary.sentence, style.width) {
            let line = match summary.state.as_str() {
                "redirected" => style.green(&line),
                "broken" | "failed" => style.red(&line),
                _ => style.bold(&line),
            };
            self.line(&line);
        }
        self.line("");
    }

    fn head(&mut self, explanation: &Explanation) {
        let Explanation { pod, agent, trace, notes, .. } = explanation;
        let being_deleted = if pod.deleting { "being deleted" } else { "" };
        let presence = if pod.presence == "gone" { "gone" } else { pod.phase.as_str() };
        let parts = [
            format!("{}/{}", pod.namespace, pod.name),
            presence.to_owned(),
            being_deleted.to_owned(),
            pod.addresses.join(" "),
        ];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        self.named("pod", &parts.join(", "));
        self.named("uid", &pod.uid);
        self.named("node", &format!("{} (agent {}, its clock {})", agent.node, agent.version, agent.now));
        self.trace(trace, explanation.left_out.traces);
        for note in notes {
            self.named("note", note);
        }
    }

    fn trace(&mut self, trace: &Trace, more: u64) {
        let forgotten = if trace.forgotten > 0 { format!(", {} forgotten", trace.forgotten) } else { String::new() };
        let kept = format!("{} ({} spans, {} log records{forgotten})", trace.id, trace.spans, trace.log_records);
        self.named("trace", &kept);
        // A link that is broken into lines leads nowhere.
        if let Some(url) = &trace.url {
            self.line(&format!("{:NAMES$}{url}", ""));
        }
        let more = if more > 0 { format!(" and {more} more, which were not read") } else { String::new() };
        self.named("also in", &format!("{}{more}", trace.also_in.join(" ")));
    }

    fn decision(&mut self, decision: Option<&Decision>) {
        let Some(decision) = decision else { return };
        self.heading("Decision");
        let reason = decision.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let then = if decision.source == "trace" { ", as it was decided then" } else { "" };
        self.hanging("  ", &format!("{}{reason}{then}: {}", decision.result, decision.why), 4);
        let widest = decision.settings.iter().map(|setting| setting.name.chars().count()).max().unwrap_or_default();
        for Setting { name, value } in &decision.settings {
            self.hanging(&format!("    {name:widest$}  "), value, widest + 6);
        }
        for warning in &decision.warnings {
            self.hanging("  warning: ", warning, 4);
        }
    }

    fn timeline(&mut self, timeline: &[Entry], more: u64) {
        if timeline.is_empty() {
            return;
        }
        self.heading("Timeline (UTC)");
        let mut day = "";
        for entry in timeline {
            let (date, time) = entry.at.split_once('T').unwrap_or(("", &entry.at));
            if date != day {
                self.line(&format!("  {}", self.style.dim(date)));
                day = date;
            }
            let took = entry.took_ns.map(duration).unwrap_or_default();
            let first = format!(
                "  {} {:>10}  {}  ",
                column(time.trim_end_matches('Z'), 15),
                took,
                mark(self.style, &entry.outcome)
            );
            let text =
                if entry.text.is_empty() { entry.what.clone() } else { format!("{}: {}", entry.what, entry.text) };
            self.hanging(&first, &text, 33);
        }
        self.more(more, "entries, after the first and before the newest,");
    }

    /// The newest call with its steps, and the others in a line each.
    fn calls(&mut self, calls: &[Call], more: u64) {
        let Some((last, before)) = calls.split_last() else { return };
        // What is asked about is mostly the last ADD, also when a DEL came after it.
        let shown = calls.iter().rfind(|call| call.command != "del").unwrap_or(last);
        let title = format!("Steps of the last {}", upper(&shown.command));
        self.heading(&title);
        let by = match shown.path.as_str() {
            "agent" => ", by the agent",
            "standalone" => ", by the plugin alone",
            _ => "",
        };
        self.hanging("  ", &format!("at {}, {}{by}: {}", shown.at, duration(shown.took_ns), outcome(shown)), 4);
        self.named_if("    sandbox  ", &shown.container_id);
        self.named_if("    netns    ", &shown.netns);
        self.steps(&shown.steps);
        if !before.is_empty() {
            self.line(&format!("  {} calls in all are remembered.", calls.len() as u64 + more));
        }
    }

    fn named_if(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.hanging(name, value, name.chars().count());
        }
    }

    fn steps(&mut self, steps: &[Step]) {
        for step in steps {
            let depth = usize::try_from(step.depth).unwrap_or_default().min(6) * 2;
            let name = column(&format!("{:depth$}{}", "", step.name), STEPS);
            let did: Vec<String> = step.did.iter().map(|did| format!("{} {}", did.name, did.value)).collect();
            let did = match &step.error {
                Some(error) => error.error_type.clone(),
                None => did.join(", "),
            };
            let first = format!("    {} {name} {:>10}  ", mark(self.style, &step.outcome), duration(step.took_ns));
            self.hanging(&first, &did, STEPS + 23);
        }
    }

    fn problems(&mut self, problems: &[Problem], more: u64) {
        if problems.is_empty() {
            return;
        }
        self.heading("Errors");
        for problem in problems {
            let times = if problem.count > 1 { format!(", {} times", problem.count) } else { String::new() };
            let what = format!("{} in {}{times}, last at {}", problem.error_type, problem.step, problem.at);
            let mark = mark(self.style, "failed");
            self.hanging(&format!("  {mark} "), &what, 4);
            self.hanging("    ", &problem.message, 4);
            self.hanging("    next: ", &problem.next, 10);
        }
        self.more(more, "older errors");
    }

    fn rules(&mut self, rules: &Rules, whole: bool, left_out: &LeftOut) {
        if rules.state == "none" || rules.state == "skipped" {
            return;
        }
        self.heading("Rules");
        let at = rules.at.as_ref().map(|at| format!(", looked at {at}")).unwrap_or_default();
        let place = if rules.netns.is_empty() { String::new() } else { format!(" in {}", rules.netns) };
        let backend = if rules.backend.is_empty() { String::new() } else { format!(", {}", rules.backend) };
        let said = match rules.state.as_str() {
            "redirected" => format!("as they should be: {} rules", rules.count),
            "broken" => format!("not as they should be ({} rules)", rules.count),
            state => state.to_owned(),
        };
        self.hanging("  ", &format!("{said}{backend}{place}{at}"), 4);
        if let Some(problem) = &rules.problem {
            self.hanging("    ", &format!("{}: {}", problem.error_type, problem.message), 4);
            self.hanging("    next: ", &problem.next, 10);
        }
        for difference in &rules.differences {
            let mark = mark(self.style, "failed");
            self.hanging(&format!("    {mark} "), &format!("{}: {}", difference.place, difference.what), 6);
        }
        self.more(left_out.differences, "differences");
        if whole || rules.state == "broken" {
            // Nothing at all is an older agent's answer, or that of one that could not look.
            if !rules.found.is_empty() {
                self.line("  as they are:");
                rules.found.iter().for_each(|line| self.line(&format!("    {line}")));
                self.more(left_out.found, "lines");
            }
            self.line("  as they should be:");
            // Rules are to be copied, so their lines stay whole.
            rules.wanted.iter().for_each(|line| self.line(&format!("    {line}")));
        }
    }

    fn validations(&mut self, validations: &[Validation], more: u64) {
        if validations.is_empty() {
            return;
        }
        self.heading("Validations");
        for validation in validations {
            let code = validation.exit_code.map(|code| format!(", exit status {code}")).unwrap_or_default();
            let run = format!(
                "{} at {}, {}, run {}{code}",
                validation.result,
                validation.at,
                duration(validation.took_ns),
                validation.restarts + 1
            );
            let word = if validation.error.is_some() { "failed" } else { "ok" };
            let mark = mark(self.style, word);
            self.hanging(&format!("  {mark} "), &run, 4);
            if let Some(error) = &validation.error {
                self.hanging("    ", &error.message, 4);
            }
        }
        self.more(more, "validations");
    }

    fn repairs(&mut self, repairs: &[Repair], more: u64) {
        if repairs.is_empty() {
            return;
        }
        self.heading("Repairs");
        for repair in repairs {
            let cause = if repair.cause.is_empty() { String::new() } else { format!(", because of {}", repair.cause) };
            let what = format!(
                "{} {}, attempt {}, at {}, {}{cause}",
                repair.mode,
                repair.result,
                repair.attempt,
                repair.at,
                duration(repair.took_ns)
            );
            let word = if repair.error.is_some() { "failed" } else { "ok" };
            let mark = mark(self.style, word);
            self.hanging(&format!("  {mark} "), &what, 4);
            if let Some(error) = &repair.error {
                self.hanging("    ", &error.message, 4);
            }
            self.steps(&repair.steps);
        }
        self.more(more, "repairs");
    }

    fn others(&mut self, explanation: &Explanation) {
        if explanation.others.is_empty() {
            return;
        }
        self.heading("Other pods of this name, by their --uid");
        for other in &explanation.others {
            let error = other.error.as_ref().map(|error| format!(", {error}")).unwrap_or_default();
            self.hanging("  ", &format!("{}, heard of last at {}{error}", other.uid, other.last), 4);
        }
        self.more(explanation.left_out.others, "of them");
    }
}

fn mark(style: Style, outcome: &str) -> String {
    match outcome {
        "ok" => style.green("✓"),
        "failed" => style.red("✗"),
        _ => style.dim("…"),
    }
}

fn outcome(call: &Call) -> String {
    match (&call.error, call.outcome.as_str()) {
        (Some(error), _) => format!("failed, {}", error.error_type),
        (None, "") => "the plugin did not live to say what came of it".to_owned(),
        (None, outcome) => call.reason.as_ref().map_or(outcome.to_owned(), |reason| format!("{outcome}, {reason}")),
    }
}

fn upper(command: &str) -> String {
    if command.is_empty() { "call".to_owned() } else { command.to_ascii_uppercase() }
}

/// A duration for people: three digits, or whole seconds.
fn duration(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    match (seconds, ns) {
        (0, ns) if ns < 1_000_000 => format!("{:.3} ms", ns as f64 / 1e6),
        (0, ns) => format!("{:.1} ms", ns as f64 / 1e6),
        (..60, ns) => format!("{:.3} s", ns as f64 / 1e9),
        (..3600, _) => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let shown = [12_345, 12_345_678, 1_234_567_890, 61_000_000_000, 7_260_000_000_000].map(duration);
        assert_eq!(shown, ["0.012 ms", "12.3 ms", "1.235 s", "1 min 1 s", "2 h 1 min"]);
    }

    #[test]
    fn an_empty_explanation_is_shown_too() {
        let style = Style { colour: false, width: 80 };
        assert!(text(&Explanation::default(), style, true).contains("trace"));
    }
}
