//! Samples from finished spans: what a request or a step was, how long it took, how it ended.

use super::Metrics;
use super::family::{Exemplar, Label};
use crate::domain::identity::{SpanId, TraceId};
use crate::domain::install::{INSTALL, PassResult};
use crate::domain::repair::{Mode, REPAIR, RepairResult};
use crate::domain::request::Command;
use crate::domain::settings::SkipReason;
use crate::domain::startup::{self, Part};
use crate::domain::step::{ErrorType, Step};
use crate::domain::validation_run::{POD_INIT, RunResult};
use crate::telemetry::clock::Clock;
use crate::telemetry::keys::{self, Key};
use crate::telemetry::outcome::{CallPath, Outcome};
use crate::telemetry::story::{error_type_of, text_attribute};
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};

impl Metrics {
    /// Takes the samples of a span; a span that is no request and no step has none. Values that
    /// are in no closed list count as empty, so that nobody can make up series.
    pub fn observe_span(&self, span: &Span) {
        if let Some(step) = Step::from_name(&span.name) {
            self.observe_step(step, span);
        } else if let Some(command) = Command::ALL.into_iter().find(|command| command.span_name() == span.name) {
            self.observe_request(command, span);
        } else if span.name == INSTALL {
            self.observe_install(span);
        } else if span.name.starts_with(POD_INIT) {
            self.observe_validation(span);
        } else if span.name == REPAIR {
            self.observe_repair(span);
        }
        if let Some(part) = Part::of_span(&span.name) {
            self.observe_startup(part, span);
        }
    }

    /// What was still going on took at least so long, and a start by two clocks that differ took who knows how
    /// long: neither is a sample.
    fn observe_startup(&self, part: Part, span: &Span) {
        let has = |key: Key| span.attributes.iter().any(|kv| kv.key == key.as_str());
        if has(keys::STARTUP_UNFINISHED) || has(keys::STARTUP_CLOCK_OFFSET_MS) {
            return;
        }
        let said = text_attribute(&span.attributes, keys::STARTUP_OUTCOME).and_then(startup::Outcome::from_name);
        let outcome = match said {
            Some(outcome) => outcome.name(),
            None if failed(span) => Outcome::Failed.name(),
            None => Outcome::Done.name(),
        };
        // It is measured when it is told: an exemplar of its own time would be older than what was exported last.
        let time_ns = Clock::start().start_ns();
        let exemplar = exemplar(span).map(|of_span| Exemplar { time_ns, ..of_span });
        self.startup_duration.observe([part.phase().into(), outcome.into()], seconds(span), exemplar);
    }

    /// A pass that waits for somebody else has come to nothing yet, and says no result.
    fn observe_install(&self, span: &Span) {
        let said = text_attribute(&span.attributes, keys::INSTALL_RESULT);
        if let Some(result) = PassResult::ALL.into_iter().find(|result| Some(result.name()) == said) {
            self.installs.add([result.name().into()], 1.0);
        }
    }

    /// Other init containers' spans say no result.
    fn observe_validation(&self, span: &Span) {
        let said = text_attribute(&span.attributes, keys::VALIDATION_RESULT);
        if let Some(result) = said.and_then(RunResult::from_name) {
            self.validations.add([result.name().into()], 1.0);
        }
    }

    fn observe_repair(&self, span: &Span) {
        let said = |key| text_attribute(&span.attributes, key);
        let mode = Mode::ALL.into_iter().find(|mode| Some(mode.name()) == said(keys::REPAIR_MODE));
        let result = RepairResult::ALL.into_iter().find(|result| Some(result.name()) == said(keys::REPAIR_RESULT));
        if let (Some(mode), Some(result)) = (mode, result) {
            self.repairs.add([mode.name().into(), result.name().into()], 1.0);
        }
    }

    fn observe_step(&self, step: Step, span: &Span) {
        let outcome = if failed(span) { Outcome::Failed } else { Outcome::Done };
        let error_type = error_type_of(span).map(ErrorType::as_str).unwrap_or_default();
        let labels: [Label; 3] = [step.name().into(), outcome.name().into(), error_type.into()];
        self.step_duration.observe(labels, seconds(span), exemplar(span));
    }

    fn observe_request(&self, command: Command, span: &Span) {
        let text = |key| text_attribute(&span.attributes, key);
        let fallback = if failed(span) { Outcome::Failed } else { Outcome::Done };
        let outcome = text(keys::OUTCOME).and_then(Outcome::from_name).unwrap_or(fallback);
        let path = text(keys::PATH).and_then(CallPath::from_name).map(CallPath::name).unwrap_or_default();
        let skipped = text(keys::REASON).and_then(SkipReason::from_name).map(SkipReason::name);
        let failed = text(keys::REASON).and_then(ErrorType::from_text).or_else(|| error_type_of(span));
        let reason = skipped.or(failed.map(ErrorType::as_str)).unwrap_or_default();
        let (command, outcome): (Label, Label) = (command.name().into(), outcome.name().into());
        self.requests.add([command.clone(), outcome.clone(), reason.into(), path.into()], 1.0);
        self.request_duration.observe([command, outcome, path.into()], seconds(span), exemplar(span));
    }
}

fn failed(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error)
}

fn seconds(span: &Span) -> f64 {
    span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano) as f64 / 1e9
}

fn exemplar(span: &Span) -> Option<Exemplar> {
    Some(Exemplar {
        value: seconds(span),
        time_ns: span.end_time_unix_nano,
        trace_id: TraceId(span.trace_id.as_slice().try_into().ok()?),
        span_id: SpanId(span.span_id.as_slice().try_into().ok()?),
    })
}
