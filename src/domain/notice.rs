//! What is said on an object of the cluster, so that whoever looks at that object reads it: the
//! content of a Kubernetes Event, and how often the same may be said.

use std::fmt;
use std::time::{Duration, Instant};

/// How long a message may be, bytes; the API server refuses longer ones.
pub const LONGEST_MESSAGE: usize = 1024;

/// Who says it, as a rule.
pub const AGENT: &str = "istio-cni-otel";
/// Who says it about broken pods: as the reference is called there.
pub const REPAIR: &str = "cni-repair";

/// The object that something is said on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectRef {
    /// `v1`, for example.
    pub api_version: &'static str,
    /// `Node`, for example.
    pub kind: &'static str,
    /// Empty for what is in no namespace.
    pub namespace: String,
    pub name: String,
    /// Empty if it is not known.
    pub uid: String,
}

/// How serious it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    Normal,
    Warning,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Notice {
    /// Who says it: [`AGENT`] or [`REPAIR`].
    pub component: &'static str,
    pub about: ObjectRef,
    pub severity: Severity,
    /// One word in upper camel case, of a closed list.
    pub reason: &'static str,
    /// One sentence.
    pub message: String,
}

impl ObjectRef {
    /// A node. The kubelet and `kubectl` take the name for the UID where it is not known.
    pub fn node(name: &str, uid: Option<&str>) -> ObjectRef {
        let (name, uid) = (name.to_owned(), uid.unwrap_or(name).to_owned());
        ObjectRef { api_version: "v1", kind: "Node", namespace: String::new(), name, uid }
    }

    /// A pod.
    pub fn pod(namespace: &str, name: &str, uid: &str) -> ObjectRef {
        let (namespace, name, uid) = (namespace.to_owned(), name.to_owned(), uid.to_owned());
        ObjectRef { api_version: "v1", kind: "Pod", namespace, name, uid }
    }

    /// The namespace that an Event on it belongs in.
    pub fn event_namespace(&self) -> &str {
        if self.namespace.is_empty() { "default" } else { &self.namespace }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => write!(f, "{}/{}", self.kind, self.name),
            namespace => write!(f, "{}/{namespace}/{}", self.kind, self.name),
        }
    }
}

impl Severity {
    /// The Event's `type`.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Normal => "Normal",
            Severity::Warning => "Warning",
        }
    }
}

impl Notice {
    /// The notice with its message on one line and no longer than the API server takes it.
    pub fn fitted(mut self) -> Notice {
        if self.message.contains(char::is_control) {
            self.message = self.message.replace(char::is_control, " ");
        }
        if self.message.len() > LONGEST_MESSAGE {
            let end = self.message.floor_char_boundary(LONGEST_MESSAGE - "…".len());
            self.message.truncate(end);
            self.message.push('…');
        }
        self
    }
}

/// How often something may be done: so many times at once, and once more per interval.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    pub burst: u32,
    pub interval: Duration,
}

/// What is left of a [`Rate`].
#[derive(Debug)]
pub struct Bucket {
    rate: Rate,
    left: u32,
    /// Since when the next one grows.
    since: Instant,
}

impl Bucket {
    /// A full one.
    pub fn new(rate: Rate, now: Instant) -> Bucket {
        Bucket { rate, left: rate.burst, since: now }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let interval = self.rate.interval.as_nanos().max(1);
        let grown = now.saturating_duration_since(self.since).as_nanos() / interval;
        let grown = u32::try_from(grown).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(grown).min(self.rate.burst);
        if self.left == self.rate.burst {
            self.since = now;
        } else if let Some(since) = self.rate.interval.checked_mul(grown).and_then(|time| self.since.checked_add(time))
        {
            self.since = since;
        }
        let takes = self.left > 0;
        self.left = self.left.saturating_sub(1);
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(message: &str) -> Notice {
        let about = ObjectRef::node("node-a", None);
        let (severity, message) = (Severity::Warning, message.to_owned());
        Notice { component: AGENT, about, severity, reason: "Tested", message }.fitted()
    }

    #[test]
    fn a_message_is_one_line_of_what_the_api_server_takes() {
        assert_eq!(notice("a\nb\tc").message, "a b c");
        assert_eq!(notice(&"x".repeat(1024)).message.len(), 1024);
        for unit in ["x", "é", "€", "😀"] {
            let message = notice(&unit.repeat(1000 * 2)).message;
            assert!((1018..=1024).contains(&message.len()) && message.ends_with('…'), "{}", message.len());
        }
    }

    #[test]
    fn a_bucket_gives_a_burst_and_then_one_per_interval() {
        let second = Duration::from_secs(1);
        let start = Instant::now();
        let mut bucket = Bucket::new(Rate { burst: 3, interval: second }, start);
        let mut taken = |at: f64| bucket.take(start + second.mul_f64(at));
        assert_eq!([0.0, 0.1, 0.2, 0.3].map(&mut taken), [true, true, true, false]);
        assert_eq!([0.9, 1.1, 1.2, 2.05, 2.1].map(&mut taken), [false, true, false, true, false]);
        assert_eq!([100.0, 100.0, 100.0, 100.0].map(&mut taken), [true, true, true, false]);
    }

    #[test]
    fn an_object_is_named_as_people_name_it() {
        let pod = ObjectRef::pod("shop", "web-0", "u-1");
        assert_eq!((pod.to_string().as_str(), pod.event_namespace()), ("Pod/shop/web-0", "shop"));
        let node = ObjectRef::node("node-a", None);
        assert_eq!((node.to_string().as_str(), node.event_namespace()), ("Node/node-a", "default"));
        assert_eq!((node.uid.as_str(), ObjectRef::node("node-a", Some("u-2")).uid.as_str()), ("node-a", "u-2"));
    }
}
