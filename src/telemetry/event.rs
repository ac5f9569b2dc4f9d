//! Typed log events: each has a name, a severity and a wording that people can rely on.

use opentelemetry_proto::tonic::logs::v1::SeverityNumber;

/// Severity of a log line, from the least to the most serious.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    Debug,
    Info,
    Warn,
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
