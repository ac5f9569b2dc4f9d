//! The iptables backend: `iptables-save` tells what is there, `iptables-restore --noflush` makes
//! what is missing, each once per family and both families at the same time.

mod error;
mod gate;
mod run;
mod sandbox;
mod tool;

pub use error::IptablesError;
pub use tool::KernelTables;

use crate::domain::render_iptables::{differences, repair_text, tool_name, within_word_limit};
use crate::domain::ruleset::{Difference, Family, Ruleset};
use crate::host::netns_lock::NetnsLock;
use gate::Gate;
use run::{Ended, Running, start, start_behind};
use sandbox::Sandbox;
use std::io;
use std::os::fd::AsFd;
use std::thread::ScopedJoinHandle;
use std::time::Duration;
use tool::{Tool, choose, legacy_tables_exist};

/// Starting a tool needs no deep stack.
const STACK: usize = 256 * 1024;

/// A tool that was started, or why it was not.
type Started = Result<Running, IptablesError>;

/// iptables of the namespace that the calling thread is in.
pub struct Iptables<'a> {
    limit: Duration,
    sandbox: Sandbox<'a>,
}

/// One family of the namespace: its tools and what it has.
struct FamilyState {
    family: Family,
    tool: Tool,
    /// What `iptables-save` printed; empty where there are no tables.
    saved: String,
}

/// The nf_tables families that have tables in the namespace; None where the kernel has no nf_tables.
pub type NftFamilies = Option<Vec<u8>>;

impl<'a> Iptables<'a> {
    /// Prepares for the calling thread's namespace, whose lock is held; each tool may run for `limit`.
    pub fn open(lock: &'a NetnsLock, limit: Duration) -> Iptables<'a> {
        Iptables { limit, sandbox: Sandbox::of_current_namespace(lock.as_fd()) }
    }

    /// Makes the namespace have exactly these rules of ours. False when it had them already. On an
    /// error the namespace is put back to what it had.
    pub fn apply(&self, rules: &Ruleset, nft: &NftFamilies) -> Result<bool, IptablesError> {
        let states = self.states(rules, nft)?;
        let texts: Vec<(&FamilyState, String)> = states
            .iter()
            .map(|state| (state, repair_text(rules, state.family, &state.saved)))
            .filter(|(_, text)| !text.is_empty())
            .collect();
        if texts.is_empty() {
            return Ok(false);
        }
        match self.restore_all(&texts) {
            Ok(()) => Ok(true),
            Err(error) => {
                let attempted: Vec<&FamilyState> = texts.iter().map(|(state, _)| *state).collect();
                match self.put_back(&attempted) {
                    Ok(()) => Err(error),
                    Err(worse) => Err(IptablesError::LeftBehind { left: worse.to_string(), source: Box::new(error) }),
                }
            }
        }
    }

    /// Every difference between the namespace's rules of ours and these.
    pub fn differences(&self, rules: &Ruleset, nft: &NftFamilies) -> Result<Vec<Difference>, IptablesError> {
        let states = self.states(rules, nft)?;
        Ok(states.iter().flat_map(|state| differences(rules, state.family, &state.saved)).collect())
    }

    /// The tables of each family as they are, other people's rules in them too: what `iptables-save` prints.
    pub fn found(&self, rules: &Ruleset, nft: &NftFamilies) -> Result<String, IptablesError> {
        let states = self.states(rules, nft)?;
        let has_tables = |state: &&FamilyState| !state.saved.trim().is_empty();
        Ok(states.iter().filter(has_tables).map(|state| saved_text(state.family, &state.saved)).collect())
    }

    /// The families that have rules or shall have them, with what they have.
    fn states(&self, rules: &Ruleset, nft: &NftFamilies) -> Result<Vec<FamilyState>, IptablesError> {
        let mut states = Vec::with_capacity(2);
        let mut unclean = Vec::with_capacity(2);
        for family in Family::ALL {
            let kernel = kernel_tables(family, nft);
            if family == Family::V6 && !rules.ipv6 && kernel.is_clean() {
                continue;
            }
            let tool = choose(family, kernel, self.limit, &self.sandbox)?;
            if !kernel.is_clean() {
                unclean.push((states.len(), start(&tool.save, &[], "", self.limit, &self.sandbox)?));
            }
            states.push(FamilyState { family, tool, saved: String::new() });
        }
        for (at, save) in unclean {
            let ended = saved(save.wait()?)?;
            if let Some(state) = states.get_mut(at) {
                state.saved = ended.stdout;
            }
        }
        Ok(states)
    }

    /// Programs all families. All tools are started together, before any is waited for, and what is
    /// started comes to its end without us: so our own end leaves all families as they were, or all
    /// with their rules.
    fn restore_all(&self, texts: &[(&FamilyState, String)]) -> Result<(), IptablesError> {
        let running = self.start_together(texts)?;
        let ended: Vec<Result<(), IptablesError>> =
            running.into_iter().zip(texts).map(|(running, (_, text))| restored(running?.wait()?, text)).collect();
        // The error that has a cause of its own comes first.
        let errors = ended.into_iter().filter_map(Result::err);
        errors.min_by_key(IptablesError::was_cancelled).map_or(Ok(()), Err)
    }

    /// Starts the tools of all families, or none.
    fn start_together(&self, texts: &[(&FamilyState, String)]) -> Result<Vec<Started>, IptablesError> {
        let run = |gate: Option<&Gate>, (state, text): &(&FamilyState, String)| {
            start_behind(gate, &state.tool.restore, &state.tool.arguments, text, self.limit, &self.sandbox)
        };
        let [(first, _), _, ..] = texts else { return Ok(texts.iter().map(|text| run(None, text)).collect()) };
        let foreign = self.sandbox.is_foreign();
        let cannot =
            |state: &FamilyState, source| IptablesError::Start { path: state.tool.restore.clone(), foreign, source };
        let gate = Gate::new().map_err(|source| cannot(first, source))?;
        // Starting a tool waits for the gate, so each has a thread, which is in the namespace too.
        Ok(std::thread::scope(|scope| {
            let start = |text| {
                let builder = std::thread::Builder::new().name("tool-start".to_owned()).stack_size(STACK);
                let gate = &gate;
                builder.spawn_scoped(scope, move || run(Some(gate), text).inspect_err(|_| gate.fail()))
            };
            let starting: Vec<_> = texts.iter().map(|text| start(text).inspect_err(|_| gate.fail())).collect();
            gate.open(texts.len(), self.limit);
            let started = |(thread, (state, _)): (io::Result<ScopedJoinHandle<'_, Started>>, &(&FamilyState, _))| {
                let broke_off = || cannot(state, io::Error::other("its thread broke off"));
                let thread = thread.map_err(|source| cannot(state, source))?;
                thread.join().unwrap_or_else(|_| Err(broke_off()))
            };
            starting.into_iter().zip(texts).map(started).collect()
        }))
    }

    /// Takes out what was made of these families, and puts in what they had.
    fn put_back(&self, states: &[&FamilyState]) -> Result<(), IptablesError> {
        for state in states {
            let now = saved(start(&state.tool.save, &[], "", self.limit, &self.sandbox)?.wait()?)?;
            let removal = repair_text(&Ruleset::none(), state.family, &now.stdout);
            if !removal.is_empty() {
                self.restore(state, &removal, &state.tool.arguments)?;
            }
            if !state.saved.is_empty() {
                // Without --noflush a dump restores its tables to exactly what they were.
                let whole: Vec<String> =
                    state.tool.arguments.iter().filter(|argument| *argument != tool::NOFLUSH).cloned().collect();
                self.restore(state, &within_word_limit(&state.saved), &whole)?;
            }
        }
        Ok(())
    }

    fn restore(&self, state: &FamilyState, text: &str, arguments: &[String]) -> Result<(), IptablesError> {
        restored(start(&state.tool.restore, arguments, text, self.limit, &self.sandbox)?.wait()?, text)
    }
}

/// What the kernel says about one family.
fn kernel_tables(family: Family, nft: &NftFamilies) -> KernelTables {
    let number = crate::host::nftables::nfproto(family);
    KernelTables {
        nf_tables: nft.is_some(),
        legacy: legacy_tables_exist(family),
        // Legacy tables are all that a kernel without nf_tables can have.
        nft: nft.as_ref().is_some_and(|families| families.contains(&number)),
    }
}

/// Whether any of our chains could be in iptables here: whether either family has tables.
pub fn any_tables(nft: &NftFamilies) -> bool {
    Family::ALL.into_iter().any(|family| !kernel_tables(family, nft).is_clean())
}

/// A dump after the command that prints it, without the tool's own comments, which say when that was.
fn saved_text(family: Family, saved: &str) -> String {
    let lines = saved.lines().filter(|line| !line.starts_with('#'));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    format!("# {}-save\n{text}", tool_name(family))
}

fn saved(ended: Ended) -> Result<Ended, IptablesError> {
    if ended.status.success() {
        return Ok(ended);
    }
    Err(error::of_failure(ended, None))
}

fn restored(ended: Ended, input: &str) -> Result<(), IptablesError> {
    if ended.status.success() {
        return Ok(());
    }
    Err(error::of_failure(ended, Some(input)))
}
