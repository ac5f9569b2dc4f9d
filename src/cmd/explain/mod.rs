//! `istio-cni-otel explain`, and `kubectl istio-cni explain`: what was done with one pod's network and why,
//! as the agent of its node tells it.

pub mod args;
mod find;
mod safe;
mod successor;
pub mod text;

use super::cli::{fail, wrong_use};
use super::demo::style::Style;
use super::reach::{Reach, encoded};
use crate::agent::config::{TRACE_URL_ALLOWED, is_trace_url};
use crate::wire::explain::{Explanation, VERSION, decode};
use args::{ExplainArgs, Output};
use find::{Found, NotFound};
use serde_json::Value;
use std::io::Write;
use std::process::ExitCode;

/// Nobody knows the pod.
const UNKNOWN: u8 = 1;
/// Nobody could be asked.
const UNASKED: u8 = 2;

/// Explains: 0 when that was done, 1 when nobody knows the pod, 2 when nobody could be asked or the
/// arguments are wrong.
pub fn run(args: &ExplainArgs) -> ExitCode {
    let lookup = |name: &str| std::env::var(name).ok();
    let reach = Reach::new(&args.reach, &lookup);
    let wanted = match args.wanted(|| reach.context_namespace()) {
        Ok(wanted) => wanted,
        Err(problem) => return wrong_use(&problem),
    };
    let url = args.trace_url.clone().or_else(|| lookup("TRACE_URL")).filter(|url| !url.is_empty());
    if let Some(url) = url.as_deref().filter(|url| !is_trace_url(url)) {
        return wrong_use(&format!("--trace-url={url:?} cannot be used: it takes {TRACE_URL_ALLOWED}"));
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("no pod can be explained: {error}"), UNASKED),
    };
    let found = runtime.block_on(find::find(&reach, &wanted, args.node.as_deref()));
    // A name that nobody resolves is waited for by a thread of the runtime: nobody waits for that.
    runtime.shutdown_background();
    match found {
        Ok(found) => match show(args, &found, url.as_deref()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => fail(&safe::line(&problem), UNASKED),
        },
        Err(NotFound::Nowhere(problem)) => fail(&safe::line(&problem), UNKNOWN),
        Err(NotFound::Unasked(problem)) => fail(&safe::line(&problem), UNASKED),
    }
}

fn show(args: &ExplainArgs, found: &Found, url: Option<&str>) -> Result<(), String> {
    let unreadable = |error| format!("{} answered something that is no explanation: {error}", found.from);
    let mut answer: Value = serde_json::from_slice(&found.body).map_err(unreadable)?;
    if let (Some(url), Some(id)) = (url, answer["trace"]["id"].as_str().filter(|id| !id.is_empty())) {
        // It is an agent of any version that says what the id is.
        let url = url.replace("{trace_id}", &encoded(id).replace('/', "%2F"));
        answer["trace"]["url"] = Value::String(url);
    }
    if !found.others.is_empty() {
        let known = answer["others"].as_array().cloned().unwrap_or_default();
        let is_new = |other: &Value| known.iter().all(|known| known["uid"] != other["uid"]);
        let others = serde_json::to_value(&found.others).map_err(unreadable)?;
        let more: Vec<Value> = others.as_array().into_iter().flatten().filter(|other| is_new(other)).cloned().collect();
        answer["others"] = Value::Array([known, more].concat());
    }
    if !found.notes.is_empty() {
        let known = answer["notes"].as_array().cloned().unwrap_or_default();
        let notes = found.notes.iter().cloned().map(Value::String).collect();
        answer["notes"] = Value::Array([notes, known].concat());
    }
    let text = match args.output {
        Output::Json => safe::json(&answer).map_err(unreadable)?,
        Output::Text => {
            safe::all(&mut answer);
            let explanation: Explanation = serde_json::from_value(answer).map_err(unreadable)?;
            if explanation.version > VERSION {
                // Nobody to tell is no reason to stop.
                let _ = writeln!(
                    std::io::stderr(),
                    "istio-cni-otel: {} is of version {}, which may say more than is shown here",
                    found.from,
                    explanation.agent.version
                );
            }
            text::text(&explanation, Style::of_stdout(), args.rules)
        }
    };
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// Whether an answer is an explanation at all.
fn is_explanation(body: &[u8]) -> bool {
    decode(body).is_ok_and(|explanation| explanation.version > 0)
}
