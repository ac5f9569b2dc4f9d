//! Asks agents through the API server: a few at once, none for long, and all together within a limit. Whoever has not
//! answered by then is said to be unknown, and not dead.

use super::rights::Right;
use crate::agent::doctor::PATH;
use crate::cmd::progress::Progress;
use crate::cmd::reach::{Reach, ReachError};
use crate::domain::failure::whole;
use crate::domain::finding::{Check, Finding, Report};
use crate::k8s::agents::AgentPod;
use crate::k8s::client::ApiClient;
use crate::k8s::error::ApiError;
use crate::k8s::forward::ForwardError;
use crate::wire::finding::decode;
use futures::StreamExt;
use std::time::Duration;
use tokio::time::Instant;

/// So many agents are asked at once.
pub const AT_ONCE: usize = 32;
/// No agent may take longer, with the way to it.
const LONGEST: Duration = Duration::from_secs(15);

/// Why an agent says nothing.
pub enum Silence {
    /// Whoever asks may not ask it.
    Forbidden(String),
    /// It cannot be asked this way, and may be well.
    Deaf { problem: String, next: String },
    /// It should have answered.
    Broken(String),
}

/// Who asks, and until when.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    pub reach: &'a Reach,
    pub api: &'a ApiClient,
    /// How long all of it may take.
    pub limit: Duration,
    /// When that is over.
    pub deadline: Instant,
}

/// What all agents said.
#[derive(Default)]
pub struct Answers {
    /// By node.
    pub reports: Vec<Report>,
    /// How many had no time to answer.
    pub not_asked: usize,
    /// Why none of them may be asked, if that is so.
    pub forbidden: Option<String>,
}

impl<'a> Asking<'a> {
    /// From now on.
    pub fn new(reach: &'a Reach, api: &'a ApiClient, limit: Duration) -> Asking<'a> {
        Asking { reach, api, limit, deadline: Instant::now() + limit }
    }

    /// How long one agent, or one question to the API server besides, may take: so that many that do not answer leave
    /// time for the others.
    pub fn each(&self) -> Duration {
        (self.limit / 4).min(LONGEST)
    }

    /// What each agent says; those that are ready first.
    pub async fn all<'b>(&self, agents: &'b [AgentPod]) -> Answers {
        let mut progress = Progress::of_stderr("asking the agents");
        progress.tell(0, agents.len());
        let mut waiting: Vec<&AgentPod> = agents.iter().collect();
        waiting.sort_by_key(|agent| !agent.ready);
        let ask = |agent: &&'b AgentPod| {
            let agent = *agent;
            async move {
                let asked = if agent.runs { Some(self.report(agent, PATH).await) } else { None };
                (agent, asked)
            }
        };
        let questions: Vec<_> = waiting.iter().map(ask).collect();
        let mut answering = std::pin::pin!(futures::stream::iter(questions).buffer_unordered(AT_ONCE));
        let (mut answers, mut forbidden, mut others) = (Answers::default(), None, 0_usize);
        while let Ok(Some((agent, asked))) = tokio::time::timeout_at(self.deadline, answering.next()).await {
            match &asked {
                Some(Err(Silence::Forbidden(problem))) => forbidden = Some(problem.clone()),
                Some(_) => others += 1,
                None => {}
            }
            waiting.retain(|other| other.name != agent.name || other.namespace != agent.namespace);
            answers.reports.push(told(agent, asked));
            progress.tell(answers.reports.len(), agents.len());
        }
        answers.not_asked = waiting.len();
        answers.reports.extend(waiting.into_iter().map(|agent| self.not_asked(agent)));
        answers.reports.sort_by(|one, other| one.node.cmp(&other.node));
        answers.forbidden = forbidden.filter(|_| others == 0);
        answers
    }

    /// What one agent reports.
    pub async fn report(&self, agent: &AgentPod, path: &str) -> Result<Report, Silence> {
        let body = self.get(agent, path).await?;
        decode(&body).map_err(|error| Silence::Broken(error.to_string()))
    }

    /// What an agent answers at a path.
    pub async fn get(&self, agent: &AgentPod, path: &str) -> Result<Vec<u8>, Silence> {
        let each = self.each();
        let late = |_| Silence::Broken(format!("it did not answer within {each:?}"));
        let answer = tokio::time::timeout(each, self.reach.at_agent(self.api, agent, path)).await.map_err(late)?;
        match answer.map_err(|error| silence(&error, agent))? {
            answer if answer.status == 200 => Ok(answer.body),
            answer if answer.status == 404 => {
                let problem = "it is of a version that cannot be asked".to_owned();
                let next = "use the command of the agent's image, for instance by kubectl exec; or let the DaemonSet's rollout finish";
                Err(Silence::Deaf { problem, next: next.to_owned() })
            }
            answer => Err(Silence::Broken(format!("it answers with status {}: {}", answer.status, answer.line()))),
        }
    }

    fn not_asked(&self, agent: &AgentPod) -> Report {
        let what =
            format!("not asked: the {} s for all agents were over before this one had answered", self.limit.as_secs());
        let next = "give them more time with --timeout, or run doctor on the node, or in its agent's pod";
        of_node(agent, Finding::unknown(Check::AgentAnswers, what, next))
    }
}

fn silence(error: &ReachError, agent: &AgentPod) -> Silence {
    match error {
        ReachError::Forward(ForwardError::Api(
            error @ (ApiError::Forbidden { .. } | ApiError::Unauthorized { .. }),
        )) => Silence::Forbidden(Right::forward(&agent.namespace).problem(error)),
        ReachError::NoPage { .. } => {
            let next = "run doctor on its node, as root, or in its pod (kubectl exec)".to_owned();
            Silence::Deaf { problem: whole(error), next }
        }
        error => Silence::Broken(whole(error)),
    }
}

/// What one agent said, or why it says nothing; it was not asked where its pod does not run.
fn told(agent: &AgentPod, asked: Option<Result<Report, Silence>>) -> Report {
    let finding = match asked {
        // The API server is believed about where it runs.
        Some(Ok(report)) => return Report { node: agent.node.clone(), ..report },
        Some(Err(Silence::Forbidden(problem))) => {
            let next = Right::forward(&agent.namespace).advice();
            Finding::unknown(Check::AgentAnswers, "the agent of this node may not be asked", next).with(problem)
        }
        Some(Err(Silence::Deaf { problem, next })) => {
            Finding::unknown(Check::AgentAnswers, "the agent of this node cannot be asked from here", next)
                .with(problem)
        }
        Some(Err(Silence::Broken(problem))) => silent(agent, problem),
        None => silent(agent, format!("pod {}/{}", agent.namespace, agent.name)),
    };
    of_node(agent, finding)
}

fn of_node(agent: &AgentPod, finding: Finding) -> Report {
    Report { node: agent.node.clone(), findings: vec![finding], ..Report::default() }
}

fn silent(agent: &AgentPod, problem: String) -> Finding {
    let state = match (agent.runs, agent.ready) {
        (false, _) => "its pod does not run",
        (true, false) => "its pod runs and is not ready",
        (true, true) => "its pod is ready",
    };
    let what = format!("the agent of this node does not answer, and {state}");
    let next = format!("see kubectl -n {0} describe pod {1}, and kubectl -n {0} logs {1}", agent.namespace, agent.name);
    Finding::problem(Check::AgentAnswers, what, next).with(problem)
}
