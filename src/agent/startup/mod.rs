//! How the node's pods started, in their own traces: told once for each pod, when it is ready, has failed,
//! is deleted, or has taken too long. Nothing is asked of the API server but the Events on the pod, once.
//!
//! Which pods were told is written down, so that an agent that is restarted tells no pod twice, and every
//! pod whose start ended while there was none.

mod asking;
mod book;
mod retold;
mod schedule;

use super::config::startup::StartupSettings;
use super::socket_name::SocketName;
use crate::domain::failure::whole;
use crate::domain::pod::PodFacts;
use crate::domain::startup::{Outcome, Scope, startup};
use crate::k8s::cache::{Listener, PodCache, Seen};
use crate::k8s::client::ApiClient;
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::pipeline::Telemetry;
use crate::telemetry::resource::Origin;
use crate::telemetry::story::Clock;
use asking::{Answer, Asking};
use book::{Book, News};
use schedule::{Due, Schedule};
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, sleep_until};

/// How long is waited before a start that is over is told: the Events on the pod may come after its status,
/// and pods that start together are written down together.
const SETTLE: Duration = Duration::from_secs(1);

/// How long is waited before a pod is late while the API server is away.
const BLIND: Duration = Duration::from_secs(5);

/// Tells how pods started.
pub struct Startups {
    book: Arc<Mutex<Book>>,
    /// Grows by two for each pod, however often the watch brings it.
    news: UnboundedReceiver<News>,
    schedule: Schedule,
    asking: Asking,
    cache: Arc<PodCache>,
    /// Another agent may have come meanwhile, which tells from then on.
    socket: Arc<SocketName>,
    telemetry: Telemetry,
    /// The container whose runs somebody else tells.
    validator: String,
}

/// What is around.
pub struct Surroundings<'a> {
    pub client: &'a Arc<ApiClient>,
    pub cache: &'a Arc<PodCache>,
    pub socket: &'a Arc<SocketName>,
    pub telemetry: &'a Telemetry,
}

impl Startups {
    /// Tells of those pods that the settings name, and how it hears of them; nothing where there are none.
    /// `run_dir` remembers who was told.
    pub fn new(
        settings: StartupSettings,
        run_dir: &Path,
        validator: &str,
        from: &Surroundings<'_>,
    ) -> Option<(Startups, Listener)> {
        let StartupSettings { scope, limit } = settings;
        if scope == Scope::Off {
            // What was told before says nothing about those that start meanwhile.
            book::forget_all(run_dir);
            return None;
        }
        let (tell, news) = unbounded_channel();
        let book = Arc::new(Mutex::new(Book::read(run_dir, scope, limit)));
        let heard = book.clone();
        let listener: Listener = Box::new(move |seen| {
            let now_ns = Clock::start().start_ns();
            let news = match seen {
                Seen::Here(pod) if scope.includes(pod) => lock(&heard).look(pod, now_ns),
                Seen::Gone(pod) if scope.includes(pod) => lock(&heard).gone(pod),
                Seen::Here(_) | Seen::Gone(_) => None,
                Seen::All => Some(lock(&heard).listed()),
            };
            if let Some(news) = news {
                // The task ends with the process alone.
                let _ = tell.send(news);
            }
        });
        let (schedule, asking) = (Schedule::default(), Asking::new(from.client.clone(), from.telemetry.clone()));
        let (cache, socket, telemetry) = (from.cache.clone(), from.socket.clone(), from.telemetry.clone());
        let validator = validator.to_owned();
        Some((Startups { book, news, schedule, asking, cache, socket, telemetry, validator }, listener))
    }

    /// Tells for ever.
    pub async fn run(mut self) -> Result<(), Infallible> {
        loop {
            let next = self.schedule.next();
            let wake = self.asking.next(next).unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                Some(news) = self.news.recv() => self.hear(news),
                Some(answer) = self.asking.answer() => self.tell(answer),
                () = sleep_until(wake) => {}
            }
            while let Ok(news) = self.news.try_recv() {
                self.hear(news);
            }
            while let Some(answer) = self.asking.try_answer() {
                self.tell(answer);
            }
            self.ask_for_those_that_are_due();
            self.write_down().await;
        }
    }

    fn hear(&mut self, news: News) {
        let now = Instant::now();
        match news {
            News::Begun { pod, left } => self.schedule.put(now + left, Due::Late(pod)),
            News::Over { pod, outcome } => {
                self.schedule.is_over(&pod.uid);
                self.schedule.put(now + SETTLE, Due::Over(pod, outcome));
            }
            News::AfterAll { pod, outcome } => {
                let now_ns = Clock::start().start_ns();
                self.telemetry.ingest(retold::after_all(&pod, outcome, now_ns), Origin::Agent);
            }
            // Only the book has changed.
            News::Listed => {}
        }
    }

    fn ask_for_those_that_are_due(&mut self) {
        while let Some(due) = self.schedule.due(Instant::now(), || self.asking.has_room()) {
            let (pod, outcome) = match due {
                Due::Over(pod, outcome) => (pod, outcome),
                // A pod of which nothing is heard may be ready by now.
                Due::Late(pod) if !self.cache.is_live() => {
                    self.schedule.put(Instant::now() + BLIND, Due::Late(pod));
                    continue;
                }
                Due::Late(pod) => {
                    // It may have come to its end in time, or be gone.
                    let Some(pod) = self.cache.named(&pod.namespace, &pod.name).filter(|now| now.uid == pod.uid) else {
                        continue;
                    };
                    if !lock(&self.book).is_late(&pod.uid) {
                        continue;
                    }
                    (pod, Outcome::Late)
                }
            };
            self.asking.ask(pod, outcome);
        }
    }

    fn tell(&mut self, answer: Answer) {
        if self.socket.successor().is_some() {
            // It has read what was told before, and tells the rest.
            return;
        }
        let Answer { pod, outcome, events } = answer;
        let now_ns = Clock::start().start_ns();
        let start = startup(&pod, events.as_deref().unwrap_or_default(), outcome, now_ns);
        let batch = retold::batch(&pod, &start, events.is_some(), &self.validator, now_ns);
        self.telemetry.ingest(batch, Origin::Agent);
        // Told, then written down: killed in between, the next agent tells it again, as the same spans.
        lock(&self.book).told(&pod.uid, outcome);
        if outcome == Outcome::Late {
            // It may have become ready while this was found out, and then there is no other news of it.
            let now = self.cache.named(&pod.namespace, &pod.name).filter(|now| now.uid == pod.uid);
            let news = now.and_then(|now| lock(&self.book).look(&now, now_ns));
            news.into_iter().for_each(|news| self.hear(news));
        }
    }

    async fn write_down(&self) {
        if self.socket.successor().is_some() {
            return;
        }
        let Some(write) = lock(&self.book).writing() else { return };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(write).await
            && lock(&self.book).failed()
        {
            self.telemetry.event(AgentEvent::StartupUnremembered { problem: whole(&error) });
        }
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pod as everybody shares it.
type Pod = Arc<PodFacts>;
