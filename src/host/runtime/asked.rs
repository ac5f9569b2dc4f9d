//! Asks the runtimes at several sockets at once, so that one that hangs keeps nobody from the others' answers.

use super::config_file::said_by_crio;
use super::cri::ask;
use super::{CriError, RuntimeView};
use crate::host::local_http::get;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where CRI-O tells its whole configuration, as TOML: over HTTP, at the socket of its CRI.
const CRIO_CONFIG: &str = "/config";
/// No such configuration is longer.
const LARGEST: usize = 1 << 20;

/// What the runtimes at these sockets say, in the sockets' order. It takes no longer than the limit.
pub fn ask_all(sockets: &[PathBuf], limit: Duration) -> Vec<Result<RuntimeView, CriError>> {
    let deadline = Instant::now() + limit;
    std::thread::scope(|scope| {
        let asked: Vec<_> =
            sockets.iter().map(|socket| scope.spawn(move || ask_one(socket, deadline, limit))).collect();
        let broke_off = |socket: &PathBuf| CriError::Unreachable {
            socket: socket.clone(),
            problem: "asking it broke off".to_owned(),
        };
        asked
            .into_iter()
            .zip(sockets)
            .map(|(asked, socket)| asked.join().unwrap_or_else(|_| Err(broke_off(socket))))
            .collect()
    })
}

fn ask_one(socket: &Path, deadline: Instant, limit: Duration) -> Result<RuntimeView, CriError> {
    usable(socket)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| CriError::Local { socket: socket.to_owned(), source })?;
    let view = runtime.block_on(ask(socket, limit))?;
    Ok(with_own_word(view, socket, deadline.saturating_duration_since(Instant::now())))
}

/// Tells what nobody could answer at from what answers badly.
fn usable(socket: &Path) -> Result<(), CriError> {
    use nix::fcntl::{AT_FDCWD, AtFlags};
    use nix::unistd::{AccessFlags, faccessat};
    let owned = || socket.to_owned();
    let usable = faccessat(AT_FDCWD, socket, AccessFlags::W_OK, AtFlags::AT_EACCESS).map_err(std::io::Error::from);
    usable.map_err(|source| match source.kind() {
        ErrorKind::NotFound => CriError::Missing { socket: owned() },
        ErrorKind::PermissionDenied => CriError::Denied { socket: owned() },
        _ => CriError::Local { socket: owned(), source },
    })
}

/// CRI-O says its directories beside its CRI only.
fn with_own_word(view: RuntimeView, socket: &Path, left: Duration) -> RuntimeView {
    if !view.conf_dir.is_empty() || !view.name.to_ascii_lowercase().starts_with("cri-o") {
        return view;
    }
    let Ok(answer) = get(socket, CRIO_CONFIG, left, LARGEST) else { return view };
    match said_by_crio(&String::from_utf8_lossy(&answer)) {
        Some((conf_dir, bin_dirs)) => RuntimeView { conf_dir, bin_dirs, ..view },
        None => view,
    }
}
