//! A start as text.

use istio_cni_otel::domain::startup::{Moment, Note, Precision, Span, Startup};
use std::fmt::Write as _;

/// One line for each span, with times from the begin of the first one on:
///
/// ```text
/// NAME BEGIN..END (WHERE FROM..WHERE FROM, PRECISION) DETAILS
///   ! ERROR TYPE: SENTENCE
///   - NOTE
/// ```
pub fn shown(startup: &Startup) -> String {
    let mut out = startup.outcome.name().to_owned();
    if let Some(offset) = startup.clock_offset_ms {
        let _ = write!(out, ", the node's clock is {offset} ms ahead");
    }
    out.push('\n');
    let zero = startup.spans.first().map(|root| root.start.ns).unwrap_or_default();
    for span in &startup.spans {
        let indent = if span.name() == "pod.startup" { "" } else { "  " };
        write_span(&mut out, span, zero, indent);
        for note in startup.notes.iter().filter(|note| note.span == span.id) {
            write_note(&mut out, note, zero, indent);
        }
    }
    out
}

fn write_span(out: &mut String, span: &Span, zero: u64, indent: &str) {
    let (from, to) = (at(span.start, zero), at(span.end, zero));
    let sources = format!("{}..{}", span.start.source.name(), span.end.source.name());
    let open = if span.unfinished { " unfinished" } else { "" };
    let _ = write!(out, "{indent}{} {from}..{to} ({sources}, {}){open}", span.name(), span.precision().name());
    let details = &span.details;
    for (key, value) in [
        ("restarts", details.restarts.map(|it| it.to_string())),
        ("exit", details.exit_code.map(|it| it.to_string())),
        ("container", details.container_id.clone()),
        ("sidecar", details.sidecar.then(|| "true".to_owned())),
        ("image", details.image.clone()),
        ("attempts", details.attempts.map(|it| it.to_string())),
        ("pull_ms", details.pull_ms.map(|it| it.to_string())),
    ] {
        if let Some(value) = value {
            let _ = write!(out, " {key}={value}");
        }
    }
    out.push('\n');
    if let Some((error_type, sentence)) = &span.failure {
        let _ = writeln!(out, "{indent}  ! {}: {sentence}", error_type.as_str());
    }
}

fn write_note(out: &mut String, note: &Note, zero: u64, indent: &str) {
    let _ = writeln!(out, "{indent}  - {} {} ({}x): {}", at(note.at, zero), note.reason, note.count, note.message);
}

fn at(moment: Moment, zero: u64) -> String {
    let ns = i128::from(moment.ns) - i128::from(zero);
    match moment.precision {
        Precision::Second => format!("{}", ns / 1_000_000_000),
        Precision::Microsecond | Precision::Nanosecond => format!("{:.6}", ns as f64 / 1e9),
    }
}
