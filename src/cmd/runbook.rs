//! `istio-cni-otel runbook`: what to do about a finding or an alert, on a terminal and without any network.

use crate::domain::runbook::Runbook;
use anyhow::bail;
use clap::Args;
use std::io::Write;

/// Print what a finding or an alert means, how to see it and how to mend it.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  istio-cni-otel runbook
  istio-cni-otel runbook agent-not-ready

Exit status: 0 it was printed; 1 there is none of that name; 2 the command line is wrong.")]
pub struct RunbookArgs {
    /// The runbook's name, as doctor and alerts say it; without one all names are listed.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

/// Writes what was asked for.
pub fn run(args: &RunbookArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let text = match &args.name {
        None => Runbook::ALL.iter().map(|runbook| format!("{:32}{}\n", runbook.name, runbook.title())).collect(),
        Some(name) => match Runbook::named(name) {
            Some(runbook) => runbook.text.to_owned(),
            None => bail!("there is no runbook {name:?}: istio-cni-otel runbook lists their names"),
        },
    };
    Ok(out.write_all(text.as_bytes())?)
}
