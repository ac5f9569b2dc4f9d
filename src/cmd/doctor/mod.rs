//! `istio-cni-otel doctor`: the troubleshooting page as a program.

mod args;
mod node;
mod print;
mod progress;

pub use args::DoctorArgs;

use super::cli::{fail, wrong_use};
use crate::domain::finding::Report;
use std::process::ExitCode;

/// The exit status when something was found.
const FOUND: u8 = 1;
/// The exit status when it could not be looked.
const COULD_NOT: u8 = 2;

/// It could not be looked.
#[derive(Debug)]
pub struct CouldNot(String);

/// Looks, and prints what was found.
pub fn run(args: &DoctorArgs) -> ExitCode {
    let pod = match args.pod() {
        Ok(pod) => pod,
        Err(problem) => return wrong_use(&problem),
    };
    let looked = node::look(args, pod);
    let report: Report = match looked {
        Ok(report) => report,
        Err(CouldNot(why)) => return fail(&why, COULD_NOT),
    };
    if let Err(error) = print::node(args, &report) {
        // Whoever reads our output has seen enough.
        if error.kind() != std::io::ErrorKind::BrokenPipe {
            return fail(&format!("the findings cannot be printed: {error}"), COULD_NOT);
        }
    }
    if report.worst().is_finding() { ExitCode::from(FOUND) } else { ExitCode::SUCCESS }
}
