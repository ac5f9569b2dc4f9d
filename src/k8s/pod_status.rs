//! The part of a Pod's `status` that is read: its addresses, its conditions and its containers' lives.

use super::pod::or_default;
use crate::domain::pod_status::{self, ConditionKind, ContainerState, ContainerStatus, Terminated, fitted};
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use std::net::IpAddr;

/// `status`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    #[serde(default, deserialize_with = "or_default")]
    pub phase: String,
    #[serde(default, rename = "podIP", deserialize_with = "or_default")]
    pod_ip: String,
    #[serde(default, rename = "podIPs", deserialize_with = "or_default")]
    pod_ips: Vec<PodIp>,
    #[serde(default, deserialize_with = "or_default")]
    init_container_statuses: Vec<StatusOfContainer>,
    #[serde(default, deserialize_with = "or_default")]
    container_statuses: Vec<StatusOfContainer>,
    #[serde(default, deserialize_with = "or_default")]
    conditions: Vec<Condition>,
    #[serde(default)]
    start_time: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    reason: String,
    #[serde(default, deserialize_with = "or_default")]
    message: String,
}

/// One entry of `conditions`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    kind: String,
    #[serde(default, deserialize_with = "or_default")]
    status: String,
    #[serde(default)]
    last_transition_time: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    reason: String,
    #[serde(default, deserialize_with = "or_default")]
    message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct PodIp {
    #[serde(default, deserialize_with = "or_default")]
    ip: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatusOfContainer {
    #[serde(default, deserialize_with = "or_default")]
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    restart_count: u32,
    #[serde(default, deserialize_with = "or_default")]
    ready: bool,
    #[serde(default, deserialize_with = "or_default")]
    state: State,
    #[serde(default, deserialize_with = "or_default")]
    last_state: State,
}

/// A `ContainerState`: one of its members is there, or none.
#[derive(Clone, Debug, Default, Deserialize)]
struct State {
    #[serde(default)]
    waiting: Option<Waiting>,
    #[serde(default)]
    running: Option<Running>,
    #[serde(default)]
    terminated: Option<Ended>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Waiting {
    #[serde(default, deserialize_with = "or_default")]
    reason: String,
    #[serde(default, deserialize_with = "or_default")]
    message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Running {
    #[serde(default)]
    started_at: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ended {
    #[serde(default, deserialize_with = "or_default")]
    exit_code: i32,
    #[serde(default, deserialize_with = "or_default")]
    reason: String,
    #[serde(default, deserialize_with = "or_default")]
    message: String,
    #[serde(default, rename = "containerID", deserialize_with = "or_default")]
    container_id: String,
    #[serde(default)]
    started_at: Option<String>,
    #[serde(default)]
    finished_at: Option<String>,
}

impl Status {
    /// The pod's addresses; what is none is left out.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let all = self.pod_ips.iter().map(|entry| &entry.ip);
        let mut addresses: Vec<IpAddr> = all.filter_map(|text| text.parse().ok()).collect();
        if addresses.is_empty() {
            addresses.extend(self.pod_ip.parse::<IpAddr>());
        }
        addresses
    }

    /// The init containers' lives, in their order, and how the pod started.
    pub fn lives(self) -> (Vec<ContainerStatus>, pod_status::Life) {
        let all = |statuses: Vec<StatusOfContainer>| statuses.into_iter().map(ContainerStatus::from).collect();
        let life = pod_status::Life {
            started_ns: nanos(self.start_time),
            reason: fitted(self.reason),
            message: fitted(self.message),
            conditions: self.conditions.into_iter().filter_map(Condition::read).collect(),
            containers: all(self.container_statuses),
            ..pod_status::Life::default()
        };
        (all(self.init_container_statuses), life)
    }
}

impl Condition {
    /// The condition, if anybody reads it. What is neither true nor false is not met.
    fn read(self) -> Option<pod_status::Condition> {
        let Condition { kind, status, last_transition_time, reason, message } = self;
        Some(pod_status::Condition {
            kind: ConditionKind::from_name(&kind)?,
            met: status == "True",
            since_ns: nanos(last_transition_time),
            reason: fitted(reason),
            message: fitted(message),
        })
    }
}

impl From<StatusOfContainer> for ContainerStatus {
    fn from(status: StatusOfContainer) -> ContainerStatus {
        let StatusOfContainer { name, restart_count, ready, state, last_state } = status;
        let last = last_state.terminated.map(Terminated::from);
        // Whether it keeps running, its specification says.
        ContainerStatus { name, restarts: restart_count, ready, sidecar: false, state: state.into(), last }
    }
}

impl From<State> for ContainerState {
    fn from(state: State) -> ContainerState {
        match state {
            State { terminated: Some(ended), .. } => ContainerState::Terminated(ended.into()),
            State { running: Some(running), .. } => ContainerState::Running { started_ns: nanos(running.started_at) },
            State { waiting: Some(Waiting { reason, message }), .. } => {
                ContainerState::Waiting { reason: fitted(reason), message: fitted(message) }
            }
            State { .. } => ContainerState::Unknown,
        }
    }
}

impl From<Ended> for Terminated {
    fn from(ended: Ended) -> Terminated {
        let Ended { exit_code, reason, message, container_id, started_at, finished_at } = ended;
        let (started_ns, finished_ns) = (nanos(started_at), nanos(finished_at));
        Terminated { exit_code, reason, message, container_id, started_ns, finished_ns }.fitted()
    }
}

/// Nanoseconds since the epoch of a time of the API; what is none, or before it, is unknown.
pub fn nanos(time: Option<String>) -> Option<u64> {
    let time: Timestamp = time?.parse().ok()?;
    u64::try_from(time.as_nanosecond()).ok().filter(|nanos| *nanos > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(status: serde_json::Value) -> Status {
        serde_json::from_value(status).unwrap()
    }

    #[test]
    fn addresses_are_those_of_all_families_or_the_one() {
        let many = json!({"podIP": "10.0.0.9", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}, {"ip": "x"}, {}]});
        assert_eq!(status(many).addresses().iter().map(IpAddr::to_string).collect::<Vec<_>>(), ["10.0.0.1", "fd00::1"]);
        let one = json!({"podIP": "10.0.0.9", "podIPs": null});
        assert_eq!(status(one).addresses(), ["10.0.0.9".parse::<IpAddr>().unwrap()]);
        assert!(status(json!({"podIP": ""})).addresses().is_empty());
    }

    #[test]
    fn a_container_is_in_one_state_and_has_a_last_one() {
        let init = status(json!({"initContainerStatuses": [
            {"name": "a", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
             "lastState": {"terminated": {"exitCode": 126, "reason": "Error", "message": "m", "containerID": "c://1",
                           "startedAt": "2026-11-22T10:00:00Z", "finishedAt": "2026-11-22T10:00:05Z"}}},
            {"name": "b", "state": {"running": {"startedAt": "2026-11-22T10:00:01Z"}}, "lastState": {}},
            {"name": "c", "state": {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": null}}},
            {"name": "d", "state": null},
        ]}))
        .lives()
        .0;
        let ended = Terminated {
            exit_code: 126,
            reason: "Error".into(),
            message: "m".into(),
            container_id: "c://1".into(),
            started_ns: Some(1_795_341_600_000_000_000),
            finished_ns: Some(1_795_341_605_000_000_000),
        };
        assert_eq!((init[0].name.as_str(), init[0].restarts, init[0].last.as_ref()), ("a", 3, Some(&ended)));
        assert_eq!(
            init[0].state,
            ContainerState::Waiting { reason: "CrashLoopBackOff".into(), message: "back-off".into() }
        );
        assert_eq!(init[1].state, ContainerState::Running { started_ns: Some(1_795_341_601_000_000_000) });
        assert_eq!(init[2].state.terminated().map(|ended| (ended.exit_code, ended.started_ns)), Some((0, None)));
        assert_eq!((&init[3].state, &init[3].last), (&ContainerState::Unknown, &None));
    }

    #[test]
    fn a_time_that_is_none_is_unknown() {
        for text in ["", "yesterday", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"] {
            assert_eq!(nanos(Some(text.to_owned())), None, "{text}");
        }
    }
}
