//! What the page shows, as JSON for programs: `/api/v1/traces` and `/api/v1/traces/ID`.

use super::Page;
use super::question::Question;
use crate::domain::identity::TraceId;
use crate::telemetry::history::Summary;
use crate::wire::trace as wire;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// The traces that a question is for.
pub(super) fn traces(page: &Page, pairs: &[(String, String)]) -> Response {
    let question = match Question::read(pairs) {
        Ok(question) => question,
        Err(problem) => return json(StatusCode::BAD_REQUEST, wire::error(&problem)),
    };
    let found = page.telemetry.history().summaries(&question.filter, question.most);
    let entries: Vec<wire::Entry<'_>> = found.iter().map(entry).collect();
    json(StatusCode::OK, wire::entries(&page.node, &entries))
}

/// One trace.
pub(super) fn trace(page: &Page, id: &str) -> Response {
    let Some(id) = TraceId::from_hex(id) else {
        return json(
            StatusCode::BAD_REQUEST,
            wire::error("a trace id has 32 hex digits: those of a pod's UID, without the dashes"),
        );
    };
    match page.telemetry.history().trace(id) {
        Some(trace) => json(StatusCode::OK, wire::trace(&entry(&trace.summary), &trace.spans, &trace.logs)),
        None => json(StatusCode::NOT_FOUND, wire::error("this agent does not remember such a trace")),
    }
}

fn entry(summary: &Summary) -> wire::Entry<'_> {
    wire::Entry {
        trace: summary.trace,
        kinds: summary.kinds.iter().map(|kind| kind.name()).collect(),
        title: &summary.title,
        pod: summary.pod.as_ref(),
        began_ns: summary.began_ns,
        ended_ns: summary.ended_ns,
        error: summary.error.as_deref(),
        message: summary.message.as_deref(),
        spans: summary.spans,
        forgotten: summary.forgotten,
    }
}

fn json(status: StatusCode, body: Result<Vec<u8>, serde_json::Error>) -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    match body {
        Ok(body) => (status, content_type, body).into_response(),
        // Nothing that is written can fail to be JSON.
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, content_type, format!("{{\"error\":{:?}}}", error.to_string()))
                .into_response()
        }
    }
}
