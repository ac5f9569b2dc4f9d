//! The protocol on the agent's socket, version 1. One connection carries one call:
//!
//! 1. plugin → agent: a call frame, with the namespace's descriptor beside its first byte,
//! 2. agent → plugin: a conclusion frame,
//! 3. plugin → agent: a telemetry frame (`telemetry::batch` bytes), then the plugin hangs up.
//!
//! A plugin that had nothing to ask begins with the third.
//!
//! A frame is a kind byte, a big-endian `u32` length, and that many bytes. Calls and conclusions
//! are JSON; unknown keys are ignored, so that neighbouring versions understand each other.

use crate::domain::failure::Failure;
use crate::domain::identity::{SpanId, TraceId, TraceLink};
use crate::domain::pod::PodRef;
use crate::domain::request::{Answer, Backend, Bounds, Command, Conclusion, Request};
use crate::domain::settings::SkipReason;
use crate::domain::step::{ErrorType, Step};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The protocol's version, in every call and conclusion.
pub const VERSION: u32 = 1;
/// No frame's body is longer than this; a longer one is refused unread.
pub const MAX_FRAME: usize = 1 << 20;
/// Bytes before a frame's body.
pub const HEADER: usize = 5;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Call,
    Conclusion,
    Telemetry,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Kind::Call => b'C',
            Kind::Conclusion => b'R',
            Kind::Telemetry => b'T',
        }
    }
}

/// What was received is not of this protocol.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    #[error("unknown frame kind {0:#04x}, expected 0x43 (call), 0x52 (conclusion) or 0x54 (telemetry)")]
    Kind(u8),
    #[error("frame of {0} bytes, at most {MAX_FRAME} are allowed")]
    TooLong(usize),
    #[error("unreadable frame: {0}")]
    Json(#[from] serde_json::Error),
    #[error("protocol version {0}, expected {VERSION}")]
    Version(u32),
    #[error("value {value:?} of {key} is not known")]
    Value { key: &'static str, value: String },
}

/// A call: the request, and where its steps belong in the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub request: Request,
    pub trace: TraceId,
    pub parent: Option<SpanId>,
    /// The trace was given from outside: the pod does not name it.
    pub pinned: bool,
    /// The plugin's log level word.
    pub level: String,
}

/// Puts a body into a frame.
pub fn frame(kind: Kind, body: &[u8]) -> Result<Vec<u8>, ProtocolError> {
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_FRAME);
    let length = length.ok_or(ProtocolError::TooLong(body.len()))?;
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.push(kind.byte());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(body);
    Ok(bytes)
}

/// Reads a frame's header: its kind and the length of the body that follows.
pub fn header(bytes: [u8; HEADER]) -> Result<(Kind, usize), ProtocolError> {
    let [kind, a, b, c, d] = bytes;
    let kind = match kind {
        b'C' => Kind::Call,
        b'R' => Kind::Conclusion,
        b'T' => Kind::Telemetry,
        other => return Err(ProtocolError::Kind(other)),
    };
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if length > MAX_FRAME { Err(ProtocolError::TooLong(length)) } else { Ok((kind, length)) }
}

/// A call as the body of a frame.
pub fn encode_call(call: &Call) -> Result<Vec<u8>, ProtocolError> {
    Ok(serde_json::to_vec(&CallJson::from(call))?)
}

/// Reads the body of a call frame.
pub fn decode_call(body: &[u8]) -> Result<Call, ProtocolError> {
    let json: CallJson = serde_json::from_slice(body)?;
    if json.v == VERSION { json.try_into() } else { Err(ProtocolError::Version(json.v)) }
}

/// A conclusion as the body of a frame.
pub fn encode_conclusion(conclusion: &Conclusion) -> Result<Vec<u8>, ProtocolError> {
    Ok(serde_json::to_vec(&ConclusionJson::from(conclusion))?)
}

/// Reads the body of a conclusion frame.
pub fn decode_conclusion(body: &[u8]) -> Result<Conclusion, ProtocolError> {
    let json: ConclusionJson = serde_json::from_slice(body)?;
    if json.v == VERSION { json.try_into() } else { Err(ProtocolError::Version(json.v)) }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CallJson {
    v: u32,
    command: String,
    container_id: String,
    #[serde(default)]
    ifname: String,
    #[serde(default)]
    netns: String,
    namespace: String,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    backend: String,
    bounds: BoundsJson,
    trace_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pinned: bool,
    level: String,
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
struct ConclusionJson {
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

impl From<&Call> for CallJson {
    fn from(call: &Call) -> Self {
        let Request { command, container_id, ifname, netns, pod, backend, bounds, links: _ } = call.request.clone();
        CallJson {
            v: VERSION,
            command: command.name().to_owned(),
            container_id,
            ifname,
            netns,
            namespace: pod.namespace,
            name: pod.name,
            uid: pod.uid,
            backend: backend.name().to_owned(),
            bounds: BoundsJson::from(&bounds),
            trace_id: call.trace.to_hex(),
            parent_span_id: call.parent.map(SpanId::to_hex),
            pinned: call.pinned,
            level: call.level.clone(),
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
                pod: PodRef { namespace: json.namespace, name: json.name, uid: json.uid },
                backend: backend(&json.backend)?,
                bounds: Bounds::from(&json.bounds),
                // Links stand on the call's own span, which the plugin keeps.
                links: Vec::new(),
            },
            trace: known("traceId", TraceId::from_hex(&json.trace_id), &json.trace_id)?,
            parent: parent.transpose()?,
            pinned: json.pinned,
            level: json.level,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call {
        Call {
            request: Request {
                command: Command::Add,
                container_id: "cafe".into(),
                ifname: "eth0".into(),
                netns: "/run/netns/a".into(),
                pod: PodRef { namespace: "shop".into(), name: "web-0".into(), uid: Some("u-1".into()) },
                backend: Backend::Iptables,
                bounds: Bounds::default(),
                links: Vec::new(),
            },
            trace: TraceId::of_pod("u-1"),
            parent: Some(SpanId([1; 8])),
            pinned: false,
            level: "info".into(),
        }
    }

    #[test]
    fn a_call_survives_the_wire() {
        let bytes = encode_call(&call()).unwrap();
        assert_eq!(decode_call(&bytes).unwrap(), call());
        let pinned = Call { pinned: true, ..call() };
        assert_eq!(decode_call(&encode_call(&pinned).unwrap()).unwrap(), pinned);
    }

    #[test]
    fn every_conclusion_survives_the_wire() {
        let failure = Failure {
            step: Step::RulesApply,
            error_type: ErrorType::RulesRejected,
            code: 999,
            message: "no".into(),
            retryable: true,
        };
        let link = TraceLink {
            trace_id: TraceId([7; 16]),
            span_id: SpanId([8; 8]),
            flags: 1,
            state: String::new(),
            source: "annotation",
            baggage: Vec::new(),
        };
        let results = [
            Ok(Answer::Enrolled { backend: Backend::Nftables, changed: true }),
            Ok(Answer::Skipped(SkipReason::NoProxy)),
            Ok(Answer::Done),
            Err(failure),
        ];
        for result in results {
            let conclusion = Conclusion { pod_uid: Some("u-1".into()), links: vec![link.clone()], result };
            let bytes = encode_conclusion(&conclusion).unwrap();
            assert_eq!(decode_conclusion(&bytes).unwrap(), conclusion);
        }
    }

    #[test]
    fn what_is_not_of_the_protocol_is_refused() {
        assert!(matches!(header(*b"GET /"), Err(ProtocolError::Kind(b'G'))));
        assert!(matches!(header([b'C', 255, 255, 255, 255]), Err(ProtocolError::TooLong(_))));
        assert!(matches!(decode_call(b"{"), Err(ProtocolError::Json(_))));
        let later = String::from_utf8(encode_call(&call()).unwrap()).unwrap().replace("\"v\":1", "\"v\":9");
        assert!(matches!(decode_call(later.as_bytes()), Err(ProtocolError::Version(9))));
    }
}
