//! Whether the plugin is where the runtime looks for it, and is the one that the image brought.

use super::place::Place;
use crate::domain::cni_files::PLUGIN_TYPE;
use crate::domain::finding::{Check, Finding};
use crate::host::file_hash::sha256;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const CHECK: Check = Check::PluginBinary;
/// So many names of a directory are shown.
const SHOWN: usize = 10;

/// Looks at it in each of its directories; not where nothing is installed.
pub fn look(place: &Place) -> Option<Finding> {
    if place.installs && !place.knows_bin_dirs {
        let what = "which directory of plugins is used on this node is not known: no runtime says so, no agent answers, and nobody has named it";
        let next = "name it with --cni-bin-dir, or the runtime's socket with --runtime-endpoint";
        return Some(Finding::unknown(CHECK, what, next));
    }
    place.installs.then(|| compare(place))
}

fn compare(place: &Place) -> Finding {
    let image = place.source.as_ref().map(|source| sha256(&source.join(PLUGIN_TYPE)));
    if let Some(Err(error)) = &image {
        let next = "set CNI_BIN_SOURCE_DIR to the image's directory of plugins, or use an image that has it";
        let seen = place.source.iter().map(|source| source.display().to_string()).collect::<Vec<_>>();
        return Finding::problem(CHECK, format!("the image's own plugin cannot be read: {error}"), next)
            .with_some(&seen);
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

/// What is in its directory instead.
fn beside(path: &Path) -> String {
    let directory = path.parent().unwrap_or(path);
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries.take(SHOWN).flatten(),
        Err(error) => return format!("{} cannot be read: {error}", directory.display()),
    };
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    match names.is_empty() {
        true => format!("{} is empty", directory.display()),
        false => format!("{} has {}", directory.display(), names.join(", ")),
    }
}

fn hash(path: &Path) -> Result<String, Box<Finding>> {
    let what = |why: &str| format!("pods fail on this node: the plugin {} {why}", path.display());
    let next = "see why the agent does not install it (agent.ready says so, or its log), and whether cni.cniBinDir of the chart is the runtime's directory of plugins";
    let problem = |why: &str| Box::new(Finding::problem(CHECK, what(why), next).with(beside(path)));
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
