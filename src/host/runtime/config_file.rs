//! What the files of a runtime's configuration say of its directories, for runtimes that cannot be asked or do not say.
//! Not a TOML parser: the two keys are looked for as they are written in every such file, one on a line.

use super::RuntimeView;
use crate::host::atomic_file::read_bounded;
use std::path::{Path, PathBuf};

/// A larger file is passed over.
const LARGEST: u64 = 1 << 20;

/// A runtime's files and keys, and what it uses without them.
struct Runtime {
    name: &'static str,
    file: &'static str,
    /// Directories of further files, which count in the order of their names.
    more: &'static [&'static str],
    conf_dir: &'static str,
    bin_dirs: &'static str,
    defaults: (&'static str, &'static str),
}

/// The directories without a word of them in the configuration.
const DEFAULTS: (&str, &str) = ("/etc/cni/net.d", "/opt/cni/bin");

/// Each distribution's containerd is one of its own: of two it is not known which one is used.
const RUNTIMES: &[Runtime] = &[
    containerd("etc/containerd/config.toml", &["etc/containerd/conf.d"]),
    containerd("var/lib/rancher/k3s/agent/etc/containerd/config.toml", &[]),
    containerd("var/lib/rancher/rke2/agent/etc/containerd/config.toml", &[]),
    Runtime {
        name: "cri-o",
        file: "etc/crio/crio.conf",
        more: &["etc/crio/crio.conf.d"],
        conf_dir: "network_dir",
        bin_dirs: "plugin_dirs",
        defaults: DEFAULTS,
    },
];

const fn containerd(file: &'static str, more: &'static [&'static str]) -> Runtime {
    Runtime { name: "containerd", file, more, conf_dir: "conf_dir", bin_dirs: "bin_dir", defaults: DEFAULTS }
}

/// What the files below the node's root say; None where there are none, or those of two runtimes. `name` is the
/// beginning of the runtime's, if that is known.
pub fn configured(root: &Path, name: Option<&str>) -> Option<RuntimeView> {
    let named = |runtime: &&Runtime| name.is_none_or(|name| name.to_ascii_lowercase().starts_with(runtime.name));
    let mut found = RUNTIMES.iter().filter(named).filter_map(|runtime| read(root, runtime));
    match (found.next(), found.next()) {
        (Some(view), None) => Some(view),
        _ => None,
    }
}

/// The directory of network configuration and those of plugins in the configuration that CRI-O tells, which has all
/// its keys; None if it is none.
pub(super) fn said_by_crio(text: &str) -> Option<(String, Vec<String>)> {
    let conf_dir = value(text, "network_dir")?.into_iter().next()?;
    Some((conf_dir, value(text, "plugin_dirs").unwrap_or_default()))
}

fn read(root: &Path, runtime: &Runtime) -> Option<RuntimeView> {
    let mut files: Vec<PathBuf> = vec![root.join(runtime.file)];
    for directory in runtime.more {
        let entries = std::fs::read_dir(root.join(directory)).into_iter().flatten().flatten().take(64);
        let mut more: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        more.sort();
        files.extend(more);
    }
    let (mut conf_dir, mut bin_dirs, mut source) = (None, None, None);
    for file in files {
        let Ok(text) = read_bounded(&file, LARGEST) else { continue };
        let text = String::from_utf8_lossy(&text);
        conf_dir = value(&text, runtime.conf_dir).and_then(|values| values.into_iter().next()).or(conf_dir);
        bin_dirs = value(&text, runtime.bin_dirs).filter(|values| !values.is_empty()).or(bin_dirs);
        source = Some(file);
    }
    Some(RuntimeView {
        name: runtime.name.to_owned(),
        source: format!("{}", source?.display()),
        conf_dir: conf_dir.unwrap_or_else(|| runtime.defaults.0.to_owned()),
        bin_dirs: bin_dirs.unwrap_or_else(|| vec![runtime.defaults.1.to_owned()]),
        ..RuntimeView::default()
    })
}

/// The texts at the last line that sets this key (or its plural, a list).
fn value(text: &str, key: &str) -> Option<Vec<String>> {
    let mut found = None;
    for (at, line) in text.lines().enumerate() {
        let Some((name, rest)) = line.trim_start().split_once('=') else { continue };
        if name.trim() != key && name.trim().strip_suffix('s') != Some(key) {
            continue;
        }
        let mut value = rest.trim().to_owned();
        if value.starts_with('[') && !value.contains(']') {
            value.extend(text.lines().skip(at + 1).take_while(|line| !line.contains(']')));
        }
        found = Some(quoted(&value));
    }
    found
}

/// The texts in quotes, up to a comment.
fn quoted(value: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let mut rest = value;
    while let Some(start) = rest.find(['"', '\'', '#']) {
        let quote = rest.as_bytes().get(start).copied().unwrap_or(b'#');
        let Some(inner) = rest.get(start + 1..).filter(|_| quote != b'#') else { break };
        let Some(end) = inner.find(char::from(quote)) else { break };
        texts.push(inner[..end].to_owned());
        rest = &inner[end + 1..];
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn containerds_directories_are_read_or_its_defaults() {
        let text = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\n  conf_dir = \"/var/net.d\" # \"old\"\n  bin_dir = '/var/bin'\n";
        let seen = configured(root(&[("etc/containerd/config.toml", text)]).path(), None).unwrap();
        assert_eq!((seen.conf_dir.as_str(), seen.bin_dirs.join(",").as_str()), ("/var/net.d", "/var/bin"));
        let seen = configured(root(&[("etc/containerd/config.toml", "version = 3\n")]).path(), None).unwrap();
        assert_eq!((seen.conf_dir.as_str(), seen.bin_dirs.join(",").as_str()), ("/etc/cni/net.d", "/opt/cni/bin"));
    }

    #[test]
    fn crios_further_files_win() {
        let files = [
            ("etc/crio/crio.conf", "[crio.network]\nnetwork_dir = \"/a\"\n"),
            ("etc/crio/crio.conf.d/10-x.conf", "network_dir = \"/b\"\nplugin_dirs = [\n  \"/c\",\n  \"/d\",\n]\n"),
        ];
        let seen = configured(root(&files).path(), Some("cri-o 1.33")).unwrap();
        assert_eq!((seen.conf_dir.as_str(), seen.bin_dirs.join(",").as_str()), ("/b", "/c,/d"));
    }

    #[test]
    fn of_two_runtimes_it_is_not_known_which_is_used() {
        let both = root(&[("etc/containerd/config.toml", ""), ("etc/crio/crio.conf", "")]);
        assert_eq!(configured(both.path(), None), None);
        assert_eq!(configured(both.path(), Some("CRI-O")).unwrap().name, "cri-o");
        assert_eq!(configured(root(&[]).path(), None), None);
        let k3s = "var/lib/rancher/k3s/agent/etc/containerd/config.toml";
        let beside_dockers = root(&[("etc/containerd/config.toml", ""), (k3s, "conf_dir = \"/k3s/net.d\"")]);
        assert_eq!(configured(beside_dockers.path(), None), None);
        assert_eq!(
            configured(root(&[(k3s, "conf_dir = \"/k3s/net.d\"")]).path(), None).unwrap().conf_dir,
            "/k3s/net.d"
        );
    }

    #[test]
    fn what_crio_tells_of_its_configuration_has_its_directories() {
        let told = "[crio]\n  [crio.network]\n    cni_default_network = \"\"\n    network_dir = \"/etc/cni/net.d/\"\n    plugin_dirs = [\"/opt/cni/bin/\", \"/usr/libexec/cni\"]\n";
        let (conf_dir, bin_dirs) = said_by_crio(told).unwrap();
        assert_eq!(
            (conf_dir.as_str(), bin_dirs.join(",").as_str()),
            ("/etc/cni/net.d/", "/opt/cni/bin/,/usr/libexec/cni")
        );
        assert_eq!(said_by_crio("<html>"), None);
    }
}
