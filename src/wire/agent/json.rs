//! Calls and conclusions as JSON.

mod outbound;

use super::{Call, ProtocolError, Tells, VERSION};
use crate::domain::failure::Failure;
use crate::domain::identity::{SpanId, TraceId, TraceLink};
use crate::domain::pod::PodRef;
use crate::domain::request::{Answer, Backend, Bounds, Command, Conclusion, Request};
use crate::domain::settings::SkipReason;
use crate::domain::step::{ErrorType, Step};
use outbound::OutboundJson;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The flags of a pinned trace whose flags are not said.
const SAMPLED: u8 = 1;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CallJson {
    v: u32,
    command: String,
    container_id: String,
    #[serde(default)]
    ifname: String,
    #[serde(default)]
    netns: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    own_netns: bool,
    namespace: String,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    backend: String,
    #[serde(default, skip_serializing_if = "OutboundJson::is_default")]
    outbound: OutboundJson,
    bounds: BoundsJson,
    trace_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pinned: bool,
    /// Of a pinned trace; an earlier plugin leaves them out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace_flags: Option<u8>,
    level: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tells: Option<TellsJson>,
}

#[derive(Serialize, Deserialize)]
struct TellsJson {
    spans: u32,
    logs: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BoundsJson {
    pod_attempts: u32,
    pod_interval_ms: u64,
    api_timeout_ms: u64,
    agent_timeout_ms: u64,
    lock_timeout_ms: u64,
    tool_timeout_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConclusionJson {
    v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pod_uid: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    links: Vec<LinkJson>,
    outcome: OutcomeJson,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
enum OutcomeJson {
    Enrolled {
        backend: String,
        changed: bool,
    },
    Skipped {
        reason: String,
    },
    Done,
    #[serde(rename_all = "camelCase")]
    Failed {
        step: String,
        error_type: String,
        code: u32,
        message: String,
        retryable: bool,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LinkJson {
    trace_id: String,
    span_id: String,
    flags: u8,
}

impl CallJson {
    /// The protocol's version that it says.
    pub(super) const fn version(&self) -> u32 {
        self.v
    }
}

impl ConclusionJson {
    /// The protocol's version that it says.
    pub(super) const fn version(&self) -> u32 {
        self.v
    }
}

impl From<&Call> for CallJson {
    fn from(call: &Call) -> Self {
        let Request { command, container_id, ifname, netns, own_netns, pod, backend, outbound, bounds } =
            call.request.clone();
        CallJson {
            v: VERSION,
            command: command.name().to_owned(),
            container_id,
            ifname,
            netns,
            own_netns,
            namespace: pod.namespace,
            name: pod.name,
            uid: pod.uid,
            backend: backend.name().to_owned(),
            outbound: OutboundJson::from(outbound),
            bounds: BoundsJson::from(&bounds),
            trace_id: call.trace.to_hex(),
            parent_span_id: call.parent.map(SpanId::to_hex),
            pinned: call.pinned.is_some(),
            trace_flags: call.pinned,
            level: call.level.clone(),
            tells: call.tells.map(|Tells { spans, logs }| TellsJson { spans, logs }),
        }
    }
}

impl TryFrom<CallJson> for Call {
    type Error = ProtocolError;

    fn try_from(json: CallJson) -> Result<Call, ProtocolError> {
        let command = Command::ALL.into_iter().find(|command| command.name() == json.command);
        let parent = json.parent_span_id.as_deref().map(|id| known("parentSpanId", SpanId::from_hex(id), id));
        Ok(Call {
            request: Request {
                command: known("command", command, &json.command)?,
                container_id: json.container_id,
                ifname: json.ifname,
                netns: json.netns,
                own_netns: json.own_netns,
                pod: PodRef { namespace: json.namespace, name: json.name, uid: json.uid },
                backend: backend(&json.backend)?,
                outbound: json.outbound.read()?,
                bounds: Bounds::from(&json.bounds),
            },
            trace: known("traceId", TraceId::from_hex(&json.trace_id), &json.trace_id)?,
            parent: parent.transpose()?,
            pinned: json.pinned.then(|| json.trace_flags.unwrap_or(SAMPLED)),
            level: json.level,
            tells: json.tells.map(|TellsJson { spans, logs }| Tells { spans, logs }),
        })
    }
}

impl From<&Bounds> for BoundsJson {
    fn from(bounds: &Bounds) -> Self {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        BoundsJson {
            pod_attempts: bounds.pod_attempts,
            pod_interval_ms: millis(bounds.pod_interval),
            api_timeout_ms: millis(bounds.api_timeout),
            agent_timeout_ms: millis(bounds.agent_timeout),
            lock_timeout_ms: millis(bounds.lock_timeout),
            tool_timeout_ms: millis(bounds.tool_timeout),
        }
    }
}

impl From<&BoundsJson> for Bounds {
    fn from(json: &BoundsJson) -> Self {
        Bounds {
            pod_attempts: json.pod_attempts,
            pod_interval: Duration::from_millis(json.pod_interval_ms),
            api_timeout: Duration::from_millis(json.api_timeout_ms),
            agent_timeout: Duration::from_millis(json.agent_timeout_ms),
            lock_timeout: Duration::from_millis(json.lock_timeout_ms),
            tool_timeout: Duration::from_millis(json.tool_timeout_ms),
        }
    }
}

impl From<&Conclusion> for ConclusionJson {
    fn from(conclusion: &Conclusion) -> Self {
        let outcome = match &conclusion.result {
            Ok(Answer::Enrolled { backend, changed }) => {
                OutcomeJson::Enrolled { backend: backend.name().to_owned(), changed: *changed }
            }
            Ok(Answer::Skipped(reason)) => OutcomeJson::Skipped { reason: reason.name().to_owned() },
            Ok(Answer::Done) => OutcomeJson::Done,
            Err(failure) => OutcomeJson::Failed {
                step: failure.step.name().to_owned(),
                error_type: failure.error_type.as_str().to_owned(),
                code: failure.code,
                message: failure.message.clone(),
                retryable: failure.retryable,
            },
        };
        let links = conclusion.links.iter().map(|link| LinkJson {
            trace_id: link.trace_id.to_hex(),
            span_id: link.span_id.to_hex(),
            flags: link.flags,
        });
        ConclusionJson { v: VERSION, pod_uid: conclusion.pod_uid.clone(), links: links.collect(), outcome }
    }
}

impl TryFrom<ConclusionJson> for Conclusion {
    type Error = ProtocolError;

    fn try_from(json: ConclusionJson) -> Result<Conclusion, ProtocolError> {
        let result = match json.outcome {
            OutcomeJson::Enrolled { backend: name, changed } => {
                Ok(Answer::Enrolled { backend: backend(&name)?, changed })
            }
            OutcomeJson::Skipped { reason } => {
                Ok(Answer::Skipped(known("reason", SkipReason::from_name(&reason), &reason)?))
            }
            OutcomeJson::Done => Ok(Answer::Done),
            OutcomeJson::Failed { step, error_type, code, message, retryable } => Err(Failure {
                step: known("step", Step::from_name(&step), &step)?,
                error_type: known("errorType", ErrorType::from_text(&error_type), &error_type)?,
                code,
                message,
                retryable,
            }),
        };
        let links = json.links.iter().filter_map(|link| {
            Some(TraceLink {
                trace_id: TraceId::from_hex(&link.trace_id)?,
                span_id: SpanId::from_hex(&link.span_id)?,
                flags: link.flags,
                state: String::new(),
                source: "annotation",
                baggage: Vec::new(),
            })
        });
        Ok(Conclusion { pod_uid: json.pod_uid, links: links.collect(), result })
    }
}

fn backend(name: &str) -> Result<Backend, ProtocolError> {
    let all = [Backend::Auto, Backend::Nftables, Backend::Iptables];
    known("backend", all.into_iter().find(|backend| backend.name() == name), name)
}

fn known<T>(key: &'static str, value: Option<T>, text: &str) -> Result<T, ProtocolError> {
    value.ok_or_else(|| ProtocolError::Value { key, value: text.chars().take(64).collect() })
}
