//! The runbooks: a page for each thing that can be wrong, in the program itself, so that it is at hand where nothing
//! else is.

/// What a finding or an alert means, what it does to pods, how to see it and how to mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runbook {
    /// Its name, as findings have it: that of its file in `grafana/runbooks`, without `.md`.
    pub name: &'static str,
    /// Markdown.
    pub text: &'static str,
}

macro_rules! runbooks {
    ($($name:literal),* $(,)?) => {
        &[$(Runbook { name: $name, text: include_str!(concat!("../../grafana/runbooks/", $name, ".md")) }),*]
    };
}

impl Runbook {
    /// All of them.
    pub const ALL: &'static [Runbook] = runbooks![
        "agent-not-answering",
        "agent-not-ready",
        "agent-settings",
        "api-server",
        "backend",
        "capabilities",
        "kubeconfig",
        "network-configuration",
        "network-configuration-reverted",
        "node-without-agent",
        "plugin-missing",
        "pod-events",
        "pod-unknown",
        "pods-evicted-repeatedly",
        "pods-not-redirected",
        "runtime-directory",
        "runtime-not-ready",
        "telemetry-lost",
        "validation-failing",
        "versions",
        "watch-stale",
    ];

    /// The one of this name.
    pub fn named(name: &str) -> Option<&'static Runbook> {
        Runbook::ALL.iter().find(|runbook| runbook.name == name)
    }

    /// Its heading.
    pub fn title(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches("# ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::finding::Check;

    #[test]
    fn every_check_leads_to_a_runbook_that_names_it() {
        for check in Check::ALL {
            let runbook = Runbook::named(check.runbook()).unwrap_or_else(|| panic!("no runbook for {check:?}"));
            let said = format!("`{}`", check.name());
            assert!(runbook.text.contains(&said), "the runbook {} does not name the check {said}", runbook.name);
        }
    }

    #[test]
    fn every_runbook_says_meaning_impact_how_to_see_it_and_how_to_mend_it() {
        for Runbook { name, text } in Runbook::ALL {
            let headings: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
            assert_eq!(headings, ["Meaning", "Impact", "See it", "Mend it"], "{name}");
            assert!(text.starts_with("# "), "{name} has no title");
        }
    }
}
