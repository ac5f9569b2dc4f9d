//! Requests to the API server, to be counted: by the agent at once, by a plugin that works alone in
//! its story, which the agent counts later.

/// One finished request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiRequest {
    /// One of [`VERBS`].
    pub verb: &'static str,
    /// One of [`RESOURCES`].
    pub resource: &'static str,
    /// The HTTP status, when there was an answer.
    pub code: Option<u16>,
}

/// The verbs that are used.
pub const VERBS: [&str; 3] = ["get", "list", "watch"];
/// The resources that are asked for.
pub const RESOURCES: [&str; 1] = ["pods"];

/// The word of a closed list; what is not in it counts as empty, so that nobody can make up series.
pub fn known(list: &[&'static str], word: &str) -> &'static str {
    list.iter().find(|known| **known == word).copied().unwrap_or_default()
}
