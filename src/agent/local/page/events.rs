//! `/events`: tells the page's script that there is something new, as Server-Sent Events. Only that is told: the script
//! asks for the page that it shows again. A stream ends by itself after a while, and the browser begins another one.

use super::Page;
use crate::telemetry::story::Clock;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// So many pages are told at once; a further one asks again from time to time.
const WATCHERS: usize = 12;
/// How long a stream lasts: less than a connection may (`agent/http.rs`), so that it ends in good order.
const LIFE: Duration = Duration::from_secs(45);
/// How long a browser waits before it begins another one.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the next news wait for more.
const SETTLE: Duration = Duration::from_millis(250);
/// How often readiness is looked at, which does not tell by itself.
const LOOK: Duration = Duration::from_secs(1);
/// How often there is something new although nothing happened: ages grow.
const OLDER: Duration = Duration::from_secs(10);

/// When this process first told anything: another agent's news are others.
static BEGAN: LazyLock<u64> = LazyLock::new(|| Clock::start().start_ns());

/// Who is being told.
#[derive(Clone)]
pub(super) struct Watchers(Arc<Semaphore>);

impl Watchers {
    pub(super) fn new() -> Watchers {
        Watchers(Arc::new(Semaphore::new(WATCHERS)))
    }
}

/// What is shown now, as one word that changes with it.
pub(super) fn version(page: &Page) -> String {
    let history = *page.telemetry.history().changed().borrow();
    let mut readiness = DefaultHasher::new();
    page.readiness.waiting_for().hash(&mut readiness);
    // An agent that is started anew counts from the beginning.
    format!("{:x}-{history}-{:08x}", *BEGAN, readiness.finish() as u32)
}

/// A stream of news for one page, from the version on that it says it has.
pub(super) fn stream(page: Arc<Page>, watchers: &Watchers, headers: &HeaderMap) -> Response {
    let Ok(place) = watchers.0.clone().try_acquire_owned() else {
        let again = [(header::RETRY_AFTER, "10")];
        return (StatusCode::SERVICE_UNAVAILABLE, again, "too many pages are being told at once\n").into_response();
    };
    let told = headers.get("last-event-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let (changed, now) = (page.telemetry.history().changed(), Instant::now());
    let first = told.is_empty();
    let news = News { page, changed, told, first, ends: now + LIFE, older: now + OLDER, _place: place };
    Sse::new(stream::unfold(news, News::next)).keep_alive(KeepAlive::default()).into_response()
}

/// What one page is told.
struct News {
    page: Arc<Page>,
    changed: watch::Receiver<u64>,
    /// The version that it has.
    told: String,
    /// Whether it has none yet.
    first: bool,
    ends: Instant,
    older: Instant,
    _place: OwnedSemaphorePermit,
}

impl News {
    /// Waits for the next news, but not beyond the stream's end.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, News)> {
        if !self.first {
            sleep_until(self.ends.min(Instant::now() + SETTLE)).await;
        }
        while Instant::now() < self.ends {
            let version = version(&self.page);
            if version != self.told || Instant::now() >= self.older {
                self.older = Instant::now() + OLDER;
                let event = Event::default().event("version").id(&version).data(&version).retry(AGAIN);
                (self.told, self.first) = (version, false);
                return Some((Ok(event), self));
            }
            tokio::select! {
                changed = timeout_at(self.ends, self.changed.changed()) => {
                    // The history lives as long as the page.
                    if !matches!(changed, Ok(Ok(()))) { return None; }
                }
                () = sleep(LOOK) => {}
            }
        }
        None
    }
}
