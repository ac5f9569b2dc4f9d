//! The closed list of log events that a request's story tells, and the severities. What the agent
//! says of itself is in [`super::agent_event`].

use opentelemetry_proto::tonic::logs::v1::SeverityNumber;

/// Severity of a log line, from the least to the most serious.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Of interest while something is searched for.
    Debug,
    /// The usual course.
    Info,
    /// Something went wrong, and was got over.
    Warn,
    /// Something failed.
    Error,
    /// Not a severity: as a threshold it silences everything.
    Off,
}

impl Level {
    /// Lower-case word as the reference's logs have it.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
            Level::Off => "none",
        }
    }

    /// Reads a level as the reference does: `fatal` and `none` silence, and so does any other word.
    pub fn from_word(word: &str) -> Level {
        match word {
            "debug" => Level::Debug,
            "info" => Level::Info,
            "warn" => Level::Warn,
            "error" => Level::Error,
            _ => Level::Off,
        }
    }

    /// The level of an OTLP severity number, which has four grades of each.
    pub const fn of_severity(number: i32) -> Level {
        match number {
            ..=8 => Level::Debug,
            9..=12 => Level::Info,
            13..=16 => Level::Warn,
            _ => Level::Error,
        }
    }

    /// The level with this discriminant; anything else is `Off`.
    pub(super) const fn of_index(index: u8) -> Level {
        match index {
            0 => Level::Debug,
            1 => Level::Info,
            2 => Level::Warn,
            3 => Level::Error,
            _ => Level::Off,
        }
    }

    /// OTLP severity.
    pub const fn severity(self) -> SeverityNumber {
        match self {
            Level::Debug => SeverityNumber::Debug,
            Level::Info => SeverityNumber::Info,
            Level::Warn => SeverityNumber::Warn,
            Level::Error | Level::Off => SeverityNumber::Error,
        }
    }
}

/// The name of a log event. Names can only be declared in this room, so the list is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventName(pub(super) &'static str);

impl EventName {
    /// The name as OTLP has it.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

macro_rules! event_names {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal;)*) => {
        $($(#[doc = $doc])+ pub const $name: EventName = EventName($text);)*

        /// Every event of a story.
        pub const ALL: &[EventName] = &[$($name,)*];
    };
}

event_names! {
    /// A step went well.
    STEP_DONE = "istio_cni.step.done";
    /// A step failed; the error was born there.
    STEP_FAILED = "istio_cni.step.failed";
    /// The request failed; this is what the runtime is told.
    REQUEST_FAILED = "istio_cni.request.failed";
    /// What the plugin does, in the words of the reference's logs.
    PROGRESS = "istio_cni.request.progress";
    /// A pass of the installation put everything in place.
    INSTALL_DONE = "istio_cni.install.done";
    /// The installation was taken back.
    UNINSTALL_DONE = "istio_cni.uninstall.done";
    /// What the validator does, in the words of the reference's logs.
    VALIDATION_PROGRESS = "istio_cni.validation.progress";
    /// What is done about a broken pod, in the words of the reference's logs.
    REPAIR_PROGRESS = "istio_cni.repair.progress";
    /// A broken pod was repaired, deleted or labelled.
    REPAIR_DONE = "istio_cni.repair.done";
    /// Nothing is done about a broken pod, and why.
    REPAIR_SKIPPED = "istio_cni.repair.skipped";
    /// An attempt at a broken pod failed; whether there is another one.
    REPAIR_FAILED = "istio_cni.repair.failed";
    /// The pod gets no rules, and why.
    POD_SKIPPED = "istio_cni.pod.skipped";
    /// Probes of a validation failed in this way.
    VALIDATION_ATTEMPT = "istio_cni.validation.attempt_failed";
    /// A pod's validation found its redirection in place.
    VALIDATION_PASSED = "istio_cni.validation.passed";
    /// A pod's validation failed, and why.
    VALIDATION_FAILED = "istio_cni.validation.failed";
    /// Something was said of the pod while it started.
    POD_EVENT = "istio_cni.pod.event";
    /// A pod started.
    POD_STARTED = "istio_cni.pod.started";
    /// A pod did not start, or not in time, and why.
    POD_NOT_STARTED = "istio_cni.pod.not_started";
    /// What came of a pod that had not started in time.
    POD_STARTED_LATE = "istio_cni.pod.started_late";
    /// A pod that was starting when an agent ended was gone when the next one came.
    POD_START_UNSEEN = "istio_cni.pod.start_unseen";
    /// A pod's rules are not, or not any more, those that it should have.
    POD_DRIFTED = "istio_cni.pod.drifted";
    /// Whether a pod has its rules cannot be found out.
    POD_STATE_UNKNOWN = "istio_cni.pod.state_unknown";
    /// A pod of which one of these was said has the rules that it should have.
    POD_REDIRECTED_AGAIN = "istio_cni.pod.redirected_again";
    /// A switch in the environment of the pod's proxy is neither true nor false, and counts as false.
    POD_SWITCH_UNREADABLE = "istio_cni.pod.switch_unreadable";
}
