//! Events on objects of the cluster: what people see under `kubectl describe`. Whoever has something
//! to say only puts it into a bounded queue; a task sends it. The same said again counts up the one
//! Event that is there, and nobody can make us flood the API server.

use super::client::{ApiClient, check_names};
use super::daemonset::Object;
use super::error::ApiError;
use super::resource::Resource;
use crate::domain::notice::{Bucket, Notice, Rate};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Request;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// What became of the last notice of each reason.
type Fates = Arc<Mutex<HashMap<&'static str, Fate>>>;

/// What became of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is on its way.
    Waits,
    /// The API server has it.
    Sent,
    /// It could not be sent, and nobody tries it again.
    Lost,
}

/// Where notices are put; clones are handles to the same queue.
#[derive(Clone)]
pub struct Events {
    queue: mpsc::Sender<Notice>,
    dropped: Arc<AtomicU64>,
    fates: Fates,
}

/// The task that sends them.
pub struct Sender {
    client: Arc<ApiClient>,
    /// The node that we are on.
    node: String,
    limits: Limits,
    queue: mpsc::Receiver<Notice>,
    dropped: Arc<AtomicU64>,
    fates: Fates,
    known: HashMap<Notice, Known>,
    buckets: HashMap<&'static str, Bucket>,
    /// Something could not be sent, and that was told.
    failing: bool,
}

/// What may be sent, and how long is waited.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many notices wait at the most.
    pub queue: usize,
    /// How many Events are remembered, so that they can be counted up.
    pub remembered: usize,
    /// How often Events of one reason are created or counted up.
    pub rate: Rate,
    /// How often each is tried.
    pub attempts: u32,
    /// For one answer.
    pub answer: Duration,
    /// Between two attempts.
    pub pause: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            queue: 64,
            remembered: 128,
            rate: Rate { burst: 10, interval: Duration::from_secs(30) },
            attempts: 3,
            answer: Duration::from_secs(5),
            pause: Duration::from_secs(1),
        }
    }
}

/// An Event that was said before.
struct Known {
    /// The Event's name, once there is one.
    name: Option<String>,
    first: u64,
    count: u64,
    /// When it was said last, to forget the oldest.
    last: Instant,
}

/// What the task has to tell.
#[derive(Debug)]
pub enum News<'a> {
    /// A notice could not be sent; told once until one can.
    Unsent { notice: &'a Notice, error: &'a ApiError },
    /// So many were not even tried, because there were too many.
    Dropped(u64),
}

impl Events {
    /// The queue, and the task that empties it for `node`.
    pub fn new(client: Arc<ApiClient>, node: &str, limits: Limits) -> (Events, Sender) {
        let (sender, queue) = mpsc::channel(limits.queue);
        let dropped = Arc::new(AtomicU64::new(0));
        let fates = Fates::default();
        let events = Events { queue: sender, dropped: dropped.clone(), fates: fates.clone() };
        let (known, buckets, node) = (HashMap::new(), HashMap::new(), node.to_owned());
        (events, Sender { client, node, limits, queue, dropped, fates, known, buckets, failing: false })
    }

    /// Says something, soon. Never waits; what does not fit is counted.
    pub fn say(&self, notice: Notice) {
        let reason = notice.reason;
        note(&self.fates, reason, Fate::Waits);
        if self.queue.try_send(notice.fitted()).is_err() {
            note(&self.fates, reason, Fate::Lost);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Events {
    /// What became of the last notice of this reason, if there was one: whoever says what lasts may say it again.
    pub fn fate(&self, reason: &str) -> Option<Fate> {
        self.fates.lock().unwrap_or_else(PoisonError::into_inner).get(reason).copied()
    }
}

/// Reasons are of a closed list, so that this stays small.
fn note(fates: &Fates, reason: &'static str, fate: Fate) {
    fates.lock().unwrap_or_else(PoisonError::into_inner).insert(reason, fate);
}

impl Sender {
    /// Sends what comes, until nobody can say anything any more.
    pub async fn run(mut self, mut tell: impl FnMut(News<'_>)) {
        while let Some(notice) = self.queue.recv().await {
            self.counted(&notice);
            let bucket = self.buckets.entry(notice.reason);
            if bucket.or_insert_with(|| Bucket::new(self.limits.rate, Instant::now())).take(Instant::now()) {
                let sent = self.send(&notice).await;
                note(&self.fates, notice.reason, if sent.is_ok() { Fate::Sent } else { Fate::Lost });
                match sent {
                    Ok(()) => self.failing = false,
                    Err(error) if !self.failing => {
                        self.failing = true;
                        tell(News::Unsent { notice: &notice, error: &error });
                    }
                    Err(_) => {}
                }
            } else {
                // Its count is sent with the next one that may go.
                note(&self.fates, notice.reason, Fate::Lost);
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
            match self.dropped.swap(0, Ordering::Relaxed) {
                0 => {}
                count => tell(News::Dropped(count)),
            }
        }
    }

    /// Counts it, and forgets the one that was said longest ago if there are too many.
    fn counted(&mut self, notice: &Notice) {
        let now = Instant::now();
        if let Some(known) = self.known.get_mut(notice) {
            known.count += 1;
            known.last = now;
            return;
        }
        if self.known.len() >= self.limits.remembered {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.last).map(|(notice, _)| notice.clone());
            oldest.map(|notice| self.known.remove(&notice));
        }
        self.known.insert(notice.clone(), Known { name: None, first: since_epoch(), count: 1, last: now });
    }

    /// Sends the notice with its count, in as many attempts as it may take.
    async fn send(&mut self, notice: &Notice) -> Result<(), ApiError> {
        let mut attempt = 1;
        loop {
            match self.attempt(notice).await {
                Err(error) if attempt < self.limits.attempts && passes(&error) => {}
                done => return done,
            }
            attempt += 1;
            tokio::time::sleep(self.limits.pause).await;
        }
    }

    async fn attempt(&mut self, notice: &Notice) -> Result<(), ApiError> {
        let Some(Known { name, first, count, .. }) = self.known.get(notice) else { return Ok(()) };
        let (first, count) = (*first, *count);
        if let Some(name) = name {
            match self.count_up(notice, name, count).await {
                // Kubernetes forgets Events after an hour, by default.
                Err(ApiError::NotFound { .. }) => {}
                done => return done,
            }
        }
        let name = event_name(&notice.about.name, since_epoch());
        self.create(notice, &name, (first, count)).await?;
        if let Some(known) = self.known.get_mut(notice) {
            known.name = Some(name);
        }
        Ok(())
    }

    async fn create(&self, notice: &Notice, name: &str, (first, count): (u64, u64)) -> Result<(), ApiError> {
        let namespace = notice.about.event_namespace();
        check_names(Resource::Events, namespace, name)?;
        let event = self.event(notice, name, first, count).to_string().into_bytes();
        let request = Request::new(collection(namespace)).create(&PostParams::default(), event);
        let created = self.client.ask::<Object>(Resource::Events, "create", request, self.limits.answer).await;
        created.map(|_| ())
    }

    async fn count_up(&self, notice: &Notice, name: &str, count: u64) -> Result<(), ApiError> {
        let path = Request::new(collection(notice.about.event_namespace()));
        let change = json!({"count": count, "lastTimestamp": time(since_epoch())});
        let request = path.patch(name, &PatchParams::default(), &Patch::Merge(change));
        let patched = self.client.ask::<Object>(Resource::Events, "patch", request, self.limits.answer).await;
        patched.map(|_| ())
    }

    fn event(&self, notice: &Notice, name: &str, first: u64, count: u64) -> Value {
        let Notice { component, about, severity, reason, message } = notice;
        let mut object =
            json!({"apiVersion": about.api_version, "kind": about.kind, "name": about.name, "uid": about.uid});
        if !about.namespace.is_empty() {
            object["namespace"] = json!(about.namespace);
        }
        json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": name, "namespace": about.event_namespace()},
            "involvedObject": object,
            "type": severity.name(), "reason": reason, "message": message,
            "source": {"component": component, "host": self.node},
            "reportingComponent": component, "reportingInstance": self.node,
            "firstTimestamp": time(first), "lastTimestamp": time(since_epoch()), "count": count,
        })
    }
}

fn collection(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/events")
}

/// A name that no other Event has, and that is not too long for one.
fn event_name(object: &str, now: u64) -> String {
    let object: String = object.chars().take(230).collect();
    format!("{}.{now:x}", object.trim_end_matches(['.', '-']))
}

/// Whether another attempt may succeed. Who may not send Events will not be allowed a second later.
fn passes(error: &ApiError) -> bool {
    matches!(
        error,
        ApiError::Unreachable { .. }
            | ApiError::Timeout { .. }
            | ApiError::Unauthorized { .. }
            | ApiError::Status { code: 409 | 429 | 500.., .. }
    )
}

/// Nanoseconds since the epoch.
fn since_epoch() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A time as Kubernetes writes it, in whole seconds.
fn time(nanoseconds: u64) -> String {
    let text = crate::telemetry::timestamp::Timestamp(nanoseconds).to_string();
    let seconds = text.split('.').next().unwrap_or_default();
    format!("{seconds}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_object_gives_a_name_that_is_one() {
        assert_eq!(event_name("node-a", 0xabc), "node-a.abc");
        let name = event_name(&format!("{}.-.{}", "a".repeat(228), "b".repeat(22)), u64::MAX);
        assert_eq!(name, format!("{}.ffffffffffffffff", "a".repeat(228)));
        assert!(check_names(Resource::Events, "default", &name).is_ok());
    }

    #[test]
    fn times_are_in_whole_seconds() {
        assert_eq!(time(1_787_410_818_923_456_789), "2026-08-22T15:00:18Z");
    }
}
