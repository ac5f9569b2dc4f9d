//! Whether the files of the network configuration can be used, whether our entry stands where it has to, and who else
//! writes there.

use super::place::Place;
use crate::domain::cni_files::{ConfFile, Placement, Skipped};
use crate::domain::culprit;
use crate::domain::failure::whole;
use crate::domain::finding::{Check, Finding};
use crate::domain::lately::{IN_WINDOW, WINDOW};
use crate::host::conf_dir::{ConfDir, ConfDirError};
use crate::wire::conflist::{self, Network, Ours, Seen};
use std::os::unix::fs::MetadataExt;
use std::time::{SystemTime, UNIX_EPOCH};

/// What Cilium makes of other plugins' configuration where it wants to be alone.
const PUT_AWAY: &str = ".cilium_bak";

/// So many names of a directory are shown.
const SHOWN: usize = 10;

/// The directory's files.
pub fn files(place: &Place) -> Result<Vec<ConfFile>, ConfDirError> {
    // A placement only adds files that are named.
    let placement = place.placement.clone().unwrap_or(Placement::Chained { file: None });
    ConfDir::new(&place.net_dir).list(&placement)
}

/// Whether our entry stands somewhere in the directory.
pub fn has_ours(place: &Place) -> bool {
    files(place).is_ok_and(|files| conflist::seen(&files).ours().is_some())
}

/// Looks at the files.
pub fn look(place: &Place) -> Vec<Finding> {
    if !place.installs {
        return Vec::new();
    }
    if !place.knows_net_dir {
        let what = "which directory of network configuration is used on this node is not known: no runtime says so, no agent answers, and nobody has named it";
        let next = "name it with --cni-net-dir, or the runtime's socket with --runtime-endpoint";
        return [Check::NetworkValid, Check::NetworkPlace].map(|check| Finding::unknown(check, what, next)).into();
    }
    let seen = match files(place) {
        Ok(files) => conflist::seen(&files),
        Err(error) => {
            let next = "mount the directory that the container runtime reads (the chart's value cni.cniConfDir)";
            return vec![Finding::problem(Check::NetworkValid, whole(&error), next).with(shown(place))];
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
    Finding::problem(Check::NetworkValid, what, next).with(shown(place)).with_some(&skipped(&seen.skipped))
}

/// The directory and the names in it.
fn shown(place: &Place) -> String {
    let mut names = ConfDir::new(&place.net_dir).names();
    names.sort();
    let more = if names.len() > SHOWN { ", ..." } else { "" };
    names.truncate(SHOWN);
    match names.is_empty() {
        true => format!("{} is empty, or is not there", place.net_dir.display()),
        false => format!("{} has {}{more}", place.net_dir.display(), names.join(", ")),
    }
}

fn skipped(skipped: &[Skipped]) -> Vec<String> {
    skipped.iter().map(|Skipped { file, problem }| format!("{file}: {problem}")).collect()
}

fn valid(place: &Place, seen: &Seen, used: &Network) -> Finding {
    const CHECK: Check = Check::NetworkValid;
    if let Some((network, Ours { settings: Err(problem), .. })) = seen.ours() {
        let what = format!("every meshed pod fails: the plugin refuses its entry in {}: {problem}", network.file);
        let next = "correct the setting of the agent that it comes from (PLUGIN_…), or take out what somebody else wrote there: the agent writes the entry anew";
        return Finding::problem(CHECK, what, next).with(format!("{}: {}", network.file, network.kinds.join(", ")));
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

/// A known component that puts others' files away, if that matters now: our entry is not in place, or it did so of late.
/// Such files stay for ever, also when that component has been told to leave others alone, or is gone. The agent knows
/// more: how often its entry was undone.
fn writers(place: &Place, seen: &Seen) -> Option<Finding> {
    let names = ConfDir::new(&place.net_dir).names();
    let away: Vec<String> = names.into_iter().filter(|name| name.ends_with(PUT_AWAY)).collect();
    // The time of a rename is that of the inode's change: the content's may be of years before.
    let when = |name: &String| std::fs::symlink_metadata(place.net_dir.join(name)).map(|found| found.ctime()).ok();
    let away = away.into_iter().map(|name| (when(&name), name)).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default();
    let in_place = seen.networks.first().is_some_and(|used| used.ours.is_some());
    put_away(away, in_place, now.cast_signed())
}

/// The files that were put away, each with the time (seconds since the epoch) where that is known.
fn put_away(away: Vec<(Option<i64>, String)>, in_place: bool, now: i64) -> Option<Finding> {
    let is_of_late = |at: i64| now.saturating_sub(at) < WINDOW.as_secs().cast_signed();
    let lately = away.iter().any(|(at, _)| at.is_some_and(is_of_late));
    let what = match (in_place, lately) {
        _ if away.is_empty() => return None,
        (false, _) => "Cilium puts other plugins' network configuration away, ours with it".to_owned(),
        (true, true) => {
            format!("Cilium has put other plugins' network configuration away {IN_WINDOW}, and will do so with ours")
        }
        (true, false) => return None,
    };
    let names: Vec<String> = away.into_iter().map(|(_, name)| name).collect();
    Some(Finding::warning(Check::NetworkWriters, what, culprit::likely(&names)).with_some(&names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_were_put_away_long_ago_matter_only_while_our_entry_is_missing() {
        let away = |at: i64| vec![(Some(at), "10-aws.conflist.cilium_bak".to_owned())];
        assert_eq!(put_away(away(0), true, 100_000), None);
        assert_eq!(put_away(Vec::new(), false, 100_000), None);
        assert_eq!(put_away(vec![(None, "x.cilium_bak".to_owned())], true, 100_000), None);
        let missing = put_away(away(0), false, 100_000).unwrap();
        assert!(missing.what.contains("ours with it"), "{missing:?}");
        let fresh = put_away(away(99_000), true, 100_000).unwrap();
        assert!(fresh.what.contains("in the last 30 minutes"), "{fresh:?}");
    }
}
