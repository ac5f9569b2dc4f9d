//! `OTEL_PROPAGATORS`: which context of the environment a call is linked to.

use super::env::Env;

/// What is read of the runtime's environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagators {
    /// `TRACEPARENT` and `TRACESTATE`.
    pub trace_context: bool,
    /// `BAGGAGE`.
    pub baggage: bool,
}

impl Propagators {
    /// Reads `OTEL_PROPAGATORS`; without it both are on, as the specification says.
    pub fn from_env(env: &mut Env<'_>) -> Propagators {
        let words = [("tracecontext", Some(true)), ("baggage", Some(false)), ("none", None)];
        let Some(named) = env.words("OTEL_PROPAGATORS", &words) else {
            return Propagators { trace_context: true, baggage: true };
        };
        Propagators { trace_context: named.contains(&Some(true)), baggage: named.contains(&Some(false)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_says_what_is_read() {
        for (list, trace_context, baggage, warnings) in [
            ("", true, true, 0),
            ("tracecontext,baggage", true, true, 0),
            ("tracecontext", true, false, 0),
            ("baggage,b3", false, true, 1),
            ("none", false, false, 0),
        ] {
            let lookup = |_: &str| Some(list.to_owned());
            let mut env = Env::new(&lookup);
            let read = Propagators::from_env(&mut env);
            assert_eq!(read, Propagators { trace_context, baggage }, "{list}");
            assert_eq!(env.into_warnings().len(), warnings, "{list}");
        }
    }
}
