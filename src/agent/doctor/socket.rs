//! The socket by which plugins reach the agent, as a file: whether it is there, and who may connect to it.

use super::place::Place;
use crate::agent::app::SOCKET;
use crate::domain::finding::{Check, Finding};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

const CHECK: Check = Check::AgentSocket;

/// Looks at it.
pub fn look(place: &Place) -> Finding {
    let path = place.run_dir.join(SOCKET);
    let shown = path.display();
    let restart = "restart the agent's pod of this node: it makes the socket anew";
    let found = match std::fs::symlink_metadata(&path) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let what = format!("plugins do not find the agent: its socket {shown} is not there");
            return Finding::problem(CHECK, what, restart).with(error.to_string());
        }
        Err(error) => {
            return Finding::unknown(CHECK, format!("the socket {shown} cannot be looked at: {error}"), "look as root");
        }
    };
    if !found.file_type().is_socket() {
        let what = format!("plugins do not find the agent: {shown} is no socket");
        let kind = format!("its mode is {:o} (man 7 inode)", found.mode());
        return Finding::problem(CHECK, what, format!("remove it, and {restart}")).with(kind);
    }
    let (mode, owner) = (found.permissions().mode() & 0o777, found.uid());
    if mode & 0o077 != 0 || owner != nix::unistd::geteuid().as_raw() && owner != 0 {
        let what =
            format!("the socket {shown} has mode {mode:04o} and belongs to user {owner}; it is to be root's alone");
        return Finding::problem(CHECK, what, format!("find out who changed it, and {restart}"))
            .with(format!("it is to have mode 0600 and user {}", nix::unistd::geteuid()));
    }
    Finding::ok(CHECK, format!("the socket {shown} is there, for root alone"))
}
