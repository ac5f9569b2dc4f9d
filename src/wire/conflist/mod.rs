//! The node's CNI network configuration: what the runtime would use, and how our plugin gets into it and out again. A
//! pure decision over the files of the directory. What belongs to others is never parsed into values and printed again:
//! its text is passed on, so that unknown keys, their order, and numbers of any size stay what they are.

mod candidates;
mod decide;
mod edit;
mod entry;
mod json;
mod list;
mod names;
mod owned;
mod plugin;
mod remove;
mod seen;
mod sentence;
mod standalone;

pub use decide::decide;
pub use entry::PluginEntry;
pub use names::names;
pub use remove::remove;
pub use seen::{Network, Ours, Seen, seen};

pub use crate::domain::cni_files::PLUGIN_TYPE;

#[cfg(test)]
mod cases;
