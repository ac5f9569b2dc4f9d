//! The messages of one transaction: the kernel takes all of it or nothing.

use super::expr::Expr;
use super::plan::{Base, PlannedTable};
use crate::host::netlink::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, Netlink};
use crate::host::nlattr::Writer;

// Attribute types (linux/netfilter/nf_tables.h), shared with the reading side.
pub const TABLE_NAME: u16 = 1;
pub const TABLE_FLAGS: u16 = 2;
pub const CHAIN_TABLE: u16 = 1;
pub const CHAIN_NAME: u16 = 3;
pub const CHAIN_HOOK: u16 = 4;
pub const CHAIN_POLICY: u16 = 5;
pub const CHAIN_TYPE: u16 = 7;
pub const HOOK_NUM: u16 = 1;
pub const HOOK_PRIORITY: u16 = 2;
pub const RULE_TABLE: u16 = 1;
pub const RULE_CHAIN: u16 = 2;
pub const RULE_EXPRESSIONS: u16 = 4;
/// `NF_ACCEPT`, the policy of our base chains.
pub const POLICY_ACCEPT: u32 = 1;

/// What one message of a transaction is about; indices into the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Whole,
    DropTable(&'static str),
    Table(usize),
    Chain(usize, usize),
    Rule(usize, usize, usize),
}

/// A transaction, ready to be sent.
pub struct Batch {
    pub bytes: Vec<u8>,
    pub first_seq: u32,
    /// What each message is about, from the first sequence number on.
    pub subjects: Vec<Subject>,
}

impl Batch {
    /// What the message with this sequence number is about.
    pub fn subject(&self, seq: u32) -> Subject {
        let index = seq.checked_sub(self.first_seq).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| self.subjects.get(index)).copied().unwrap_or(Subject::Whole)
    }
}

/// The type of an nf_tables message.
pub const fn kind(message: libc::c_int) -> u16 {
    ((libc::NFNL_SUBSYS_NFTABLES << 8) | message) as u16
}

/// `struct nfgenmsg`: family, version, and for the ends of a batch the subsystem.
pub const fn nfgenmsg(family: libc::c_int, resource: u16) -> [u8; 4] {
    let resource = resource.to_be_bytes();
    [family as u8, 0, resource[0], resource[1]]
}

const INET: [u8; 4] = nfgenmsg(libc::NFPROTO_INET, 0);
const BATCH: [u8; 4] = nfgenmsg(libc::NFPROTO_UNSPEC, libc::NFNL_SUBSYS_NFTABLES as u16);
const CREATE: u16 = NLM_F_CREATE | NLM_F_EXCL;

/// The transaction that removes `old` tables of ours and makes the planned ones; it fails when a
/// planned table is there and not among `old`, or when one of `old` is gone.
pub fn batch(netlink: &mut Netlink, old: &[&'static str], plan: &[PlannedTable]) -> Batch {
    let rules: usize = plan.iter().flat_map(|table| &table.chains).map(|chain| chain.rules.len()).sum();
    let mut messages = Messages {
        writer: Writer::with_capacity(1024 + 512 * rules),
        subjects: Vec::with_capacity(rules + 32),
        netlink,
        first_seq: None,
        last: 0,
    };
    messages.add(libc::NFNL_MSG_BATCH_BEGIN as u16, 0, BATCH, Subject::Whole, |_| {});
    for name in old {
        let message = kind(libc::NFT_MSG_DELTABLE);
        messages.add(message, 0, INET, Subject::DropTable(name), |w| w.text(TABLE_NAME, name));
    }
    for (t, table) in plan.iter().enumerate() {
        messages.add(kind(libc::NFT_MSG_NEWTABLE), CREATE, INET, Subject::Table(t), |w| w.text(TABLE_NAME, table.name));
        for (c, chain) in table.chains.iter().enumerate() {
            messages.add(kind(libc::NFT_MSG_NEWCHAIN), CREATE, INET, Subject::Chain(t, c), |w| {
                w.text(CHAIN_TABLE, table.name);
                w.text(CHAIN_NAME, chain.name);
                if let Some(base) = &chain.base {
                    write_base(w, base);
                }
            });
        }
        for (c, chain) in table.chains.iter().enumerate() {
            for (r, rule) in chain.rules.iter().enumerate() {
                let subject = Subject::Rule(t, c, r);
                messages.add(kind(libc::NFT_MSG_NEWRULE), NLM_F_CREATE | NLM_F_APPEND, INET, subject, |w| {
                    write_rule(w, table.name, chain.name, rule);
                });
            }
        }
    }
    messages.finish()
}

fn write_base(w: &mut Writer, base: &Base) {
    w.nested(CHAIN_HOOK, |hook| {
        hook.be32(HOOK_NUM, base.hook);
        hook.be32(HOOK_PRIORITY, base.priority.cast_unsigned());
    });
    w.be32(CHAIN_POLICY, POLICY_ACCEPT);
    w.text(CHAIN_TYPE, &base.kind);
}

fn write_rule(w: &mut Writer, table: &str, chain: &str, rule: &[Expr]) {
    w.text(RULE_TABLE, table);
    w.text(RULE_CHAIN, chain);
    w.nested(RULE_EXPRESSIONS, |list| rule.iter().for_each(|expr| expr.write(list)));
}

/// The messages written so far.
struct Messages<'a> {
    writer: Writer,
    subjects: Vec<Subject>,
    netlink: &'a mut Netlink,
    first_seq: Option<u32>,
    /// Where the last message starts.
    last: usize,
}

impl Messages<'_> {
    fn add(&mut self, kind: u16, flags: u16, fixed: [u8; 4], subject: Subject, attributes: impl FnOnce(&mut Writer)) {
        let seq = self.netlink.next_seq();
        self.first_seq.get_or_insert(seq);
        self.subjects.push(subject);
        self.last = self.writer.message(kind, NLM_F_REQUEST | flags, seq, &fixed, attributes);
    }

    /// Ends the batch. A message that fails is answered unasked; one acknowledgement, of the last
    /// message, is all that is needed beyond that. One for each would overflow the socket, and the
    /// batch's end itself is not acknowledged by older kernels.
    fn finish(mut self) -> Batch {
        self.writer.add_flags(self.last, NLM_F_ACK);
        self.add(libc::NFNL_MSG_BATCH_END as u16, 0, BATCH, Subject::Whole, |_| {});
        Batch {
            bytes: self.writer.into_bytes(),
            first_seq: self.first_seq.unwrap_or_default(),
            subjects: self.subjects,
        }
    }
}
