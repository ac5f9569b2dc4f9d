//! The message as it stands in JSON, and its checks.

use super::{MAX_TEXT, TerminationError, VERSION};
use crate::domain::identity::{SpanId, TraceId};
use crate::domain::ruleset::Family;
use crate::domain::step::ErrorType;
use crate::domain::validation::{AttemptError, ErrorRun, FamilyResult, MAX_RUNS, Told, Validation, ValidationFailure};
use serde::{Deserialize, Serialize};

/// The key that says whose message it is; its value is the version.
pub(super) const MARK: &str = "istio_cni_validation";
/// No validation takes longer than a week; what says so is not believed.
const MAX_US: u64 = 7 * 24 * 3600 * 1_000_000;

#[derive(Serialize, Deserialize)]
pub(super) struct Message {
    istio_cni_validation: u64,
    result: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    start_unix_nano: u64,
    listened_us: u64,
    end_us: u64,
    #[serde(default)]
    families: Vec<FamilyJson>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    told: Option<ToldJson>,
}

#[derive(Serialize, Deserialize)]
struct FamilyJson {
    family: String,
    result: String,
    attempts: u32,
    end_us: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    errors: Vec<RunJson>,
}

#[derive(Serialize, Deserialize)]
struct RunJson {
    kind: String,
    text: String,
    count: u32,
    first_us: u64,
    last_us: u64,
}

#[derive(Serialize, Deserialize)]
struct ToldJson {
    trace_id: String,
    span_id: String,
}

impl Message {
    /// The message with texts of at most `text` characters and at most `runs` runs by family.
    pub(super) fn of(validation: &Validation, text: usize, runs: usize) -> Message {
        let micros = |ns: u64| ns.saturating_sub(validation.start_ns) / 1000;
        let failure = validation.failure.as_ref();
        Message {
            istio_cni_validation: VERSION,
            result: result_word(failure.is_none()),
            error_type: failure.map(|failure| failure.error_type.as_str().to_owned()),
            message: failure.map(|failure| one_line(&failure.message, text)),
            start_unix_nano: validation.start_ns,
            listened_us: micros(validation.listened_ns),
            end_us: micros(validation.end_ns),
            families: validation
                .families
                .iter()
                .map(|family| FamilyJson {
                    family: family.family.name().to_owned(),
                    result: result_word(family.passed),
                    attempts: family.attempts,
                    end_us: micros(family.end_ns),
                    errors: family.errors[family.errors.len().saturating_sub(runs)..]
                        .iter()
                        .map(|run| RunJson {
                            kind: run.kind.name().to_owned(),
                            text: one_line(&run.text, text),
                            count: run.count,
                            first_us: micros(run.first_ns),
                            last_us: micros(run.last_ns),
                        })
                        .collect(),
                })
                .collect(),
            told: validation
                .told
                .map(|told| ToldJson { trace_id: told.trace_id.to_hex(), span_id: told.span_id.to_hex() }),
        }
    }

    /// The validation, if everything in it can be one.
    pub(super) fn read(self) -> Result<Validation, TerminationError> {
        let start = self.start_unix_nano;
        let end_ns = time(start, self.end_us)?;
        let within = |us: u64| time(start, us).and_then(|ns| ordered(ns, end_ns));
        let listened_ns = within(self.listened_us)?;
        let failure = match (passed(&self.result)?, self.error_type, self.message) {
            (true, None, None) => None,
            (false, Some(kind), Some(message)) => Some(ValidationFailure {
                error_type: ErrorType::from_text(&kind).unwrap_or(ErrorType::Internal),
                message: one_line(&message, MAX_TEXT),
            }),
            _ => return Err(TerminationError::Value("result")),
        };
        let mut families: Vec<FamilyResult> = Vec::new();
        for json in self.families {
            let family = json.read(&within)?;
            if families.iter().any(|other| other.family == family.family) {
                return Err(TerminationError::Value("family"));
            }
            families.push(family);
        }
        if failure.is_none() && (families.is_empty() || families.iter().any(|family| !family.passed)) {
            return Err(TerminationError::Value("result"));
        }
        let told = self.told.map(ToldJson::read).transpose()?;
        Ok(Validation { start_ns: start, listened_ns, end_ns, families, failure, told })
    }
}

impl FamilyJson {
    fn read(self, within: &impl Fn(u64) -> Result<u64, TerminationError>) -> Result<FamilyResult, TerminationError> {
        let known = Family::ALL.into_iter().find(|family| family.name() == self.family);
        let family = known.ok_or(TerminationError::Value("family"))?;
        if self.errors.len() > MAX_RUNS {
            return Err(TerminationError::Value("number of errors"));
        }
        let errors = self.errors.into_iter().map(|run| run.read(within)).collect::<Result<_, _>>()?;
        let end_ns = within(self.end_us)?;
        Ok(FamilyResult { family, passed: passed(&self.result)?, attempts: self.attempts, end_ns, errors })
    }
}

impl RunJson {
    fn read(self, within: &impl Fn(u64) -> Result<u64, TerminationError>) -> Result<ErrorRun, TerminationError> {
        let last_ns = within(self.last_us)?;
        Ok(ErrorRun {
            kind: AttemptError::from_name(&self.kind),
            text: one_line(&self.text, MAX_TEXT),
            count: self.count,
            first_ns: ordered(within(self.first_us)?, last_ns)?,
            last_ns,
        })
    }
}

impl ToldJson {
    fn read(self) -> Result<Told, TerminationError> {
        let ids = TraceId::from_hex(&self.trace_id).zip(SpanId::from_hex(&self.span_id));
        let (trace_id, span_id) = ids.ok_or(TerminationError::Value("trace or span id"))?;
        Ok(Told { trace_id, span_id })
    }
}

fn time(start_ns: u64, us: u64) -> Result<u64, TerminationError> {
    let ns = Some(us).filter(|us| *us <= MAX_US).and_then(|us| start_ns.checked_add(us * 1000));
    // OTLP's times are unsigned, but not everybody who reads them takes more than 63 bits.
    ns.filter(|ns| i64::try_from(*ns).is_ok()).ok_or(TerminationError::Value("time"))
}

fn ordered(earlier: u64, later: u64) -> Result<u64, TerminationError> {
    if earlier <= later { Ok(earlier) } else { Err(TerminationError::Value("time")) }
}

fn result_word(passed: bool) -> String {
    if passed { "passed" } else { "failed" }.to_owned()
}

fn passed(word: &str) -> Result<bool, TerminationError> {
    match word {
        "passed" => Ok(true),
        "failed" => Ok(false),
        _ => Err(TerminationError::Value("result")),
    }
}

/// The beginning of a text, without what could start a line of its own.
fn one_line(text: &str, length: usize) -> String {
    let mut line: String = text.chars().take(length).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(length).is_some() {
        line.pop();
        line.push('…');
    }
    line
}
