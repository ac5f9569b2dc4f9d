//! The protocol on the agent's socket, version 1. One connection carries one call:
//!
//! 1. plugin → agent: a call frame, with the namespace's descriptor beside its first byte,
//! 2. agent → plugin: a conclusion frame,
//! 3. plugin → agent: a telemetry frame (`telemetry::batch` bytes), then the plugin hangs up.
//!
//! A plugin that had nothing to ask begins with the third. A call says how much telemetry will follow
//! at most, so that it is counted should it never come.
//!
//! A frame is a kind byte, a big-endian `u32` length, and that many bytes. Calls and conclusions
//! are JSON; unknown keys are ignored, so that neighbouring versions understand each other.

mod json;

use crate::domain::identity::{SpanId, TraceId};
use crate::domain::request::{Conclusion, Request};
use json::{CallJson, ConclusionJson};

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
    /// The trace was given from outside, with these W3C flags: the pod does not name it.
    pub pinned: Option<u8>,
    /// The plugin's log level word.
    pub level: String,
    /// How much the plugin will tell after the answer; an earlier plugin does not say.
    pub tells: Option<Tells>,
}

/// How much telemetry a plugin will send at most after it has got its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tells {
    pub spans: u32,
    pub logs: u32,
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
    if json.version() == VERSION { json.try_into() } else { Err(ProtocolError::Version(json.version())) }
}

/// A conclusion as the body of a frame.
pub fn encode_conclusion(conclusion: &Conclusion) -> Result<Vec<u8>, ProtocolError> {
    Ok(serde_json::to_vec(&ConclusionJson::from(conclusion))?)
}

/// Reads the body of a conclusion frame.
pub fn decode_conclusion(body: &[u8]) -> Result<Conclusion, ProtocolError> {
    let json: ConclusionJson = serde_json::from_slice(body)?;
    if json.version() == VERSION { json.try_into() } else { Err(ProtocolError::Version(json.version())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::Failure;
    use crate::domain::identity::TraceLink;
    use crate::domain::outbound::{Outbound, OutboundError, OwnerGroups};
    use crate::domain::pod::PodRef;
    use crate::domain::request::{Answer, Backend, Bounds, Command};
    use crate::domain::settings::SkipReason;
    use crate::domain::step::{ErrorType, Step};

    fn call() -> Call {
        Call {
            request: Request {
                command: Command::Add,
                container_id: "cafe".into(),
                ifname: "eth0".into(),
                netns: "/run/netns/a".into(),
                own_netns: false,
                pod: PodRef { namespace: "shop".into(), name: "web-0".into(), uid: Some("u-1".into()) },
                backend: Backend::Iptables,
                outbound: Ok(Outbound::default()),
                bounds: Bounds::default(),
            },
            trace: TraceId::of_pod("u-1"),
            parent: Some(SpanId([1; 8])),
            pinned: None,
            level: "info".into(),
            tells: None,
        }
    }

    #[test]
    fn a_call_survives_the_wire() {
        let bytes = encode_call(&call()).unwrap();
        assert_eq!(decode_call(&bytes).unwrap(), call());
        for flags in [0, 1, 3] {
            let pinned = Call { pinned: Some(flags), ..call() };
            assert_eq!(decode_call(&encode_call(&pinned).unwrap()).unwrap(), pinned);
        }
        let own = Call { request: Request { own_netns: true, ..call().request }, ..call() };
        assert_eq!(decode_call(&encode_call(&own).unwrap()).unwrap(), own);
    }

    #[test]
    fn how_much_a_plugin_will_tell_survives_the_wire() {
        let tells = Call { tells: Some(Tells { spans: 4, logs: 5 }), ..call() };
        assert_eq!(decode_call(&encode_call(&tells).unwrap()).unwrap(), tells);
        let silent = String::from_utf8(encode_call(&call()).unwrap()).unwrap();
        assert!(!silent.contains("tells"), "{silent}");
    }

    #[test]
    fn a_pinned_call_of_a_plugin_that_says_no_flags_is_sampled() {
        let pinned = Call { pinned: Some(1), ..call() };
        let sent = String::from_utf8(encode_call(&Call { pinned: Some(0), ..pinned.clone() }).unwrap()).unwrap();
        let earlier = sent.replace("\"traceFlags\":0,", "");
        assert_ne!(earlier, sent);
        assert_eq!(decode_call(earlier.as_bytes()).unwrap(), pinned);
    }

    #[test]
    fn what_the_node_says_survives_the_wire() {
        let groups =
            [OwnerGroups::AllBut(vec![0, 7]), OwnerGroups::Only(vec![u32::MAX - 1]), OwnerGroups::Only(vec![])];
        let said = groups.map(|groups| Ok(Outbound { groups, loopback: "127.0.0.0/8".parse().unwrap() }));
        for outbound in said.into_iter().chain([Err(OutboundError { message: "X is \"y\"".into() })]) {
            let call = Call { request: Request { outbound, ..call().request }, ..call() };
            assert_eq!(decode_call(&encode_call(&call).unwrap()).unwrap(), call);
        }
    }

    #[test]
    fn what_the_node_says_is_left_out_where_it_is_the_default() {
        assert!(!String::from_utf8(encode_call(&call()).unwrap()).unwrap().contains("outbound"));
    }

    #[test]
    fn outbound_settings_of_another_protocol_are_refused() {
        let request = Request { outbound: Err(OutboundError { message: "no".into() }), ..call().request };
        let sent = String::from_utf8(encode_call(&Call { request, ..call() }).unwrap()).unwrap();
        for (now, key) in [
            (r#"{"groups":"some","ids":[7],"loopback":"127.0.0.1/32"}"#, "groups"),
            (r#"{"groups":"only","ids":[7],"loopback":"10.0.0.0/8"}"#, "loopback"),
        ] {
            let changed = sent.replace(r#"{"wrong":"no"}"#, now);
            assert!(matches!(decode_call(changed.as_bytes()), Err(ProtocolError::Value { key: k, .. }) if k == key));
        }
        assert!(matches!(decode_call(sent.replace("wrong", "other").as_bytes()), Err(ProtocolError::Json(_))));
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
