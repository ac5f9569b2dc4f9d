//! Recorded starts of pods, played again now: under other names, and at their own pace.

use serde_json::Value;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use istio_cni_otel::telemetry::timestamp::Timestamp;

/// The day on which they were recorded, and its beginning in seconds since the epoch.
const DAY: &str = "2026-11-23T";
const MIDNIGHT: u64 = 1_795_392_000;
/// When the runtime calls the plugins: the sandbox is being made then in every recording, in seconds after the pod.
const ADD: f64 = 0.5;

/// What happens to a pod.
pub enum Step {
    /// The API server has this object from now on.
    Put(Value),
    /// The runtime calls the plugins for this pod.
    Add(Value),
}

/// A recorded start as that of the pod shop/NAME with this UID: each step with its time, seconds since the epoch. It
/// begins in this second.
pub fn steps(recording: &str, name: &str, uid: &str, begins: u64) -> Vec<(f64, Step)> {
    let path = format!("{}/tests/data/startup/recorded/{recording}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).unwrap();
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let recorded = first["object"]["metadata"]["uid"].as_str().unwrap();
    let began = first["at"].as_f64().unwrap();
    // By whole seconds, so that what is told keeps the precision that the API server has.
    let later = begins - began as u64;
    let text = text.replace(recorded, uid).replace(recording, name).replace("127.0.0.1:5000/", "registry.example/");
    let mut steps = Vec::new();
    for line in moved(&text, later).lines() {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let at = line["at"].as_f64().unwrap() + later as f64;
        if steps.is_empty() {
            steps.push((at + ADD, Step::Add(line["object"].clone())));
        }
        steps.push((at, Step::Put(line["object"].take())));
    }
    steps
}

/// The text with each of its times so many seconds later.
fn moved(text: &str, later: u64) -> String {
    let mut parts = text.split(DAY);
    let mut moved = parts.next().unwrap().to_owned();
    for part in parts {
        let (time, rest) = part.split_at("hh:mm:ss".len());
        let seconds = time.split(':').fold(0, |seconds, part| seconds * 60 + part.parse::<u64>().unwrap());
        moved += &second(MIDNIGHT + seconds + later);
        moved += rest;
    }
    moved
}

/// A second since the epoch as the API server writes it, without its Z.
pub fn second(second: u64) -> String {
    Timestamp(second * 1_000_000_000).to_string()[..DAY.len() + "hh:mm:ss".len()].to_owned()
}

/// Does each step when its time has come.
pub fn play(mut steps: Vec<(f64, Step)>, mut happen: impl FnMut(Step)) {
    steps.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    for (at, step) in steps {
        // The pace of the recording, which waits for nothing else.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        std::thread::sleep(Duration::from_secs_f64((at - now).max(0.0)));
        happen(step);
    }
}
