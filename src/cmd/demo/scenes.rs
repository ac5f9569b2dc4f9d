//! What the demo shows, in order. Each line is printed when what it says was done and checked.

use super::drift::take_the_inbound_rule;
use super::out::Out;
use super::packets::{Probe, Redirection, Sender};
use super::plugin_call::{Reply, kubelet_message, previous_result};
use super::pods::BROKEN_ANNOTATION;
use super::probe::{Landing, Protocol};
use super::receiver::Received;
use super::stage::{Actor, Stage};
use super::trace::{attribute, body, duration};
use crate::domain::step::Step;
use crate::telemetry::{event, keys};
use anyhow::{Result, bail, ensure};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::Value;
use std::time::Duration;

/// How long the agent may take to export what it knows already.
pub const EXPORT: Duration = Duration::from_secs(20);

/// A meshed pod: its ADD.
pub async fn add(out: &mut Out, stage: &Stage, actor: &Actor) -> Result<()> {
    out.heading(&format!("ADD {}: a meshed pod", actor.name()))?;
    let reply = stage.runtime.call("ADD", &actor.container()).await?;
    expect_result(&reply, actor)?;
    out.done(&format!(
        "the plugin answered in {}, its start as a process included, with the result it was given, unchanged",
        took(&reply)
    ))?;
    let result: Value = serde_json::from_str(&reply.stdout)?;
    for key in ["interfaces", "ips"] {
        for (index, item) in result[key].as_array().into_iter().flatten().enumerate() {
            out.dim(&format!("{:<10} {item}", if index == 0 { key } else { "" }))?;
        }
    }
    let span = stage.receiver.wait_for(EXPORT, "the rules that were applied", |got| applied(got, actor).pop()).await?;
    let built = stage
        .receiver
        .wait_for(EXPORT, "the rules that were built", |got| named(got, actor, Step::RulesBuild.name()).pop());
    let count = attribute(&built.await?.attributes, keys::RULES_COUNT.as_str());
    let backend = attribute(&span.attributes, keys::RULES_BACKEND.as_str());
    ensure!(changed(&span), "the first ADD of {} says that the rules were there already", actor.name());
    out.done(&format!("{count} rules by {backend}, applied in {}, read back and compared", duration(length(&span))))
}

/// Packets through the meshed pod, from and to it.
pub fn packets(out: &mut Out, stage: &Stage, actor: &Actor) -> Result<Vec<(Probe, Landing)>> {
    out.heading(&format!("PACKETS of {}", actor.name()))?;
    let landings = tokio::task::block_in_place(|| stage.send_all(actor, Redirection::Meshed))?;
    out.row(&cells(["from", "to", "landed at", "originally to", "which is"]), true)?;
    for (probe, landing) in &landings {
        let [from, to, at, original] = texts(probe, landing);
        out.row(&cells([&from, &to, &at, &original, probe.meaning]), false)?;
    }
    if actor.senders == [Sender::Application] {
        out.dim("left out: the application's DNS, as its answers need the proxy's user here too; root shows it")?;
    }
    Ok(landings)
}

/// The columns of the table of packets.
fn cells(texts: [&str; 5]) -> [(&str, usize); 5] {
    let [a, b, c, d, e] = texts;
    [(a, 16), (b, 18), (c, 11), (d, 16), (e, 27)]
}

/// A packet's row: from, to, landed at, original destination.
pub fn texts(probe: &Probe, landing: &Landing) -> [String; 4] {
    let protocol = if probe.protocol == Protocol::Udp { " udp" } else { "" };
    let original = landing.original.map_or_else(|| "(not told: udp)".to_owned(), |to| to.to_string());
    [probe.from.to_string(), format!("{}{protocol}", probe.to), format!("{}:{}", landing.at, landing.port), original]
}

/// The same ADD once more.
pub async fn add_again(out: &mut Out, stage: &Stage, actor: &Actor) -> Result<()> {
    out.heading(&format!("ADD {} again, as a runtime may", actor.name()))?;
    let reply = stage.runtime.call("ADD", &actor.container()).await?;
    expect_result(&reply, actor)?;
    let second = |got: &Received| applied(got, actor).into_iter().nth(1);
    let span = stage.receiver.wait_for(EXPORT, "the second ADD's rules", second).await?;
    ensure!(!changed(&span), "the second ADD of {} changed rules that were right already", actor.name());
    out.done(&format!("the same result in {}; the rules were there, and nothing was changed", took(&reply)))
}

/// A pod that is left alone.
pub async fn skip(out: &mut Out, stage: &Stage, actor: &Actor) -> Result<()> {
    out.heading(&format!("ADD {}: a pod without a sidecar", actor.name()))?;
    let reply = stage.runtime.call("ADD", &actor.container()).await?;
    expect_result(&reply, actor)?;
    let trace = actor.trace();
    let skipped = |got: &Received| {
        let is_it = |name: &str, id: &[u8]| name == event::POD_SKIPPED.as_str() && id == trace.0;
        got.logs.iter().find(|log| is_it(&log.event_name, &log.trace_id)).cloned()
    };
    let log = stage.receiver.wait_for(EXPORT, "why the pod was skipped", skipped).await?;
    let reason = attribute(&log.attributes, keys::REASON.as_str());
    out.done(&format!("skipped in {}: {} (reason {reason})", took(&reply), body(&log)))?;
    untouched(out, stage, actor)
}

/// A pod whose annotation is wrong.
pub async fn refuse(out: &mut Out, stage: &Stage, actor: &Actor) -> Result<()> {
    let (annotation, value) = BROKEN_ANNOTATION;
    out.heading(&format!("ADD {}: a pod with a mistake in an annotation", actor.name()))?;
    out.dim(&format!("{annotation}: {value:?}"))?;
    let reply = stage.runtime.call("ADD", &actor.container()).await?;
    let Some(error) = reply.error().filter(|_| !reply.success) else {
        bail!("the ADD of {} should have failed, but the plugin said: {}", actor.name(), reply.said());
    };
    ensure!(error.contains(value), "the error of {} does not name the value {value:?}: {error}", actor.name());
    let place = format!("; step {}, trace {}", Step::RedirectDecide.name(), actor.trace().to_hex());
    ensure!(error.ends_with(&place), "the error of {} does not end with {place:?}: {error}", actor.name());
    out.done(&format!("refused in {}; `kubectl describe pod` would show:", took(&reply)))?;
    out.quote(&kubelet_message(&actor.id, &error))?;
    untouched(out, stage, actor)
}

fn untouched(out: &mut Out, stage: &Stage, actor: &Actor) -> Result<()> {
    stage.start_containers(actor)?;
    let landings = tokio::task::block_in_place(|| stage.send_all(actor, Redirection::None))?;
    out.done(&format!("no rule is in its namespace: {} packets landed where they were sent to", landings.len()))
}

/// CHECK, before and after somebody else took a rule away.
pub async fn check(out: &mut Out, stage: &Stage, actor: &Actor) -> Result<()> {
    out.heading(&format!("CHECK {}", actor.name()))?;
    let reply = stage.runtime.call("CHECK", &actor.container()).await?;
    ensure!(reply.success, "CHECK of {} should have passed, but the plugin said: {}", actor.name(), reply.said());
    out.done(&format!("passed in {}: the rules are those that the annotations ask for", took(&reply)))?;
    let spans = stage.receiver.wait_for(EXPORT, "the rules that were compared", |got| applied(got, actor).pop());
    let backend = attribute(&spans.await?.attributes, keys::RULES_BACKEND.as_str());
    let chain = tokio::task::block_in_place(|| take_the_inbound_rule(actor, &backend))?;
    let (probe, landing) = tokio::task::block_in_place(|| stage.send_past_the_proxy(actor))?;
    let [from, to, at, _] = texts(&probe, &landing);
    out.done(&format!("took the last rule of {chain} away behind its back: from {from} to {to} now lands at {at}"))?;
    let reply = stage.runtime.call("CHECK", &actor.container()).await?;
    let Some(error) = reply.error().filter(|_| !reply.success) else {
        bail!("CHECK of {} should have found the rule missing, but the plugin said: {}", actor.name(), reply.said());
    };
    out.done(&format!("CHECK found it in {}:", took(&reply)))?;
    out.quote(&error)
}

/// The end of the pod.
pub async fn del(out: &mut Out, stage: &Stage, actor: &Actor) -> Result<()> {
    out.heading(&format!("DEL {}", actor.name()))?;
    for text in ["done", "done again, as the specification asks for"] {
        let reply = stage.runtime.call("DEL", &actor.container()).await?;
        ensure!(reply.success, "DEL of {} should have gone well, but the plugin said: {}", actor.name(), reply.said());
        out.done(&format!("{text}, in {}", took(&reply)))?;
    }
    Ok(())
}

fn took(reply: &Reply) -> String {
    ns(reply.took)
}

/// A duration for people.
pub fn ns(took: Duration) -> String {
    duration(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX))
}

fn expect_result(reply: &Reply, actor: &Actor) -> Result<()> {
    let result: Option<Value> = serde_json::from_str(&reply.stdout).ok();
    let is_it = reply.success && result == Some(previous_result(&actor.sandbox));
    let name = actor.name();
    ensure!(
        is_it,
        "the ADD of {name} should have given back the result it was given, but the plugin said: {}",
        reply.said()
    );
    Ok(())
}

/// The pod's spans of this name, the earliest first.
pub fn named(received: &Received, actor: &Actor, name: &str) -> Vec<Span> {
    let trace = actor.trace();
    let is_it = |span: &&Span| span.trace_id == trace.0 && span.name == name;
    let mut spans: Vec<Span> = received.spans.iter().filter(is_it).cloned().collect();
    spans.sort_by_key(|span| span.start_time_unix_nano);
    spans
}

fn applied(received: &Received, actor: &Actor) -> Vec<Span> {
    named(received, actor, Step::RulesApply.name())
}

fn changed(span: &Span) -> bool {
    attribute(&span.attributes, keys::RULES_CHANGED.as_str()) == "true"
}

/// How long it took, in nanoseconds.
pub fn length(span: &Span) -> u64 {
    span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano)
}
