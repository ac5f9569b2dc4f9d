//! One call under way: its story, its settings once they are known, and the agent's connection
//! while there is one.

use super::configuration::Input;
use super::{add, input, status, teardown};
use crate::cmd::outbound::outbound_settings;
use crate::domain::failure::{CODE_ISTIO, Failure};
use crate::domain::identity::TraceId;
use crate::domain::pod::PodRef;
use crate::domain::request::{Answer, Command, Request};
use crate::domain::step::Step;
use crate::host::pod_netns::Record;
use crate::host::uds::Connection;
use crate::telemetry::console;
use crate::telemetry::event::{self, Level};
use crate::telemetry::keys;
use crate::telemetry::outcome::{CallPath, describe};
use crate::telemetry::story::{Clock, Open, Story, attribute, random_trace_id};
use crate::wire::args;
use crate::wire::cni::CniError;
use crate::wire::environment::{Call, unknown_command};
use crate::wire::netconf::{NetConf, Settings};
use crate::wire::result_print::print;
use std::cell::{Cell, OnceCell, RefCell};

/// A call under way.
pub struct Session<'a> {
    pub call: &'a Call,
    pub story: Story,
    /// The pod of `CNI_ARGS`, as far as they can be read.
    pub pod: PodRef,
    pub(super) settings: OnceCell<Settings>,
    /// The agent's connection after it has answered, for the telemetry.
    pub agent: RefCell<Option<Connection>>,
    /// What came of calling the agent.
    pub presence: Cell<Presence>,
    /// Where the pod's namespace is, once the plugin has set it up alone.
    pub set_up: RefCell<Option<Record>>,
    /// Whether the telemetry is worth a file while there is no agent.
    pub worth_keeping: Cell<bool>,
}

/// What is known of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It was not called.
    Unknown,
    /// It answered.
    Answered,
    /// Nobody serves its socket, or what came was no answer.
    Away,
}

/// What a command came to, and who did the work.
pub type Done = (Result<Answer, Failure>, CallPath);

impl<'a> Session<'a> {
    /// Begins the story of a call, in the pod's trace if the runtime says which pod it is.
    pub fn begin(clock: Clock, call: &'a Call) -> Session<'a> {
        let pod = args::parse(&call.args).unwrap_or_default();
        let trace = pod.uid.as_deref().map_or_else(random_trace_id, TraceId::of_pod);
        let is_pod = !pod.name.is_empty() && !pod.namespace.is_empty();
        let parent = is_pod.then(|| trace.root_span());
        Session {
            call,
            story: Story::begin(clock, trace, parent, pod.clone(), Level::Info, Some(console::stderr_json)),
            pod,
            settings: OnceCell::new(),
            agent: RefCell::new(None),
            presence: Cell::new(Presence::Unknown),
            set_up: RefCell::new(None),
            worth_keeping: Cell::new(true),
        }
    }

    /// The settings; defaults until they are known.
    pub fn settings(&self) -> &Settings {
        self.settings.get_or_init(Settings::default)
    }

    /// Whether the run directory is known, and with it where to leave telemetry. Below a relative
    /// one that would be wherever the runtime happens to be.
    pub fn has_run_dir(&self) -> bool {
        self.settings.get().is_some_and(|settings| settings.run_dir.is_absolute())
    }

    /// Runs the command as the call's span; gives what goes to standard output.
    pub fn run(&self, command: Command) -> Result<Vec<u8>, CniError> {
        let mut input = Input::default();
        // A runtime asks for the status every few seconds.
        self.worth_keeping.set(command != Command::Status);
        let result = self.story.request(command.span_name(), |open| {
            self.introduce(open, command);
            let (result, path) = match self.parse(command, open, &mut input) {
                Ok(()) => self.dispatch(command, open),
                Err(failure) => (Err(failure), CallPath::Standalone),
            };
            describe(open, &result, path);
            result
        });
        match result {
            Ok(_) if command == Command::Add => Ok(print(input.prev_result.as_ref(), &input.version)),
            Ok(_) => Ok(Vec::new()),
            Err(failure) => {
                let error = input.refused.unwrap_or_else(|| CniError::from(&failure));
                Err(self.told(command, error.at(failure.step, self.trace_left())))
            }
        }
    }

    /// The trace that this call leaves: whoever reads the pod's events gets from there to every
    /// step. A call about no pod has none that anybody would look for.
    fn trace_left(&self) -> Option<TraceId> {
        let left = self.worth_keeping.get() && !self.pod.name.is_empty() && self.has_run_dir();
        left.then(|| self.story.context().0)
    }

    /// A command that is none is refused only once the configuration has been looked at. There is
    /// no request of that name, so its story is the step alone.
    pub fn refuse_unknown(&self, word: &str) -> Result<Vec<u8>, CniError> {
        let mut refused = unknown_command(word);
        let looked_at = || {
            let conf = NetConf::parse(&input::read()?)?;
            self.settings.get_or_init(|| conf.lenient_settings());
            conf.check_name()
        };
        // A step that only fails, so its result is known.
        let _ = self.story.step(Step::ConfigParse, |_| {
            refused = looked_at().err().unwrap_or_else(|| refused.clone());
            Err::<(), _>(refused.clone())
        });
        let error = refused.at(Step::ConfigParse, self.trace_left());
        self.log_failed(&error);
        Err(error)
    }

    /// The request as the agent and the use cases get it.
    pub fn request(&self, command: Command) -> Request {
        let Call { container_id, ifname, netns, own_netns_allowed: own_netns, .. } = self.call.clone();
        let Settings { backend, ref bounds, .. } = *self.settings();
        let pod = self.pod.clone();
        let outbound = outbound_settings();
        Request { command, container_id, ifname, netns, own_netns, pod, backend, outbound, bounds: bounds.clone() }
    }

    /// Writes a line in the words of the reference's logs.
    pub fn say(&self, level: Level, text: &str) {
        self.story.log(level, event::PROGRESS, text, Vec::new());
    }

    fn introduce(&self, open: &Open, command: Command) {
        open.set(keys::COMMAND, command.name());
        let call = self.call;
        for (key, value) in
            [(keys::CONTAINER_ID, &call.container_id), (keys::INTERFACE, &call.ifname), (keys::NETNS, &call.netns)]
        {
            if !value.is_empty() {
                open.set(key, value.as_str());
            }
        }
    }

    fn dispatch(&self, command: Command, open: &Open) -> Done {
        match command {
            Command::Add | Command::Check => add::run(self, command, open),
            Command::Del | Command::Gc => teardown::run(self, command),
            Command::Status => status::run(self),
        }
    }

    /// The error as the runtime gets it, also told on standard error.
    fn told(&self, command: Command, error: CniError) -> CniError {
        if error.code == CODE_ISTIO {
            self.say(Level::Error, &format!("istio-cni {} error: {error}", function_name(command)));
        }
        self.log_failed(&error);
        error
    }

    fn log_failed(&self, error: &CniError) {
        let attributes = vec![attribute(keys::ERROR_TYPE, error.error_type.as_str())];
        self.story.log(Level::Error, event::REQUEST_FAILED, &format!("istio-cni failed with: {error}"), attributes);
    }
}

/// What the reference calls the function of a command: `cmdAdd`.
pub(super) fn function_name(command: Command) -> &'static str {
    match command {
        Command::Add => "cmdAdd",
        Command::Check => "cmdCheck",
        Command::Del => "cmdDel",
        Command::Gc => "cmdGc",
        Command::Status => "cmdStatus",
    }
}
