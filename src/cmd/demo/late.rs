//! The scenes with the validator: a pod that is well, and one that started without its rules and is repaired.

use super::container::Run;
use super::out::Out;
use super::receiver::Received;
use super::scenes::{EXPORT, length, named, ns};
use super::stage::{Actor, Stage};
use super::trace::{attribute, duration};
use crate::domain::step::Step;
use crate::domain::validation::EXIT_NOT_REDIRECTED;
use crate::domain::validation_run::{CONTAINER, VALIDATE};
use crate::telemetry::keys;
use anyhow::{Result, ensure};
use opentelemetry_proto::tonic::trace::v1::Span;

/// What the validator says in its log about each way in which its probes failed, and when it has given up.
const REFUSED: &str = "error Error connecting to ";
const TIMEOUT: &str = "error validation timeout";

/// The init container of a pod that is well; then its other containers start.
pub async fn validate(out: &mut Out, stage: &Stage, actor: &Actor) -> Result<()> {
    if actor.has_proxy() {
        out.heading(&format!("VALIDATE {}: its init container {CONTAINER}", actor.name()))?;
        let run = passing(out, stage, actor).await?;
        told(stage, actor, &[run]).await?;
    }
    stage.start_containers(actor)
}

/// A pod whose sandbox was set up when the node had no plugin yet.
pub async fn repair(out: &mut Out, stage: &Stage, actor: &Actor) -> Result<()> {
    out.heading(&format!("NO ADD for {}: it started before the plugin was there", actor.name()))?;
    stage.report(actor, &[]);
    let failed = failing(out, stage, actor).await?;
    stage.report(actor, std::slice::from_ref(&failed));
    let repairs = stage.receiver.wait_for(EXPORT, "the repair", |got| repaired(got, actor).pop());
    let took = duration(length(&repairs.await?));
    let verified = |got: &Received| named(got, actor, Step::RulesVerify.name()).pop();
    let verified = stage.receiver.wait_for(EXPORT, "the rules that were read back", verified).await?;
    let differences = attribute(&verified.attributes, keys::RULES_DIFFERENCES.as_str());
    ensure!(differences == "0", "the repaired rules of {} differ in {differences} places", actor.name());
    out.done(&format!(
        "the agent saw that in the pod's status, and repaired it in place in {took}; on the pod it says:"
    ))?;
    out.quote(&stage.api.event_on(&actor.pod, EXPORT).await?)?;
    let passed = passing(out, stage, actor).await?;
    told(stage, actor, &[failed, passed]).await?;
    stage.start_containers(actor)
}

/// Runs the validator where it must pass.
async fn passing(out: &mut Out, stage: &Stage, actor: &Actor) -> Result<Run> {
    let run = stage.validate(actor).await?;
    ensure!(
        run.exit_code == 0,
        "the validator of {} should have passed, but ended with exit code {}: {}",
        actor.name(),
        run.exit_code,
        run.log.join("; ")
    );
    out.done(&format!("`pilot-agent istio-iptables` passed in {}; it says last:", ns(run.took)))?;
    out.quote(run.log.last().map(String::as_str).unwrap_or_default())?;
    Ok(run)
}

/// Runs the validator where it must fail, and quotes it.
async fn failing(out: &mut Out, stage: &Stage, actor: &Actor) -> Result<Run> {
    let run = stage.validate(actor).await?;
    let lines: Vec<&String> =
        run.log.iter().filter(|line| line.starts_with(REFUSED) || line.as_str() == TIMEOUT).collect();
    ensure!(
        run.exit_code == i32::from(EXIT_NOT_REDIRECTED) && lines.len() >= 2,
        "the validator of {} should have failed, but ended with exit code {}: {}",
        actor.name(),
        run.exit_code,
        run.log.join("; ")
    );
    out.done(&format!("its {CONTAINER} gave up after {}, exit code {}:", ns(run.took), run.exit_code))?;
    lines.into_iter().try_for_each(|line| out.quote(line))?;
    Ok(run)
}

/// Reports the runs, and waits until the agent has told the last one in the pod's trace.
async fn told(stage: &Stage, actor: &Actor, runs: &[Run]) -> Result<()> {
    stage.report(actor, runs);
    let all = |got: &Received| (named(got, actor, VALIDATE).len() == runs.len()).then_some(());
    stage.receiver.wait_for(EXPORT, "what the validator found", all).await
}

fn repaired(received: &Received, actor: &Actor) -> Vec<Span> {
    let mut spans = named(received, actor, "repair.pod");
    spans.retain(|span| attribute(&span.attributes, keys::REPAIR_RESULT.as_str()) == "success");
    spans
}
