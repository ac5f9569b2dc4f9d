//! What the exporter's own libraries log is not exported: a failing export would feed itself.

use hyper::rt::Executor as Runs;
use std::future::Future;
use std::pin::Pin;
use tracing::instrument::WithSubscriber as _;
use tracing::subscriber::NoSubscriber;

/// Runs a connection's background tasks, silently.
#[derive(Clone, Copy, Debug)]
pub struct Executor;

impl Runs<Pin<Box<dyn Future<Output = ()> + Send>>> for Executor {
    fn execute(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tokio::spawn(task.with_subscriber(NoSubscriber::default()));
    }
}

/// A task that logs nothing through `tracing`.
pub fn task<F: Future>(task: F) -> impl Future<Output = F::Output> {
    task.with_subscriber(NoSubscriber::default())
}

/// Runs something that logs nothing through `tracing`.
pub fn run<T>(work: impl FnOnce() -> T) -> T {
    tracing::subscriber::with_default(NoSubscriber::default(), work)
}
