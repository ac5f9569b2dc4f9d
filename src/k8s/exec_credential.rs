//! Credentials from the program that a person's kubeconfig names (`users[].user.exec`): cloud providers' tools, a browser's
//! login. It is run here, and not by the client's library, so that one that hangs is waited for no longer than anybody
//! would, and is ended. What it prints is secret, and never shown.
//!
//! The protocol is `client.authentication.k8s.io`: <https://kubernetes.io/docs/reference/config-api/client-authentication.v1/>.

use super::error::ApiError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use kube::config::{AuthInfo, ExecConfig, ExecInteractiveMode};
use serde::Deserialize;
use serde_json::json;
use std::io::IsTerminal;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

/// How long it may take by itself.
const ALONE: Duration = Duration::from_secs(15);
/// How long it may take where it can ask somebody.
const ATTENDED: Duration = Duration::from_secs(60);
/// More than this it does not print.
const MAX_BYTES: u64 = 1 << 20;

/// What it prints, JSON or YAML.
#[derive(Deserialize)]
struct Printed {
    status: Option<Credentials>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credentials {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

/// Puts its credentials in the place of the program, where there is one that would be asked.
pub async fn resolve(user: &mut AuthInfo) -> Result<(), ApiError> {
    let has_others = user.token.is_some() || user.token_file.is_some() || user.username.is_some();
    if has_others || user.auth_provider.is_some() {
        return Ok(());
    }
    let Some(program) = user.exec.take() else { return Ok(()) };
    let command = program.command.clone().unwrap_or_default();
    let credentials = ask(&program).await.map_err(|reason| ApiError::Credentials { command, reason })?;
    user.token = credentials.token.map(Into::into);
    if let (Some(chain), Some(key)) = (credentials.client_certificate_data, credentials.client_key_data) {
        user.client_certificate_data = Some(BASE64.encode(chain));
        user.client_key_data = Some(BASE64.encode(key).into());
    }
    Ok(())
}

/// Runs the program; the error says what it did instead.
async fn ask(program: &ExecConfig) -> Result<Credentials, String> {
    let attended = program.interactive_mode != Some(ExecInteractiveMode::Never) && std::io::stdin().is_terminal();
    let limit = if attended { ATTENDED } else { ALONE };
    let mut command = command(program, attended)?;
    // Whoever stops waiting drops the child, and so ends it.
    let mut child = command.spawn().map_err(|error| format!("it cannot be started: {error}"))?;
    let output = child.stdout.take().ok_or("it has no output")?;
    let run = async {
        let mut printed = Vec::new();
        output.take(MAX_BYTES).read_to_end(&mut printed).await?;
        Ok::<_, std::io::Error>((printed, child.wait().await?))
    };
    let (printed, status) = match timeout(limit, run).await {
        Ok(ran) => ran.map_err(|error| format!("it cannot be waited for: {error}"))?,
        Err(_) => return Err(format!("it did not end within {} s", limit.as_secs())),
    };
    if !status.success() {
        return Err(format!("it ended with {status}"));
    }
    // The parser's own words would show what was printed.
    let printed: Printed = serde_saphyr::from_slice(&printed).map_err(|_| "it printed no ExecCredential")?;
    let credentials = printed.status.ok_or("it printed an ExecCredential without a status")?;
    match (&credentials.token, &credentials.client_certificate_data, &credentials.client_key_data) {
        (Some(_), ..) | (None, Some(_), Some(_)) => Ok(credentials),
        _ => Err("it printed neither a token nor a client certificate with its key".to_owned()),
    }
}

fn command(program: &ExecConfig, attended: bool) -> Result<Command, String> {
    let name = program.command.as_deref().filter(|name| !name.is_empty());
    let mut command = Command::new(name.ok_or("the kubeconfig does not say which program it is")?);
    command.args(program.args.iter().flatten());
    for variable in program.env.iter().flatten() {
        if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
            command.env(name, value);
        }
    }
    let mut spec = json!({"interactive": attended});
    if let Some(cluster) = program.cluster.as_ref().filter(|_| program.provide_cluster_info) {
        spec["cluster"] = serde_json::to_value(cluster).map_err(|error| format!("it cannot be told of: {error}"))?;
    }
    let about = json!({"apiVersion": program.api_version, "kind": "ExecCredential", "spec": spec});
    command.env("KUBERNETES_EXEC_INFO", about.to_string());
    command.stdin(if attended { Stdio::inherit() } else { Stdio::null() });
    command.stdout(Stdio::piped()).kill_on_drop(true);
    Ok(command)
}
