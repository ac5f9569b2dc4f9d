//! The histories: what a real cluster's API server said of a pod, in its order (`data/startup/recorded`, made by
//! `record.sh`), and what was written by hand because a cluster seldom says it (`data/startup/written`).

#![allow(dead_code, reason = "each test file uses another part of this")]

use istio_cni_otel::domain::pod::PodFacts;
use istio_cni_otel::domain::startup::{Outcome, PodEvent, Startup, startup};
use istio_cni_otel::k8s::pod::Pod;
use istio_cni_otel::k8s::pod_events::Event;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// When those written by hand are told: 2026-11-22T10:10:00.5Z.
const WRITTEN_NOW: u64 = 1_795_342_200_500_000_000;
/// How long after a start is over the agent asks for the Events on the pod, seconds.
const SETTLE: f64 = 1.0;

/// A pod's history as it is when its start is told.
pub struct History {
    /// `recorded-normal`, for example.
    pub name: String,
    /// When it is told, nanoseconds since the epoch.
    pub now_ns: u64,
    /// `pod` and `events`, as the API server gives them, and `outcome`, if the pod does not say it.
    pub said: Value,
    /// The pod as the watch brought it, in that order, the last one in `said`; nothing of those written by hand.
    pub versions: Vec<Value>,
}

#[derive(Deserialize)]
struct Said {
    pod: Pod,
    events: Vec<Event>,
    outcome: Option<String>,
}

/// One thing that a watch said.
#[derive(Deserialize)]
struct Watched {
    /// When it came, seconds since the epoch.
    at: f64,
    #[serde(rename = "type")]
    kind: String,
    object: Value,
}

impl History {
    /// Every history there is.
    pub fn all() -> Vec<History> {
        let written = files("written").into_iter().map(|path| History::written(&path));
        let recorded = files("recorded").into_iter().map(|path| History::recorded(&path));
        written.chain(recorded).collect()
    }

    fn written(path: &Path) -> History {
        let said = serde_saphyr::from_str(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        History { name: format!("written-{}", stem(path)), now_ns: WRITTEN_NOW, said, versions: Vec::new() }
    }

    /// Looks at each version of the pod, as the agent does, until one of them is the end of its start; a start
    /// without an end is late when the recording ends.
    fn recorded(path: &Path) -> History {
        let lines: Vec<Watched> = read(path).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (events, pods): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.object["kind"] == "Event");
        let end = pods.iter().find_map(|line| {
            let gone = (line.kind == "DELETED").then_some(Outcome::Deleted);
            let outcome = Outcome::of(&facts(&line.object)).or(gone)?;
            Some((*line, line.at + SETTLE, outcome))
        });
        let late = || (*pods.last().unwrap(), lines.last().unwrap().at, Outcome::Late);
        let (pod, told_at, outcome) = end.unwrap_or_else(late);
        let facts = facts(&pod.object);
        let uid = facts.annotations.get(PodFacts::CONFIG_HASH).unwrap_or(&facts.uid);
        let mut latest = BTreeMap::new();
        for event in events.iter().filter(|event| event.at <= told_at) {
            assert_eq!(event.object["involvedObject"]["uid"], **uid, "{}", path.display());
            latest.insert(event.object["metadata"]["name"].as_str().unwrap(), &event.object);
        }
        let events: Vec<_> = latest.into_values().collect();
        let said = json!({"pod": pod.object, "events": events, "outcome": outcome.name()});
        let until = pods.iter().filter(|line| line.at <= pod.at);
        let versions = until.map(|line| line.object.clone()).collect();
        History { name: format!("recorded-{}", stem(path)), now_ns: (told_at * 1e9) as u64, said, versions }
    }

    /// What is told.
    pub fn startup(&self) -> Startup {
        let (pod, events, outcome) = parts(self.said.clone()).unwrap();
        startup(&pod, &events, outcome.unwrap(), self.now_ns)
    }
}

/// What the software reads of what the API server says.
pub fn parts(said: Value) -> Result<(PodFacts, Vec<PodEvent>, Option<Outcome>), serde_json::Error> {
    let Said { pod, events, outcome } = serde_json::from_value(said)?;
    let pod = pod.into_facts();
    let given = outcome.map(|name| Outcome::from_name(&name).unwrap());
    let outcome = given.or_else(|| Outcome::of(&pod));
    Ok((pod, events.into_iter().map(PodEvent::from).collect(), outcome))
}

fn facts(pod: &Value) -> PodFacts {
    serde_json::from_value::<Pod>(pod.clone()).unwrap().into_facts()
}

fn files(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/startup").join(directory);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn stem(path: &Path) -> &str {
    path.file_stem().unwrap().to_str().unwrap()
}
