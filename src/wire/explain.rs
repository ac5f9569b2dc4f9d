//! What an agent says of one pod, as JSON: `GET /api/v1/explain`, and `istio-cni-otel explain --output json`.
//!
//! The shape is stable, and documented in CONFIGURATION.md: keys are added, never renamed or given another meaning, and readers ignore what
//! they do not know; `version` is raised when a reader must know better. Times are RFC 3339 in UTC with as
//! many digits as are known, durations are nanoseconds. Texts of others stand in it as they are.

use serde::{Deserialize, Serialize};

/// The version of this shape.
pub const VERSION: u32 = 1;

macro_rules! shape {
    ($($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $field_doc:literal])* $field:ident: $kind:ty,)* })*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
            #[serde(default)]
            pub struct $name { $($(#[doc = $field_doc])* pub $field: $kind,)* }
        )*
    };
}

shape! {
    /// All that is known of a pod.
    Explanation {
        /// [`VERSION`] of whoever answers.
        version: u32,
        agent: Agent,
        pod: Pod,
        trace: Trace,
        summary: Summary,
        /// What is to be done with the pod, if that is known.
        decision: Option<Decision>,
        /// What happened, by time.
        timeline: Vec<Entry>,
        /// The plugin's calls for the pod, by time.
        calls: Vec<Call>,
        /// What went wrong, the newest last; the same again and again stands here once.
        errors: Vec<Problem>,
        rules: Rules,
        validations: Vec<Validation>,
        repairs: Vec<Repair>,
        /// Other pods that had this name, the newest first.
        others: Vec<Other>,
        /// What should be known before the rest is believed: clocks that differ, for example.
        notes: Vec<String>,
        /// How much more there is of what is bounded here.
        left_out: LeftOut,
    }

    /// How many items of each list are known and not in it.
    LeftOut {
        /// Traces of others in which calls for this pod are, that were not read.
        traces: u64,
        timeline: u64,
        calls: u64,
        errors: u64,
        validations: u64,
        repairs: u64,
        others: u64,
        differences: u64,
        /// Lines of the rules as they are.
        found: u64,
    }

    /// Who answers.
    Agent {
        /// The version of its software.
        version: String,
        node: String,
        /// Its clock.
        now: String,
    }

    /// Which pod it is.
    Pod {
        namespace: String,
        name: String,
        uid: String,
        /// `here` on this node, or `gone`.
        presence: String,
        /// `status.phase`; empty when it is gone.
        phase: String,
        /// Whether it is being deleted.
        deleting: bool,
        addresses: Vec<String>,
    }

    /// Where the whole story is.
    Trace {
        /// 32 hex digits: the pod's UID without its dashes.
        id: String,
        /// Where a person can look at it, if the agent was told (`TRACE_URL`).
        url: Option<String>,
        /// How many spans and log records the agent remembers of it.
        spans: u64,
        log_records: u64,
        /// How many it has forgotten because there were too many.
        forgotten: u64,
        /// Traces of others in which calls for this pod are.
        also_in: Vec<String>,
    }

    /// The answer in one sentence.
    Summary {
        /// `redirected`, `broken`, `unknown`, `skipped`, `failed`, `setting_up`, `waiting`, `over` or `gone`.
        state: String,
        sentence: String,
    }

    /// What is to be done with the pod and why.
    Decision {
        /// `enroll`, `skip`, or `refuse` for a pod that cannot be set up.
        result: String,
        /// A reason from the closed list, for `skip`; the type of the error, for `refuse`.
        reason: Option<String>,
        why: String,
        /// `now`, from the pod's object, or `trace`, as it was decided then.
        source: String,
        /// What the redirection is made of.
        settings: Vec<Setting>,
        warnings: Vec<String>,
    }

    /// One setting of the redirection.
    Setting {
        name: String,
        value: String,
    }

    /// Something that happened.
    Entry {
        at: String,
        /// Nothing for a moment.
        took_ns: Option<u64>,
        /// The name of the span, or of the event.
        what: String,
        /// `ok`, `failed` or `unfinished`.
        outcome: String,
        text: String,
    }

    /// A call of the plugin.
    Call {
        /// `add`, `del` or `check`; empty if the plugin did not come to say so.
        command: String,
        at: String,
        took_ns: u64,
        /// `enrolled`, `skipped`, `done`, `failed`, or empty if the plugin did not come to say so.
        outcome: String,
        /// Why, where that needs saying.
        reason: Option<String>,
        /// `agent` or `standalone`: who did the work.
        path: String,
        container_id: String,
        netns: String,
        error: Option<Problem>,
        steps: Vec<Step>,
    }

    /// A step of a call or of a repair.
    Step {
        name: String,
        at: String,
        took_ns: u64,
        /// How deep it stands in others.
        depth: u32,
        /// `ok` or `failed`.
        outcome: String,
        /// What it did, in words: the pod's source, the number of rules.
        did: Vec<Setting>,
        error: Option<Problem>,
    }

    /// Something that went wrong.
    Problem {
        /// When, the last time.
        at: String,
        /// The step or span.
        step: String,
        /// From the closed list of `error.type`.
        error_type: String,
        message: String,
        /// What to do.
        next: String,
        /// How often.
        count: u64,
    }

    /// The rules, looked at just now.
    Rules {
        /// `redirected`, `broken`, `unknown`, `skipped`, or `none` where there is nothing to look at.
        state: String,
        /// When it was looked at; nothing if it was not.
        at: Option<String>,
        /// `nftables` or `iptables`: where they were looked for.
        backend: String,
        netns: String,
        /// How many rules there should be.
        count: u64,
        /// The rules as they should be, in the backend's language, by line.
        wanted: Vec<String>,
        /// The rules as they are, in the backend's language, by line: read at the same time, 64 KiB at most.
        found: Vec<String>,
        /// Where what is there differs from what should be.
        differences: Vec<Difference>,
        /// Why it is not known, or what is wrong.
        problem: Option<Problem>,
    }

    /// One way in which the rules differ.
    Difference {
        /// Table and chain.
        place: String,
        what: String,
    }

    /// A validation from inside the pod.
    Validation {
        at: String,
        took_ns: u64,
        container: String,
        /// How many runs there were before.
        restarts: u64,
        exit_code: Option<i64>,
        /// `passed`, `failed` and so on; empty where the validator did not say.
        result: String,
        error: Option<Problem>,
    }

    /// An attempt at a broken pod.
    Repair {
        at: String,
        took_ns: u64,
        /// `repair`, `delete` or `label`.
        mode: String,
        attempt: u64,
        /// `success`, `fail` or `skip`.
        result: String,
        cause: String,
        error: Option<Problem>,
        steps: Vec<Step>,
    }

    /// Another pod that had the name.
    Other {
        uid: String,
        trace_id: String,
        /// When something was heard of it last.
        last: String,
        /// What went wrong with it last.
        error: Option<String>,
    }

    /// Why there is no explanation.
    Refusal {
        /// [`VERSION`] of whoever answers.
        version: u32,
        agent: Agent,
        error: String,
    }
}

/// Writes an answer.
pub fn encode(answer: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(answer)
}

/// Reads an explanation, as far as it is known what that is.
pub fn decode(body: &[u8]) -> Result<Explanation, serde_json::Error> {
    serde_json::from_slice(body)
}

/// Reads why there is none; nothing if it is no such answer.
pub fn decode_refusal(body: &[u8]) -> Option<Refusal> {
    serde_json::from_slice::<Refusal>(body).ok().filter(|refusal| refusal.version > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_agent_adds_is_ignored_and_what_an_older_one_lacks_is_empty() {
        let read = decode(br#"{"version":2,"pod":{"name":"web-0","mood":"good"},"weather":[1]}"#).unwrap();
        assert_eq!((read.version, read.pod.name.as_str()), (2, "web-0"));
        assert_eq!(read.calls, []);
        assert_eq!(decode(&encode(&read).unwrap()).unwrap(), read);
        assert!(decode(b"\"hello\"").is_err());
    }

    /// One of everything that there can be.
    fn whole() -> Explanation {
        let step = Step { did: vec![Setting::default()], error: Some(Problem::default()), ..Step::default() };
        let steps = vec![step];
        Explanation {
            decision: Some(Decision { settings: vec![Setting::default()], ..Decision::default() }),
            timeline: vec![Entry::default()],
            calls: vec![Call { steps: steps.clone(), error: Some(Problem::default()), ..Call::default() }],
            errors: vec![Problem::default()],
            rules: Rules { differences: vec![Difference::default()], ..Rules::default() },
            validations: vec![Validation::default()],
            repairs: vec![Repair { steps, ..Repair::default() }],
            others: vec![Other::default()],
            ..Explanation::default()
        }
    }

    /// The keys of each object, by its place.
    fn keys(value: &serde_json::Value, place: &str, found: &mut Vec<(String, String)>) {
        match value {
            serde_json::Value::Object(members) => {
                for (key, value) in members {
                    found.push((place.to_owned(), key.clone()));
                    let below = if place == "the whole" { key.clone() } else { format!("{place}.{key}") };
                    keys(value, &below, found);
                }
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| keys(item, &format!("{place}[]"), found)),
            _ => {}
        }
    }

    #[test]
    fn every_key_is_documented() {
        let document = include_str!("../../CONFIGURATION.md");
        let (_, section) = document.split_once("### explain as JSON").unwrap();
        let row = |place: &str| {
            // Steps are alike, and so is all that went wrong.
            let place = if place.ends_with(".error") { "errors[]" } else { place };
            let place = place.replace("repairs[].steps", "calls[].steps");
            let begin = if place == "the whole" { format!("| {place} |") } else { format!("| `{place}` |") };
            section.lines().find(|line| line.starts_with(&begin)).unwrap_or_else(|| panic!("no row for {place}"))
        };
        let mut all = Vec::new();
        keys(&serde_json::to_value(whole()).unwrap(), "the whole", &mut all);
        assert!(all.len() > 90, "{}", all.len());
        for (place, key) in all {
            assert!(row(&place).contains(&format!("`{key}`")), "{key} of {place}");
        }
    }

    #[test]
    fn a_refusal_is_told_from_the_answer_of_something_else() {
        assert_eq!(decode_refusal(br#"{"version":1,"error":"no"}"#).unwrap().error, "no");
        assert_eq!(decode_refusal(br#"{"message":"no such page"}"#), None);
        assert_eq!(decode_refusal(b"not found"), None);
    }
}
