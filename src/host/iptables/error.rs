//! What can go wrong between us and the iptables tools.

use super::gate;
use super::run::Ended;
use crate::domain::failure::Classify;
use crate::domain::step::ErrorType;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// As whom a tool runs for a pod with users of its own.
const AS_ITS_ROOT: &str = " as root of the user namespace that owns the pod's network namespace; it needs a user 0, or nf_tables in the kernel";

/// An iptables error.
#[derive(Debug, thiserror::Error)]
pub enum IptablesError {
    /// No variant of the tool is installed.
    #[error(
        "none of {names} was found in {searched}: install iptables on the node, or set redirect_backend to nftables"
    )]
    ToolMissing { names: String, searched: String },
    /// The tool could not be started.
    #[error(
        "cannot start {}{} ({source}): check that it can be executed, and the limits of processes and memory, or set redirect_backend to nftables",
        .path.display(), if *.foreign { AS_ITS_ROOT } else { "" }
    )]
    Start {
        path: PathBuf,
        /// Another user namespace than ours owns the pod's network namespace.
        foreign: bool,
        source: io::Error,
    },
    /// The tool ran on and was killed.
    #[error("{} did not end within {} s and was killed; check the node's load, and whether something holds the xtables lock", .path.display(), .limit.as_secs_f32())]
    Timeout { path: PathBuf, limit: Duration },
    /// The tool said that it may not.
    #[error("{} was not permitted to work in the pod's network namespace ({}): give the plugin, or the agent, CAP_NET_ADMIN there", .path.display(), line(.stderr))]
    Denied { path: PathBuf, stderr: String },
    /// The kernel lacks what the tool needs.
    #[error("{} has no kernel support ({}): load the kernel's iptables modules, or set redirect_backend to nftables", .path.display(), line(.stderr))]
    Unsupported { path: PathBuf, stderr: String },
    /// The tool refused a rule.
    #[error("{} refused {subject} ({status}: {}): set redirect_backend to nftables, or give the node the iptables extension and the kernel module that the rule needs", .path.display(), line(.stderr))]
    Rejected { path: PathBuf, subject: String, status: String, stderr: String },
    /// The tool failed otherwise.
    #[error("{} failed ({status}: {}): the runtime tries again; if this lasts, check the tool on the node, or set redirect_backend to nftables", .path.display(), line(.stderr))]
    Failed { path: PathBuf, status: String, stderr: String },
    /// After a failure the namespace could not be put back to what it had.
    #[error("{source}; what it had could not be put back either: {left}; delete the pod so that it is set up again")]
    LeftBehind { left: String, source: Box<IptablesError> },
    /// The tool's input or output could not be handled.
    #[error("cannot {doing} for {} ({source}): check the node's memory, and the limits of processes and files", .path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

impl IptablesError {
    /// Whether the tool was not started because another one could not be.
    pub fn was_cancelled(&self) -> bool {
        matches!(self, IptablesError::Start { source, .. } if gate::was_cancelled(source))
    }
}

impl Classify for IptablesError {
    fn error_type(&self) -> ErrorType {
        match self {
            IptablesError::ToolMissing { .. } => ErrorType::ToolMissing,
            IptablesError::Start { .. } | IptablesError::Failed { .. } => ErrorType::ToolFailed,
            IptablesError::Timeout { .. } => ErrorType::ToolTimeout,
            IptablesError::Denied { .. } => ErrorType::PermissionDenied,
            IptablesError::Unsupported { .. } => ErrorType::KernelUnsupported,
            IptablesError::Rejected { .. } => ErrorType::RulesRejected,
            IptablesError::LeftBehind { source, .. } => source.error_type(),
            IptablesError::Io { .. } => ErrorType::Io,
        }
    }

    fn retryable(&self) -> bool {
        matches!(
            self,
            IptablesError::Timeout { .. }
                | IptablesError::Start { .. }
                | IptablesError::Failed { .. }
                | IptablesError::Io { .. }
        )
    }
}

/// The longest text of a tool in a message, in characters.
const SAID: usize = 500;

/// What a tool said, as a part of a sentence: its lines one after the other, and not all of a torrent.
fn line(stderr: &str) -> String {
    let lines = stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let said: String = lines.collect::<Vec<_>>().join("; ").chars().filter(|c| !c.is_control()).take(SAID).collect();
    if said.is_empty() { "it says nothing".to_owned() } else { said }
}

/// Exit codes of the tools (xtables.h): a resource problem may pass, the others do not.
const RESOURCE_PROBLEM: i32 = 4;

/// Understands how a tool failed; `input` is what a restore was given.
pub fn of_failure(ended: Ended, input: Option<&str>) -> IptablesError {
    let Ended { path, status, stderr, .. } = ended;
    let says = |words: &[&str]| words.iter().any(|word| stderr.to_ascii_lowercase().contains(word));
    if says(&["permission denied", "you must be root", "operation not permitted"]) {
        return IptablesError::Denied { path, stderr };
    }
    let no_support = [
        "do you need to insmod",
        "can't initialize",
        "unable to initialize table",
        "generation id",
        "table does not exist",
    ];
    if says(&no_support) {
        return IptablesError::Unsupported { path, stderr };
    }
    let refused = input.and_then(|input| refused_line(&stderr, input));
    // The nf_tables variant calls a rule that the kernel refused a resource problem, too.
    let is_resource = status.code().is_none_or(|code| code == RESOURCE_PROBLEM);
    let status = status.to_string();
    match (refused, input) {
        (Some(line), _) => IptablesError::Rejected { path, subject: format!("`{line}`"), status, stderr },
        (None, Some(_)) if !is_resource => {
            IptablesError::Rejected { path, subject: "the rules".to_owned(), status, stderr }
        }
        _ => IptablesError::Failed { path, status, stderr },
    }
}

/// The line of the input that the tool names by its number.
fn refused_line<'a>(stderr: &str, input: &'a str) -> Option<&'a str> {
    let mut after = ["line ", "line: "].into_iter().filter_map(|word| Some(stderr.split_once(word)?.1));
    let after = after.find(|after| after.starts_with(|first: char| first.is_ascii_digit()))?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    input.lines().nth(digits.parse::<usize>().ok()?.checked_sub(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    const INPUT: &str = "*nat\n:ISTIO_OUTPUT - [0:0]\n-A ISTIO_OUTPUT -j NOWHERE\nCOMMIT\n";

    fn failure(code: i32, stderr: &str, input: Option<&str>) -> IptablesError {
        let ended = Ended {
            path: "/sbin/iptables-restore".into(),
            status: ExitStatus::from_raw(code << 8),
            stdout: String::new(),
            stderr: stderr.to_owned(),
        };
        of_failure(ended, input)
    }

    #[test]
    fn the_refused_rule_is_named_whatever_the_exit_code() {
        for (code, stderr) in [
            (1, "iptables-restore: line 3 failed"),
            (2, "iptables-restore v1.8.9 (legacy): Couldn't load target `NOWHERE'\nError occurred at line: 3\nTry..."),
            (
                4,
                "iptables-nft-restore v1.8.9 (nf_tables): \nline 3: RULE_APPEND failed (Invalid argument): rule in chain",
            ),
        ] {
            let error = failure(code, stderr, Some(INPUT));
            assert_eq!((error.error_type(), error.retryable()), (ErrorType::RulesRejected, false), "{error}");
            assert!(error.to_string().contains("refused `-A ISTIO_OUTPUT -j NOWHERE`"), "{error}");
        }
    }

    #[test]
    fn lack_of_privilege_and_of_kernel_support_are_told_apart() {
        let denied = "iptables-restore v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)";
        assert_eq!(failure(4, denied, Some(INPUT)).error_type(), ErrorType::PermissionDenied);
        let missing = "iptables-restore v1.8.9 (legacy): iptables-restore: unable to initialize table 'nat'\n\nError occurred at line: 1";
        assert_eq!(failure(3, missing, Some(INPUT)).error_type(), ErrorType::KernelUnsupported);
    }

    #[test]
    fn what_a_tool_says_becomes_a_part_of_one_sentence() {
        let message = failure(1, " \nline 3 failed\n\u{1b}[31mTry `iptables-restore -h'\n", Some(INPUT)).to_string();
        assert!(message.contains("(exit status: 1: line 3 failed; [31mTry `iptables-restore -h'): set"), "{message}");
        assert!(failure(4, "", Some(INPUT)).to_string().contains("(exit status: 4: it says nothing): the runtime"));
        assert!(failure(4, &"x".repeat(100_000), None).to_string().len() < 1_000);
    }

    #[test]
    fn a_busy_system_is_worth_another_try() {
        let error = failure(4, "Another app is currently holding the xtables lock.", Some(INPUT));
        assert_eq!((error.error_type(), error.retryable()), (ErrorType::ToolFailed, true));
    }
}
