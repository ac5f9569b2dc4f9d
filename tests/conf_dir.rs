//! The node's CNI configuration directory with everything in it that can go wrong: nothing of others is lost, nothing
//! hangs, and every error says what to do.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

mod support;

#[path = "conf_dir/contents.rs"]
mod contents;
#[path = "conf_dir/killed.rs"]
mod killed;
#[path = "conf_dir/scene.rs"]
mod scene;
#[path = "conf_dir/writing.rs"]
mod writing;

child_work!(killed::install_or_uninstall);
