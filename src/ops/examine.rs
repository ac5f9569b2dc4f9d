//! A pod's rules as they are beside those that an ADD would make now, for whoever asks.

use super::ports::{Applied, BoxedError, PodKernel};
use super::repair::{Site, find, settings};
use crate::domain::failure::Failure;
use crate::domain::identity::TraceId;
use crate::domain::pod::PodFacts;
use crate::domain::request::Backend;
use crate::domain::ruleset::{Difference, Ruleset, build};
use crate::domain::step::Step;
use crate::telemetry::event::Level;
use crate::telemetry::story::{Clock, Story};
use std::os::fd::AsFd;

/// What was found; as far as it went.
#[derive(Debug, Default)]
pub struct Examined {
    /// The namespace's path.
    pub netns: Option<String>,
    /// The rules as they should be.
    pub wanted: Option<Ruleset>,
    /// Where they were looked for, and in what they differ; empty is equal.
    pub found: Option<(Backend, Vec<Difference>)>,
    /// The rules as they are, in that backend's language; empty where there are none.
    pub text: String,
    /// Why that is not known.
    pub problem: Option<Failure>,
}

/// Looks into a running pod's namespace; tells nobody.
pub fn examine(pod: &PodFacts, site: &Site<'_>) -> Examined {
    let story = Story::begin(Clock::start(), TraceId::of_pod(&pod.uid), None, pod.reference(), Level::Off, None);
    let mut examined = Examined::default();
    examined.problem = look(&story, pod, site, &mut examined).err();
    examined
}

fn look(story: &Story, pod: &PodFacts, site: &Site<'_>, examined: &mut Examined) -> Result<(), Failure> {
    let found = find(story, pod, site)?;
    examined.netns = Some(found.path.clone());
    let settings = settings(story, pod, &found, site)?;
    let (mut wanted, mut differences, mut text) = (None, None, String::new());
    let work = Box::new(|kernel: &mut dyn PodKernel| {
        let rules = story.step(Step::RulesBuild, |_| {
            let addresses = kernel.addresses()?;
            build(&settings, &addresses).map_err(BoxedError::new)
        })?;
        let rules = wanted.insert(rules);
        let (backend, found) = story.step(Step::RulesVerify, |_| {
            let (backend, found) = kernel.differences(rules)?;
            text = kernel.found(rules, backend)?;
            Ok::<_, BoxedError>((backend, found))
        })?;
        differences = Some((backend, found));
        Ok(Applied { backend, changed: false })
    });
    // In whatever backend they are.
    let done = super::enroll::inside(story, site.namespaces, found.netns.as_fd(), Backend::Auto, site.bounds, work);
    (examined.wanted, examined.found, examined.text) = (wanted, differences, text);
    done.map(drop)
}
