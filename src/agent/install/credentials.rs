//! The plugin's kubeconfig as a part of the installation: what it has to say now, whether the file
//! says that, and writing it.

use crate::agent::config::install::Credentials;
use crate::domain::failure::{Classify, whole};
use crate::domain::install::{Finding, Reason, Wrong};
use crate::domain::step::ErrorType;
use crate::host::atomic_file::{self, Permissions};
use crate::host::file_error::FileError;
use crate::k8s::client::ApiSource;
/// The file's name in the run directory, as the plugin looks for it.
pub use crate::k8s::kubeconfig::FILE_NAME as KUBECONFIG;
use crate::k8s::plugin_kubeconfig::{Options, PluginKubeconfigError, Wanted, wanted};
use crate::ops::ports::BoxedError;
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::pipeline::Telemetry;
use crate::wire::kubeconfig;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A kubeconfig is far smaller.
const MOST: u64 = 1 << 20;

/// The plugin's kubeconfig.
pub struct PluginKubeconfig {
    pub path: PathBuf,
    pub credentials: Credentials,
    pub api: ApiSource,
    /// `KUBERNETES_SERVICE_PROTOCOL`.
    pub protocol: String,
    pub telemetry: Telemetry,
    /// What was written last, to tell a renewed token from somebody else's doing.
    pub written: Mutex<Option<String>>,
}

/// What the file should be.
enum Target {
    /// This text, with this mode.
    Text { text: String, shown: String, mode: u32 },
    /// Whatever it is: it is the agent's own.
    AsItIs,
    /// Not there.
    Absent,
}

impl PluginKubeconfig {
    fn target(&self) -> Result<Target, PluginKubeconfigError> {
        let Credentials::File { mode, skip_tls_verify } = self.credentials else {
            let is_the_agents = self.api.kubeconfig().is_some_and(|own| own == self.path);
            return Ok(if is_the_agents { Target::AsItIs } else { Target::Absent });
        };
        let options = Options { target: &self.path, protocol: &self.protocol, skip_tls_verify };
        Ok(match wanted(&self.api, &options)? {
            Wanted::Write(access) => {
                Target::Text { text: kubeconfig::print(&access), shown: kubeconfig::describe(&access), mode }
            }
            Wanted::Leave => Target::AsItIs,
        })
    }

    /// Looks whether the file is as it should be.
    pub fn look(&self) -> Finding {
        let target = match self.target() {
            Ok(target) => target,
            Err(error) => return wrong(error.error_type(), whole(&error)),
        };
        match target {
            Target::AsItIs => Finding::Right,
            // A credential that is left over does no pod any harm.
            Target::Absent if self.path.symlink_metadata().is_ok() => Finding::Stale(Reason::SettingsChanged),
            Target::Absent => Finding::Right,
            Target::Text { text, mode, .. } => self.compare(&text, mode),
        }
    }

    fn compare(&self, text: &str, mode: u32) -> Finding {
        let found = match atomic_file::read_bounded(&self.path, MOST) {
            Ok(found) => found,
            Err(error) => return wrong(error.error_type(), whole(&error)),
        };
        let shown = self.path.display();
        if found != text.as_bytes() {
            let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            return match written.as_deref() {
                Some(written) if written.as_bytes() == found => Finding::Stale(Reason::CredentialsRotated),
                _ => wrong(
                    ErrorType::InstallDrifted,
                    format!("the kubeconfig {shown} is not the one that the plugin needs"),
                ),
            };
        }
        match mode_of(&self.path) {
            Some(found) if found != mode => {
                wrong(ErrorType::InstallDrifted, format!("the kubeconfig {shown} has mode {found:04o}, not {mode:04o}"))
            }
            _ => Finding::Right,
        }
    }

    /// Makes the file as it should be; gives it when it had to be changed.
    pub fn put(&self) -> Result<Vec<String>, BoxedError> {
        self.path.parent().into_iter().for_each(atomic_file::sweep);
        match self.target().map_err(BoxedError::new)? {
            Target::AsItIs => Ok(Vec::new()),
            Target::Absent => self.remove(),
            Target::Text { text, shown, mode } => self.write(text, shown, mode).map_err(BoxedError::new),
        }
    }

    fn write(&self, text: String, shown: String, mode: u32) -> Result<Vec<String>, FileError> {
        let path = self.path.display().to_string();
        let is_right = self.compare(&text, mode) == Finding::Right;
        if !is_right {
            atomic_file::replace(&self.path, text.as_bytes(), &Permissions::Mode(mode))?;
            self.telemetry.event(AgentEvent::KubeconfigWritten { path: path.clone(), content: shown });
        }
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
        Ok(if is_right { Vec::new() } else { vec![path] })
    }

    /// Takes the file away, unless it is the agent's own.
    pub fn remove(&self) -> Result<Vec<String>, BoxedError> {
        if self.api.kubeconfig().is_some_and(|own| own == self.path) {
            return Ok(Vec::new());
        }
        self.path.parent().into_iter().for_each(atomic_file::sweep);
        let gone = atomic_file::remove(&self.path).map_err(BoxedError::new)?;
        Ok(if gone { vec![self.path.display().to_string()] } else { Vec::new() })
    }
}

fn wrong(error_type: ErrorType, why: String) -> Finding {
    Finding::Wrong(Wrong { error_type, why, reverted: false })
}

fn mode_of(path: &Path) -> Option<u32> {
    Some(std::fs::metadata(path).ok()?.permissions().mode() & 0o7777)
}
