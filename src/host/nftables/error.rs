//! What can go wrong between us and nf_tables.

use crate::domain::failure::Classify;
use crate::domain::step::ErrorType;
use std::io;

/// An nf_tables error.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The kernel, or a part of it that the rules need, is not there.
    #[error(
        "the kernel has no nf_tables support for {subject}: load the modules nf_tables, nft_chain_nat, nft_ct, nft_redir and nft_tproxy, or set redirect_backend to iptables"
    )]
    Unsupported { subject: String, source: io::Error },
    /// The kernel refuses everything.
    #[error(
        "the kernel does not permit to change nf_tables ({source}): give the plugin, or the agent, CAP_NET_ADMIN in the pod's network namespace"
    )]
    Denied { source: io::Error },
    /// The kernel refuses one message of the transaction; nothing was changed.
    #[error(
        "the kernel refused {subject}{} ({source}), and nothing was changed in the namespace: set redirect_backend to iptables if this lasts, and report it with the node's kernel version",
        hint_text(.hint)
    )]
    Rejected { subject: String, hint: Option<String>, source: io::Error },
    /// The conversation broke off.
    #[error(
        "the nf_tables netlink conversation failed while {doing} ({source}): the runtime tries again; if this lasts, check the node's memory and its kernel's log"
    )]
    Netlink { doing: &'static str, source: io::Error },
    /// Somebody else writes our tables at the same time.
    #[error(
        "our nf_tables tables keep changing while they are programmed: find out what else writes istio-proxy-* tables in the pod's network namespace"
    )]
    Contended,
}

impl NftError {
    /// An error of one message of a transaction, or of the whole (`subject`).
    pub fn of_reply(subject: String, errno: i32, hint: Option<String>) -> NftError {
        let source = io::Error::from_raw_os_error(errno);
        match errno {
            libc::EPERM | libc::EACCES => NftError::Denied { source },
            libc::EOPNOTSUPP | libc::ENOENT | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT => {
                NftError::Unsupported { subject, source }
            }
            _ => NftError::Rejected { subject, hint, source },
        }
    }

    /// An error of the socket itself.
    pub fn of_io(doing: &'static str, source: io::Error) -> NftError {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => NftError::Denied { source },
            // A kernel without nf_tables does not know the messages at all.
            Some(libc::EOPNOTSUPP | libc::EINVAL | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT) => {
                NftError::Unsupported { subject: "inet tables".to_owned(), source }
            }
            _ => NftError::Netlink { doing, source },
        }
    }
}

fn hint_text(hint: &Option<String>) -> String {
    hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default()
}

impl Classify for NftError {
    fn error_type(&self) -> ErrorType {
        match self {
            NftError::Unsupported { .. } => ErrorType::KernelUnsupported,
            NftError::Denied { .. } => ErrorType::PermissionDenied,
            NftError::Rejected { .. } => ErrorType::RulesRejected,
            NftError::Netlink { .. } => ErrorType::Io,
            NftError::Contended => ErrorType::RulesDrifted,
        }
    }

    fn retryable(&self) -> bool {
        matches!(self, NftError::Netlink { .. } | NftError::Contended)
    }
}
