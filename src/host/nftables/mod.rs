//! The nf_tables backend: one netlink transaction programs a ruleset, and a dump is compared with
//! it expression by expression. No host tool is involved.

mod batch;
mod codec;
mod compare;
mod error;
mod expr;
mod listing;
mod lower;
mod plan;
mod probe;
mod readback;
mod text;

pub use error::NftError;
pub use expr::nfproto;
pub use probe::{ProbeError, probe_nftables};

use crate::domain::ruleset::{Difference, Ruleset};
use crate::host::netlink::{Netlink, Reply};
use batch::{Batch, Subject, batch};
use plan::{PlannedTable, plan};
use std::io;

/// How often a change of somebody else's in between is met by reading again.
const ATTEMPTS: u32 = 4;

/// nf_tables of the namespace that the calling thread is in.
pub struct Nftables {
    netlink: Netlink,
}

impl Nftables {
    /// Opens a netlink socket in the calling thread's namespace.
    pub fn open() -> Result<Nftables, NftError> {
        let netlink = Netlink::open(libc::NETLINK_NETFILTER as isize);
        Ok(Nftables { netlink: netlink.map_err(|source| NftError::of_io("opening the socket", source))? })
    }

    /// Makes our tables exactly these rules, in one transaction. False when they were already.
    pub fn apply(&mut self, rules: &Ruleset) -> Result<bool, NftError> {
        self.replace(&plan(rules))
    }

    /// Removes all that is ours. False when there was nothing.
    pub fn remove(&mut self) -> Result<bool, NftError> {
        self.replace(&[])
    }

    /// Every difference between our tables and these rules.
    pub fn differences(&mut self, rules: &Ruleset) -> Result<Vec<Difference>, NftError> {
        let found = readback::read_back(&mut self.netlink).map_err(reading)?;
        Ok(compare::compare(&plan(rules), &found))
    }

    /// Our tables as they are, in nft's language; empty where there are none.
    pub fn found(&mut self) -> Result<String, NftError> {
        let found = readback::read_back(&mut self.netlink).map_err(reading)?;
        Ok(found.iter().map(listing::table_text).collect())
    }

    /// Whether any table of ours exists.
    pub fn has_tables(&mut self) -> Result<bool, NftError> {
        Ok(!readback::our_tables(&mut self.netlink).map_err(reading)?.is_empty())
    }

    /// The families that have tables, ours or not.
    pub fn families(&mut self) -> Result<Vec<u8>, NftError> {
        readback::families(&mut self.netlink).map_err(reading)
    }

    fn replace(&mut self, plan: &[PlannedTable]) -> Result<bool, NftError> {
        for _ in 0..ATTEMPTS {
            let found = readback::read_back(&mut self.netlink).map_err(reading)?;
            let equal = if found.is_empty() { plan.is_empty() } else { compare::compare(plan, &found).is_empty() };
            if equal {
                return Ok(false);
            }
            let old: Vec<&'static str> = found.iter().map(|table| table.name).collect();
            let batch = batch(&mut self.netlink, &old, plan);
            let replies = self.send(&batch)?;
            match failed(&replies) {
                None => return Ok(true),
                Some(reply) if is_race(batch.subject(reply.seq), reply.errno) => {}
                Some(reply) => {
                    let subject = subject_text(batch.subject(reply.seq), plan);
                    return Err(NftError::of_reply(subject, reply.errno, reply.hint.clone()));
                }
            }
        }
        Err(NftError::Contended)
    }

    fn send(&mut self, batch: &Batch) -> Result<Vec<Reply>, NftError> {
        let sending = |source: io::Error| NftError::of_io("sending the transaction", source);
        self.netlink.send(&batch.bytes).map_err(sending)?;
        let replies = self.netlink.replies().map_err(sending)?;
        if replies.is_empty() {
            return Err(sending(io::Error::new(io::ErrorKind::UnexpectedEof, "the kernel gave no answer")));
        }
        Ok(replies)
    }
}

fn reading(source: io::Error) -> NftError {
    NftError::of_io("reading our tables", source)
}

/// The first refusal; an error about the whole transaction is none if a message has its own.
fn failed(replies: &[Reply]) -> Option<&Reply> {
    replies.iter().find(|reply| reply.errno != 0)
}

/// A table that was made or removed by somebody else since it was read.
fn is_race(subject: Subject, errno: i32) -> bool {
    matches!((subject, errno), (Subject::Table(_), libc::EEXIST) | (Subject::DropTable(_), libc::ENOENT))
}

fn subject_text(subject: Subject, plan: &[PlannedTable]) -> String {
    let chain = |t: usize, c: usize| plan.get(t).and_then(|table| Some((table.name, table.chains.get(c)?)));
    match subject {
        Subject::Whole => None,
        Subject::DropTable(name) => Some(format!("the removal of the table {name}")),
        Subject::Table(t) => plan.get(t).map(|table| format!("the table {}", table.name)),
        Subject::Chain(t, c) => chain(t, c).map(|(table, chain)| format!("the chain {table} {}", chain.name)),
        Subject::Rule(t, c, r) => chain(t, c).and_then(|(table, chain)| {
            Some(format!("the rule `{table} {} {}`", chain.name, text::rule_text(chain.rules.get(r)?)))
        }),
    }
    .unwrap_or_else(|| "the transaction".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ruleset::{Action, Match};

    /// What the probe must have: adding a kind of match or action without it would let a node
    /// choose a backend that fails later.
    #[test]
    fn the_probe_has_every_match_and_every_action() {
        let rules = probe::every_kind_of_rule();
        let rules: Vec<_> = rules.chains.iter().flat_map(|chain| &chain.rules).collect();
        let has = |wanted: &dyn Fn(&Match) -> bool| rules.iter().any(|rule| rule.matches.iter().any(wanted));
        let matches: [&dyn Fn(&Match) -> bool; 13] = [
            &|m| matches!(m, Match::InIface(_)),
            &|m| matches!(m, Match::OutIface(_)),
            &|m| matches!(m, Match::Proto(_)),
            &|m| matches!(m, Match::Source { .. }),
            &|m| matches!(m, Match::Destination { net, .. } if net.prefix_len() == 24),
            &|m| matches!(m, Match::DestinationPorts { not: true, .. }),
            &|m| matches!(m, Match::DestinationPorts { not: false, .. }),
            &|m| matches!(m, Match::SourcePort(_)),
            &|m| matches!(m, Match::Uid { .. }),
            &|m| matches!(m, Match::Gid { .. }),
            &|m| matches!(m, Match::Mark { .. }),
            &|m| matches!(m, Match::ConnMark(_)),
            &|m| matches!(m, Match::Ct(_)),
        ];
        for (index, wanted) in matches.into_iter().enumerate() {
            assert!(has(wanted), "no rule has match {index}");
        }
        let actions: [fn(&Action) -> bool; 10] = [
            |a| matches!(a, Action::Jump(_)),
            |a| matches!(a, Action::Return),
            |a| matches!(a, Action::Accept),
            |a| matches!(a, Action::Drop),
            |a| matches!(a, Action::Redirect(_)),
            |a| matches!(a, Action::Tproxy { .. }),
            |a| matches!(a, Action::SetMark(_)),
            |a| matches!(a, Action::SaveMark),
            |a| matches!(a, Action::RestoreMark),
            |a| matches!(a, Action::CtZone(_)),
        ];
        for (index, wanted) in actions.into_iter().enumerate() {
            assert!(rules.iter().any(|rule| wanted(&rule.action)), "no rule has action {index}");
        }
    }
}
