//! What a look at a node or a cluster came to as a whole, and so the command's exit status.

use super::cluster_findings::ClusterReport;
use super::finding::{Check, Finding, Report, Status, worst};

/// What it came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong with what was looked at.
    Fine,
    /// Somebody has to do something.
    Found,
    /// Nothing was found, because it could not be looked; with the reason.
    NotSeen(String),
}

impl Verdict {
    /// The exit status.
    pub const fn status(&self) -> u8 {
        match self {
            Verdict::Fine => 0,
            Verdict::Found => 1,
            Verdict::NotSeen(_) => 2,
        }
    }

    /// What that status means.
    pub const fn meaning(&self) -> &'static str {
        match self {
            Verdict::Fine => "nothing was found",
            Verdict::Found => "there are findings",
            Verdict::NotSeen(_) => "it could not be looked",
        }
    }

    /// Of one node, or of one pod.
    pub fn of_report(report: &Report) -> Verdict {
        let agent = report.of(Check::AgentAnswers).filter(|finding| finding.status == Status::Unknown);
        let seen = report.findings.iter().any(|finding| finding.status != Status::Unknown);
        match (report.worst().is_finding(), agent) {
            (true, _) => Verdict::Found,
            (false, Some(agent)) => Verdict::NotSeen(agent.what.clone()),
            (false, None) if seen => Verdict::Fine,
            (false, None) => Verdict::NotSeen("nothing of what was looked at could be found out".to_owned()),
        }
    }

    /// Of a cluster.
    pub fn of_cluster(report: &ClusterReport) -> Verdict {
        if worst(report.all()).is_finding() {
            return Verdict::Found;
        }
        let answered = report.nodes.iter().filter(|node| node.findings.iter().any(is_known)).count();
        match (answered, report.nodes.len(), report.not_asked) {
            (0, _, _) => Verdict::NotSeen("no agent told anything of its node".to_owned()),
            (_, _, 0) => Verdict::Fine,
            (_, all, missed) => {
                Verdict::NotSeen(format!("the time was over before {missed} of {all} agents had answered"))
            }
        }
    }
}

fn is_known(finding: &Finding) -> bool {
    finding.status != Status::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok() -> Finding {
        Finding::ok(Check::Backend, "nftables")
    }

    fn unknown(check: Check) -> Finding {
        Finding::unknown(check, "who knows", "look")
    }

    fn of(findings: Vec<Finding>) -> u8 {
        Verdict::of_report(&Report { findings, ..Report::default() }).status()
    }

    #[test]
    fn a_node_of_which_nothing_is_known_is_not_fine() {
        assert_eq!(of(vec![ok(), unknown(Check::RuntimeDirectory)]), 0);
        assert_eq!(of(vec![unknown(Check::RuntimeDirectory), Finding::warning(Check::Backend, "", "")]), 1);
        assert_eq!(of(vec![unknown(Check::Backend), unknown(Check::RuntimeDirectory)]), 2);
        assert_eq!(of(vec![unknown(Check::AgentAnswers), Finding::ok(Check::PodEvents, "none")]), 2);
        assert_eq!(of(Vec::new()), 2);
    }

    #[test]
    fn a_cluster_is_fine_if_its_agents_said_so() {
        let node = |finding| Report { findings: vec![finding], ..Report::default() };
        let of = |nodes, not_asked| {
            let findings = vec![Finding::ok(Check::ClusterApi, "")];
            Verdict::of_cluster(&ClusterReport { findings, nodes, not_asked }).status()
        };
        assert_eq!(of(vec![node(ok()), node(unknown(Check::AgentAnswers))], 0), 0);
        assert_eq!(of(vec![node(ok()), node(unknown(Check::AgentAnswers))], 1), 2);
        assert_eq!(of(vec![node(unknown(Check::AgentAnswers))], 0), 2);
        assert_eq!(of(vec![node(Finding::problem(Check::Backend, "", ""))], 5), 1);
    }
}
