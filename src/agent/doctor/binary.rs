//! Whether the plugin is where the runtime looks for it, and is the one that the image brought.

use super::place::Place;
use crate::domain::cni_files::PLUGIN_TYPE;
use crate::domain::finding::{Check, Finding};
use crate::host::file_hash::sha256;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const CHECK: Check = Check::PluginBinary;

/// Looks at it in each of its directories; not where nothing is installed.
pub fn look(place: &Place) -> Option<Finding> {
    place.installs.then(|| compare(place))
}

fn compare(place: &Place) -> Finding {
    let image = place.source.as_ref().map(|source| sha256(&source.join(PLUGIN_TYPE)));
    if let Some(Err(error)) = &image {
        let next = "set CNI_BIN_SOURCE_DIR to the image's directory of plugins, or use an image that has it";
        return Finding::problem(CHECK, format!("the image's own plugin cannot be read: {error}"), next);
    }
    let image = image.and_then(Result::ok);
    let mut seen = Vec::new();
    for path in place.bin_dirs.iter().map(|directory| directory.join(PLUGIN_TYPE)) {
        match hash(&path) {
            Err(wrong) => return *wrong,
            Ok(hash) if image.as_ref().is_some_and(|image| *image != hash) => {
                let what = "the plugin on the node is not the one of the agent's image";
                let next = "see why the agent does not replace it: agent.ready says so, or the agent's log; it may be an upgrade that is under way";
                let finding = Finding::problem(CHECK, what, next).with(shown(&path, &hash));
                return finding.with(format!("the image's has sha256 {}", image.unwrap_or_default()));
            }
            Ok(hash) => seen.push(shown(&path, &hash)),
        }
    }
    let what = if image.is_some() { "the plugin is there, as the image has it" } else { "the plugin is there" };
    Finding::ok(CHECK, what).with_some(&seen)
}

/// The hash of the plugin on the node, if it can be read.
pub fn on_node(place: &Place) -> Option<String> {
    sha256(&place.bin_dirs.first()?.join(PLUGIN_TYPE)).ok()
}

fn shown(path: &Path, hash: &str) -> String {
    format!("{}: sha256 {hash}", path.display())
}

fn hash(path: &Path) -> Result<String, Box<Finding>> {
    let what = |why: &str| format!("pods fail on this node: the plugin {} {why}", path.display());
    let next = "see why the agent does not install it (agent.ready says so, or its log), and whether cni.cniBinDir of the chart is the runtime's directory of plugins";
    let problem = |why: &str| Box::new(Finding::problem(CHECK, what(why), next));
    let mode = match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => return Err(problem("is no file")),
        Ok(found) => found.permissions().mode() & 0o7777,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(problem("is missing")),
        Err(error) => return Err(problem(&format!("cannot be looked at: {error}"))),
    };
    if mode & 0o111 == 0 {
        return Err(problem(&format!("has mode {mode:04o} and cannot be executed")));
    }
    let unread = |error| format!("the plugin {} cannot be read: {error}", path.display());
    sha256(path).map_err(|error| Box::new(Finding::unknown(CHECK, unread(error), "look as root")))
}
