//! The page: what this agent knows, for whoever is at the node or at the other end of a port-forward.

use crate::agent::http::LookFirst;
use crate::agent::readiness::Readiness;
use crate::telemetry::pipeline::Telemetry;
use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use maud::{DOCTYPE, Markup, html};
use std::sync::Arc;

/// What the page is made of.
pub struct Page {
    /// The node's name.
    pub node: String,
    pub telemetry: Telemetry,
    pub readiness: Arc<Readiness>,
    /// Makes readiness true before it is shown.
    pub look: LookFirst,
}

/// The page's routes.
pub fn routes(page: Page) -> Router {
    let page = Arc::new(page);
    Router::new().route("/", get(move || overview(page.clone())))
}

async fn overview(page: Arc<Page>) -> Response {
    (page.look)().await;
    let waiting_for = page.readiness.waiting_for();
    document(
        &page.node,
        &html! {
            h2 { "Readiness" }
            @if waiting_for.is_empty() { p { "ready" } }
            ul { @for reason in &waiting_for { li { (reason) } } }
        },
    )
}

fn document(node: &str, content: &Markup) -> Response {
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (node) " · istio-cni" }
            }
            body { main { h1 { (node) } (content) } }
        }
    };
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], document.into_string()).into_response()
}
