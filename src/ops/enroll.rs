//! ADD and CHECK of one pod: look it up, decide, build its rules, program or compare them. The
//! same sequence runs inside the agent and, without one, inside the plugin.

use super::ports::{Applied, BoxedError, Lookup, Namespaces, PodKernel, PodSource, Work};
use crate::domain::decision::{Decision, decide, warnings};
use crate::domain::failure::{Classify, Failure};
use crate::domain::identity::TraceLink;
use crate::domain::pod::PodFacts;
use crate::domain::request::{Answer, Backend, Bounds, Command, Conclusion, Request};
use crate::domain::ruleset::{Difference, Ruleset, build};
use crate::domain::settings::RedirectSettings;
use crate::domain::step::{ErrorType, Step};
use crate::domain::trace_context;
use crate::telemetry::event::{self, Level};
use crate::telemetry::keys;
use crate::telemetry::story::{Open, Story, attribute};
use std::os::fd::BorrowedFd;

/// The annotation in which a workload carries a trace context of its creator.
pub const TRACEPARENT_ANNOTATION: &str = "tracing.k8s.io/traceparent";

/// Looks the pod up, decides, and programs (ADD) or compares (CHECK) its rules.
///
/// Never leaves half a ruleset: the kernel has either all of it or, on failure, what it had.
pub fn conclude(
    story: &Story,
    request: &Request,
    netns: BorrowedFd<'_>,
    pods: &dyn PodSource,
    namespaces: &dyn Namespaces,
) -> Conclusion {
    let mut conclusion = Conclusion { pod_uid: None, links: Vec::new(), result: Ok(Answer::Done) };
    conclusion.result = enroll(story, request, netns, pods, namespaces, &mut conclusion);
    conclusion
}

fn enroll(
    story: &Story,
    request: &Request,
    netns: BorrowedFd<'_>,
    pods: &dyn PodSource,
    namespaces: &dyn Namespaces,
    conclusion: &mut Conclusion,
) -> Result<Answer, Failure> {
    let pod = story.step(Step::PodLookup, |open| look_up(open, request, pods))?;
    story.identify(&pod.uid);
    conclusion.pod_uid = Some(pod.uid.clone());
    conclusion.links.extend(annotated_link(&pod));
    let decided = story.step(Step::RedirectDecide, |open| decide_traced(open, &pod, request)).inspect_err(|failure| {
        say(story, Level::Error, &format!("redirect failed due to bad params: {failure}"));
    });
    let settings = match decided? {
        Decision::Enroll(settings) => settings,
        Decision::Skip(skip) => {
            story.log(
                Level::Info,
                event::POD_SKIPPED,
                &skip.message,
                vec![attribute(keys::REASON, skip.reason.name())],
            );
            return Ok(Answer::Skipped(skip.reason));
        }
    };
    say(story, Level::Debug, "Setting up redirect");
    for warning in warnings(&pod) {
        let attributes = vec![attribute(keys::CONFIG_VARIABLE, warning.variable)];
        story.log(Level::Warn, event::POD_SWITCH_UNREADABLE, &warning.message, attributes);
    }
    let command = request.command;
    let announce = |edge: &str, backend: Backend| {
        if command == Command::Add {
            let (backend, name) = (backend.name(), &pod.name);
            say(story, Level::Info, &format!("============= {edge} {backend} configuration for {name} ============="));
        }
    };
    // Where the kernel decides, nftables is tried first; the end names what was used.
    announce("Start", if request.backend == Backend::Auto { Backend::Nftables } else { request.backend });
    let work: Work<'_> = Box::new(|kernel| match command {
        Command::Check => compare(story, kernel, &settings),
        _ => program(story, kernel, &settings),
    });
    let applied = inside(story, namespaces, netns, request.backend, &request.bounds, work)?;
    announce("End", applied.backend);
    Ok(Answer::Enrolled { backend: applied.backend, changed: applied.changed })
}

/// Works inside a namespace. Entering it is a step only when it fails: it has no result of its own,
/// and its time is the thread's start, which the first step inside already shows.
pub(super) fn inside(
    story: &Story,
    namespaces: &dyn Namespaces,
    netns: BorrowedFd<'_>,
    backend: Backend,
    bounds: &Bounds,
    work: Work<'_>,
) -> Result<Applied, Failure> {
    match namespaces.inside(netns, backend, bounds, work) {
        Ok(result) => result,
        Err(error) => story.step(Step::NetnsOpen, |_| Err::<Applied, BoxedError>(error)),
    }
}

/// A line in the words of the reference's logs, for those who search for it.
fn say(story: &Story, level: Level, text: &str) {
    story.log(level, event::PROGRESS, text, Vec::new());
}

fn look_up(open: &Open, request: &Request, pods: &dyn PodSource) -> Result<PodFacts, BoxedError> {
    let Lookup { source, attempts, found } = pods.find(&request.pod, &request.bounds);
    open.set(keys::POD_SOURCE, source);
    open.set(keys::POD_ATTEMPTS, attempts as usize);
    found
}

/// Decides; what the node says about outbound traffic is looked at only for a pod that gets rules.
fn decide_traced(open: &Open, pod: &PodFacts, request: &Request) -> Result<Decision, BoxedError> {
    let mut decision = decide(pod).map_err(BoxedError::new)?;
    match &mut decision {
        Decision::Enroll(settings) => {
            settings.outbound = request.outbound.clone().map_err(BoxedError::new)?;
            open.set(keys::DECISION, "enroll");
        }
        Decision::Skip(skip) => {
            open.set(keys::DECISION, "skip");
            open.set(keys::REASON, skip.reason.name());
        }
    }
    Ok(decision)
}

/// Builds the rules, makes the namespace have them, and reads them back.
pub(super) fn program(
    story: &Story,
    kernel: &mut dyn PodKernel,
    settings: &RedirectSettings,
) -> Result<Applied, Failure> {
    let rules = build_rules(story, kernel, settings)?;
    let applied = story.step(Step::RulesApply, |open| {
        let applied = kernel.apply(&rules)?;
        open.set(keys::RULES_BACKEND, applied.backend.name());
        open.set(keys::RULES_CHANGED, applied.changed);
        Ok::<_, BoxedError>(applied)
    })?;
    verify(story, kernel, &rules)?;
    Ok(applied)
}

/// Builds the rules and compares the namespace with them.
pub(super) fn compare(
    story: &Story,
    kernel: &mut dyn PodKernel,
    settings: &RedirectSettings,
) -> Result<Applied, Failure> {
    let rules = build_rules(story, kernel, settings)?;
    let backend = verify(story, kernel, &rules)?;
    Ok(Applied { backend, changed: false })
}

fn build_rules(story: &Story, kernel: &mut dyn PodKernel, settings: &RedirectSettings) -> Result<Ruleset, Failure> {
    story.step(Step::RulesBuild, |open| {
        let addresses = kernel.addresses()?;
        let rules = build(settings, &addresses).map_err(BoxedError::new)?;
        open.set(keys::RULES_COUNT, rules.rule_count());
        open.set(keys::RULES_IPV6, rules.ipv6);
        Ok::<_, BoxedError>(rules)
    })
}

fn verify(story: &Story, kernel: &mut dyn PodKernel, rules: &Ruleset) -> Result<Backend, Failure> {
    story.step(Step::RulesVerify, |open| {
        let (backend, differences) = kernel.differences(rules)?;
        open.set(keys::RULES_BACKEND, backend.name());
        open.set(keys::RULES_DIFFERENCES, differences.len());
        if differences.is_empty() { Ok(backend) } else { Err(BoxedError::new(Drifted(differences))) }
    })
}

/// The namespace does not have the rules that it should have.
#[derive(Debug, thiserror::Error)]
#[error("the rules in the pod's network namespace differ from what its annotations ask for: {}; the node agent puts them right where REPAIR_REPAIR_PODS is on, else delete the pod so that it is set up again; find out what else writes rules there", listed(.0))]
pub struct Drifted(pub Vec<Difference>);

impl Classify for Drifted {
    fn error_type(&self) -> ErrorType {
        ErrorType::RulesDrifted
    }
}

/// The first few differences, and how many more there are.
fn listed(differences: &[Difference]) -> String {
    const SHOWN: usize = 5;
    let mut text: Vec<String> = differences.iter().take(SHOWN).map(Difference::to_string).collect();
    if differences.len() > SHOWN {
        text.push(format!("and {} more", differences.len() - SHOWN));
    }
    text.join("; ")
}

/// The trace context that the pod's creator left in an annotation, as a link.
fn annotated_link(pod: &PodFacts) -> Option<TraceLink> {
    trace_context::link(pod.annotations.get(TRACEPARENT_ANNOTATION)?, "", "", "annotation")
}
