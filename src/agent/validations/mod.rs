//! What the pods' validation containers found, in the pods' own traces: the validator seldom has a
//! way to a collector, so the agent tells its story from what the API server says of its runs.
//! Each run is told once, also across a restart of the agent.

mod remembered;
mod retold;

use crate::domain::identity::SpanId;
use crate::domain::pod::PodFacts;
use crate::domain::validation_run::{Run, runs};
use crate::k8s::cache::{Listener, Seen};
use crate::telemetry::pipeline::Telemetry;
use crate::telemetry::resource::Origin;
use crate::telemetry::story::Clock;
use remembered::Remembered;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Tells what validations found.
pub struct Validations {
    container: String,
    remembered: Arc<Mutex<Remembered>>,
    /// Grows by a pod for each run that has ended, however often the watch brings it.
    news: UnboundedReceiver<News>,
    telemetry: Telemetry,
}

enum News {
    /// A run of this pod has ended that was not told.
    Ended(Arc<PodFacts>),
    /// The pod with this UID is gone.
    Gone(String),
    /// All pods were seen.
    All,
}

impl Validations {
    /// What the containers of this name find, and how it hears of it. `run_dir` remembers what was
    /// told.
    pub fn new(container: &str, run_dir: &Path, telemetry: Telemetry) -> (Validations, Listener) {
        let (tell, news) = unbounded_channel();
        let remembered = Arc::new(Mutex::new(Remembered::read(run_dir)));
        let listener = listener(container.to_owned(), remembered.clone(), tell);
        (Validations { container: container.to_owned(), remembered, news, telemetry }, listener)
    }

    /// Tells for ever.
    pub async fn run(mut self) -> Result<(), Infallible> {
        while let Some(news) = self.news.recv().await {
            self.tell(news);
            while let Ok(news) = self.news.try_recv() {
                self.tell(news);
            }
            // Told, then remembered: killed in between, the next agent tells it again, as the same
            // spans.
            let write = lock(&self.remembered).writing();
            // Where it cannot be written, a restart tells some runs again; there is nobody to mind.
            let _ = tokio::task::spawn_blocking(write).await;
        }
        std::future::pending().await
    }

    fn tell(&self, news: News) {
        let pod = match news {
            News::Ended(pod) => pod,
            News::Gone(uid) => return lock(&self.remembered).forget(&uid),
            News::All => return lock(&self.remembered).forget_unseen(),
        };
        for run in runs(&pod, &self.container) {
            if lock(&self.remembered).tell(&pod.uid, run.span(&pod.uid)) {
                let batch = retold::batch(&pod, &run, Clock::start().start_ns());
                self.telemetry.ingest(batch, Origin::Agent);
            }
        }
        let visible: Vec<SpanId> = runs(&pod, &self.container).iter().map(|run| run.span(&pod.uid)).collect();
        lock(&self.remembered).keep(&pod.uid, &visible);
    }
}

/// Only what is news comes through: pods change often, and their validations seldom.
fn listener(container: String, remembered: Arc<Mutex<Remembered>>, tell: UnboundedSender<News>) -> Listener {
    Box::new(move |seen| {
        let news = match seen {
            Seen::Here(pod) => {
                let mut remembered = lock(&remembered);
                remembered.see(&pod.uid);
                // Each of them waits from now on, and not only the first.
                let untold = |run: &Run<'_>| remembered.wait(&pod.uid, run.span(&pod.uid));
                let untold = runs(pod, &container).iter().map(untold).fold(false, |any, this| any | this);
                untold.then(|| News::Ended(pod.clone()))
            }
            // Its last state may show no run any more.
            Seen::Gone(pod) => lock(&remembered).has(&pod.uid).then(|| News::Gone(pod.uid.clone())),
            Seen::All => Some(News::All),
        };
        if let Some(news) = news {
            // The task ends with the process alone.
            let _ = tell.send(news);
        }
    })
}

fn lock(remembered: &Mutex<Remembered>) -> MutexGuard<'_, Remembered> {
    remembered.lock().unwrap_or_else(PoisonError::into_inner)
}
