//! The plugin's own way to the API server, for the time when the agent is away: its kubeconfig, who can read it, when
//! its token expires, and whether the API server takes it.

use super::network;
use super::place::Place;
use crate::agent::config::install::Credentials;
use crate::domain::api_access::{ApiAccess, Authorization};
use crate::domain::failure::{Classify, whole};
use crate::domain::finding::{Check, Finding};
use crate::domain::step::ErrorType;
use crate::k8s::api_client::get_pod;
use crate::k8s::kubeconfig::{KubeconfigError, load};
use crate::wire::{conflist, token};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long the API server may take.
pub const LIMIT: Duration = Duration::from_millis(1200);
/// A token that ends sooner should have been replaced: the kubelet does so after four fifths of its life.
const SOON: u64 = 300;
/// Whoever has this pod, or has not: both answers mean that the credentials were taken.
const ASKED_FOR: (&str, &str) = ("default", "istio-cni-doctor");

const RENEW: &str = "the agent writes it anew when it runs: see agent.ready, or its log";

/// Looks at all of it.
pub fn look(place: &Place) -> Vec<Finding> {
    if !place.installs {
        return Vec::new();
    }
    if is_without(place) {
        let what = "the node keeps no credentials, as the settings say; pods wait while the agent is away";
        return vec![Finding::ok(Check::Kubeconfig, what)];
    }
    let path = place.kubeconfig();
    let access = match load(&path) {
        Ok(access) => access,
        Err(error) => return vec![unusable(&error).with(path.display().to_string())],
    };
    let what = format!("the plugin's kubeconfig names the API server {}", access.server);
    let mut findings = vec![Finding::ok(Check::Kubeconfig, what).with(path.display().to_string()), mode(place)];
    findings.extend(expiry(&access));
    findings.push(accepted(&access));
    findings
}

/// Whether there is not to be any.
fn is_without(place: &Place) -> bool {
    match &place.credentials {
        Some(credentials) => *credentials == Credentials::None,
        None => network::files(place)
            .is_ok_and(|files| conflist::seen(&files).ours().is_some_and(|(_, ours)| ours.without_kubeconfig())),
    }
}

fn unusable(error: &KubeconfigError) -> Finding {
    let what = match error {
        KubeconfigError::Missing { path } => {
            format!("pods fail while the agent is away: the plugin's kubeconfig {} is missing", path.display())
        }
        error => format!(
            "pods fail while the agent is away: {}",
            whole(error).trim_start_matches("failed to createNewK8sClient: ")
        ),
    };
    Finding::problem(Check::Kubeconfig, what, RENEW)
}

fn mode(place: &Place) -> Finding {
    const CHECK: Check = Check::KubeconfigMode;
    let path = place.kubeconfig();
    let mode = match std::fs::metadata(&path) {
        Ok(found) => found.permissions().mode() & 0o7777,
        Err(error) => return Finding::unknown(CHECK, format!("its mode cannot be read: {error}"), "try again"),
    };
    let wanted = match place.credentials {
        Some(Credentials::File { mode, .. }) => mode,
        _ => 0o600,
    };
    if mode == wanted || mode & !wanted == 0 {
        return Finding::ok(CHECK, format!("the kubeconfig has mode {mode:04o}"));
    }
    let what = format!(
        "the kubeconfig has mode {mode:04o} instead of {wanted:04o}: others on the node can read the agent's token"
    );
    let next = format!("chmod {wanted:04o} {}; {RENEW}", path.display());
    Finding::problem(CHECK, what, next).with(path.display().to_string())
}

/// Nothing for credentials that do not say when they end.
fn expiry(access: &ApiAccess) -> Option<Finding> {
    const CHECK: Check = Check::KubeconfigToken;
    let Some(Authorization::Token(token)) = &access.authorization else { return None };
    let expires = token::expires(token)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default();
    let ends = format!("it ends {expires} seconds after the epoch, and this node's clock says {now}");
    Some(match expires.checked_sub(now) {
        None | Some(0) => {
            let what = format!("the token in the plugin's kubeconfig expired {} ago", spoken(now - expires));
            let next = format!("{RENEW}; where it does run, compare the node's clock with the API server's");
            Finding::problem(CHECK, what, next).with(ends)
        }
        Some(left) if left < SOON => {
            let what = format!("the token in the plugin's kubeconfig expires in {}, and was not renewed", spoken(left));
            Finding::warning(CHECK, what, RENEW).with(ends)
        }
        Some(left) => Finding::ok(CHECK, format!("the token expires in {}", spoken(left))),
    })
}

fn spoken(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} seconds"),
        120..=7199 => format!("{} minutes", seconds / 60),
        7200..=172_799 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn accepted(access: &ApiAccess) -> Finding {
    const CHECK: Check = Check::KubeconfigAccepted;
    let (namespace, name) = ASKED_FOR;
    let fine = || Finding::ok(CHECK, format!("the API server {} takes the plugin's credentials", access.server));
    let Err(error) = get_pod(access, namespace, name, LIMIT, |_| {}) else { return fine() };
    let words = whole(&error);
    match error.error_type() {
        ErrorType::PodNotFound => fine(),
        ErrorType::ApiUnauthorized => {
            let what = "the API server does not accept the token in the plugin's kubeconfig";
            Finding::problem(CHECK, what, RENEW).with(words)
        }
        ErrorType::ApiForbidden => {
            let what = "the API server does not let the plugin's account get pods";
            let next = "give the service account get, list and watch of pods (ClusterRole istio-cni)";
            Finding::problem(CHECK, what, next).with(words)
        }
        _ => {
            let what = "the API server cannot be asked with the plugin's kubeconfig";
            let next = "look whether this node reaches the API server, and whether the kubeconfig's CA is the server's";
            Finding::problem(CHECK, what, next).with(words)
        }
    }
}
