//! The images that were pulled for the pod. Only Events tell of that, and of one that was there already
//! there is nothing to tell.

use super::moment::Moment;
use super::tree::{Blame, Facts, MOST};
use super::words::one_line;
use super::{Details, Part, PodEvent, Span};
use crate::domain::step::ErrorType;
use std::collections::BTreeMap;

/// One span for each container whose image was, or is, pulled: from the first attempt on.
pub(super) fn spans(facts: &Facts<'_>) -> Vec<Span> {
    let mut by_container: BTreeMap<&str, Vec<&PodEvent>> = BTreeMap::new();
    for event in facts.events {
        if let Some(container) = &event.container {
            by_container.entry(container).or_default().push(event);
        }
    }
    by_container.into_iter().take(MOST).filter_map(|(container, events)| span(facts, container, &events)).collect()
}

fn span(facts: &Facts<'_>, container: &str, events: &[&PodEvent]) -> Option<Span> {
    let earliest = |of: &dyn Fn(&PodEvent) -> bool| {
        let events = events.iter().filter(|event| of(event));
        events.filter_map(|event| Some((*event, event.first?))).min_by_key(|(_, at)| at.ns)
    };
    let pulling = |event: &PodEvent| event.reason == "Pulling";
    let (begun, start) = earliest(&pulling)?;
    let attempts = events.iter().filter(|event| pulling(event)).map(|event| event.count).sum();
    let details = |event: &PodEvent| Details {
        image: begun.image().map(one_line),
        attempts: Some(attempts),
        pull_ms: event.pull_ms(),
        ..Details::default()
    };
    if let Some((pulled, end)) = earliest(&PodEvent::is_pulled) {
        let span = facts.ended(Part::Image, Some(container), "", start, end);
        return Some(Span { details: details(pulled), ..span });
    }
    let failed = events.iter().filter(|event| event.is_failed_pull());
    let failed = failed.filter_map(|event| Some((*event, event.last?))).max_by_key(|(_, at)| at.ns);
    let span = match failed {
        Some((event, end)) => {
            let failure: Option<Blame> = Some((ErrorType::ImagePullFailed, one_line(&event.message)));
            Span { failure, ..facts.ended(Part::Image, Some(container), "", start, end) }
        }
        None if has_begun(facts, container) => return None,
        None => facts.unfinished(Part::Image, Some(container), "", start),
    };
    Some(Span { details: details(begun), ..span })
}

/// Whether the container has run, so that its image must be there, whenever that came.
fn has_begun(facts: &Facts<'_>, container: &str) -> bool {
    let all = facts.pod.status.init.iter().chain(&facts.pod.status.life.containers);
    let mut runs = all.filter(|status| status.name == container);
    runs.any(|status| status.last.is_some() || status.state.started_ns().is_some())
}

/// Whether something was said of this container's image last, and what.
pub(super) fn trouble(facts: &Facts<'_>, container: &str) -> Option<String> {
    let failed =
        facts.events.iter().filter(|event| event.is_failed_pull() && event.container.as_deref() == Some(container));
    failed.max_by_key(|event| event.last.map(|Moment { ns, .. }| ns)).map(|event| one_line(&event.message))
}
