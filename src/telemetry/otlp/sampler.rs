//! Which spans are sent, as `OTEL_TRACES_SAMPLER` says.
//!
//! A pod's spans come from several processes, and all of them hang below the pod's own root span,
//! whose id is known beforehand. So "the parent's decision" is the root's, which follows from the
//! trace id: a `parentbased_` sampler decides like the one for roots that it names. Only in a trace
//! that somebody else began (`trace_parent: parent`) is there a decision of a parent's to follow.

use super::env::Env;
use opentelemetry_proto::tonic::trace::v1::{Span, SpanFlags};

/// Decides about spans.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// For traces of our own.
    root: Root,
    /// Whether those of somebody else are sampled as their flags say.
    parent_based: bool,
}

/// Decides about a whole trace by its id.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Root {
    /// Every trace.
    AlwaysOn,
    /// No trace.
    AlwaysOff,
    /// Those whose id's last seven bytes, read as a number, are below the bound.
    TraceIdRatio {
        /// The ratio times 2^56.
        bound: u64,
    },
}

/// The seven low bytes of a trace id are random (W3C trace context, level 2), a random UID's too.
const RANDOM_BITS: u32 = 56;

impl Default for Sampler {
    /// As the specification has it: `parentbased_always_on`.
    fn default() -> Sampler {
        Sampler { root: Root::AlwaysOn, parent_based: true }
    }
}

impl Sampler {
    /// Reads `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`.
    pub fn from_env(env: &mut Env<'_>) -> Sampler {
        let share = Root::ratio(1.0);
        let words = [
            ("always_on", (Root::AlwaysOn, false)),
            ("always_off", (Root::AlwaysOff, false)),
            ("traceidratio", (share, false)),
            ("parentbased_always_on", (Root::AlwaysOn, true)),
            ("parentbased_always_off", (Root::AlwaysOff, true)),
            ("parentbased_traceidratio", (share, true)),
        ];
        let Some((mut root, parent_based)) = env.word("OTEL_TRACES_SAMPLER", &words) else {
            return Sampler::default();
        };
        if matches!(root, Root::TraceIdRatio { .. }) {
            root = Root::ratio(env.number("OTEL_TRACES_SAMPLER_ARG", 0.0..=1.0).unwrap_or(1.0));
        }
        Sampler { root, parent_based }
    }

    /// Whether this span is sent.
    pub fn samples(self, span: &Span) -> bool {
        let foreign = span.flags & SpanFlags::ContextHasIsRemoteMask as u32 != 0;
        if self.parent_based && foreign { span.flags & SAMPLED != 0 } else { self.root.samples(&span.trace_id) }
    }
}

/// The flag of W3C trace context by which a caller says that it records the trace.
pub const SAMPLED: u32 = 1;

impl Root {
    /// The share of all traces, from 0 to 1.
    fn ratio(share: f64) -> Root {
        // Exact: a share has 53 bits, and the bound needs no more than 57.
        Root::TraceIdRatio { bound: (share.clamp(0.0, 1.0) * (1_u64 << RANDOM_BITS) as f64) as u64 }
    }

    /// Whether the spans of the trace with this id are sent.
    fn samples(self, trace_id: &[u8]) -> bool {
        match self {
            Root::AlwaysOn => true,
            Root::AlwaysOff => false,
            Root::TraceIdRatio { bound } => {
                let low = trace_id.iter().rev().take(7).rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
                low < bound
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::identity::{SpanId, TraceId};
    use crate::domain::pod::PodRef;
    use crate::telemetry::event::Level;
    use crate::telemetry::story::{Clock, Story};

    fn sampler(name: &str, share: &str) -> (Sampler, usize) {
        let lookup = |variable: &str| match variable {
            "OTEL_TRACES_SAMPLER" => Some(name.to_owned()),
            "OTEL_TRACES_SAMPLER_ARG" => Some(share.to_owned()),
            _ => None,
        };
        let mut env = Env::new(&lookup);
        (Sampler::from_env(&mut env), env.into_warnings().len())
    }

    #[test]
    fn the_samplers_of_the_specification_are_known() {
        let of = |root, parent_based, warnings| (Sampler { root, parent_based }, warnings);
        assert_eq!(sampler("always_on", ""), of(Root::AlwaysOn, false, 0));
        assert_eq!(sampler("", "0.5"), of(Root::AlwaysOn, true, 0));
        assert_eq!(sampler("parentbased_always_off", ""), of(Root::AlwaysOff, true, 0));
        assert_eq!(sampler("parentbased_traceidratio", "0.25"), of(Root::ratio(0.25), true, 0));
        assert_eq!(sampler("traceidratio", ""), of(Root::ratio(1.0), false, 0));
        assert_eq!(sampler("traceidratio", "2"), of(Root::ratio(1.0), false, 1));
        assert_eq!(sampler("jaeger_remote", ""), of(Root::AlwaysOn, true, 1));
    }

    #[test]
    fn a_ratio_decides_by_the_low_seven_bytes_of_the_trace_id() {
        let half = Root::ratio(0.5);
        let mut id = [0xff_u8; 16];
        assert!(!half.samples(&id));
        id[9] = 0x7f;
        assert!(half.samples(&id), "the first nine bytes do not count");
        id[9] = 0x80;
        assert!(!half.samples(&id));
        assert!(Root::ratio(1.0).samples(&[0xff; 16]));
        assert!(!Root::ratio(0.0).samples(&[0; 16]));
    }

    /// Which spans are sent: of our own trace, of somebody's that samples it, of one that does not.
    fn sent(name: &str) -> [bool; 3] {
        let span = |trace: u8, pinned: Option<u8>| {
            let trace = TraceId([trace; 16]);
            let story = Story::begin(Clock::start(), trace, None, PodRef::default(), Level::Info, None);
            if let Some(flags) = pinned {
                story.pin(trace, SpanId([1; 8]), flags);
            }
            let _ = story.request("cni.add", |_| Ok(()));
            story.into_batch().spans.remove(0)
        };
        let (sampler, _) = sampler(name, "0.5");
        [span(0xff, None), span(0xff, Some(1)), span(0x01, Some(0))].map(|span| sampler.samples(&span))
    }

    #[test]
    fn parent_based_samplers_follow_the_flags_of_somebody_elses_trace() {
        assert_eq!(sent(""), [true, true, false]);
        assert_eq!(sent("parentbased_always_on"), [true, true, false]);
        assert_eq!(sent("parentbased_always_off"), [false, true, false]);
        assert_eq!(sent("parentbased_traceidratio"), [false, true, false]);
        assert_eq!(sent("always_on"), [true, true, true]);
        assert_eq!(sent("always_off"), [false, false, false]);
        assert_eq!(sent("traceidratio"), [false, false, true]);
    }
}
