//! Installing the plugin on the node, and taking it back: the parts as steps, in the order in which
//! nothing ever refers to what is not there.

use super::ports::BoxedError;
use crate::domain::failure::{Classify, Failure};
use crate::domain::install::{Finding, INSTALL, Part, PassResult, Reason, UNINSTALL};
use crate::domain::step::{ErrorType, Step};
use crate::telemetry::event::{self, Level};
use crate::telemetry::keys;
use crate::telemetry::story::{Open, Story, attribute};

/// The node, as far as an installation goes.
pub trait InstallTarget: Sync {
    /// Looks whether a part is as it should be. Changes nothing.
    fn look(&self, part: Part) -> Finding;

    /// Makes a part as it should be. Gives the files that had to be changed; none when it was.
    fn put(&self, part: Part) -> Result<Vec<String>, BoxedError>;

    /// Takes a part away. Gives the files that were changed or removed.
    fn remove(&self, part: Part) -> Result<Vec<String>, BoxedError>;
}

/// A part turned out not to be right after it had been put there.
#[derive(Debug, thiserror::Error)]
#[error("what was just installed is not there, so somebody else writes it too: {why}")]
struct Drifted {
    why: String,
    error_type: ErrorType,
}

impl Classify for Drifted {
    fn error_type(&self) -> ErrorType {
        self.error_type
    }

    fn retryable(&self) -> bool {
        true
    }
}

/// Goes through an installation; gives the files that had to be changed.
pub fn install(story: &Story, target: &dyn InstallTarget, reason: Reason) -> Result<Vec<String>, Failure> {
    story.request(INSTALL, |whole| {
        whole.set(keys::INSTALL_REASON, reason.name());
        let done = put_all(story, target);
        if let Some(result) = result(&done) {
            whole.set(keys::INSTALL_RESULT, result.name());
        }
        let changed = done.map_err(|(_, failure)| failure)?;
        let what = match changed.is_empty() {
            true => "nothing had to be changed".to_owned(),
            false => format!("wrote {}", changed.join(", ")),
        };
        let reason = reason.name();
        let message = format!("Istio CNI configuration and binaries validated/reinstalled ({reason}): {what}");
        story.log(Level::Info, event::INSTALL_DONE, &message, vec![attribute(keys::INSTALL_REASON, reason)]);
        Ok(changed)
    })
}

/// The part that failed, and with what.
type Failed = (Part, Failure);

/// Puts the parts in their order. Nothing refers to a binary that is not there; but without its
/// kubeconfig the plugin still sets pods up through the agent, or keeps them waiting, while without
/// its entry they would start as if there were no mesh.
fn put_all(story: &Story, target: &dyn InstallTarget) -> Result<Vec<String>, Failed> {
    let put = |part: Part| {
        let done = story.step(part.step(), |open| {
            let files = target.put(part)?;
            told(open, &files);
            Ok::<_, BoxedError>(files)
        });
        done.map_err(|failure| (part, failure))
    };
    let mut changed = put(Part::Binaries)?;
    let kubeconfig = put(Part::Kubeconfig);
    let conflist = put(Part::Conflist);
    changed.extend(kubeconfig?);
    changed.extend(conflist?);
    verify(story, target)?;
    Ok(changed)
}

fn verify(story: &Story, target: &dyn InstallTarget) -> Result<(), Failed> {
    let mut drifted = None;
    let verified = story.step(Step::InstallVerify, |_| {
        let found = Part::ALL.into_iter().find_map(|part| Some((part, target.look(part).trouble()?.to_owned())));
        let Some((part, why)) = found else { return Ok(()) };
        drifted = Some(part);
        Err(Drifted { why, error_type: ErrorType::InstallDrifted })
    });
    verified.map_err(|failure| (drifted.unwrap_or(Part::Conflist), failure))
}

/// What a pass came to; a pass that waits for somebody else has come to nothing yet.
fn result<T>(done: &Result<T, Failed>) -> Option<PassResult> {
    match done {
        Ok(_) => Some(PassResult::Success),
        Err((_, failure)) if failure.error_type == ErrorType::PrimaryMissing => None,
        Err((part, _)) => Some(part.failed()),
    }
}

/// Takes back what was installed, in the opposite order. `between` runs after the network
/// configuration is the others' alone again, until the runtime has seen that: a plugin that is
/// still called must be there. It says whether to go on: somebody may have come who needs the rest.
/// A part that cannot be removed keeps those before it in place.
pub fn uninstall(
    story: &Story,
    target: &dyn InstallTarget,
    between: impl FnOnce() -> bool,
) -> Result<Vec<String>, Failure> {
    story.request(UNINSTALL, |_| {
        let remove = |part: Part| {
            story.step(part.removal(), |open| {
                let files = target.remove(part)?;
                told(open, &files);
                Ok::<_, BoxedError>(files)
            })
        };
        let mut removed = remove(Part::Conflist)?;
        if !between() {
            return Ok(removed);
        }
        removed.extend(remove(Part::Kubeconfig)?);
        removed.extend(remove(Part::Binaries)?);
        let message = format!("cleaning up CNI installation: removed {}", removed.join(", "));
        story.log(Level::Info, event::UNINSTALL_DONE, &message, Vec::new());
        Ok(removed)
    })
}

fn told(open: &Open, files: &[String]) {
    open.set(keys::INSTALL_CHANGES, files.len());
    if !files.is_empty() {
        open.set(keys::FILE_PATH, files.join(", "));
    }
}

#[cfg(test)]
#[path = "install_tests.rs"]
mod tests;
