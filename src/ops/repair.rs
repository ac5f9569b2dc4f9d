//! The rules of a pod that is set up already: made again where they are not as they should be
//! ([`restore`]), or only looked at ([`look`]).

use super::enroll::{compare, inside, program};
use super::ports::{Applied, BoxedError, FoundNamespace, Namespaces, PodNamespaces};
use crate::domain::decision::redirect;
use crate::domain::failure::Failure;
use crate::domain::identity::TraceId;
use crate::domain::outbound::{Outbound, OutboundError};
use crate::domain::pod::PodFacts;
use crate::domain::pod_state::PodState;
use crate::domain::request::{Backend, Bounds};
use crate::domain::settings::RedirectSettings;
use crate::domain::step::{ErrorType, Step};
use crate::telemetry::event::Level;
use crate::telemetry::keys;
use crate::telemetry::story::{Clock, Story};
use std::os::fd::AsFd;

/// What a repair works with, the same for all pods of a node.
pub struct Site<'a> {
    /// Finds a pod's namespace.
    pub pods: &'a dyn PodNamespaces,
    /// Enters it.
    pub namespaces: &'a dyn Namespaces,
    /// What programs the rules.
    pub backend: Backend,
    /// What the node says about outbound traffic, for pods of which nothing was recorded.
    pub outbound: &'a Result<Outbound, OutboundError>,
    /// The limits of each step.
    pub bounds: &'a Bounds,
}

/// What a look came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// Never [`PodState::Skipped`].
    pub state: PodState,
    /// What is not as it should be, or why that is not known.
    pub problem: Option<Failure>,
}

/// Makes a running pod's namespace have the rules that an ADD would have made now, whatever there is,
/// and reads them back: the steps `repair.netns`, `rules.build`, `rules.apply` and `rules.verify`.
///
/// Whether the pod is to have rules at all is not asked: that was decided when it was injected.
pub fn restore(story: &Story, pod: &PodFacts, site: &Site<'_>) -> Result<Applied, Failure> {
    let found = find(story, pod, site)?;
    let settings = settings(story, pod, &found, site)?;
    let work = Box::new(|kernel: &mut dyn super::ports::PodKernel| program(story, kernel, &settings));
    inside(story, site.namespaces, found.netns.as_fd(), site.backend, site.bounds, work)
}

/// Compares a running pod's rules with those that it should have; tells nobody.
///
/// They are looked for in whatever backend has them: which one the node chooses now says nothing
/// about a pod that was set up before.
pub fn look(pod: &PodFacts, site: &Site<'_>) -> Looked {
    let story = Story::begin(Clock::start(), TraceId::of_pod(&pod.uid), None, pod.reference(), Level::Off, None);
    let looked = find(&story, pod, site).and_then(|found| {
        let settings = settings(&story, pod, &found, site)?;
        let work = Box::new(|kernel: &mut dyn super::ports::PodKernel| compare(&story, kernel, &settings));
        inside(&story, site.namespaces, found.netns.as_fd(), Backend::Auto, site.bounds, work)
    });
    match looked {
        Ok(_) => Looked { state: PodState::Redirected, problem: None },
        Err(problem) if problem.error_type == ErrorType::RulesDrifted => {
            Looked { state: PodState::Broken, problem: Some(problem) }
        }
        Err(problem) => Looked { state: PodState::Unknown, problem: Some(problem) },
    }
}

pub(super) fn find(story: &Story, pod: &PodFacts, site: &Site<'_>) -> Result<FoundNamespace, Failure> {
    story.step(Step::RepairNetns, |open| {
        let found = site.pods.find(pod)?;
        open.set(keys::NETNS_SOURCE, found.source);
        open.set(keys::NETNS, found.path.as_str());
        Ok::<_, BoxedError>(found)
    })
}

/// The settings as the plugin reads them. Only a failure is a step: the first of those that follow.
pub(super) fn settings(
    story: &Story,
    pod: &PodFacts,
    found: &FoundNamespace,
    site: &Site<'_>,
) -> Result<RedirectSettings, Failure> {
    let read = redirect(pod).map_err(BoxedError::new).and_then(|settings| {
        let of_node = || site.outbound.clone().map_err(BoxedError::new);
        let outbound = found.outbound.clone().map_or_else(of_node, Ok)?;
        Ok(RedirectSettings { outbound, ..settings })
    });
    read.or_else(|error| story.step(Step::RulesBuild, |_| Err::<RedirectSettings, _>(error)))
}
