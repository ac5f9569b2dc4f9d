//! What `doctor` finds: one finding per check, with what was seen, what to do next and which runbook says more; and
//! how the findings of a process that looks for itself and those of the agent become one list.

pub use super::check::Check;
use std::borrow::Cow;
use std::fmt;

/// What a check came to; the later, the more it is to be heeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// It could not be found out.
    Unknown,
    Ok,
    /// It works, and is probably not meant so, or will stop working.
    Warning,
    /// Pods fail, or start without their redirection.
    Problem,
}

impl Status {
    /// Every status.
    pub const ALL: [Status; 4] = [Status::Unknown, Status::Ok, Status::Warning, Status::Problem];

    /// Its name in output; stable.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Unknown => "unknown",
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Problem => "problem",
        }
    }

    /// Whether somebody has to do something about it.
    pub const fn is_finding(self) -> bool {
        matches!(self, Status::Warning | Status::Problem)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The check's name: one of [`Check::name`], or that of a check which another version has.
    pub check: Cow<'static, str>,
    pub status: Status,
    /// One sentence: what is so, and what that means.
    pub what: String,
    /// What was seen: paths, values, names; one line each.
    pub evidence: Vec<String>,
    /// What to do; empty where there is nothing to be done.
    pub next: String,
    /// The runbook's name; empty where there is nothing to be done.
    pub runbook: Cow<'static, str>,
}

impl Finding {
    fn new(check: Check, status: Status, what: impl Into<String>, next: impl Into<String>) -> Finding {
        let runbook = if status.is_finding() { check.runbook() } else { "" };
        let (check, runbook) = (Cow::Borrowed(check.name()), Cow::Borrowed(runbook));
        Finding { check, status, what: what.into(), evidence: Vec::new(), next: next.into(), runbook }
    }

    /// All is well.
    pub fn ok(check: Check, what: impl Into<String>) -> Finding {
        Finding::new(check, Status::Ok, what, "")
    }

    /// It could not be found out; `next` says how it could be.
    pub fn unknown(check: Check, what: impl Into<String>, next: impl Into<String>) -> Finding {
        Finding::new(check, Status::Unknown, what, next)
    }

    /// Somebody should look at it.
    pub fn warning(check: Check, what: impl Into<String>, next: impl Into<String>) -> Finding {
        Finding::new(check, Status::Warning, what, next)
    }

    /// Somebody has to do something.
    pub fn problem(check: Check, what: impl Into<String>, next: impl Into<String>) -> Finding {
        Finding::new(check, Status::Problem, what, next)
    }

    /// The same with something that was seen.
    pub fn with(mut self, evidence: impl Into<String>) -> Finding {
        self.evidence.push(evidence.into());
        self
    }

    /// The same with the first few of these, and how many more there are.
    pub fn with_some(mut self, evidence: &[String]) -> Finding {
        const SHOWN: usize = 10;
        self.evidence.extend(evidence.iter().take(SHOWN).cloned());
        if evidence.len() > SHOWN {
            self.evidence.push(format!("and {} more", evidence.len() - SHOWN));
        }
        self
    }

    /// Whether it is of this check.
    pub fn is(&self, check: Check) -> bool {
        self.check == check.name()
    }
}

/// What was found on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The node's name; empty where it is not known.
    pub node: String,
    /// The version of the agent there; empty where none answered.
    pub version: String,
    /// The SHA-256 of the plugin there, in hexadecimal; empty where there is none.
    pub plugin: String,
    pub findings: Vec<Finding>,
}

impl Report {
    /// The worst of its findings; what could not be found out is no finding.
    pub fn worst(&self) -> Status {
        worst(&self.findings)
    }

    /// Its finding of a check, if it has one.
    pub fn of(&self, check: Check) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.is(check))
    }

    /// Takes over what the agent of the same node found. Of two findings of one check the worse one stays; of two
    /// that are as bad the agent's, which knows more.
    pub fn merge(&mut self, agent: Report) {
        for finding in agent.findings {
            match self.findings.iter_mut().find(|own| own.check == finding.check) {
                None => self.findings.push(finding),
                Some(own) if finding.status >= own.status => *own = finding,
                Some(_) => {}
            }
        }
        let take = |own: &mut String, agents: String| {
            if !agents.is_empty() {
                *own = agents;
            }
        };
        take(&mut self.version, agent.version);
        take(&mut self.node, agent.node);
        if self.plugin.is_empty() {
            self.plugin = agent.plugin;
        }
        self.sort();
    }

    /// Leaves these checks to the agent of the same node, if it says anything of them: they were made at places that
    /// were only guessed, and it knows the right ones.
    pub fn give_way(&mut self, agent: &Report, guessed: &[Check]) {
        if !guessed.iter().any(|check| agent.of(*check).is_some()) {
            return;
        }
        self.findings.retain(|own| !guessed.iter().any(|check| own.is(*check)));
        if guessed.contains(&Check::PluginBinary) {
            self.plugin.clear();
        }
    }

    /// Puts the findings into the order of the checks; those of other versions come last.
    pub fn sort(&mut self) {
        let place = |finding: &Finding| Check::ALL.iter().position(|check| finding.is(*check)).unwrap_or(usize::MAX);
        self.findings.sort_by_key(place);
    }
}

/// So many of something, for people.
pub fn so_many(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// The worst of these; [`Status::Ok`] when none is worse.
pub fn worst<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Status {
    findings.into_iter().map(|finding| finding.status).max().unwrap_or(Status::Ok).max(Status::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_has_a_runbook() {
        assert_eq!(Finding::ok(Check::Backend, "fine").runbook, "");
        assert_eq!(Finding::unknown(Check::Backend, "who knows", "look").runbook, "");
        assert_eq!(Finding::warning(Check::Backend, "odd", "look").runbook, "backend");
    }

    #[test]
    fn the_worse_finding_stays_and_of_equals_the_agents() {
        let report = |findings| Report { findings, ..Report::default() };
        let mut own = report(vec![
            Finding::problem(Check::PluginBinary, "it is gone", "wait"),
            Finding::unknown(Check::Backend, "only the agent knows", ""),
            Finding::ok(Check::Kubeconfig, "there"),
        ]);
        own.merge(Report {
            version: "0.1.0".into(),
            ..report(vec![
                Finding::ok(Check::Kubeconfig, "as wanted"),
                Finding::ok(Check::Backend, "nftables"),
                Finding::ok(Check::PluginBinary, "as the image's"),
                Finding::ok(Check::AgentReady, "ready"),
            ])
        });
        let whats: Vec<&str> = own.findings.iter().map(|finding| finding.what.as_str()).collect();
        assert_eq!(whats, ["ready", "it is gone", "as wanted", "nftables"]);
        assert_eq!((own.worst(), own.version.as_str()), (Status::Problem, "0.1.0"));
    }

    #[test]
    fn what_was_seen_at_guessed_places_gives_way_to_the_agents_word() {
        let guessed = [Check::NetworkValid, Check::NetworkPlace];
        let own = Report {
            plugin: "guess".into(),
            findings: vec![
                Finding::problem(Check::NetworkValid, "no pod gets a network", "look"),
                Finding::problem(Check::Kubeconfig, "it is missing", "look"),
            ],
            ..Report::default()
        };
        let agent = |check| Report { findings: vec![Finding::ok(check, "fine")], ..Report::default() };
        let merged = |agent: Report| {
            let mut own = own.clone();
            own.give_way(&agent, &guessed);
            own.merge(agent);
            own.findings.iter().map(|finding| (finding.check.to_string(), finding.status)).collect::<Vec<_>>()
        };
        let missing = ("kubeconfig.file".to_owned(), Status::Problem);
        assert_eq!(merged(agent(Check::NetworkPlace)), [("network.place".to_owned(), Status::Ok), missing.clone()]);
        // An agent that installs nothing says nothing of it.
        let kept = merged(agent(Check::Backend));
        assert_eq!(kept[..2], [("network.valid".to_owned(), Status::Problem), missing]);
    }

    #[test]
    fn what_is_unknown_is_no_finding() {
        assert_eq!(worst(&[Finding::unknown(Check::Backend, "", "")]), Status::Ok);
        assert!(!Status::Unknown.is_finding() && Status::Warning.is_finding());
        assert_eq!(worst([]), Status::Ok);
    }

    #[test]
    fn long_evidence_is_cut_and_says_so() {
        let many: Vec<String> = (0..12).map(|n| n.to_string()).collect();
        let finding = Finding::ok(Check::Backend, "").with_some(&many);
        assert_eq!(finding.evidence.len(), 11);
        assert_eq!(finding.evidence[10], "and 2 more");
    }
}
