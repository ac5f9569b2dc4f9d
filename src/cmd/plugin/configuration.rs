//! The step that reads what a runtime gave: standard input, `CNI_ARGS`, and the trace context of its
//! environment.

use super::input;
use super::session::{Session, function_name};
use crate::domain::failure::{CODE_ISTIO, Failure};
use crate::domain::request::Command;
use crate::domain::step::{ErrorType, Step};
use crate::domain::trace_context;
use crate::telemetry::event::{self, Level};
use crate::telemetry::keys;
use crate::telemetry::otlp::env::Env;
use crate::telemetry::otlp::propagators::Propagators;
use crate::telemetry::story::{Open, attribute};
use crate::wire::args;
use crate::wire::cni::CniError;
use crate::wire::netconf::{NetConf, TraceParentMode};
use crate::wire::result::CniResult;

/// How much of an unusable configuration a log line repeats.
const SHOWN_INPUT: usize = 4096;

/// What standard input said.
#[derive(Default)]
pub struct Input {
    /// The version in which the result is told.
    pub version: String,
    /// The result of the plugins before us, which is also ours.
    pub prev_result: Option<CniResult>,
    /// The error, if it was one: a failure has no room for its details.
    pub refused: Option<CniError>,
}

impl Session<'_> {
    /// Reads standard input, as the step that it is.
    pub fn parse(&self, command: Command, open: &Open, input: &mut Input) -> Result<(), Failure> {
        self.story.step(Step::ConfigParse, |_| {
            self.read_configuration(command, input).inspect_err(|error| input.refused = Some(error.clone()))
        })?;
        self.link_environment(open);
        Ok(())
    }

    fn read_configuration(&self, command: Command, input: &mut Input) -> Result<(), CniError> {
        let bytes = input::read()?;
        let mut conf = NetConf::parse(&bytes)?;
        conf.check_name().and_then(|()| conf.check_version(command)).inspect_err(|_| {
            self.settings.get_or_init(|| conf.lenient_settings());
        })?;
        let forgiving = matches!(command, Command::Del | Command::Gc);
        let parsed = conf.settings().and_then(|settings| Ok((settings, conf.prev_result()?)));
        let parsed = match parsed {
            Err(error) if !forgiving => {
                self.settings.get_or_init(|| conf.lenient_settings());
                let shown: String = String::from_utf8_lossy(&bytes).chars().take(SHOWN_INPUT).collect();
                let function = function_name(command);
                self.say(Level::Error, &format!("istio-cni {function} failed to parse config {shown} {error}"));
                return Err(error);
            }
            parsed => parsed.unwrap_or_else(|error| {
                self.say(
                    Level::Warn,
                    &format!("going on without the parts of the configuration that are wrong: {error}"),
                );
                (conf.lenient_settings(), None)
            }),
        };
        let settings = self.settings.get_or_init(|| parsed.0);
        input.version.clone_from(&settings.cni_version);
        input.prev_result = parsed.1;
        if command == Command::Add || command == Command::Check {
            args::parse(&self.call.args).map_err(|error| {
                CniError::new(CODE_ISTIO, ErrorType::ArgsInvalid, format!("failed to load args: {error}"))
                    .with_details(args::TAKEN)
            })?;
        }
        if !settings.log_level.is_empty() {
            self.story.set_level(Level::from_word(&settings.log_level));
        }
        let dump = format!("istio-cni {} config: {}", function_name(command), String::from_utf8_lossy(&bytes));
        self.story.log(
            Level::Debug,
            event::PROGRESS,
            &dump,
            vec![attribute(keys::INTERFACE, self.call.ifname.as_str())],
        );
        Ok(())
    }

    /// The runtime's own trace context becomes a link of the call's span, or its parent.
    fn link_environment(&self, open: &Open) {
        let read = |name: &str| std::env::var(name).ok();
        let propagators = Propagators::from_env(&mut Env::new(&read));
        if !propagators.trace_context {
            return;
        }
        let text = |name| read(name).unwrap_or_default();
        let baggage = if propagators.baggage { text("BAGGAGE") } else { String::new() };
        let context = trace_context::link(&text("TRACEPARENT"), &text("TRACESTATE"), &baggage, "environment");
        let Some(link) = context else { return };
        match self.settings().trace_parent {
            TraceParentMode::Link => open.link(&link),
            TraceParentMode::Parent => self.story.pin(link.trace_id, link.span_id, link.flags),
        }
    }
}
