//! Why the plugin's entry could not be put into the node's network configuration, or taken out.

use crate::domain::cni_files::Obstacle;
use crate::domain::failure::{Classify, whole};
use crate::domain::step::ErrorType;
use crate::host::conf_dir::ConfDirError;
use crate::host::file_error::FileError;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error(transparent)]
    Directory(ConfDirError),
    /// The entry cannot be put in anywhere yet.
    #[error("{sentence}")]
    Waits { why: Obstacle, sentence: String },
    #[error(transparent)]
    Write(FileError),
    /// Some files could not be rid of the entry; the others are.
    #[error("the plugin's entry could not be taken out of every file: {}", sentences(.failures))]
    Remains { failures: Vec<FileError> },
}

impl Classify for NetworkError {
    fn error_type(&self) -> ErrorType {
        match self {
            NetworkError::Directory(error) => error.error_type(),
            NetworkError::Waits { why: Obstacle::NoPrimary | Obstacle::NamedMissing, .. } => ErrorType::PrimaryMissing,
            NetworkError::Waits { .. } => ErrorType::ConflistInvalid,
            NetworkError::Write(error) => error.error_type(),
            NetworkError::Remains { failures } => failures.first().map_or(ErrorType::Io, Classify::error_type),
        }
    }

    fn retryable(&self) -> bool {
        match self {
            NetworkError::Directory(error) => error.retryable(),
            NetworkError::Waits { .. } => true,
            NetworkError::Write(error) => error.retryable(),
            NetworkError::Remains { failures } => failures.iter().any(Classify::retryable),
        }
    }
}

fn sentences(failures: &[FileError]) -> String {
    failures.iter().map(whole).collect::<Vec<_>>().join("; ")
}
