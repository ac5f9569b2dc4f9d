//! The third part of the agent's life: it runs until it is asked to stop, or until a task ends that
//! should not; then it stops in order: unready, no more calls, those under way finished, telemetry
//! out.

use super::aftercare::{Aftercare, Around};
use super::app::{Agent, Bound, Ending};
use super::audit::Answered;
use super::backend::Decision;
use super::choice::Choice;
use super::config::Settings;
use super::config::repair::RepairSettings;
use super::doctor::{self, Doctor, Findings, Place};
use super::explain::{self, Explainer};
use super::http::LookFirst;
use super::inflight::InFlight;
use super::install::{Installed, Installer, Lent};
use super::local::page::{self, Page};
use super::readiness::{Change, Readiness};
use super::repair::Repair;
use super::service::Service;
use super::socket_name::SocketName;
use super::spool::Drain;
use super::startup::{Closing, Startups, Surroundings};
use super::tasks::{Ended, Tasks};
use super::validations::Validations;
use super::{http, notices, pods, server, unready};
use crate::domain::prune::Kept;
use crate::domain::validation_run::CONTAINER;
use crate::host::kernel::HostNamespaces;
use crate::host::uds_listener::{Listener, Stopper};
use crate::k8s::cache::PodCache;
use crate::k8s::client::ApiClient;
use crate::k8s::lookup::{BlockingApi, Pods};
use crate::ops::diagnose::Hanging;
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::pipeline::Telemetry;
use axum::Router;
use futures::FutureExt;
use std::future::ready;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::{Handle, Runtime};

/// More requests than this at once are sent away: a node has fewer pods.
const UNDER_WAY: usize = 256;
/// When the requests that are still under way are given up after a signal: the DaemonSet's grace
/// period is 30 s, and repairs have to end and telemetry to go out within it too.
const END: Duration = Duration::from_secs(20);
/// How long repairs that are under way may take after that.
const REPAIR_END: Duration = Duration::from_secs(2);
/// How long telemetry may take to go out at the end.
const FLUSH: Duration = Duration::from_secs(5);
/// How long the runtime may take to end its threads.
const RUNTIME_END: Duration = Duration::from_secs(1);

/// What is there only if it was asked for.
struct Parts {
    installed: Option<Installed>,
    repair: Option<Arc<Repair>>,
    startups: Option<Closing>,
}

/// What is there while the agent runs, and is taken down in order when it stops.
struct Running {
    telemetry: Telemetry,
    readiness: Arc<Readiness>,
    cache: Arc<PodCache>,
    under_way: Arc<InFlight>,
    listener: Arc<Listener>,
    stopper: Stopper,
}

impl Bound {
    /// Runs until `stop` says why to stop, or until a task ends unasked.
    pub fn run(self, stop: impl Future<Output = String>) -> Ending {
        self.announce();
        let Bound { agent, listener, stopper, metrics, health, local } = self;
        let Agent { settings, runtime, telemetry, backend, log, started } = agent;
        let running = Running {
            telemetry: telemetry.clone(),
            readiness: Readiness::new(tell_readiness(telemetry.clone(), started)),
            cache: Arc::default(),
            under_way: InFlight::new(UNDER_WAY),
            listener: Arc::new(listener),
            stopper,
        };
        let mut tasks = Tasks::new(&runtime);
        let client = Arc::new(running.client(settings.api.clone()));
        let mut choice = Choice::new(backend.clone(), telemetry.clone(), &running.readiness);
        let watched = pods::Watched::new(telemetry.clone(), running.readiness.condition("this node's pods"));
        let (validations, validated) = Validations::new(validator(&settings), &settings.run_dir, telemetry.clone());
        tasks.spawn("validations", validations.run());
        let (events, sender) = notices::events(client.clone(), &settings.node);
        tasks.spawn("object events", notices::send(sender, telemetry.clone()));
        let (readiness, node) = (running.readiness.clone(), settings.node.clone());
        tasks.spawn("unreadiness", unready::say(readiness, node, events.clone()));
        let aftercare = Aftercare::new(&settings, &client, &telemetry, &mut tasks);
        let socket = SocketName::new(running.listener.clone(), running.readiness.condition("the socket"));
        let from = Surroundings { client: &client, cache: &running.cache, socket: &socket, telemetry: &telemetry };
        let startups = Startups::new(settings.startup, &settings.run_dir, validator(&settings), &from);
        let (started, startups) = startups
            .map(|(startups, listener)| {
                let closing = startups.closing();
                tasks.spawn("startups", startups.run());
                (listener, closing)
            })
            .unzip();
        running.cache.listen([validated].into_iter().chain(started).chain(aftercare.listeners()).collect());
        let (cache, node) = (running.cache.clone(), settings.node.clone());
        let kept = settings.repair.as_ref().and_then(RepairSettings::kept);
        // Where nothing is repaired, nobody else's message is read.
        let kept = kept.unwrap_or_else(|| Kept { validator: validator(&settings).to_owned(), ..Kept::default() });
        let kept = Kept { startups: settings.startup.scope, ..kept };
        tasks.spawn("pod watch", pods::watch(client.clone(), cache, node, kept, watched));
        let lent = Lent {
            settings: &settings,
            client: &client,
            backend: &backend,
            log: &log,
            socket: &socket,
            telemetry: &telemetry,
            events: &events,
        };
        let installed = Installed::set_up(&lent, || running.readiness.condition("the installation"), &mut tasks);
        let look = look_first(installed.as_ref(), socket.clone());
        running.serve_http(&mut tasks, metrics, health, &look, &socket);
        let findings = Findings::new(running.doctor(&lent, &aftercare, installed.as_ref()), look.clone());
        let explained = running.explain(&settings, &backend, &aftercare);
        let page = running.page(&settings, look, findings.clone()).merge(doctor::routes(findings)).merge(explained);
        let page_name = local.serve(page, &telemetry, &mut tasks, runtime.handle());
        tasks.spawn("socket's name", socket.clone().watch());
        tasks.spawn("log level", log.clone().watch());
        tasks.spawn("spool", Drain::new(&settings.run_dir, telemetry.clone()).run());
        // Calls that come before the backend is known wait in the socket's queue, but not for long.
        runtime.block_on(choice.soon());
        tasks.spawn("backend", choice.run());
        if let Some(installed) = &installed {
            let installer = Installer::new(installed.installation.clone(), telemetry.clone(), backend.clone());
            tasks.spawn("installer", installer.run());
        }
        let answered = aftercare.answered();
        let around = running.around(installed.as_ref(), runtime.handle());
        let repair = aftercare.begin(&lent, &around, &mut tasks);
        let service = Arc::new(running.service(client.clone(), runtime.handle(), backend.clone(), answered));
        let (listener, under_way) = (running.listener.clone(), running.under_way.clone());
        tasks.thread("socket", move || server::serve(&listener, &service, &under_way));

        let (ending, cause) = running.ended(tasks.first_end(stop));
        drop(page_name);
        running.stop(&cause, Parts { installed, repair, startups }, tasks, &runtime);
        runtime.shutdown_timeout(RUNTIME_END);
        ending
    }
}

impl Running {
    fn client(&self, source: crate::k8s::client::ApiSource) -> ApiClient {
        let telemetry = self.telemetry.clone();
        ApiClient::new(source, move |asked| {
            telemetry.metrics().api_requests(asked, 1);
        })
    }

    /// Tells whoever asks: metrics, health, readiness.
    fn serve_http(
        &self,
        tasks: &mut Tasks<'_>,
        metrics: Option<TcpListener>,
        health: TcpListener,
        look: &LookFirst,
        socket: &Arc<SocketName>,
    ) {
        if let Some(listener) = metrics {
            let routes = http::metrics(self.telemetry.clone(), look.clone());
            tasks.spawn("metrics server", http::serve(listener, routes));
        }
        let name = socket.clone();
        let routes = http::health(self.readiness.clone(), look.clone(), move || name.look());
        tasks.spawn("health server", http::serve(health, routes));
    }

    /// What the local server tells.
    fn page(&self, settings: &Settings, look: LookFirst, findings: Arc<Findings>) -> Router {
        let (telemetry, readiness) = (self.telemetry.clone(), self.readiness.clone());
        page::routes(Page { node: settings.node.clone(), telemetry, readiness, look, findings })
    }

    /// What doctor is told of by this agent.
    fn doctor(&self, lent: &Lent<'_>, aftercare: &Aftercare, installed: Option<&Installed>) -> Doctor {
        Doctor {
            place: Place::of(lent.settings),
            node: lent.settings.node.clone(),
            validator: validator(lent.settings).to_owned(),
            readiness: self.readiness.clone(),
            cache: self.cache.clone(),
            states: aftercare.states(),
            audits: lent.settings.audit.interval.is_some(),
            repair: aftercare.broken(),
            backend: lent.backend.clone(),
            installation: installed.map(|installed| installed.installation.clone()),
            telemetry: self.telemetry.clone(),
            settings: lent.settings.describe(None).join("\n"),
            hanging: Hanging::default(),
        }
    }

    /// What is known of single pods.
    fn explain(&self, settings: &Settings, backend: &Decision, aftercare: &Aftercare) -> Router {
        let (cache, states) = (self.cache.clone(), aftercare.states());
        explain::routes(Explainer::new(settings, backend.clone(), &self.telemetry, cache, states))
    }

    fn service(&self, client: Arc<ApiClient>, runtime: &Handle, backend: Decision, answered: Arc<Answered>) -> Service {
        let cache = self.cache.clone();
        Service {
            pods: Box::new(Pods::new(self.cache.clone(), BlockingApi::new(client, runtime.clone()))),
            namespaces: Box::new(HostNamespaces::EndingThread),
            backend,
            synced: Box::new(move || cache.is_synced()),
            telemetry: self.telemetry.clone(),
            answered,
            own_uid: nix::unistd::geteuid().as_raw(),
        }
    }

    fn around<'a>(&'a self, installed: Option<&'a Installed>, runtime: &'a Handle) -> Around<'a> {
        Around { cache: &self.cache, readiness: &self.readiness, installed, runtime }
    }

    fn ended(&self, ended: Ended) -> (Ending, String) {
        match ended {
            Ended::Asked(cause) => (Ending::Asked, cause),
            Ended::Task { name, problem } => {
                self.telemetry.event(AgentEvent::TaskEnded { task: name.to_owned(), problem });
                (Ending::TaskEnded(name.to_owned()), format!("task {name} ended"))
            }
        }
    }

    fn stop(self, cause: &str, parts: Parts, mut tasks: Tasks<'_>, runtime: &Runtime) {
        let began = Instant::now();
        self.telemetry.event(AgentEvent::Stopping { cause: cause.to_owned() });
        self.readiness.stop();
        if let Some(installed) = parts.installed {
            installed.leave(runtime);
        }
        self.cache.close();
        // Whoever comes now finds no socket and goes on alone; who has connected is still served.
        self.listener.unlink();
        drop(self.stopper);
        tasks.join_threads();
        let left = self.under_way.drained(END.saturating_sub(began.elapsed()));
        if left > 0 {
            self.telemetry.event(AgentEvent::DrainIncomplete { requests: left });
        }
        if let Some(repair) = parts.repair {
            let pods = runtime.block_on(repair.drained(REPAIR_END));
            if pods > 0 {
                self.telemetry.event(AgentEvent::RepairIncomplete { pods });
            }
        }
        tasks.abort();
        runtime.block_on(self.telemetry.shutdown(FLUSH));
        if let Some(startups) = parts.startups {
            startups.write();
        }
    }
}

/// The init container that validates: as the repair knows it, which may take any that fails.
fn validator(settings: &Settings) -> &str {
    let named = settings.repair.as_ref().map(|repair| repair.detector.container.as_str());
    named.filter(|name| !name.is_empty()).unwrap_or(CONTAINER)
}

/// What the servers wait for before they tell of readiness.
fn look_first(installed: Option<&Installed>, socket: Arc<SocketName>) -> LookFirst {
    let installation = installed.map(|installed| installed.installation.clone());
    Arc::new(move || {
        socket.look();
        match installation.clone() {
            Some(installation) => installation.looked_at().boxed(),
            None => ready(()).boxed(),
        }
    })
}

/// Tells each change of readiness, as a log event and as the gauge; the first time, how long it took.
fn tell_readiness(telemetry: Telemetry, started: Instant) -> impl Fn(&Change) + Send + Sync + 'static {
    let was_ready = AtomicBool::new(false);
    move |change| {
        telemetry.metrics().install_ready(matches!(change, Change::Ready { .. }));
        telemetry.event(match change {
            Change::Unready { reason } => AgentEvent::Unready { reason: reason.clone() },
            Change::Ready { lacked } if was_ready.swap(true, Ordering::Relaxed) => {
                AgentEvent::ReadyAgain { reason: lacked.clone() }
            }
            Change::Ready { .. } => {
                AgentEvent::Ready { uptime_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX) }
            }
        });
    }
}
