//! The findings for people, and as JSON. Whatever others wrote stays on its line and steers no terminal.

use super::args::{DoctorArgs, Output};
use crate::cmd::demo::style::Style;
use crate::domain::finding::{Finding, Report, Status};
use crate::wire::finding::{encode, on_one_line};
use std::io::{self, Write};

/// Prints the report of one node to standard output.
pub fn node(args: &DoctorArgs, report: &Report) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match args.output {
        Output::Json => {
            out.write_all(&encode(report))?;
            out.write_all(b"\n")?;
        }
        Output::Text => out.write_all(text(report, Style::of_stdout(), args).as_bytes())?,
    }
    out.flush()
}

/// A node's report as lines.
pub fn text(report: &Report, style: Style, args: &DoctorArgs) -> String {
    let mut lines = String::new();
    let node =
        if report.node.is_empty() { "this node".to_owned() } else { format!("node {}", on_one_line(&report.node)) };
    let agent = match report.version.as_str() {
        "" => "no agent answers".to_owned(),
        version => format!("agent {}", on_one_line(version)),
    };
    lines.push_str(&format!("{}, {agent}\n", style.bold(&node)));
    for finding in &report.findings {
        push_finding(&mut lines, finding, style, args);
    }
    lines.push_str(&format!("{}\n", count(&report.findings)));
    lines
}

/// One finding: a line, and below it what was seen and what to do.
pub fn push_finding(lines: &mut String, finding: &Finding, style: Style, args: &DoctorArgs) {
    const WIDEST: usize = 20;
    let word = match finding.status {
        Status::Ok => style.green("ok     "),
        Status::Unknown => style.dim("unknown"),
        Status::Warning => style.bold("WARNING"),
        Status::Problem => style.red("PROBLEM"),
    };
    let (check, what) = (on_one_line(&finding.check), on_one_line(&finding.what));
    lines.push_str(&format!("{word}  {check:WIDEST$}  {what}\n"));
    let mut below = |text: &str| lines.push_str(&format!("{:1$}{text}\n", "", WIDEST + 11));
    if finding.status != Status::Ok || args.verbose {
        finding.evidence.iter().for_each(|line| below(&style.dim(&on_one_line(line))));
    }
    if !finding.next.is_empty() {
        below(&format!("next: {}", on_one_line(&finding.next)));
    }
    if !finding.runbook.is_empty() {
        below(&format!("runbook: {}{}", args.runbooks, on_one_line(&finding.runbook)));
    }
}

/// How many there are of each status.
pub fn count<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> String {
    let mut counts = [0; Status::ALL.len()];
    for finding in findings {
        for (count, status) in counts.iter_mut().zip(Status::ALL) {
            *count += usize::from(finding.status == status);
        }
    }
    let [unknown, ok, warnings, problems] = counts;
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let (problems, warnings) = (plural(problems, "problem"), plural(warnings, "warning"));
    format!("{problems}, {warnings}, {unknown} unknown, {ok} ok")
}
