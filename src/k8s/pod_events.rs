//! What Events the cluster has on pods: those of the scheduler, the kubelet, and whoever else. They are
//! asked for once, when a pod's start is told; nobody watches them. API servers look through all Events of a
//! namespace for each answer, so that pods of one namespace are asked for together.

use super::client::{ApiClient, List, check_names};
use super::error::ApiError;
use super::pod::or_default;
use super::pod_status::nanos;
use super::resource::Resource;
use crate::domain::pod::PodFacts;
use crate::domain::pod_status::fitted;
use crate::domain::startup::{Moment, PodEvent, Precision, Source};
use kube::api::ListParams;
use kube::core::Request;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// So many Events of a pod are asked for; a pod seldom has more than ten.
const MOST: u32 = 100;

/// So many Events of a namespace are read at once.
const PAGE: u32 = 500;
/// And so many pages at the most.
const PAGES: usize = 4;

/// What Events there are on pods, by the pods' own UIDs.
pub type ByPod = HashMap<String, Vec<PodEvent>>;

/// What whoever counts Events puts before the message of the latest, from the tenth on that differ in their messages
/// alone.
const COMBINED: &str = "(combined from similar events): ";

/// A `v1` Event, as far as it is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    #[serde(default, deserialize_with = "or_default")]
    metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    involved_object: Involved,
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    kind: String,
    #[serde(default, deserialize_with = "or_default")]
    reason: String,
    #[serde(default, deserialize_with = "or_default")]
    message: String,
    #[serde(default, deserialize_with = "or_default")]
    source: EventSource,
    #[serde(default, deserialize_with = "or_default")]
    reporting_component: String,
    #[serde(default)]
    first_timestamp: Option<String>,
    #[serde(default)]
    last_timestamp: Option<String>,
    #[serde(default)]
    event_time: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    count: i64,
    #[serde(default, deserialize_with = "or_default")]
    series: Series,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    creation_timestamp: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Involved {
    #[serde(default, deserialize_with = "or_default")]
    uid: String,
    #[serde(default, deserialize_with = "or_default")]
    field_path: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct EventSource {
    #[serde(default, deserialize_with = "or_default")]
    component: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Series {
    #[serde(default, deserialize_with = "or_default")]
    count: i64,
    #[serde(default)]
    last_observed_time: Option<String>,
}

impl ApiClient {
    /// The Events on this pod that the API server still has, within `limit`. The kubelet dates those of a
    /// static pod by the UID that it knows the pod under.
    pub async fn pod_events(&self, pod: &PodFacts, limit: Duration) -> Result<Vec<PodEvent>, ApiError> {
        let uid = pod.annotations.get(PodFacts::CONFIG_HASH).unwrap_or(&pod.uid);
        check_names(Resource::PodEvents, &pod.namespace, uid)?;
        let params = ListParams::default().fields(&format!("involvedObject.uid={uid}")).limit(MOST);
        let request = Request::new(format!("/api/v1/namespaces/{}/events", pod.namespace)).list(&params);
        let list: List<Event> = self.ask(Resource::PodEvents, "list", request, limit).await?;
        // A server that does not know the selector would tell of other pods, too.
        let own = list.items.unwrap_or_default().into_iter().filter(|event| event.involved_object.uid == *uid);
        Ok(own.map(PodEvent::from).collect())
    }
}

impl ApiClient {
    /// The Events on all of these pods of one namespace, from as few answers as possible, within `limit` for each;
    /// nothing where the namespace has too many Events for that.
    pub async fn events_of_pods(
        &self,
        namespace: &str,
        pods: &[Arc<PodFacts>],
        limit: Duration,
    ) -> Result<Option<ByPod>, ApiError> {
        let known_as = |pod: &Arc<PodFacts>| pod.annotations.get(PodFacts::CONFIG_HASH).unwrap_or(&pod.uid).clone();
        let uids: HashMap<String, String> = pods.iter().map(|pod| (known_as(pod), pod.uid.clone())).collect();
        let mut found: ByPod = pods.iter().map(|pod| (pod.uid.clone(), Vec::new())).collect();
        check_names(Resource::PodEvents, namespace, "any")?;
        let path = format!("/api/v1/namespaces/{namespace}/events");
        let mut next = String::new();
        for _ in 0..PAGES {
            let mut params = ListParams::default().fields("involvedObject.kind=Pod").limit(PAGE);
            if !next.is_empty() {
                params = params.continue_token(&next);
            }
            let list: List<Event> =
                self.ask(Resource::PodEvents, "list", Request::new(path.as_str()).list(&params), limit).await?;
            for event in list.items.unwrap_or_default() {
                let of = uids.get(&event.involved_object.uid).and_then(|uid| found.get_mut(uid));
                if let Some(events) = of.filter(|events| events.len() < MOST as usize) {
                    events.push(event.into());
                }
            }
            next = list.metadata.next;
            if next.is_empty() {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

impl From<Event> for PodEvent {
    fn from(event: Event) -> PodEvent {
        let Event { metadata, involved_object, kind, reason, message, source, series, .. } = event;
        let own = moment(event.event_time);
        let first = moment(event.first_timestamp).or(own);
        let last = moment(series.last_observed_time).or(moment(event.last_timestamp)).or(own).or(first);
        // The more exact one is of the same moment.
        let first = own.filter(|own| first.is_none_or(|first| own.precision <= first.precision)).or(first);
        let component = if source.component.is_empty() { event.reporting_component } else { source.component };
        PodEvent {
            reason,
            message: fitted(message.strip_prefix(COMBINED).unwrap_or(&message).to_owned()),
            component,
            container: PodEvent::container_of(&involved_object.field_path).map(str::to_owned),
            first,
            last,
            count: u64::try_from(event.count.max(series.count)).unwrap_or_default().max(1),
            warning: kind == "Warning",
            received_ns: nanos(metadata.creation_timestamp),
        }
    }
}

/// A time of an Event, with its precision: that of a `MicroTime` shows in its digits.
fn moment(time: Option<String>) -> Option<Moment> {
    let precision = if time.as_ref()?.contains('.') { Precision::Microsecond } else { Precision::Second };
    nanos(time).map(|ns| Moment { ns, precision, source: Source::Event })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn event(event: Value) -> PodEvent {
        serde_json::from_value::<Event>(event).unwrap().into()
    }

    #[test]
    fn the_kubelets_event_has_two_times_of_whole_seconds() {
        let read = event(json!({"type": "Warning", "reason": "BackOff", "message": "Back-off",
            "metadata": {"creationTimestamp": "2026-11-22T10:00:01Z"}, "eventTime": null, "count": 3,
            "involvedObject": {"uid": "u-1", "fieldPath": "spec.containers{web}"}, "source": {"component": "kubelet"},
            "firstTimestamp": "2026-11-22T10:00:00Z", "lastTimestamp": "2026-11-22T10:00:09Z"}));
        let at =
            |seconds: u64| Some(Moment::second(1_795_341_600_000_000_000 + seconds * 1_000_000_000, Source::Event));
        assert_eq!((read.first, read.last, read.count, read.warning), (at(0), at(9), 3, true));
        assert_eq!((read.container.as_deref(), read.component.as_str()), (Some("web"), "kubelet"));
        assert_eq!(read.received_ns, Some(1_795_341_601_000_000_000));
    }

    #[test]
    fn the_schedulers_event_has_one_of_microseconds() {
        let read = event(json!({"type": "Normal", "reason": "Scheduled", "message": "m",
            "eventTime": "2026-11-22T10:00:00.123456Z", "firstTimestamp": null, "lastTimestamp": null,
            "reportingComponent": "default-scheduler", "source": {}, "series": null}));
        let at = read.first.unwrap();
        assert_eq!((at.ns, at.precision), (1_795_341_600_123_456_000, Precision::Microsecond));
        assert_eq!((read.last, read.count, read.component.as_str()), (Some(at), 1, "default-scheduler"));
    }

    #[test]
    fn what_is_not_there_is_not_known() {
        for count in [json!(null), json!(-3)] {
            let read = event(json!({"firstTimestamp": "yesterday", "count": count}));
            assert_eq!((read.first, read.last, read.count), (None, None, 1));
        }
    }
}
