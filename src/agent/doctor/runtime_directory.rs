//! Whether the container runtime reads the directories that are written, by what it says of itself, or by its files.

use super::place::Place;
use crate::domain::cni_files::{PLUGIN_TYPE, Placement};
use crate::domain::finding::{Check, Finding};
use crate::host::runtime::{RuntimeView, configured, identity_below};
use crate::wire::conflist;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const CHECK: Check = Check::RuntimeDirectory;

/// Compares the directories of those that answered with what is written. Where nobody answered, or who answered does
/// not say them, the files of its configuration are read.
pub fn look(place: &Place, answered: &[RuntimeView]) -> Finding {
    if !place.knows_net_dir || !place.knows_bin_dirs {
        let what =
            "which directories are written on this node is not known: no agent answers, and nobody has named them";
        return Finding::unknown(
            CHECK,
            what,
            "name them with --cni-net-dir and --cni-bin-dir, or look why no agent answers",
        );
    }
    let found: Vec<Finding> = answered.iter().map(|view| compare(place, &with_files(view.clone(), place))).collect();
    match found.split_first() {
        Some((first, others)) if others.iter().all(|other| other.status == first.status) => first.clone(),
        // Of several it is not known which one the kubelet uses.
        Some(_) => {
            let what = "several container runtimes answer, and not all of them read the directories that are written";
            let next = "name the socket of the one that the kubelet uses with CONTAINER_RUNTIME_ENDPOINT";
            let shown: Vec<String> = found.into_iter().map(|found| found.what).collect();
            Finding::unknown(CHECK, what, next).with_some(&shown)
        }
        None => match place.sees_node.then(|| configured(&place.root, None)).flatten() {
            Some(view) => compare(place, &view),
            None => {
                let what = "the container runtime cannot be asked which directories it reads, nor do files of its configuration say so";
                let next = "name the runtime's socket with CONTAINER_RUNTIME_ENDPOINT, and let the agent see the node's processes (HOST_PROC)";
                Finding::unknown(CHECK, what, next)
            }
        },
    }
}

/// A runtime that does not say its directories when it is asked has them in its files.
pub fn with_files(view: RuntimeView, place: &Place) -> RuntimeView {
    if !view.conf_dir.is_empty() || !place.sees_node {
        return view;
    }
    let Some(files) = configured(&place.root, Some(&view.name)) else { return view };
    let source = format!("{}, {}", view.source, files.source);
    RuntimeView { conf_dir: files.conf_dir, bin_dirs: files.bin_dirs, source, ..view }
}

fn compare(place: &Place, view: &RuntimeView) -> Finding {
    let said = |finding: Finding| {
        let finding = finding.with(format!("known from {}", view.source));
        let finding =
            finding.with(format!("it reads {} and runs plugins of {}", view.conf_dir, view.bin_dirs.join(", ")));
        finding.with(format!("written are {} and {}", place.net_dir.display(), shown(&place.bin_dirs)))
    };
    // A file of its own is for Multus, which may read another directory than the runtime, and runs the plugin itself.
    let is_chained = !matches!(place.placement, Some(Placement::Standalone { .. }));
    let elsewhere = if is_chained { directory(place, view).or_else(|| plugins(place, view)) } else { None };
    if let Some(finding) = elsewhere {
        return said(finding);
    }
    let name = &view.name;
    if !is_chained {
        let what =
            format!("{name} complains of nothing; the plugin is run by whoever refers to its file, as Multus does");
        return said(Finding::ok(CHECK, what));
    }
    if let Some(finding) = loaded(place, view) {
        return said(finding);
    }
    said(Finding::ok(CHECK, format!("{name} reads the directories that are written")))
}

/// Whether the runtime reads the directory that is written; nothing if it does.
fn directory(place: &Place, view: &RuntimeView) -> Option<Finding> {
    let name = &view.name;
    Some(match is_same(place, &view.conf_dir, &place.net_dir) {
        Some(true) => return None,
        None if is_docker(view) => {
            let what = format!(
                "{name} does not say which directories it reads: they are the flags --cni-conf-dir and --cni-bin-dir of cri-dockerd, and these were not looked at"
            );
            Finding::unknown(CHECK, what, "compare them with the directories that are written")
        }
        None if view.conf_dir.is_empty() => {
            let what = format!("{name} does not say which directory of network configuration it reads");
            Finding::unknown(CHECK, what, "look into its configuration")
        }
        None if place.sees_node => {
            let what = format!(
                "whether {name} reads {} is not known: that or {} cannot be looked at",
                place.net_dir.display(),
                view.conf_dir
            );
            Finding::unknown(CHECK, what, "see network.valid, and whether the directories are there")
        }
        None => {
            let what = format!(
                "whether {name} reads the directory that is written is not known: its root directory cannot be seen"
            );
            Finding::unknown(CHECK, what, "mount the host's /proc at /host/proc, with CAP_SYS_PTRACE")
        }
        Some(false) => {
            let what = format!(
                "pods start without redirection: {name} reads its network configuration from {}, which is not the directory that is written",
                view.conf_dir
            );
            Finding::problem(CHECK, what, format!("set the chart's value cni.cniConfDir to {}", view.conf_dir))
        }
    })
}

/// Docker by way of cri-dockerd, which calls itself so.
fn is_docker(view: &RuntimeView) -> bool {
    view.conf_dir.is_empty() && view.name.to_ascii_lowercase().starts_with("docker")
}

/// Whether the runtime finds the plugin in its own directories.
fn plugins(place: &Place, view: &RuntimeView) -> Option<Finding> {
    if view.bin_dirs.is_empty() {
        return None;
    }
    let one_is_written = view.bin_dirs.iter().any(|read| {
        place.bin_dirs.iter().any(|written| is_same(place, read, written) != Some(false))
            || identity_below(&place.root, &Path::new(read).join(PLUGIN_TYPE)).is_ok()
    });
    if one_is_written {
        return None;
    }
    let (name, read) = (&view.name, view.bin_dirs.join(", "));
    let what = format!("pods fail on this node: {name} runs plugins of {read}, and the plugin is put elsewhere");
    Some(Finding::problem(CHECK, what, format!("set the chart's value cni.cniBinDir to {}", view.bin_dirs.first()?)))
}

/// Whether the runtime has loaded what stands in the file that it uses.
fn loaded(place: &Place, view: &RuntimeView) -> Option<Finding> {
    let seen = conflist::seen(&super::network::files(place).ok()?);
    let used = seen.networks.first().filter(|used| used.ours.is_some())?;
    let networks = view.networks.as_ref().filter(|networks| !networks.is_empty())?;
    if networks.iter().any(|(_, kinds)| kinds.iter().any(|kind| kind == PLUGIN_TYPE)) {
        return None;
    }
    let name = &view.name;
    let what = format!(
        "pods start without redirection: {name} still uses a network configuration without istio-cni, though {} has it",
        used.file
    );
    let next = format!("restart {name} if it goes on: it has missed a change of the directory");
    let shown: Vec<String> = networks.iter().map(|(name, kinds)| format!("{name}: {}", kinds.join(", "))).collect();
    Some(Finding::problem(CHECK, what, next).with_some(&shown))
}

/// Whether a directory of the node is the one that we see here; None where that cannot be known.
fn is_same(place: &Place, of_node: &str, here: &Path) -> Option<bool> {
    if of_node.is_empty() || !place.sees_node {
        return None;
    }
    let ours = std::fs::metadata(here).ok().map(|found| (found.dev(), found.ino()))?;
    match identity_below(&place.root, Path::new(of_node)) {
        Ok(theirs) => Some(theirs == ours),
        // There is no such directory on the node.
        Err(error) if error.kind() == ErrorKind::NotFound => Some(false),
        Err(_) => None,
    }
}

fn shown(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::finding::Status;

    /// A node whose runtime reads another directory than the one that is written.
    fn elsewhere(placement: Placement) -> (tempfile::TempDir, Place, RuntimeView) {
        let root = tempfile::tempdir().unwrap();
        let [net, bin] = ["etc/cni/multus/net.d", "opt/multus/bin"].map(|path| root.path().join(path));
        for path in [net.as_path(), &bin, &root.path().join("etc/cni/net.d"), &root.path().join("opt/cni/bin")] {
            std::fs::create_dir_all(path).unwrap();
        }
        let place = Place {
            net_dir: net,
            bin_dirs: vec![bin],
            placement: Some(placement),
            root: root.path().to_owned(),
            knows_net_dir: true,
            knows_bin_dirs: true,
            ..Place::on_node()
        };
        let view = RuntimeView {
            name: "cri-o".into(),
            conf_dir: "/etc/cni/net.d".into(),
            bin_dirs: vec!["/opt/cni/bin".into()],
            ..RuntimeView::default()
        };
        (root, place, view)
    }

    #[test]
    fn a_file_for_multus_need_not_stand_where_the_runtime_looks() {
        let (_root, place, view) = elsewhere(Placement::Standalone { file: "YYY-istio-cni.conf".into() });
        assert_eq!(compare(&place, &view).status, Status::Ok);
    }

    #[test]
    fn a_directory_behind_an_absolute_link_of_the_node_is_the_same() {
        let (root, place, view) = elsewhere(Placement::Chained { file: None });
        for (path, to) in [("etc/cni/net.d", "/etc/cni/multus/net.d"), ("opt/cni/bin", "/opt/multus/bin")] {
            std::fs::remove_dir(root.path().join(path)).unwrap();
            std::os::unix::fs::symlink(to, root.path().join(path)).unwrap();
        }
        assert_eq!(compare(&place, &view).status, Status::Ok);
        std::os::unix::fs::symlink("/etc/round", root.path().join("etc/round")).unwrap();
        let round = RuntimeView { conf_dir: "/etc/round".into(), ..view };
        assert_eq!(compare(&place, &round).status, Status::Unknown, "what cannot be followed is no problem");
    }

    #[test]
    fn an_entry_in_a_chain_has_to_stand_where_the_runtime_looks() {
        let (_root, place, view) = elsewhere(Placement::Chained { file: None });
        let finding = compare(&place, &view);
        assert!(finding.status == Status::Problem && finding.what.contains("/etc/cni/net.d"), "{finding:?}");
    }

    #[test]
    fn of_several_runtimes_all_have_to_read_it() {
        let (_root, place, wrong) = elsewhere(Placement::Chained { file: None });
        let dirs =
            |net: &str, bin: &str| RuntimeView { conf_dir: net.into(), bin_dirs: vec![bin.into()], ..wrong.clone() };
        let right = dirs("/etc/cni/multus/net.d", "/opt/multus/bin");
        let status = |answered: &[RuntimeView]| look(&place, answered).status;
        assert_eq!(status(&[right.clone(), right.clone()]), Status::Ok);
        assert_eq!(status(&[wrong.clone(), wrong.clone()]), Status::Problem);
        assert_eq!(status(&[right, wrong.clone()]), Status::Unknown);
        assert_eq!(status(&[]), Status::Unknown);
    }

    #[test]
    fn docker_is_not_asked_for_what_it_does_not_say() {
        let (_root, place, view) = elsewhere(Placement::Chained { file: None });
        let docker = RuntimeView { name: "docker 27.0".into(), ..RuntimeView::default() };
        let finding = look(&place, &[docker]);
        assert!(finding.status == Status::Unknown && finding.what.contains("--cni-conf-dir"), "{finding:?}");
        assert!(!is_docker(&view));
    }
}
