//! What to do about a finding: the runbook as it was written, which is readable text.

use super::layout::document;
use super::{Page, nowhere};
use crate::domain::runbook::Runbook;
use axum::http::StatusCode;
use axum::response::Response;
use maud::html;

/// The page of the runbook of this name.
pub(super) async fn page(page: &Page, name: &str) -> Response {
    let Some(runbook) = Runbook::named(name) else { return nowhere(page).await };
    let content = html! {
        nav class="crumbs" aria-label="Where this is" { a href="/doctor" { "Doctor" } }
        article class="card" { pre class="runbook" { (runbook.text) } }
    };
    document(&page.frame().await, StatusCode::OK, runbook.title(), &content)
}
