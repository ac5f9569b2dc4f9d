//! `istio-cni-otel doctor`: the troubleshooting page as a program.

mod args;
mod bundle;
mod cluster;
mod node;
mod print;
mod progress;

pub use args::DoctorArgs;

use super::cli::{fail, wrong_use};
use super::reach::Reach;
use crate::domain::finding::{Report, Status, worst};
use crate::k8s::agents::AgentPod;
use bundle::Bundle;
use futures::StreamExt;
use std::process::ExitCode;

/// The exit status when something was found.
const FOUND: u8 = 1;
/// The exit status when it could not be looked.
const COULD_NOT: u8 = 2;
/// Of so many agents with findings a bundle has more than these.
const ASKED_MORE: usize = 20;

/// It could not be looked, and why.
#[derive(Debug)]
pub struct CouldNot(String);

/// Looks, and prints what was found.
pub fn run(args: &DoctorArgs) -> ExitCode {
    let pod = match args.pod() {
        Ok(pod) => pod,
        Err(problem) => return wrong_use(&problem),
    };
    let looked = if !args.cluster && node::is_node(args) { of_node(args, pod) } else { of_cluster(args, pod) };
    match looked {
        Ok(status) if status.is_finding() => ExitCode::from(FOUND),
        Ok(_) => ExitCode::SUCCESS,
        Err(CouldNot(why)) => fail(&why, COULD_NOT),
    }
}

fn of_node(args: &DoctorArgs, pod: Option<(&str, &str)>) -> Result<Status, CouldNot> {
    let (report, place) = node::look(args, pod)?;
    if let Some(path) = &args.bundle {
        let mut bundle = Bundle::of_node(args, &report, &place);
        for (name, asked) in bundle::ASKED {
            if let Ok(content) = node::get_of(&place, asked) {
                bundle.file(name, &content);
            }
        }
        bundle.write(path).map_err(CouldNot)?;
    }
    printed(print::node(args, &report))?;
    Ok(report.worst())
}

fn of_cluster(args: &DoctorArgs, pod: Option<(&str, &str)>) -> Result<Status, CouldNot> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CouldNot(format!("nobody can be asked: {error}")))?;
    let reach = Reach::new(&args.reach, &|key| std::env::var(key).ok());
    runtime.block_on(async {
        if let Some((namespace, name)) = pod {
            let report: Report = cluster::look_at_pod(&reach, namespace, name).await?;
            printed(print::node(args, &report))?;
            return Ok(report.worst());
        }
        let report = cluster::look(&reach).await?;
        if let Some(path) = &args.bundle {
            let mut bundle = Bundle::of_cluster(args, &report);
            let wrong = |node: &Report| node.worst().is_finding() && !node.version.is_empty();
            let nodes: Vec<&str> = report
                .nodes
                .iter()
                .filter(|node| wrong(node))
                .map(|node| node.node.as_str())
                .take(ASKED_MORE)
                .collect();
            ask_more(&reach, &nodes, &mut bundle).await?;
            bundle.write(path).map_err(CouldNot)?;
        }
        printed(print::cluster(args, &report))?;
        Ok(worst(report.all()))
    })
}

/// Puts what these nodes' agents say beside their findings into the bundle, as far as they say it.
async fn ask_more(reach: &Reach, nodes: &[&str], bundle: &mut Bundle) -> Result<(), CouldNot> {
    const AT_ONCE: usize = 8;
    let api = reach.api().map_err(CouldNot)?;
    let agents = reach.agents(api, None).await.map_err(|error| CouldNot(error.whole()))?;
    let wanted = agents.iter().filter(|agent| nodes.contains(&agent.node.as_str()));
    let questions = wanted.flat_map(|agent| bundle::ASKED.into_iter().map(move |(name, path)| (agent, name, path)));
    let ask = |(agent, name, path): (_, &'static str, &'static str)| async move {
        let agent: &AgentPod = agent;
        (agent.node.clone(), name, cluster::get(reach, api, agent, path).await)
    };
    let mut answers = std::pin::pin!(futures::stream::iter(questions).map(ask).buffer_unordered(AT_ONCE));
    while let Some((node, name, answer)) = answers.next().await {
        if let Ok(content) = answer {
            bundle.file(&format!("nodes/{node}/{name}"), &content);
        }
    }
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
