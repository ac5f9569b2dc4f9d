//! Short-lived processes of the demo: what they are given, what they say, and that none is left.

use crate::host::child::killed_with_us;
use anyhow::{Context, Result, bail};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// Longer than any of them takes; their own limits are far below.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process that has ended, and what it said.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a process, which an error calls `what`, with this standard input.
pub async fn run(mut command: Command, input: &[u8], what: &str) -> Result<Ended> {
    killed_with_us(command.as_std_mut());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running(command.spawn().with_context(|| format!("cannot run {what}"))?);
    let talk = async move {
        let child = &mut running.0;
        if let Some(mut stdin) = child.stdin.take() {
            // Who does not read what it is given shows that by its answer.
            let _read = stdin.write_all(input).await;
        }
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        tokio::try_join!(child.wait(), whole(stdout), whole(stderr))
    };
    let Ok(answer) = tokio::time::timeout(PATIENCE, talk).await else {
        bail!("{what} did not answer within {} s", PATIENCE.as_secs());
    };
    let (status, stdout, stderr) = answer.with_context(|| format!("cannot read the answer of {what}"))?;
    Ok(Ended { status, stdout, stderr })
}

/// The process. When the demo is interrupted meanwhile it is ended and waited for: nothing may be left
/// once the demo has ended.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Fails for one that has ended.
        if self.0.start_kill().is_ok() {
            while matches!(self.0.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// All that a process writes to one of its outputs.
async fn whole(output: Option<impl AsyncRead + Unpin>) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(mut output) = output {
        output.read_to_end(&mut bytes).await?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
