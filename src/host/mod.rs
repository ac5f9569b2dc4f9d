//! The kernel, files and commands: namespaces, nf_tables netlink, iptables, sockets, the spool file.

pub mod atomic_file;
pub mod binaries;
pub mod child;
pub mod conf_dir;
pub mod dir_watch;
pub mod dry_run;
pub mod fake;
pub mod file_error;
pub mod groups;
pub mod held_file;
pub mod iptables;
pub mod kernel;
pub mod memory;
mod netlink;
pub mod netns;
pub mod netns_lock;
pub mod nftables;
mod nlattr;
pub mod pod_netns;
pub mod rolling_log;
pub mod routing;
pub mod spool;
pub mod spool_claim;
mod spool_lost;
pub mod trial;
pub mod uds;
pub mod uds_listener;
