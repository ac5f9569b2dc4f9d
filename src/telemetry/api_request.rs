//! Requests to the API server, to be counted: by the agent at once, by a plugin that works alone in
//! its story, which the agent counts later.

use prost::Message;

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
pub const VERBS: [&str; 6] = ["get", "list", "watch", "create", "patch", "delete"];
/// The resources that are asked for.
pub const RESOURCES: [&str; 6] = ["pods", "daemonsets", "nodes", "events", "pods/eviction", "pods/status"];

/// The word of a closed list; what is not in it counts as empty, so that nobody can make up series.
fn known(list: &[&'static str], word: &str) -> &'static str {
    list.iter().find(|known| **known == word).copied().unwrap_or_default()
}

/// Requests that ended the same way, as a batch carries them.
#[derive(Clone, PartialEq, Message)]
pub struct WireRequests {
    /// As in [`ApiRequest`].
    #[prost(string, tag = "1")]
    pub verb: String,
    /// As in [`ApiRequest`].
    #[prost(string, tag = "2")]
    pub resource: String,
    /// The HTTP status; 0 when there was no answer.
    #[prost(uint32, tag = "3")]
    pub code: u32,
    /// How many there were.
    #[prost(uint32, tag = "4")]
    pub count: u32,
}

impl From<&(ApiRequest, u32)> for WireRequests {
    fn from((request, count): &(ApiRequest, u32)) -> Self {
        let ApiRequest { verb, resource, code } = *request;
        let code = code.unwrap_or_default().into();
        WireRequests { verb: verb.to_owned(), resource: resource.to_owned(), code, count: *count }
    }
}

impl From<&WireRequests> for (ApiRequest, u32) {
    fn from(wire: &WireRequests) -> Self {
        let code = u16::try_from(wire.code).ok().filter(|code| *code != 0);
        let (verb, resource) = (known(&VERBS, &wire.verb), known(&RESOURCES, &wire.resource));
        (ApiRequest { verb, resource, code }, wire.count)
    }
}
