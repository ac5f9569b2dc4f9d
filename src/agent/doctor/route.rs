//! The agent's findings for its page and for the command: `/api/v1/doctor`, and `?pod=NAMESPACE/NAME` for one pod. Who
//! asks while somebody looks gets what that look came to, so that nobody can make the node look at itself all the time.

use super::Doctor;
use crate::agent::http::LookFirst;
use crate::domain::finding::Report;
use crate::wire::finding::encode;
use axum::Router;
use axum::extract::Query;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Where it is served.
pub const PATH: &str = "/api/v1/doctor";
/// Where the agent's settings are served, for bug reports.
pub const SETTINGS_PATH: &str = "/api/v1/settings";
/// Where its metrics are served besides, for bug reports: their port need not be reachable.
pub const METRICS_PATH: &str = "/api/v1/metrics";
/// What is said when nothing comes back.
pub const BROKE_OFF: &str = "looking broke off or hangs: see the agent's log, and whether the node's disk hangs";
/// How long a look counts.
const FRESH: Duration = Duration::from_secs(1);
/// How long somebody else's look is waited for: a little longer than its checks may take, and less than whoever asks
/// waits.
const PATIENCE: Duration = Duration::from_millis(2200);

const _: () = assert!(super::LIMIT.as_millis() < PATIENCE.as_millis());

/// A look, and when it was over.
type Look = (Instant, Arc<Report>);

/// The agent's findings, for all who ask.
pub struct Findings {
    doctor: Arc<Doctor>,
    /// Makes readiness true before it is told.
    ready: LookFirst,
    /// The last look, and when it was over. Held by whoever looks.
    last: Arc<Mutex<Option<Look>>>,
}

impl Findings {
    /// Nothing is looked at yet.
    pub fn new(doctor: Doctor, ready: LookFirst) -> Arc<Findings> {
        Arc::new(Findings { doctor: Arc::new(doctor), ready, last: Arc::default() })
    }

    /// What the agent finds on its node, a second old at the most. None if looking broke off, or if somebody else's
    /// look does not come to its end.
    pub async fn report(&self) -> Option<Arc<Report>> {
        let mut last = tokio::time::timeout(PATIENCE, self.last.clone().lock_owned()).await.ok()?;
        if let Some((at, report)) = last.as_ref()
            && at.elapsed() < FRESH
        {
            return Some(report.clone());
        }
        (self.ready)().await;
        let doctor = self.doctor.clone();
        // The lock goes with the work: who does not wait for it any more must not let another begin.
        let look = move || {
            let report = Arc::new(doctor.look());
            *last = Some((Instant::now(), report.clone()));
            report
        };
        tokio::task::spawn_blocking(look).await.ok()
    }
}

/// The routes.
pub fn routes(findings: Arc<Findings>) -> Router {
    let (settings, metrics) = (findings.clone(), findings.clone());
    Router::new()
        .route(PATH, get(move |Query(query): Query<HashMap<String, String>>| answer(findings.clone(), query)))
        .route(SETTINGS_PATH, get(move || async move { text(format!("{}\n", settings.doctor.settings)) }))
        .route(METRICS_PATH, get(move || async move { text(metrics.doctor.telemetry.metrics().render(None).1) }))
}

async fn answer(findings: Arc<Findings>, query: HashMap<String, String>) -> Response {
    let Some(pod) = query.get("pod") else {
        return match findings.report().await {
            Some(report) => json(&report),
            None => (StatusCode::INTERNAL_SERVER_ERROR, format!("{BROKE_OFF}\n")).into_response(),
        };
    };
    match pod.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            json(&findings.doctor.look_at_pod(namespace, name))
        }
        _ => (StatusCode::BAD_REQUEST, "pod takes NAMESPACE/NAME\n").into_response(),
    }
}

fn text(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

fn json(report: &Report) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], encode(report)).into_response()
}
