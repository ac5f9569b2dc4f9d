//! Which pod is meant: the one that is here, else the one of that name that was heard of last.

use super::moments::at;
use crate::domain::identity::TraceId;
use crate::domain::pod::{PodFacts, PodRef};
use crate::k8s::cache::PodCache;
use crate::telemetry::history::History;
use crate::wire::explain::Other;
use std::fmt;
use std::sync::Arc;

/// The longest name of a pod or a namespace, and more than any UID.
const LONGEST: usize = 253;
/// How many other pods of the name are told of.
const OTHERS: usize = 20;
/// How many traces are read for one pod: its own, and the newest of others that tell of it.
const TRACES: usize = 16;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    Named {
        namespace: String,
        name: String,
    },
    /// A UID, or a trace id.
    Uid(String),
}

impl Wanted {
    /// Reads the question, or says what is wrong with it. With both, the UID counts.
    pub fn read(pod: Option<&str>, uid: Option<&str>) -> Result<Wanted, String> {
        let fits = |text: &&str| !text.is_empty() && text.len() <= LONGEST;
        if let Some(uid) = uid {
            let uid = Some(uid).filter(fits).ok_or("uid takes the UID of a pod, or a trace id")?;
            return Ok(Wanted::Uid(uid.to_owned()));
        }
        let named = pod.and_then(|pod| pod.split_once('/')).filter(|(namespace, name)| fits(namespace) && fits(name));
        match named {
            Some((namespace, name)) => Ok(Wanted::Named { namespace: namespace.to_owned(), name: name.to_owned() }),
            None => Err("give pod=NAMESPACE/NAME or uid=UID".to_owned()),
        }
    }

    fn is(&self, pod: &PodRef) -> bool {
        match self {
            Wanted::Named { namespace, name } => pod.namespace == *namespace && pod.name == *name,
            Wanted::Uid(wanted) => {
                pod.uid.as_deref().is_some_and(|uid| uid == wanted || TraceId::of_pod(uid) == TraceId::of_pod(wanted))
            }
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Named { namespace, name } => write!(f, "pod {:?}", format!("{namespace}/{name}")),
            Wanted::Uid(uid) => write!(f, "pod with the UID {uid:?}"),
        }
    }
}

/// The pod that is explained.
pub struct Subject {
    pub pod: PodRef,
    /// Its object, while it is here.
    pub facts: Option<Arc<PodFacts>>,
    /// The traces in which it is, those that are read.
    pub traces: Vec<TraceId>,
    /// How many more there are.
    pub traces_left_out: u64,
    others: Vec<Other>,
    /// How many more pods had its name.
    pub others_left_out: u64,
}

impl Subject {
    /// Finds it, if it is known.
    pub fn find(wanted: &Wanted, cache: &PodCache, history: &History) -> Option<Subject> {
        let facts = match wanted {
            Wanted::Named { namespace, name } => cache.named(namespace, name),
            Wanted::Uid(_) => cache.all().into_iter().find(|pod| wanted.is(&pod.reference())),
        };
        let remembered = history.of_pods(|pod| wanted.is(pod));
        let pod = match &facts {
            Some(facts) => facts.reference(),
            None => {
                let known = remembered.iter().map(|(pod, _)| pod);
                known.clone().find(|pod| pod.has_uid()).or_else(|| known.clone().next())?.clone()
            }
        };
        // What was told without a UID may be of any of them.
        let of_it = |known: &PodRef| {
            known.uid == pod.uid || !known.has_uid() || facts.as_ref().is_some_and(|facts| facts.is(known))
        };
        let mut traces: Vec<TraceId> = pod.uid.as_deref().map(TraceId::of_pod).into_iter().collect();
        let mut others: Vec<(PodRef, TraceId)> = Vec::new();
        for (known, trace) in history.of_pods(|known| (&known.namespace, &known.name) == (&pod.namespace, &pod.name)) {
            if of_it(&known) && !traces.contains(&trace) {
                traces.push(trace);
            } else if !of_it(&known) && !others.iter().any(|(other, _)| other.uid == known.uid) {
                others.push((known, trace));
            }
        }
        let others_left_out = others.len().saturating_sub(OTHERS) as u64;
        let others = others.into_iter().take(OTHERS).map(|(pod, trace)| other(&pod, trace, history)).collect();
        let traces_left_out = traces.len().saturating_sub(TRACES) as u64;
        traces.truncate(TRACES);
        Some(Subject { pod, facts, traces, traces_left_out, others, others_left_out })
    }

    /// Its UID; empty if nobody said it.
    pub fn uid(&self) -> &str {
        self.pod.uid.as_deref().unwrap_or_default()
    }

    /// The others of its name, the newest first.
    pub fn others(&self) -> Vec<Other> {
        self.others.clone()
    }
}

fn other(pod: &PodRef, trace: TraceId, history: &History) -> Other {
    let summary = history.summary(trace);
    Other {
        uid: pod.uid.clone().unwrap_or_default(),
        trace_id: trace.to_hex(),
        last: summary.as_ref().map(|summary| at(summary.ended_ns)).unwrap_or_default(),
        error: summary.and_then(|summary| summary.error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::Failure;
    use crate::domain::step::Step;
    use crate::telemetry::event::Level;
    use crate::telemetry::history::DEFAULT_BYTES;
    use crate::telemetry::story::{Clock, Story};

    /// A call for a pod of this name in a trace of its own or of somebody else.
    fn call(history: &History, uid: Option<&str>, trace: TraceId) {
        let pod = PodRef { namespace: "shop".into(), name: "web-0".into(), uid: uid.map(str::to_owned) };
        let story = Story::begin(Clock::start(), trace, None, pod, Level::Off, None);
        let _ = story.request("cni.add", |_| story.step(Step::PodLookup, |_| Ok::<(), Failure>(())));
        history.remember(&story.into_batch());
    }

    #[test]
    fn of_many_traces_and_many_pods_of_the_name_some_are_read_and_the_rest_is_counted() {
        let (history, cache) = (History::new(DEFAULT_BYTES), PodCache::default());
        for number in 0..20 {
            call(&history, None, TraceId::of_pod(&format!("somebody-else-{number}")));
        }
        for number in 0..25 {
            let uid = format!("11111111-2222-4333-8444-{number:012}");
            call(&history, Some(&uid), TraceId::of_pod(&uid));
        }
        let wanted = Wanted::Named { namespace: "shop".into(), name: "web-0".into() };
        let subject = Subject::find(&wanted, &cache, &history).unwrap();
        assert_eq!(subject.uid(), "11111111-2222-4333-8444-000000000024", "the one that was heard of last");
        assert_eq!((subject.traces.len(), subject.traces_left_out), (TRACES, 20 + 1 - TRACES as u64));
        assert_eq!(subject.traces[0], TraceId::of_pod(subject.uid()));
        assert_eq!((subject.others().len(), subject.others_left_out), (OTHERS, 24 - OTHERS as u64));
        assert!(subject.others().iter().all(|other| !other.last.is_empty() && other.uid != subject.uid()));
    }
}
