//! Which spans are sent, as `OTEL_TRACES_SAMPLER` says.
//!
//! A pod's spans come from several processes, and all of them hang below the pod's own root span,
//! whose id is known beforehand. So "the parent's decision" is the root's, which follows from the
//! trace id: every `parentbased_` sampler decides like the one for roots that it names.

use super::env::Env;

/// Decides about a whole trace by its id.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Sampler {
    /// Every trace.
    #[default]
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

impl Sampler {
    /// The sampler for a share of all traces, from 0 to 1.
    pub fn ratio(share: f64) -> Sampler {
        // Exact: a share has 53 bits, and the bound needs no more than 57.
        Sampler::TraceIdRatio { bound: (share.clamp(0.0, 1.0) * (1_u64 << RANDOM_BITS) as f64) as u64 }
    }

    /// Reads `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`.
    pub fn from_env(env: &mut Env<'_>) -> Sampler {
        let share = Sampler::ratio(1.0);
        let words = [
            ("always_on", Sampler::AlwaysOn),
            ("always_off", Sampler::AlwaysOff),
            ("traceidratio", share),
            ("parentbased_always_on", Sampler::AlwaysOn),
            ("parentbased_always_off", Sampler::AlwaysOff),
            ("parentbased_traceidratio", share),
        ];
        match env.word("OTEL_TRACES_SAMPLER", &words).unwrap_or_default() {
            Sampler::TraceIdRatio { .. } => {
                Sampler::ratio(env.number("OTEL_TRACES_SAMPLER_ARG", 0.0..=1.0).unwrap_or(1.0))
            }
            decided => decided,
        }
    }

    /// Whether the spans of the trace with this id are sent.
    pub fn samples(self, trace_id: &[u8]) -> bool {
        match self {
            Sampler::AlwaysOn => true,
            Sampler::AlwaysOff => false,
            Sampler::TraceIdRatio { bound } => {
                let low = trace_id.iter().rev().take(7).rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
                low < bound
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(sampler("always_on", ""), (Sampler::AlwaysOn, 0));
        assert_eq!(sampler("", "0.5"), (Sampler::AlwaysOn, 0));
        assert_eq!(sampler("parentbased_always_off", ""), (Sampler::AlwaysOff, 0));
        assert_eq!(sampler("parentbased_traceidratio", "0.25"), (Sampler::ratio(0.25), 0));
        assert_eq!(sampler("traceidratio", ""), (Sampler::ratio(1.0), 0));
        assert_eq!(sampler("traceidratio", "2"), (Sampler::ratio(1.0), 1));
        assert_eq!(sampler("jaeger_remote", ""), (Sampler::AlwaysOn, 1));
    }

    #[test]
    fn a_ratio_decides_by_the_low_seven_bytes_of_the_trace_id() {
        let half = Sampler::ratio(0.5);
        let mut id = [0xff_u8; 16];
        assert!(!half.samples(&id));
        id[9] = 0x7f;
        assert!(half.samples(&id), "the first nine bytes do not count");
        id[9] = 0x80;
        assert!(!half.samples(&id));
        assert!(Sampler::ratio(1.0).samples(&[0xff; 16]));
        assert!(!Sampler::ratio(0.0).samples(&[0; 16]));
    }
}
