//! `istio-cni-otel doctor`: the troubleshooting page as a program.

mod args;
mod ask;
mod bundle;
mod cluster;
mod node;
mod pod;
mod print;
mod rights;
mod traces;

pub use args::DoctorArgs;

use super::cli::{fail, wrong_use};
use super::reach::{Reach, encoded};
use crate::agent::doctor::Place;
use crate::domain::finding::{Check, Report, Status};
use crate::domain::verdict::Verdict;
use crate::k8s::agents::{AgentPod, to_ask};
use crate::wire::finding::on_one_line;
use ask::Asking;
use bundle::Bundle;
use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Of so many agents with findings a bundle has more than these.
const ASKED_MORE: usize = 20;
/// An agent that takes longer for all that a bundle asks of it is asked no more.
const ALL_ANSWERS: Duration = Duration::from_secs(10);
/// The exit status of who could not write the bundle, whatever was found.
const NO_BUNDLE: u8 = 2;

/// Namespace and name of a pod.
type PodName<'a> = (&'a str, &'a str);

/// It could not be looked, and why.
#[derive(Debug)]
pub struct CouldNot(String);

impl CouldNot {
    /// The API server gives no usable answer, for which there is a runbook.
    fn of_api(why: &str) -> CouldNot {
        CouldNot(format!("{why}; see istio-cni-otel runbook {}", Check::ClusterApi.runbook()))
    }
}

/// Looks, and prints what was found.
pub fn run(args: &DoctorArgs) -> ExitCode {
    let pod = match args.pod() {
        Ok(pod) => pod,
        Err(problem) => return wrong_use(&problem),
    };
    let at_node = !args.cluster && node::is_node(args);
    if let Err(problem) = args.check(at_node) {
        return wrong_use(&problem);
    }
    let looked = if at_node { of_node(args, pod) } else { of_cluster(args, pod) };
    let Looked { verdict, no_bundle } = looked.unwrap_or_else(|CouldNot(why)| {
        let verdict = Verdict::NotSeen(on_one_line(&why));
        // Who reads no JSON is told below.
        let _ = print::nothing(args, &verdict);
        Looked { verdict, no_bundle: None }
    });
    let done = match &verdict {
        Verdict::NotSeen(why) => fail(&on_one_line(why), verdict.status()),
        Verdict::Fine | Verdict::Found => ExitCode::from(verdict.status()),
    };
    // The findings stand as they were printed, and whoever wants a file of them does not have it.
    no_bundle.map_or(done, |why| fail(&on_one_line(&why), NO_BUNDLE))
}

/// What was printed came to this.
struct Looked {
    verdict: Verdict,
    /// Why the bundle that was asked for is not there, if it is not.
    no_bundle: Option<String>,
}

fn of_node(args: &DoctorArgs, pod: Option<PodName<'_>>) -> Result<Looked, CouldNot> {
    let (report, place) = node::look(args, pod).map_err(|why| without_bundle(args, why))?;
    let mut looked = Looked { verdict: Verdict::of_report(&report), no_bundle: None };
    printed(print::node(args, &report, &looked.verdict))?;
    if let Some(path) = &args.bundle {
        let mut bundle = Bundle::of_node(args, &report, &looked.verdict, &place);
        let silent = report.of(Check::AgentAnswers).is_some_and(|finding| finding.status != Status::Ok);
        ask_here(&mut bundle, &place, pod, silent);
        looked.no_bundle = written(bundle, path).err();
    }
    Ok(looked)
}

/// Asks the agent of this node for what else is in a bundle; a silent one for nothing.
fn ask_here(bundle: &mut Bundle, place: &Place, pod: Option<PodName<'_>>, silent: bool) {
    let deadline = Instant::now() + ALL_ANSWERS;
    let mut questions = VecDeque::from(bundle::questions(pod));
    while let Some(question) = questions.pop_front() {
        let why = if silent {
            "the agent does not answer".to_owned()
        } else if Instant::now() > deadline {
            "there was no time to ask for it".to_owned()
        } else {
            match node::get_of(place, &question.path) {
                Ok(content) => {
                    questions.extend(question.more(&content));
                    bundle.answer(&question.name, &content);
                    continue;
                }
                Err(error) => crate::domain::failure::whole(&error),
            }
        };
        bundle.missing(&question.name, &why);
    }
}

fn of_cluster(args: &DoctorArgs, pod: Option<PodName<'_>>) -> Result<Looked, CouldNot> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CouldNot(format!("nobody can be asked: {error}")))?;
    let reach = Reach::new(&args.reach, &|key| std::env::var(key).ok());
    let looked = runtime.block_on(async {
        let api = reach.api().map_err(|why| CouldNot::of_api(&why)).map_err(|why| without_bundle(args, why))?;
        let asking = Asking::new(&reach, api, args.limit());
        match pod {
            Some(pod) => of_clusters_pod(args, &asking, pod).await,
            None => of_all_nodes(args, &asking).await,
        }
    });
    // A name that nobody resolves is waited for by a thread of the runtime: nobody waits for that.
    runtime.shutdown_background();
    looked
}

async fn of_clusters_pod(args: &DoctorArgs, asking: &Asking<'_>, pod: PodName<'_>) -> Result<Looked, CouldNot> {
    let (report, agent) = pod::look(asking, pod.0, pod.1).await.map_err(|why| without_bundle(args, why))?;
    let mut looked = Looked { verdict: Verdict::of_report(&report), no_bundle: None };
    printed(print::node(args, &report, &looked.verdict))?;
    if let Some(path) = &args.bundle {
        let mut bundle = Bundle::of_pod(args, &report, &looked.verdict);
        let agents: Vec<&AgentPod> = agent.iter().collect();
        bundle.ask(asking, &agents, &bundle::questions(Some(pod))).await;
        looked.no_bundle = written(bundle, path).err();
    }
    Ok(looked)
}

async fn of_all_nodes(args: &DoctorArgs, asking: &Asking<'_>) -> Result<Looked, CouldNot> {
    let (report, agents) = cluster::look(asking).await.map_err(|why| without_bundle(args, why))?;
    let mut looked = Looked { verdict: Verdict::of_cluster(&report), no_bundle: None };
    printed(print::cluster(args, &report, &looked.verdict))?;
    if let Some(path) = &args.bundle {
        let mut bundle = Bundle::of_cluster(args, &report, &looked.verdict);
        let wrong = |node: &&Report| node.worst().is_finding() && !node.version.is_empty();
        let nodes: Vec<&str> =
            report.nodes.iter().filter(wrong).map(|node| node.node.as_str()).take(ASKED_MORE).collect();
        let on = |node: &str| to_ask(agents.iter().filter(|agent| agent.node == node));
        let agents: Vec<&AgentPod> = nodes.iter().filter_map(|node| on(node)).collect();
        // Also the bundle has its time, and no more.
        let asking = Asking::new(asking.reach, asking.api, args.limit());
        bundle.ask(&asking, &agents, &bundle::questions(None)).await;
        looked.no_bundle = written(bundle, path).err();
    }
    Ok(looked)
}

/// Who wants a bundle is told that there is none.
fn without_bundle(args: &DoctorArgs, CouldNot(why): CouldNot) -> CouldNot {
    CouldNot(if args.bundle.is_some() { format!("{why} (no bundle was written)") } else { why })
}

fn written(bundle: Bundle, path: &Path) -> Result<(), String> {
    bundle.write(path)?;
    // Without a standard error there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "istio-cni-otel: the bundle is {}", path.display());
    Ok(())
}

/// Whoever reads our output may have seen enough.
fn printed(done: std::io::Result<()>) -> Result<(), CouldNot> {
    match done {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CouldNot(format!("the findings cannot be printed: {error}")))
        }
        _ => Ok(()),
    }
}

/// What an agent is asked for a pod.
fn of_pod(path: &str, (namespace, name): PodName<'_>) -> String {
    format!("{path}?pod={}", encoded(&format!("{namespace}/{name}")))
}
