//! Which iptables tools to use for a namespace: the ones whose rules are there already, else the
//! ones that write nf_tables, else whatever `iptables` is.

use super::error::IptablesError;
use super::run::start;
use super::sandbox::Sandbox;
use crate::domain::ruleset::Family;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Searched after our own PATH, and the tools' own PATH: a container runtime may start us with little.
pub const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Leaves alone what the input does not name.
pub const NOFLUSH: &str = "--noflush";
/// How long a tool waits for the xtables lock, in seconds; the reference's value.
const LOCK_WAIT: &str = "--wait=30";
/// The first version with `--wait` on the restore tools.
const WAIT_SINCE: Version = Version(1, 6, 2);

/// What the kernel says about the calling thread's namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelTables {
    /// The kernel has nf_tables.
    pub nf_tables: bool,
    /// Legacy tables of the family exist here.
    pub legacy: bool,
    /// nf_tables tables of the family exist here.
    pub nft: bool,
}

impl KernelTables {
    /// Whether the family has no tables at all, and so no rules.
    pub const fn is_clean(self) -> bool {
        !self.legacy && !self.nft
    }
}

/// The tools for one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    pub save: PathBuf,
    pub restore: PathBuf,
    /// Arguments of every restore.
    pub arguments: Vec<String>,
}

/// Whether legacy tables of this family exist in the calling thread's namespace. Looking into
/// procfs makes none, as running `iptables-legacy-save` would.
pub fn legacy_tables_exist(family: Family) -> bool {
    let names = match family {
        Family::V4 => "/proc/thread-self/net/ip_tables_names",
        Family::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    // The file is not there before the module is loaded.
    std::fs::read_to_string(names).is_ok_and(|names| !names.trim().is_empty())
}

/// Chooses the tools for a family.
pub fn choose(
    family: Family,
    kernel: KernelTables,
    limit: Duration,
    sandbox: &Sandbox<'_>,
) -> Result<Tool, IptablesError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = Vec::new();
    for directory in std::env::split_paths(&path).chain(std::env::split_paths(OsStr::new(SYSTEM_PATH))) {
        if directory.is_absolute() && !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    let variants = variants(kernel);
    let found = variants.iter().find_map(|variant| Some((*variant, locate(&directories, family, *variant)?)));
    let Some((variant, (save, restore))) = found else {
        let names: Vec<String> = variants.iter().map(|variant| program(family, *variant, "restore")).collect();
        return Err(IptablesError::ToolMissing {
            names: names.join(", "),
            searched: directories.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(":"),
        });
    };
    let mut arguments = vec![NOFLUSH.to_owned()];
    if variant != Variant::Nft && waits(&save, limit, sandbox)? {
        arguments.push(LOCK_WAIT.to_owned());
    }
    Ok(Tool { save, restore, arguments })
}

/// A variant of the tools, by how their files are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Legacy,
    Nft,
    Plain,
}

/// The variants to look for, in order.
fn variants(kernel: KernelTables) -> Vec<Variant> {
    let legacy = kernel.legacy || !kernel.nf_tables;
    [(legacy, Variant::Legacy), (kernel.nf_tables, Variant::Nft), (true, Variant::Plain)]
        .into_iter()
        .filter_map(|(useful, variant)| useful.then_some(variant))
        .collect()
}

fn program(family: Family, variant: Variant, verb: &str) -> String {
    let base = match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    };
    match variant {
        Variant::Legacy => format!("{base}-legacy-{verb}"),
        Variant::Nft => format!("{base}-nft-{verb}"),
        Variant::Plain => format!("{base}-{verb}"),
    }
}

/// Both tools of a variant, from the first directory that has them.
fn locate(directories: &[PathBuf], family: Family, variant: Variant) -> Option<(PathBuf, PathBuf)> {
    let (save, restore) = (program(family, variant, "save"), program(family, variant, "restore"));
    directories
        .iter()
        .map(|directory| (directory.join(&save), directory.join(&restore)))
        .find(|(save, restore)| is_executable(save) && is_executable(restore))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Whether the tool is a legacy one that knows `--wait`; one that writes nf_tables needs no lock.
fn waits(save: &Path, limit: Duration, sandbox: &Sandbox<'_>) -> Result<bool, IptablesError> {
    let ended = start(save, &["--version".to_owned()], "", limit, sandbox)?.wait()?;
    // Very old versions know no --version either.
    Ok(Version::in_text(&ended.stdout).is_some_and(|version| version >= WAIT_SINCE)
        && !ended.stdout.contains("nf_tables"))
}

/// A version of iptables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32, u32);

impl Version {
    /// The first `vMAJOR.MINOR.PATCH` in a text.
    fn in_text(text: &str) -> Option<Version> {
        text.split_whitespace().find_map(|word| {
            let mut numbers = word.strip_prefix('v')?.split('.').map(|number| {
                let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
                digits.parse::<u32>().ok()
            });
            Some(Version(numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: KernelTables = KernelTables { nf_tables: true, legacy: false, nft: false };

    #[test]
    fn nft_tools_come_before_plain_ones_in_a_fresh_namespace() {
        assert_eq!(variants(FRESH), [Variant::Nft, Variant::Plain]);
    }

    #[test]
    fn legacy_tools_come_first_only_where_their_rules_are() {
        let with_legacy = KernelTables { legacy: true, ..FRESH };
        assert_eq!(variants(with_legacy), [Variant::Legacy, Variant::Nft, Variant::Plain]);
    }

    #[test]
    fn a_kernel_without_nf_tables_has_no_use_for_nft_tools() {
        assert_eq!(variants(KernelTables { nf_tables: false, ..FRESH }), [Variant::Legacy, Variant::Plain]);
    }

    #[test]
    fn versions_are_read_and_ordered() {
        assert_eq!(Version::in_text("iptables-save v1.8.9 (legacy)"), Some(Version(1, 8, 9)));
        assert_eq!(Version::in_text("ip6tables v1.4.21"), Some(Version(1, 4, 21)));
        assert_eq!(Version::in_text("unrecognized option '--version'"), None);
        assert!(Version(1, 6, 1) < WAIT_SINCE && Version(1, 10, 0) > WAIT_SINCE);
    }

    #[test]
    fn tools_are_found_only_where_both_are_executable() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str, mode| {
            let file = directory.path().join(name);
            std::fs::write(&file, "").unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            file
        };
        let directories = [directory.path().to_owned()];
        let save = place("ip6tables-nft-save", 0o755);
        let restore = place("ip6tables-nft-restore", 0o644);
        assert_eq!(locate(&directories, Family::V6, Variant::Nft), None, "not executable");
        place("ip6tables-nft-restore", 0o755);
        assert_eq!(locate(&directories, Family::V6, Variant::Nft), Some((save, restore)));
    }
}
