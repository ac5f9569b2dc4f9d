//! The end of the demo: whether the telemetry tells all of what was done, and the telling of it.

use super::out::Out;
use super::packets::Probe;
use super::page::{Page, PodStory};
use super::probe::Landing;
use super::receiver::Received;
use super::stage::{Actor, Stage};
use super::trace::{attribute, calls, logs};
use super::waterfall::render;
use crate::domain::identity::TraceId;
use crate::domain::step::Step;
use crate::telemetry::keys;
use anyhow::{Context, Result, ensure};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

/// The run of the validation container, as the agent tells it.
const VALIDATED: &str = "pod.init istio-validation";
/// What was done for the meshed pod after that, in this order.
const MESHED_CALLS: [&str; 5] = ["cni.add", "cni.check", "cni.check", "cni.del", "cni.del"];
/// What became of the pod that started without the plugin.
const LATE_STORY: [&str; 3] = [VALIDATED, "repair.pod", VALIDATED];
/// The steps of its repair.
const REPAIR: [Step; 4] = [Step::RepairNetns, Step::RulesBuild, Step::RulesApply, Step::RulesVerify];

/// The packets of a pod, and where they landed.
pub type Packets = (String, Vec<(Probe, Landing)>);

/// Draws the meshed pod's trace, lists the metrics that moved, and keeps all of it for the page. The agent has
/// stopped, so nothing more is to come.
pub fn tell(out: &mut Out, stage: &Stage, packets: Vec<Packets>) -> Result<Page> {
    let received = stage.receiver.received();
    let meshed = &stage.meshed;
    let validated = meshed.has_proxy().then_some(VALIDATED);
    let expected: Vec<&str> = ["cni.add"].into_iter().chain(validated).chain(MESHED_CALLS).collect();
    expect_enrolled(&received, meshed.trace(), &expected).with_context(|| format!("the trace of {}", meshed.name()))?;
    let late = &stage.late;
    expect_repaired(&received, late.trace()).with_context(|| format!("the trace of {}", late.name()))?;

    let trace = meshed.trace().to_hex();
    out.heading(&format!("TRACE {trace}: the UID of {} without its dashes", meshed.name()))?;
    out.lines(&render(&calls(&received.spans, meshed.trace()), out.style))?;

    let broken = &stage.broken;
    out.heading(&format!("TRACE {}: {}, which was refused", broken.trace().to_hex(), broken.name()))?;
    out.lines(&render(&calls(&received.spans, broken.trace()), out.style))?;

    out.heading(&format!("TRACE {}: {}, which was repaired", late.trace().to_hex(), late.name()))?;
    out.lines(&render(&calls(&received.spans, late.trace()), out.style))?;

    let calls = stage.runtime.calls();
    let counted = received.metrics.total("istio_cni_requests_total");
    ensure!(counted == calls as f64, "the metrics count {counted} calls of the plugin, but {calls} were made");
    out.heading("METRICS that moved since the agent's start")?;
    let mut group = "";
    for (name, labels, by) in received.metrics.moved() {
        if name != group {
            out.lines(&format!("    {name}"))?;
            group = name;
        }
        out.measure(labels, &by.to_string())?;
    }
    out.done(&format!(
        "the metrics count each of the {calls} calls; requests to the API server: {}",
        stage.api.requests()
    ))?;
    let stories = stage.actors().map(|actor| story(&received, actor)).collect();
    Ok(Page::new(stories, packets, &received.metrics))
}

fn story(received: &Received, actor: &Actor) -> PodStory {
    PodStory {
        name: actor.name(),
        trace: actor.trace().to_hex(),
        sandbox: actor.id.clone(),
        calls: calls(&received.spans, actor.trace()),
        logs: logs(&received.logs, actor.trace()),
    }
}

/// Whether a pod's trace has each call once below one root, and the first ADD every step, done by the agent.
fn expect_enrolled(received: &Received, trace: TraceId, calls: &[&str]) -> Result<()> {
    let top = expect_tops(received, trace, calls)?;
    let first = top.first().context("it has no call")?;
    expect_steps(received, first, Step::CALL, "first ADD")?;
    let path = attribute(&first.attributes, keys::PATH.as_str());
    ensure!(path == "agent", "its first ADD should have gone through the agent, but its path is {path:?}");
    Ok(())
}

/// Whether a pod's trace has a failed validation, the repair with every step, and a validation that passed.
fn expect_repaired(received: &Received, trace: TraceId) -> Result<()> {
    let top = expect_tops(received, trace, &LATE_STORY)?;
    let failed: Vec<bool> = top.iter().map(|span| is_failed(span)).collect();
    ensure!(failed == [true, false, false], "of its {LATE_STORY:?} the first alone should have failed: {failed:?}");
    let repair = top.get(1).context("it has no repair")?;
    expect_steps(received, repair, &REPAIR, "repair")
}

fn is_failed(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code == i32::from(StatusCode::Error))
}

/// The spans right below the trace's root, if they are these.
fn expect_tops<'a>(received: &'a Received, trace: TraceId, expected: &[&str]) -> Result<Vec<&'a Span>> {
    let root = trace.root_span();
    let is_top = |span: &&Span| span.trace_id == trace.0 && span.parent_span_id == root.0;
    let mut top: Vec<&Span> = received.spans.iter().filter(is_top).collect();
    top.sort_by_key(|span| span.start_time_unix_nano);
    let names: Vec<&str> = top.iter().map(|span| span.name.as_str()).collect();
    ensure!(names == expected, "it should have the calls {expected:?}, but has {names:?}");
    Ok(top)
}

/// Whether each step was taken while this span of the same trace lasted.
fn expect_steps(received: &Received, during: &Span, steps: &[Step], what: &str) -> Result<()> {
    let lasting = during.start_time_unix_nano..=during.end_time_unix_nano;
    let is_step = |span: &Span, step: &Step| {
        span.trace_id == during.trace_id && span.name == step.name() && lasting.contains(&span.start_time_unix_nano)
    };
    let has = |step: &Step| received.spans.iter().any(|span| is_step(span, step));
    let missing: Vec<&str> = steps.iter().filter(|step| !has(step)).map(|step| step.name()).collect();
    ensure!(missing.is_empty(), "its {what} lacks {}", missing.join(", "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
    use opentelemetry_proto::tonic::trace::v1::Status;

    const TRACE: TraceId = TraceId([7; 16]);

    fn span(name: &str, parent: &[u8], start: u64, end: u64) -> Span {
        let agent = AnyValue { value: Some(Value::StringValue("agent".to_owned())) };
        Span {
            trace_id: TRACE.0.to_vec(),
            parent_span_id: parent.to_vec(),
            name: name.to_owned(),
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            attributes: vec![KeyValue {
                key: keys::PATH.as_str().to_owned(),
                value: Some(agent),
                ..KeyValue::default()
            }],
            ..Span::default()
        }
    }

    fn whole() -> Received {
        let steps = Step::CALL.iter().map(|step| span(step.name(), &[1; 8], 5, 6));
        let root = TRACE.root_span();
        let calls = [span("cni.add", &root.0, 0, 10), span("cni.del", &root.0, 20, 30)];
        Received { spans: steps.chain(calls).collect(), ..Received::default() }
    }

    fn verdict(received: &Received) -> Result<(), String> {
        expect_enrolled(received, TRACE, &["cni.add", "cni.del"]).map_err(|error| error.to_string())
    }

    #[test]
    fn a_trace_with_every_call_and_step_is_whole() {
        assert_eq!(verdict(&whole()), Ok(()));
    }

    #[test]
    fn a_step_a_call_or_the_agent_missing_is_named() {
        let without = |name: &str| {
            let mut received = whole();
            received.spans.retain(|span| span.name != name);
            verdict(&received).unwrap_err()
        };
        assert_eq!(without("rules.verify"), "its first ADD lacks rules.verify");
        assert!(without("cni.del").contains(r#"but has ["cni.add"]"#));
        let mut alone = whole();
        alone.spans.iter_mut().for_each(|span| span.attributes.clear());
        assert!(verdict(&alone).unwrap_err().contains("should have gone through the agent"));
    }

    fn repaired(validated: [StatusCode; 2]) -> Result<(), String> {
        let root = TRACE.root_span();
        let validation = |start, code: StatusCode| {
            let status = Some(Status { code: code.into(), ..Status::default() });
            Span { status, ..span(VALIDATED, &root.0, start, start + 10) }
        };
        let [before, after] = validated;
        let top = [validation(0, before), span("repair.pod", &root.0, 20, 30), validation(40, after)];
        let steps = REPAIR.iter().map(|step| span(step.name(), &[1; 8], 25, 26));
        let received = Received { spans: steps.chain(top).collect(), ..Received::default() };
        expect_repaired(&received, TRACE).map_err(|error| error.to_string())
    }

    #[test]
    fn a_repair_stands_between_a_validation_that_failed_and_one_that_passed() {
        use StatusCode::{Error, Unset};
        assert_eq!(repaired([Error, Unset]), Ok(()));
        for wrong in [[Unset, Unset], [Error, Error], [Unset, Error]] {
            assert!(repaired(wrong).unwrap_err().contains("the first alone should have failed"), "{wrong:?}");
        }
    }

    #[test]
    fn a_step_of_a_later_call_does_not_stand_for_one_of_the_first() {
        let mut late = whole();
        late.spans.iter_mut().filter(|span| span.name == "rules.apply").for_each(|span| span.start_time_unix_nano = 25);
        assert_eq!(verdict(&late).unwrap_err(), "its first ADD lacks rules.apply");
    }
}
