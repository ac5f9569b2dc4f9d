//! What a trace says in short: whose it is, what happened in it, and whether that went well. Taken from
//! each item when it comes, so that a list of traces needs none of their items.

use super::Kind;
use crate::domain::identity::TraceId;
use crate::domain::pod::PodRef;
use crate::domain::startup::Outcome;
use crate::telemetry::attribute::text_attribute;
use crate::telemetry::event;
use crate::telemetry::keys;
use crate::telemetry::sanitize::{MAX_NAME, cut_text};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};

/// The most bytes of a message that are kept in short.
const MESSAGE: usize = 1 << 10;
/// The most pods of one trace: more than one there are only in a trace of somebody else.
const PODS: usize = 8;

/// A trace in short.
#[derive(Default)]
pub struct Facts {
    pods: Vec<PodRef>,
    /// What decides of each kind was told last, by [`Kind::ALL`].
    last: [Option<Last>; Kind::ALL.len()],
    /// The newest span that is one of those, or else the first span, with why it was made.
    about: String,
    about_ns: u64,
    pub began_ns: u64,
    pub ended_ns: u64,
    pub spans: usize,
}

/// The last of a kind.
struct Last {
    ended_ns: u64,
    failure: Option<Failure>,
}

/// What failed, in short.
pub struct Failure {
    pub error: String,
    pub message: String,
}

impl Facts {
    /// Takes in a span.
    pub fn span(&mut self, span: &Span) {
        self.spans += 1;
        self.reaches(span.start_time_unix_nano, span.end_time_unix_nano);
        self.pod_of(&span.attributes);
        let kind = kind(span);
        if self.about.is_empty() || (kind != Kind::Other && span.end_time_unix_nano >= self.about_ns) {
            self.about = about(span);
            self.about_ns = if kind == Kind::Other { 0 } else { span.end_time_unix_nano };
        }
        if kind != Kind::Other {
            self.decide(kind, Last { ended_ns: span.end_time_unix_nano, failure: failure(span) });
        }
    }

    /// Takes in a log record.
    pub fn log(&mut self, log: &LogRecord) {
        self.reaches(log.time_unix_nano, log.time_unix_nano);
        self.pod_of(&log.attributes);
        // What is found of a pod afterwards is told by no span.
        if log.event_name == event::POD_STARTED_LATE.as_str() {
            let outcome = text_attribute(&log.attributes, keys::STARTUP_OUTCOME).and_then(Outcome::from_name);
            if outcome.is_some_and(Outcome::is_good) {
                self.decide(Kind::Startup, Last { ended_ns: log.time_unix_nano, failure: None });
            }
            return;
        }
        let failure = match log.event_name.as_str() {
            name if name == event::POD_DRIFTED.as_str() => Some(drift(log)),
            name if name == event::POD_REDIRECTED_AGAIN.as_str() => None,
            _ => return,
        };
        self.decide(Kind::Other, Last { ended_ns: log.time_unix_nano, failure });
    }

    /// Takes in what another part of the trace says.
    pub fn merge(&mut self, other: Facts) {
        let Facts { pods, last, about, about_ns, began_ns, ended_ns, spans } = other;
        self.reaches(began_ns, ended_ns);
        self.spans += spans;
        pods.into_iter().for_each(|pod| self.pod_named(pod));
        if self.about.is_empty() || (about_ns > 0 && about_ns >= self.about_ns) {
            (self.about, self.about_ns) = (about, about_ns);
        }
        for (kind, last) in Kind::ALL.into_iter().zip(last) {
            if let Some(last) = last {
                self.decide(kind, last);
            }
        }
    }

    /// Whether something of this kind is in it.
    pub fn has(&self, kind: Kind) -> bool {
        self.kinds().contains(&kind)
    }

    /// What is in it.
    pub fn kinds(&self) -> Vec<Kind> {
        let kinds: Vec<Kind> =
            Kind::ALL.into_iter().zip(&self.last).filter(|(_, last)| last.is_some()).map(|(kind, _)| kind).collect();
        if kinds.is_empty() { vec![Kind::Other] } else { kinds }
    }

    /// What failed last and has not gone well since.
    pub fn failure(&self) -> Option<&Failure> {
        let failed = self.last.iter().flatten().filter_map(|last| Some((last.ended_ns, last.failure.as_ref()?)));
        failed.max_by_key(|(ended_ns, _)| *ended_ns).map(|(_, failure)| failure)
    }

    /// The first pod that is recognised.
    pub fn pod(&self, is: impl Fn(&PodRef) -> bool) -> Option<&PodRef> {
        self.pods.iter().find(|pod| is(pod))
    }

    /// Its name in a list.
    pub fn title(&self, trace: TraceId) -> String {
        match self.pods.first() {
            Some(PodRef { namespace, name, .. }) if !name.is_empty() => format!("{namespace}/{name}"),
            Some(PodRef { uid: Some(uid), .. }) => uid.clone(),
            _ if self.about.is_empty() => trace.to_hex(),
            _ => self.about.clone(),
        }
    }

    /// Whether it says this text, which is in lower case.
    pub fn mentions(&self, trace: TraceId, text: &str) -> bool {
        let says = |whole: &str| whole.to_ascii_lowercase().contains(text);
        let of_pod =
            |pod: &PodRef| says(&format!("{}/{}", pod.namespace, pod.name)) || pod.uid.as_deref().is_some_and(says);
        let fails = |failure: &Failure| says(&failure.error) || says(&failure.message);
        says(&trace.to_hex()) || self.pods.iter().any(of_pod) || says(&self.about) || self.failure().is_some_and(fails)
    }

    /// How many bytes its texts take.
    pub fn size(&self) -> usize {
        let pods = self.pods.iter().map(|pod| {
            size_of::<PodRef>() + pod.namespace.len() + pod.name.len() + pod.uid.as_deref().map_or(0, str::len)
        });
        let failures = self.last.iter().flatten().filter_map(|last| last.failure.as_ref());
        let failures = failures.map(|failure| failure.error.len() + failure.message.len());
        pods.chain(failures).sum::<usize>() + self.about.len()
    }

    fn reaches(&mut self, began_ns: u64, ended_ns: u64) {
        if self.began_ns == 0 || (began_ns > 0 && began_ns < self.began_ns) {
            self.began_ns = began_ns;
        }
        self.ended_ns = self.ended_ns.max(ended_ns);
    }

    fn decide(&mut self, kind: Kind, last: Last) {
        if let Some(known) = self.last.get_mut(kind as usize)
            && known.as_ref().is_none_or(|known| known.ended_ns <= last.ended_ns)
        {
            *known = Some(last);
        }
    }

    fn pod_of(&mut self, attributes: &[KeyValue]) {
        let text = |key| text_attribute(attributes, key).unwrap_or_default();
        let (namespace, name, uid) = (text(keys::POD_NAMESPACE), text(keys::POD_NAME), text(keys::POD_UID));
        let known = |pod: &PodRef| {
            pod.namespace == namespace && pod.name == name && pod.uid.as_deref().unwrap_or_default() == uid
        };
        if self.pods.iter().any(known) {
            return;
        }
        let short = |text: &str| {
            let mut text = text.to_owned();
            cut_text(&mut text, MAX_NAME);
            text
        };
        let uid = Some(short(uid)).filter(|uid| !uid.is_empty());
        self.pod_named(PodRef { namespace: short(namespace), name: short(name), uid });
    }

    /// Adds a pod; what is said of it first without its UID, or without its name, is the same one.
    fn pod_named(&mut self, pod: PodRef) {
        if pod.name.is_empty() && !pod.has_uid() {
            return;
        }
        let same = |known: &&mut PodRef| {
            let named = known.name.is_empty()
                || pod.name.is_empty()
                || (&known.namespace, &known.name) == (&pod.namespace, &pod.name);
            named && (!known.has_uid() || !pod.has_uid() || known.uid == pod.uid)
        };
        let Some(known) = self.pods.iter_mut().find(same) else {
            if self.pods.len() < PODS {
                self.pods.push(pod);
            }
            return;
        };
        if known.name.is_empty() {
            (known.namespace, known.name) = (pod.namespace, pod.name);
        }
        known.uid = known.uid.take().or(pod.uid);
    }
}

/// What a span decides.
fn kind(span: &Span) -> Kind {
    match span.name.as_str() {
        "cni.add" => Kind::Add,
        "cni.del" => Kind::Del,
        "cni.check" => Kind::Check,
        "install" | "uninstall" => Kind::Install,
        "repair.pod" => Kind::Repair,
        "validate" => Kind::Validation,
        "pod.startup" => Kind::Startup,
        // The run of a validator that tells no spans of its own, as the kubelet reports it.
        _ if text_attribute(&span.attributes, keys::VALIDATION_RESULT).is_some() => Kind::Validation,
        _ => Kind::Other,
    }
}

/// What a span was made for.
fn about(span: &Span) -> String {
    let mut text = match text_attribute(&span.attributes, keys::INSTALL_REASON) {
        Some(reason) => format!("{}: {reason}", span.name),
        None => span.name.clone(),
    };
    cut_text(&mut text, MAX_NAME);
    text
}

fn drift(log: &LogRecord) -> Failure {
    let message = match log.body.as_ref().and_then(|body| body.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        _ => String::new(),
    };
    Failure::new(text_attribute(&log.attributes, keys::ERROR_TYPE), message)
}

fn failure(span: &Span) -> Option<Failure> {
    let error = text_attribute(&span.attributes, keys::ERROR_TYPE);
    let status = span.status.as_ref().filter(|status| status.code() == StatusCode::Error);
    if error.is_none() && status.is_none() {
        return None;
    }
    Some(Failure::new(error, status.map(|status| status.message.clone()).unwrap_or_default()))
}

impl Failure {
    fn new(error: Option<&str>, mut message: String) -> Failure {
        let mut error = error.unwrap_or("other").to_owned();
        cut_text(&mut error, MAX_NAME);
        cut_text(&mut message, MESSAGE);
        message.shrink_to_fit();
        Failure { error, message }
    }
}
