//! Whether the files of the network configuration can be used, whether our entry stands where it has to, and who else
//! writes there.

use super::place::Place;
use crate::domain::cni_files::{ConfFile, Placement, Skipped};
use crate::domain::culprit;
use crate::domain::failure::whole;
use crate::domain::finding::{Check, Finding};
use crate::host::conf_dir::{ConfDir, ConfDirError};
use crate::wire::conflist::{self, Network, Ours, Seen};

/// What Cilium makes of other plugins' configuration where it wants to be alone.
const PUT_AWAY: &str = ".cilium_bak";

/// The directory's files.
pub fn files(place: &Place) -> Result<Vec<ConfFile>, ConfDirError> {
    // A placement only adds files that are named.
    let placement = place.placement.clone().unwrap_or(Placement::Chained { file: None });
    ConfDir::new(&place.net_dir).list(&placement)
}

/// Looks at the files.
pub fn look(place: &Place) -> Vec<Finding> {
    if !place.installs {
        return Vec::new();
    }
    let seen = match files(place) {
        Ok(files) => conflist::seen(&files),
        Err(error) => {
            let next = "mount the directory that the container runtime reads (the chart's value cni.cniConfDir)";
            return vec![Finding::problem(Check::NetworkValid, whole(&error), next)];
        }
    };
    let Some(used) = seen.networks.first() else { return vec![none(place, &seen)] };
    let mut findings = vec![valid(place, &seen, used), self::place(place, &seen, used)];
    findings.extend(writers(place, &seen));
    findings
}

fn none(place: &Place, seen: &Seen) -> Finding {
    let what = format!(
        "no pod gets a network on this node: there is no usable network configuration in {}",
        place.net_dir.display()
    );
    let next = "see why the node's primary CNI plugin has written none: is its DaemonSet's pod running, and does it write to this directory?";
    Finding::problem(Check::NetworkValid, what, next).with_some(&skipped(&seen.skipped))
}

fn skipped(skipped: &[Skipped]) -> Vec<String> {
    skipped.iter().map(|Skipped { file, problem }| format!("{file}: {problem}")).collect()
}

fn valid(place: &Place, seen: &Seen, used: &Network) -> Finding {
    const CHECK: Check = Check::NetworkValid;
    if let Some((network, Ours { settings: Err(problem), .. })) = seen.ours() {
        let what = format!("every meshed pod fails: the plugin refuses its entry in {}: {problem}", network.file);
        let next = "correct the setting of the agent that it comes from (PLUGIN_…), or take out what somebody else wrote there: the agent writes the entry anew";
        return Finding::problem(CHECK, what, next);
    }
    let (before, after): (Vec<Skipped>, Vec<Skipped>) =
        seen.skipped.iter().cloned().partition(|skipped| skipped.file < used.file);
    if let Some(first) = before.first() {
        let what = format!(
            "a container runtime may give up at {}, which comes before {} and is no usable configuration",
            first.file, used.file
        );
        let next = "remove or correct the file, or find out who writes it";
        return Finding::problem(CHECK, what, next).with_some(&skipped(&seen.skipped));
    }
    if !after.is_empty() {
        let what = format!("{} is used; there are files behind it that are no usable configuration", used.file);
        let next = "remove or correct them: they will be in the way once they are the first";
        return Finding::warning(CHECK, what, next).with_some(&skipped(&after));
    }
    let all: Vec<String> = seen.networks.iter().map(|network| network.file.clone()).collect();
    Finding::ok(CHECK, format!("the network configuration in {} can be used", place.net_dir.display())).with_some(&all)
}

fn place(place: &Place, seen: &Seen, used: &Network) -> Finding {
    const CHECK: Check = Check::NetworkPlace;
    let chain = |network: &Network| format!("{}: {}", network.file, network.kinds.join(", "));
    let bypass = "pods start without redirection";
    let Some((network, ours)) = seen.ours() else {
        let what = format!("{bypass}: no file has an entry of istio-cni, and the runtime uses {}", used.file);
        let next =
            "see why the agent has not put it in: agent.ready says so, or its log; an agent that is not there cannot";
        return Finding::problem(CHECK, what, next).with(chain(used));
    };
    if let Some(json) = &seen.json {
        let what = format!("{json} comes before {}, and some runtimes use it", used.file);
        return Finding::warning(CHECK, what, "remove it, or give it a name that comes later").with(chain(used));
    }
    if ours.at == 0 && network.kinds.len() > 1 {
        let what = format!(
            "pods fail: istio-cni is the first plugin of {}, before the one that makes the pod's network",
            network.file
        );
        return Finding::problem(CHECK, what, "put it behind; the agent does so when it runs").with(chain(network));
    }
    if ours.times > 1 {
        let what = format!("istio-cni stands {} times in {}", ours.times, network.file);
        return Finding::warning(CHECK, what, "take all but the last out; the agent does so when it runs")
            .with(chain(network));
    }
    if network.file != used.file && !is_meant(place, network, used) {
        let what = format!(
            "{bypass}: the runtime uses {}, which comes before {}, where the entry of istio-cni stands",
            used.file, network.file
        );
        let next = format!("find out who wrote {}; {}", used.file, culprit::likely(&used.kinds));
        return Finding::problem(CHECK, what, next).with(chain(used)).with(chain(network));
    }
    let what = format!("istio-cni is plugin {} of {} in {}", ours.at + 1, network.kinds.len(), network.file);
    Finding::ok(CHECK, what).with(chain(network))
}

/// Whether our entry is meant to stand in another file than the first: for Multus to refer to, or because a setting
/// names the file.
fn is_meant(place: &Place, network: &Network, used: &Network) -> bool {
    match &place.placement {
        Some(Placement::Standalone { .. }) => true,
        Some(Placement::Chained { file: Some(file) }) => {
            file.trim_end_matches("list") == network.file.trim_end_matches("list")
        }
        Some(Placement::Chained { file: None } | Placement::Owned { .. }) => false,
        None => used.kinds.iter().any(|kind| kind.contains("multus")),
    }
}

/// A known component that puts others' files away. The agent knows more: how often its entry was undone.
fn writers(place: &Place, seen: &Seen) -> Option<Finding> {
    let names = ConfDir::new(&place.net_dir).names();
    let away: Vec<String> = names.iter().filter(|name| name.ends_with(PUT_AWAY)).cloned().collect();
    if away.is_empty() {
        return None;
    }
    let in_place = seen.networks.first().is_some_and(|used| used.ours.is_some());
    let what = match in_place {
        true => "Cilium puts other plugins' network configuration away, and will do so with ours",
        false => "Cilium puts other plugins' network configuration away, ours with it",
    };
    Some(Finding::warning(Check::NetworkWriters, what, culprit::likely(&away)).with_some(&away))
}
