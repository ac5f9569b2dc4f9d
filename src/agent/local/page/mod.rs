//! The page: what this agent knows, for whoever is at the node or at the other end of a port-forward. Rendered here, so
//! that it works without a script; the script only asks again when something has changed.
//!
//! Whatever a pod, a runtime or a plugin wrote is text: the templates escape it (`maud`), and `words.rs` takes away what
//! would hide or move other text. Sizes are bounded where things are listed.

mod api;
mod assets;
mod axis;
mod doctor;
mod events;
mod layout;
mod numbers;
mod overview;
mod question;
mod runbook;
mod tiles;
mod trace;
mod tree;
mod waterfall;
mod words;

use crate::agent::doctor::Findings;
use crate::agent::http::LookFirst;
use crate::agent::readiness::Readiness;
use crate::telemetry::pipeline::Telemetry;
use axum::Router;
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use events::Watchers;
use layout::{Frame, document};
use maud::html;
use std::sync::Arc;

/// What the page is made of.
pub struct Page {
    /// The node's name.
    pub node: String,
    pub telemetry: Telemetry,
    pub readiness: Arc<Readiness>,
    /// Makes readiness true before it is shown.
    pub look: LookFirst,
    /// What doctor finds on the node.
    pub findings: Arc<Findings>,
}

/// The pairs of a query, in their order.
type Pairs = Query<Vec<(String, String)>>;

/// The page's routes.
pub fn routes(page: Page) -> Router {
    let page = Arc::new(page);
    let watchers = Watchers::new();
    let [one, two, three, four, five, six, seven, eight] = std::array::from_fn(|_| page.clone());
    Router::new()
        .route("/", get(move |Query(pairs): Pairs| async move { overview::page(&one, &pairs).await }))
        .route(
            "/traces/{id}",
            get(move |Path(id): Path<String>, Query(pairs): Pairs| async move { trace::page(&two, &id, &pairs).await }),
        )
        .route("/doctor", get(move || async move { doctor::page(&seven).await }))
        .route(
            "/runbooks/{name}",
            get(move |Path(name): Path<String>| async move { runbook::page(&eight, &name).await }),
        )
        .route("/events", get(move |headers: HeaderMap| async move { events::stream(three, &watchers, &headers) }))
        .route("/api/v1/traces", get(move |Query(pairs): Pairs| async move { api::traces(&four, &pairs) }))
        .route("/api/v1/traces/{id}", get(move |Path(id): Path<String>| async move { api::trace(&five, &id) }))
        .route("/assets/{name}", get(|Path(name): Path<String>| async move { assets::answer(&name) }))
        .fallback(move || async move { nowhere(&six).await })
}

impl Page {
    /// What every page has around its content.
    async fn frame(&self) -> Frame<'_> {
        (self.look)().await;
        Frame { node: &self.node, waiting_for: self.readiness.waiting_for(), version: events::version(self) }
    }
}

async fn nowhere(page: &Page) -> Response {
    let content = html! {
        section class="card" {
            h1 { "There is no such page" }
            p { "The list of what happened on this node is " a href="/" { "here" } "." }
        }
    };
    document(&page.frame().await, StatusCode::NOT_FOUND, "No such page", &content)
}
