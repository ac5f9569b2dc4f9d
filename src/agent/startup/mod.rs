//! How the node's pods started, in their own traces: told once for each pod, when it is ready, has failed,
//! is deleted, or has taken too long. Nothing is asked of the API server but the Events on the pod, once, and
//! whether a pod that seems late is so.
//!
//! Which pods start and which were told is written down, so that an agent that is restarted tells no pod twice, and
//! every pod whose start ended while there was none.

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
use crate::telemetry::story::{Batch, Clock};
use asking::{Answer, Asking, Case, TOGETHER};
use book::{Book, News};
use schedule::{Due, Schedule};
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until};

/// How long is waited before it is looked again whether a pod is late, while the API server is away.
const BLIND: Duration = Duration::from_secs(5);
/// The book is written so often at the most.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// And so long after it could not be written.
const WRITE_AGAIN: Duration = Duration::from_secs(10);

/// News, and when it was seen (nanoseconds since the epoch).
type Heard = (u64, News);

/// Tells how pods started.
pub struct Startups {
    book: Arc<Mutex<Book>>,
    /// Grows by a few for each pod, however often the watch brings it.
    news: UnboundedReceiver<Heard>,
    tell: UnboundedSender<Heard>,
    /// When the book may be written next.
    write_at: Instant,
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
        let listener = listener(scope, book.clone(), tell.clone());
        let startups = Startups {
            book,
            news,
            tell,
            write_at: Instant::now(),
            schedule: Schedule::default(),
            asking: Asking::new(from.client.clone(), from.telemetry.clone()),
            cache: from.cache.clone(),
            socket: from.socket.clone(),
            telemetry: from.telemetry.clone(),
            validator: validator.to_owned(),
        };
        Some((startups, listener))
    }

    /// What writes down at the end of the process who was told.
    pub fn closing(&self) -> Closing {
        Closing { book: self.book.clone(), socket: self.socket.clone() }
    }

    /// Tells for ever.
    pub async fn run(mut self) -> Result<(), Infallible> {
        loop {
            let wake = self.asking.next(self.schedule.next()).into_iter().chain(self.writes_at()).min();
            let wake = wake.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                Some((seen_ns, news)) = self.news.recv() => self.hear(seen_ns, news),
                answers = self.asking.answers() => answers.into_iter().for_each(|answer| self.answered(answer)),
                () = sleep_until(wake) => {}
            }
            while let Ok((seen_ns, news)) = self.news.try_recv() {
                self.hear(seen_ns, news);
            }
            for answer in self.asking.take_answers() {
                self.answered(answer);
            }
            self.ask_for_those_that_are_due();
            self.write_down().await;
        }
    }

    fn hear(&mut self, seen_ns: u64, news: News) {
        let now = Instant::now();
        match news {
            News::Begun { pod, left } => self.schedule.put(now + left, Due::Late(pod)),
            News::Over { pod, outcome } => self.schedule.settle(now, pod, outcome, seen_ns),
            News::AfterAll { pod, outcome } => {
                self.tell(&pod.uid, outcome, |now_ns| retold::after_all(&pod, outcome, seen_ns, now_ns));
            }
            News::Vanished { pod, late } => {
                self.tell(&pod.uid, Outcome::Deleted, |now_ns| retold::vanished(&pod, late, now_ns));
            }
            // Only the book has changed.
            News::Noted => {}
        }
    }

    fn ask_for_those_that_are_due(&mut self) {
        let now = Instant::now();
        while let Some(due) = self.schedule.due(now, |due| self.asking.has_room(due)) {
            match due {
                Due::Over(case) => {
                    let mut cases = self.schedule.with(now, &case.pod.namespace, TOGETHER - 1);
                    cases.push(case);
                    self.asking.ask(cases);
                }
                // A pod of which nothing is heard may be ready by now.
                Due::Late(pod) if !self.cache.is_live() => self.schedule.put(now + BLIND, Due::Late(pod)),
                Due::Late(pod) => {
                    if lock(&self.book).asks(&pod.uid) {
                        self.asking.ask_late(pod, Clock::start().start_ns());
                    }
                }
            }
        }
    }

    fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::Told(case, events) => {
                let is_late = case.outcome == Outcome::Late;
                // Something else may have been heard of it while the API server was asked.
                if is_late && !lock(&self.book).is_late(&case.pod.uid) {
                    return;
                }
                if !is_late {
                    lock(&self.book).told(&case.pod.uid);
                }
                self.tell_start(&case, events.as_deref());
            }
            Answer::NotLate(pod) | Answer::Unknown(pod) => {
                if lock(&self.book).is_not_late(&pod.uid) {
                    self.schedule.put(Instant::now() + BLIND, Due::Late(pod));
                }
            }
        }
    }

    fn tell_start(&self, case: &Case, events: Option<&[crate::domain::startup::PodEvent]>) {
        let Case { pod, outcome, seen_ns } = case;
        let start = startup(pod, events.unwrap_or_default(), *outcome, *seen_ns);
        self.tell(&pod.uid, *outcome, |now_ns| retold::batch(pod, &start, events.is_some(), &self.validator, now_ns));
    }

    /// Tells something, and has it in the book when it is not in this process' memory alone any more: killed in
    /// between, the next agent tells it again, as the same spans.
    fn tell(&self, uid: &str, outcome: Outcome, batch: impl FnOnce(u64) -> Batch) {
        if self.socket.successor().is_some() {
            // It has read what was told before, and tells the rest.
            return;
        }
        let now_ns = Clock::start().start_ns();
        let (book, tell, uid) = (self.book.clone(), self.tell.clone(), uid.to_owned());
        self.telemetry.ingest_then(batch(now_ns), Origin::Agent, move || {
            lock(&book).arrived(&uid, outcome);
            // Where nobody listens any more, the process ends, and writes it down itself.
            let _ = tell.send((now_ns, News::Noted));
        });
    }

    /// When the book is to be written next, if it is.
    fn writes_at(&self) -> Option<Instant> {
        lock(&self.book).has_changed().then_some(self.write_at)
    }

    async fn write_down(&mut self) {
        if self.write_at > Instant::now() || self.socket.successor().is_some() {
            return;
        }
        let Some(write) = lock(&self.book).writing() else { return };
        let written = tokio::task::spawn_blocking(write).await;
        self.write_at = Instant::now() + WRITE_EVERY;
        match written {
            Ok(Err(error)) => {
                self.write_at = Instant::now() + WRITE_AGAIN;
                if lock(&self.book).failed() {
                    self.telemetry.event(AgentEvent::StartupUnremembered { problem: whole(&error) });
                }
            }
            Ok(Ok(())) | Err(_) => lock(&self.book).written(),
        }
    }
}

/// Writes down at the end of the process who was told: when the telemetry that was on its way has arrived, or is in the
/// spool.
pub struct Closing {
    book: Arc<Mutex<Book>>,
    socket: Arc<SocketName>,
}

impl Closing {
    /// Writes it. What cannot be written is told again by the next agent.
    pub fn write(self) {
        let writing = if self.socket.successor().is_none() { lock(&self.book).writing() } else { None };
        let _ = writing.map(|write| write());
    }
}

fn listener(scope: Scope, book: Arc<Mutex<Book>>, tell: UnboundedSender<Heard>) -> Listener {
    Box::new(move |seen| {
        let now_ns = Clock::start().start_ns();
        let (one, all) = match seen {
            Seen::Here(pod) if scope.includes(pod) => (lock(&book).look(pod, now_ns), Vec::new()),
            Seen::Gone(pod) if scope.includes(pod) => (lock(&book).gone(pod), Vec::new()),
            Seen::Here(_) | Seen::Gone(_) => (None, Vec::new()),
            Seen::All => (None, lock(&book).listed()),
        };
        for news in one.into_iter().chain(all) {
            // The task ends with the process alone.
            let _ = tell.send((now_ns, news));
        }
    })
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pod as everybody shares it.
type Pod = Arc<PodFacts>;
