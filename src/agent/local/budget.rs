//! How much memory the local server's answers may take. Only so many are made at once, and what is made waits for its
//! reader only while there is room for it: who reads slowly, or not at all, takes that from other readers, never from
//! the calls of plugins.

use axum::Router;
use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How many answers are made at once.
const MAKING: usize = 4;
/// How many KiB of answers may wait for their readers.
const WAITING: u32 = 4 << 10;
/// How long a request waits for its turn, or an answer for room.
const PATIENCE: Duration = Duration::from_secs(3);

/// What there is for all answers together.
#[derive(Clone)]
struct Budget {
    making: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// These routes, within the budget. A body without a known size (a stream of events) bounds itself.
pub(super) fn bound(routes: Router) -> Router {
    let waiting = usize::try_from(WAITING).unwrap_or(usize::MAX);
    let budget = Budget { making: Arc::new(Semaphore::new(MAKING)), waiting: Arc::new(Semaphore::new(waiting)) };
    routes.layer(from_fn_with_state(budget, within))
}

async fn within(State(budget): State<Budget>, request: Request, next: Next) -> Response {
    let Ok(Ok(turn)) = timeout(PATIENCE, budget.making.acquire_owned()).await else { return busy() };
    let response = next.run(request).await;
    let Some(size) = response.body().size_hint().exact() else { return response };
    let kib = u32::try_from(size.div_ceil(1024)).unwrap_or(u32::MAX);
    if kib > WAITING {
        return (StatusCode::INTERNAL_SERVER_ERROR, "the answer is longer than any answer may be\n").into_response();
    }
    let Ok(Ok(room)) = timeout(PATIENCE, budget.waiting.acquire_many_owned(kib)).await else { return busy() };
    drop(turn);
    let (head, body) = response.into_parts();
    match to_bytes(body, usize::MAX).await {
        Ok(bytes) if !bytes.is_empty() => {
            let owner = Waiting { bytes, _room: room };
            Response::from_parts(head, Body::from(Bytes::from_owner(owner)))
        }
        _ => Response::from_parts(head, Body::empty()),
    }
}

/// The bytes of an answer, with their room: the connection drops both when the last of them has gone out, or with itself.
struct Waiting {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Waiting {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn busy() -> Response {
    let again = [(header::RETRY_AFTER, "2")];
    (StatusCode::SERVICE_UNAVAILABLE, again, "too many are asking at once; try again in a moment\n").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;
    use tokio::runtime::Builder;

    const MIB: usize = 1 << 20;

    /// Answers of a MiB, or of more than all may have together.
    fn routes() -> TowerToHyperService<Router> {
        let routes = Router::new().route("/", get(|| async { vec![0_u8; MIB] }));
        TowerToHyperService::new(bound(routes.route("/endless", get(|| async { vec![0_u8; 5 * MIB] }))))
    }

    async fn ask(routes: &TowerToHyperService<Router>, path: &str) -> Response {
        routes.call(Request::builder().uri(path).body(Body::empty()).unwrap()).await.unwrap()
    }

    #[test]
    fn what_nobody_reads_takes_room_until_its_last_byte_is_gone() {
        Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
            let routes = routes();
            let mut unread = Vec::new();
            for _ in 0..4 {
                unread.push(ask(&routes, "/").await);
            }
            assert!(unread.iter().all(|answer| answer.status() == 200));
            let refused = ask(&routes, "/").await;
            assert_eq!(
                (refused.status(), &refused.headers()["retry-after"]),
                (StatusCode::SERVICE_UNAVAILABLE, &"2".parse().unwrap())
            );
            // The answer has left us, but its bytes still wait for the connection.
            let bytes = to_bytes(unread.pop().unwrap().into_body(), MIB).await.unwrap();
            assert_eq!(ask(&routes, "/").await.status(), 503);
            drop(bytes);
            assert_eq!(ask(&routes, "/").await.status(), 200);
        });
    }

    #[test]
    fn an_answer_that_would_never_find_room_is_refused_at_once() {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        assert_eq!(runtime.block_on(async { ask(&routes(), "/endless").await.status() }), 500);
    }
}
