//! A time as somebody said it: how exactly, and what it is the time of.

/// A time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds since the epoch, cut to the precision.
    pub ns: u64,
    pub precision: Precision,
    pub source: Source,
}

/// How exact a time is; from the finest to the coarsest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Precision {
    /// The agent's own clock.
    Nanosecond,
    /// A `MicroTime` of the API.
    Microsecond,
    /// A `Time` of the API: the real one is up to a second later.
    Second,
}

/// What says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The pod's object: when it was created, seen by the kubelet, or its deletion asked for.
    Pod,
    /// A condition of the pod.
    Condition,
    /// The status of a container.
    Container,
    /// An Event on the pod.
    Event,
    /// The next thing that has begun by then: it was over at the latest then.
    Next,
    /// Whoever tells it saw it then.
    Observed,
}

impl Moment {
    /// A time of whole seconds, as the API gives it.
    pub const fn second(ns: u64, source: Source) -> Moment {
        Moment { ns, precision: Precision::Second, source }
    }

    /// A time of the own clock.
    pub const fn observed(ns: u64) -> Moment {
        Moment { ns, precision: Precision::Nanosecond, source: Source::Observed }
    }

    /// The same time as the end of what was over at the latest then.
    pub const fn at_the_latest(self) -> Moment {
        Moment { source: Source::Next, ..self }
    }
}

impl Precision {
    /// Every precision.
    pub const ALL: [Precision; 3] = [Precision::Nanosecond, Precision::Microsecond, Precision::Second];

    /// The attribute value.
    pub const fn name(self) -> &'static str {
        match self {
            Precision::Nanosecond => "nanosecond",
            Precision::Microsecond => "microsecond",
            Precision::Second => "second",
        }
    }
}

impl Source {
    /// Every source.
    pub const ALL: [Source; 6] =
        [Source::Pod, Source::Condition, Source::Container, Source::Event, Source::Next, Source::Observed];

    /// The attribute value.
    pub const fn name(self) -> &'static str {
        match self {
            Source::Pod => "pod",
            Source::Condition => "condition",
            Source::Container => "container",
            Source::Event => "event",
            Source::Next => "next",
            Source::Observed => "observed",
        }
    }
}
