//! The command line of `istio-cni-otel`, and of the same binary started as `install-cni`.

use super::agent::{self, AgentArgs};
use super::demo;
use super::demo::args::DemoArgs;
use super::doctor::{self, DoctorArgs};
use super::explain;
use super::explain::args::ExplainArgs;
use super::rules::{self, RulesArgs};
use super::runbook::{self, RunbookArgs};
use super::validate;
use super::validate::flags::{ValidateArgs, is_other_log_flag};
use super::validate::settings::Form;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// The exit status when the command line or a setting is wrong.
const WRONG_USE: u8 = 2;

/// A drop-in for the Istio CNI plugin and its node agent that tells everything it does to a pod's
/// network as traces, metrics and logs.
#[derive(Debug, Parser)]
#[command(
    name = "istio-cni-otel",
    version,
    after_help = "Examples:
  istio-cni-otel demo
  istio-cni-otel agent --cni-agent-run-dir /var/run/istio-cni
  istio-cni-otel doctor
  istio-cni-otel explain shop/web-0
  kubectl get pod web-0 -o yaml | istio-cni-otel rules --pod -
  istio-cni-otel completions bash > /etc/bash_completion.d/istio-cni-otel

Started under the name install-cni it is the agent, with the flags of Istio's install-cni; as pilot-agent
istio-iptables it is the validator; as kubectl-istio_cni in the PATH it is what kubectl istio-cni runs."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Agent(AgentArgs),
    Doctor(DoctorArgs),
    Explain(ExplainArgs),
    Rules(RulesArgs),
    Runbook(RunbookArgs),
    Demo(DemoArgs),
    Validate(ValidateArgs),
    /// The validator by the name that pod templates call it by, after an image's entrypoint.
    #[command(name = "istio-iptables", hide = true)]
    IstioIptables(ValidateArgs),
    /// Print a script that completes this command line in a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print name and version.
    #[command(name = "version")]
    PrintVersion,
}

/// Istio's node agent, by its name and with its flags.
#[derive(Debug, Parser)]
#[command(name = "install-cni", version, args_conflicts_with_subcommands = true)]
struct InstallCni {
    #[command(flatten)]
    agent: AgentArgs,
    #[command(subcommand)]
    command: Option<InstallCommand>,
}

#[derive(Debug, Subcommand)]
enum InstallCommand {
    /// Print the version.
    #[command(name = "version")]
    PrintVersion,
}

/// The entrypoint of Istio's proxy image, of which there is the validator here.
#[derive(Debug, Parser)]
#[command(name = "pilot-agent", version)]
struct PilotAgent {
    #[command(subcommand)]
    command: PilotCommand,
}

#[derive(Debug, Subcommand)]
enum PilotCommand {
    #[command(name = "istio-iptables")]
    IstioIptables(ValidateArgs),
}

/// What kubectl runs as `kubectl istio-cni`: the tools that ask a cluster.
#[derive(Debug, Parser)]
#[command(name = "kubectl istio-cni", bin_name = "kubectl istio-cni", version)]
struct KubectlPlugin {
    #[command(subcommand)]
    command: KubectlCommand,
}

#[derive(Debug, Subcommand)]
enum KubectlCommand {
    Doctor(DoctorArgs),
    Explain(ExplainArgs),
    Rules(RulesArgs),
    Runbook(RunbookArgs),
    /// Print name and version.
    #[command(name = "version")]
    PrintVersion,
}

/// Runs what the arguments ask for; the first one is the name that we were started under.
pub fn run(mut arguments: Vec<OsString>) -> ExitCode {
    let validates = validates(&arguments);
    if validates {
        arguments.retain(|argument| !is_other_log_flag(argument));
    }
    let parsed = match started_as(&arguments) {
        "install-cni" => InstallCni::try_parse_from(arguments).map(|given| match given.command {
            Some(InstallCommand::PrintVersion) => Command::PrintVersion,
            None => Command::Agent(given.agent),
        }),
        "pilot-agent" => PilotAgent::try_parse_from(arguments).map(|given| match given.command {
            PilotCommand::IstioIptables(args) => Command::IstioIptables(args),
        }),
        "kubectl-istio_cni" => KubectlPlugin::try_parse_from(arguments).map(|given| match given.command {
            KubectlCommand::Doctor(args) => Command::Doctor(args),
            KubectlCommand::Explain(args) => Command::Explain(args),
            KubectlCommand::Rules(args) => Command::Rules(args),
            KubectlCommand::Runbook(args) => Command::Runbook(args),
            KubectlCommand::PrintVersion => Command::PrintVersion,
        }),
        _ => Cli::try_parse_from(arguments).map(|given| given.command),
    };
    match parsed {
        Ok(command) => execute(command),
        Err(error) => {
            // Help and version go to standard output, the rest to standard error.
            let _ = error.print();
            if validates && error.use_stderr() {
                return ExitCode::from(validate::WRONG_USE);
            }
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(WRONG_USE))
        }
    }
}

fn execute(command: Command) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    let done = match command {
        Command::Agent(args) => {
            drop(stdout);
            return agent::run(&args);
        }
        Command::Demo(args) => {
            drop(stdout);
            return demo::run(args);
        }
        Command::Doctor(args) => {
            drop(stdout);
            return doctor::run(&args);
        }
        Command::Explain(args) => {
            drop(stdout);
            return explain::run(&args);
        }
        Command::Validate(args) => {
            drop(stdout);
            return validate::run(&args, Form::Validate);
        }
        Command::IstioIptables(args) => {
            drop(stdout);
            return validate::run(&args, Form::IstioIptables);
        }
        Command::Rules(args) => rules::run(&args, &mut stdout),
        Command::Runbook(args) => runbook::run(&args, &mut stdout),
        Command::Completions { shell } => stdout.write_all(completions(shell).as_bytes()).map_err(Into::into),
        Command::PrintVersion => writeln!(stdout, "istio-cni-otel {}", env!("CARGO_PKG_VERSION")).map_err(Into::into),
    };
    match done.and_then(|()| Ok(stdout.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}"), 1),
    }
}

/// The script that completes this command line.
fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "istio-cni-otel", &mut script);
    // clap_complete 4.6 writes a name with dashes in two ways in its script for bash, which then completes no flag.
    String::from_utf8_lossy(&script).replace("istio__subcmd__cni__subcmd__otel", "istio__cni__otel")
}

/// Says on standard error what went wrong, in one line.
pub fn fail(message: &str, status: u8) -> ExitCode {
    // Without a standard error there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "istio-cni-otel: {message}");
    ExitCode::from(status)
}

/// Wrong use: the message names the setting, its value and what is allowed.
pub fn wrong_use(message: &str) -> ExitCode {
    fail(message, WRONG_USE)
}

/// Whoever reads our output has seen enough (`| head`).
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Whether the validator is meant, whose status for wrong arguments must not be any other one.
fn validates(arguments: &[OsString]) -> bool {
    let command = arguments.get(1).and_then(|command| command.to_str()).unwrap_or_default();
    ["validate", "istio-iptables"].contains(&command) || started_as(arguments) == "pilot-agent"
}

fn started_as(arguments: &[OsString]) -> &str {
    let name = arguments.first().and_then(|name| Path::new(name).file_name());
    name.and_then(|name| name.to_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_lines_are_consistent() {
        Cli::command().debug_assert();
        InstallCni::command().debug_assert();
        PilotAgent::command().debug_assert();
        KubectlPlugin::command().debug_assert();
    }

    #[test]
    fn the_references_flags_are_all_taken() {
        let line = "install-cni --log_output_level=default:info --mounted-cni-net-dir /d --chained-cni-plugin=false \
                    --ambient-enabled --kubeconfig-mode 0600 --repair-enabled=true --repair-node-name n \
                    --ctrlz_port=0 --log_as_json --monitoring-port -1 --cni_agent_run_dir /run/x";
        let given = InstallCni::try_parse_from(line.split_whitespace()).unwrap();
        let flags = given.agent.flags();
        assert_eq!(flags.get("CNI_AGENT_RUN_DIR").map(String::as_str), Some("/run/x"));
        assert_eq!(flags.get("MONITORING_PORT").map(String::as_str), Some("-1"));
        assert_eq!(flags.get("LOG_AS_JSON").map(String::as_str), Some("true"));
        assert_eq!(flags.get("CHAINED_CNI_PLUGIN").map(String::as_str), Some("false"));
        assert_eq!(flags.get("AMBIENT_ENABLED").map(String::as_str), Some("true"));
        assert!(!flags.contains_key("SKIP_TLS_VERIFY"));
    }

    #[test]
    fn the_name_decides_the_role() {
        assert_eq!(started_as(&["/usr/local/bin/install-cni".into()]), "install-cni");
        assert_eq!(started_as(&[]), "");
    }
}
