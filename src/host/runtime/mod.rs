//! The container runtime, as doctor asks it: which directories of network configuration and of plugins it reads, and
//! what came of the last time that it did. Asked over its CRI socket, as the kubelet does; else read from the files of
//! its configuration.

mod asked;
mod config_file;
mod cri;
mod rooted;
mod sockets;

pub use asked::ask_all;
pub use config_file::configured;
pub use cri::CriError;
pub use rooted::identity_below;
pub use sockets::{DOCKER, KNOWN, known_sockets, looks_like_a_node};

/// What a runtime says of itself and of its network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeView {
    /// `containerd` or `cri-o`, with its version where that is known.
    pub name: String,
    /// Where that is known from.
    pub source: String,
    /// The directory of network configuration, as the runtime sees it; empty where it does not say.
    pub conf_dir: String,
    /// The directories of plugins, as the runtime sees them.
    pub bin_dirs: Vec<String>,
    /// Why it could not start any container now, if that is so.
    pub broken: Option<String>,
    /// Why no pod's network could be set up now, if that is so.
    pub not_ready: Option<String>,
    /// What went wrong when it read the configuration last.
    pub load_error: Option<String>,
    /// The plugins of the networks that it has loaded, where it says so: network, types in order. Without the loopback.
    pub networks: Option<Vec<(String, Vec<String>)>>,
}
