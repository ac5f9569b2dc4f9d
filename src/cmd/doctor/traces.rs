//! Which traces of an agent go whole into a bundle: the newest that failed.

use super::bundle::Question;
use crate::domain::identity::TraceId;
use serde::Deserialize;

/// What an agent is asked for the list, as long as it tells it.
pub const LIST: &str = "/api/v1/traces?most=1000";
/// So many traces of one agent, with their spans and logs.
const MOST: usize = 16;
/// All traces of a bundle have so many bytes together.
pub const ROOM: usize = 16 << 20;

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    traces: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    trace_id: String,
    #[serde(default)]
    error_type: String,
}

/// What is asked for after the agent's list, which has the newest first. Nothing of a list that is none.
pub fn of_failed(list: &[u8]) -> Vec<Question> {
    let list = serde_json::from_slice(list).unwrap_or(List { traces: Vec::new() });
    let failed = list.traces.iter().filter(|entry| !entry.error_type.is_empty());
    // An agent says what is in the name of a file, and nothing but an id may be.
    let ids = failed.filter_map(|entry| TraceId::from_hex(&entry.trace_id)).take(MOST);
    let question = |id: String| Question { name: format!("traces/{id}.json"), path: format!("/api/v1/traces/{id}") };
    ids.map(|id| question(id.to_hex())).collect()
}
