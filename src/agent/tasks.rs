//! The named tasks of the process. None of them ends while the process is wanted: the first that
//! does is the reason to stop.

use std::fmt::Display;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Every task, by name.
pub struct Tasks<'a> {
    runtime: &'a Runtime,
    tasks: JoinSet<(&'static str, String)>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// What came first.
pub enum Ended {
    /// The process was asked to stop, for this reason.
    Asked(String),
    /// A task ended unasked.
    Task { name: &'static str, problem: String },
}

impl<'a> Tasks<'a> {
    /// No tasks yet.
    pub fn new(runtime: &'a Runtime) -> Tasks<'a> {
        Tasks { runtime, tasks: JoinSet::new(), threads: Vec::new() }
    }

    /// Starts a task on the runtime.
    pub fn spawn<E: Display>(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let named = async move { (name, problem(task.await)) };
        self.tasks.spawn_on(named, self.runtime.handle());
    }

    /// Starts a task on a thread of its own.
    pub fn thread<E: Display>(&mut self, name: &'static str, task: impl FnOnce() -> Result<(), E> + Send + 'static) {
        let (ended, end) = oneshot::channel();
        let work = move || {
            // Nobody listens any more once the process stops.
            let _ = ended.send(problem(task()));
        };
        match std::thread::Builder::new().name(name.to_owned()).spawn(work) {
            Ok(thread) => {
                self.threads.push(thread);
                let wait = async move { (name, end.await.unwrap_or_else(|_| "it panicked".to_owned())) };
                self.tasks.spawn_on(wait, self.runtime.handle());
            }
            Err(error) => self.spawn(name, async move { Err(format!("its thread could not be started: {error}")) }),
        }
    }

    /// Waits for a task to end, or for `stop`.
    pub fn first_end(&mut self, stop: impl Future<Output = String>) -> Ended {
        let tasks = &mut self.tasks;
        self.runtime.block_on(async {
            tokio::select! {
                cause = stop => Ended::Asked(cause),
                Some(ended) = tasks.join_next() => match ended {
                    Ok((name, problem)) => Ended::Task { name, problem },
                    Err(error) => Ended::Task { name: "unknown", problem: error.to_string() },
                },
            }
        })
    }

    /// Waits for the threads, which the caller has told to end.
    pub fn join_threads(&mut self) {
        for thread in self.threads.drain(..) {
            // A panic was told by its watcher already.
            let _ = thread.join();
        }
    }

    /// Ends every task on the runtime.
    pub fn abort(&mut self) {
        self.tasks.abort_all();
    }
}

fn problem<E: Display>(result: Result<(), E>) -> String {
    match result {
        Ok(()) => "it had nothing more to do".to_owned(),
        Err(error) => error.to_string(),
    }
}
