//! Namespaces in which nothing is programmed: the rules that a pod would get are written to a file.
//! An aid for tests; a pod that is set up in this way is not redirected.

use super::netns::enter;
use super::nftables::{NftError, Nftables};
use super::routing::Routing;
use crate::domain::failure::{Classify, Failure};
use crate::domain::render;
use crate::domain::request::{Backend, Bounds};
use crate::domain::ruleset::{Difference, Ruleset};
use crate::domain::step::ErrorType;
use crate::ops::ports::{Applied, BoxedError, Namespaces, PodKernel, Work};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The variable of the plugin's process that names the file.
pub const DRY_RUN_FILE_PATH: &str = "DRY_RUN_FILE_PATH";

/// The network namespaces of this machine, looked at but not changed.
#[derive(Clone, Debug)]
pub struct DryRun {
    /// Gets the rules of each ADD, in place of those of the one before.
    pub file: PathBuf,
}

/// The rules could not be written.
#[derive(Debug, thiserror::Error)]
pub enum DryRunError {
    /// Replacing a device or a directory is not what is meant.
    #[error("DRY_RUN_FILE_PATH is {}, which is there and is no regular file; it takes the path of a file that is written anew: correct it, or take it away to have the rules programmed", .file.display())]
    NoFile { file: PathBuf },
    /// The file system refused.
    #[error("cannot write the rules to {} (DRY_RUN_FILE_PATH): make its directory writable, or take the variable away to have the rules programmed", .file.display())]
    Write { file: PathBuf, source: io::Error },
}

impl Classify for DryRunError {
    fn error_type(&self) -> ErrorType {
        match self {
            DryRunError::NoFile { .. } => ErrorType::EnvironmentInvalid,
            DryRunError::Write { .. } => ErrorType::Io,
        }
    }
}

impl Namespaces for DryRun {
    fn inside(
        &self,
        netns: BorrowedFd<'_>,
        backend: Backend,
        _bounds: &Bounds,
        work: Work<'_>,
    ) -> Result<Result<Applied, Failure>, BoxedError> {
        enter(netns, || work(&mut DryKernel { file: &self.file, backend })).map_err(BoxedError::new)
    }
}

/// The kernel of the namespace that the calling thread has entered.
struct DryKernel<'a> {
    file: &'a Path,
    backend: Backend,
}

impl DryKernel<'_> {
    /// What an ADD would use: nf_tables unless the kernel has none.
    fn chosen(&self) -> Result<Backend, BoxedError> {
        match self.backend {
            Backend::Auto => match Nftables::open().and_then(|mut nftables| nftables.families()) {
                Ok(_) => Ok(Backend::Nftables),
                Err(NftError::Unsupported { .. }) => Ok(Backend::Iptables),
                Err(error) => Err(BoxedError::new(error)),
            },
            chosen => Ok(chosen),
        }
    }
}

impl PodKernel for DryKernel<'_> {
    fn addresses(&mut self) -> Result<Vec<IpAddr>, BoxedError> {
        Routing::open().and_then(|mut routing| routing.addresses()).map_err(BoxedError::new)
    }

    fn apply(&mut self, rules: &Ruleset) -> Result<Applied, BoxedError> {
        let backend = self.chosen()?;
        write_whole(self.file, render::text(rules, backend).as_bytes()).map_err(BoxedError::new)?;
        Ok(Applied { backend, changed: false })
    }

    /// There is nothing to compare with: nothing was programmed.
    fn differences(&mut self, _rules: &Ruleset) -> Result<(Backend, Vec<Difference>), BoxedError> {
        Ok((self.chosen()?, Vec::new()))
    }

    /// Nor is there anything to read.
    fn found(&mut self, _rules: &Ruleset, _backend: Backend) -> Result<String, BoxedError> {
        Ok(String::new())
    }
}

/// Puts a file of this content in the place of what is there: whoever reads it sees the one or the
/// other, and after a crash there is the one or the other.
fn write_whole(file: &Path, bytes: &[u8]) -> Result<(), DryRunError> {
    if std::fs::metadata(file).is_ok_and(|there| !there.is_file()) || file.file_name().is_none() {
        return Err(DryRunError::NoFile { file: file.to_owned() });
    }
    let mut beside = file.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    let beside = PathBuf::from(beside);
    let replaced = write_new(&beside, bytes).and_then(|()| std::fs::rename(&beside, file));
    replaced.map_err(|source| {
        let _ = std::fs::remove_file(&beside);
        DryRunError::Write { file: file.to_owned(), source }
    })
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("rules");
        for text in ["first and longer", "second"] {
            write_whole(&file, text.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn what_is_no_file_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        for path in [directory.path(), Path::new("/dev/null"), Path::new("/")] {
            let error = write_whole(path, b"").unwrap_err();
            assert_eq!(error.error_type(), ErrorType::EnvironmentInvalid);
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        }
        assert_eq!(write_whole(&directory.path().join("no/file"), b"").unwrap_err().error_type(), ErrorType::Io);
    }
}
