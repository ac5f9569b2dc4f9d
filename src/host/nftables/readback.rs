//! What is there: our tables as the kernel lists them, with every chain and rule.

use super::batch::{
    CHAIN_HOOK, CHAIN_NAME, CHAIN_POLICY, CHAIN_TABLE, CHAIN_TYPE, HOOK_NUM, HOOK_PRIORITY, POLICY_ACCEPT, RULE_CHAIN,
    RULE_EXPRESSIONS, RULE_TABLE, TABLE_FLAGS, TABLE_NAME, kind, nfgenmsg,
};
use super::codec::LIST_ELEM;
use super::expr::Expr;
use super::plan::Base;
use crate::domain::nft::table_name;
use crate::domain::ruleset::Table;
use crate::host::netlink::{Message, NLM_F_DUMP, NLM_F_REQUEST, Netlink};
use crate::host::nlattr::{Writer, attributes, be32, find, text};
use std::io;

/// One of our tables, as it is.
#[derive(Debug)]
pub struct FoundTable {
    pub name: &'static str,
    /// `NFT_TABLE_F_*`; a dormant table's rules do nothing.
    pub flags: u32,
    pub chains: Vec<FoundChain>,
}

/// One of its chains, as it is.
#[derive(Debug)]
pub struct FoundChain {
    pub name: String,
    pub base: Option<Base>,
    /// Whether a base chain's policy is accept.
    pub accepts: bool,
    pub rules: Vec<Vec<Expr>>,
}

/// The length of `struct nfgenmsg`, in front of the attributes.
const GENMSG: usize = 4;

/// Our tables that exist, without what is in them. Asking is cheap, and most namespaces have none yet.
pub fn our_tables(netlink: &mut Netlink) -> io::Result<Vec<FoundTable>> {
    dump(netlink, libc::NFT_MSG_GETTABLE, |tables: &mut Vec<FoundTable>, attributes| {
        let flags = find(attributes, TABLE_FLAGS).and_then(be32).unwrap_or_default();
        let name = find(attributes, TABLE_NAME).and_then(ours);
        tables.extend(name.map(|name| FoundTable { name, flags, chains: Vec::new() }));
    })
}

/// The families that have any table, whoever's; iptables' own nf_tables variant uses `ip` and `ip6`.
pub fn families(netlink: &mut Netlink) -> io::Result<Vec<u8>> {
    let request = request(libc::NFT_MSG_GETTABLE, libc::NFPROTO_UNSPEC);
    netlink.dump(request, Vec::new, |families: &mut Vec<u8>, message: Message<'_>| {
        families.extend(message.payload.first());
    })
}

/// Our tables with all that is in them; nothing is read beyond the names when there are none.
pub fn read_back(netlink: &mut Netlink) -> io::Result<Vec<FoundTable>> {
    let mut tables = our_tables(netlink)?;
    if tables.is_empty() {
        return Ok(tables);
    }
    let chains = dump(netlink, libc::NFT_MSG_GETCHAIN, |chains: &mut Vec<_>, attributes| {
        chains.extend(read_chain(attributes));
    })?;
    for (table, chain) in chains {
        if let Some(table) = tables.iter_mut().find(|found| found.name == table) {
            table.chains.push(chain);
        }
    }
    let rules = dump(netlink, libc::NFT_MSG_GETRULE, |rules: &mut Vec<_>, attributes| {
        rules.extend(read_rule(attributes));
    })?;
    for (table, chain, rule) in rules {
        let chains = tables.iter_mut().filter(|found| found.name == table).flat_map(|found| &mut found.chains);
        if let Some(chain) = chains.into_iter().find(|found| found.name == chain) {
            chain.rules.push(rule);
        }
    }
    Ok(tables)
}

/// One dump of the inet family.
fn dump<S: Default>(netlink: &mut Netlink, message: libc::c_int, mut each: impl FnMut(&mut S, &[u8])) -> io::Result<S> {
    netlink.dump(request(message, libc::NFPROTO_INET), S::default, |state, message: Message<'_>| {
        each(state, message.payload.get(GENMSG..).unwrap_or_default());
    })
}

fn request(message: libc::c_int, family: libc::c_int) -> impl FnMut(u32) -> Vec<u8> {
    move |seq| {
        let mut writer = Writer::with_capacity(32);
        writer.message(kind(message), NLM_F_REQUEST | NLM_F_DUMP, seq, &nfgenmsg(family, 0), |_| {});
        writer.into_bytes()
    }
}

/// Our own name of a table, if it is ours.
fn ours(name: &[u8]) -> Option<&'static str> {
    let name = text(name)?;
    Table::ALL.into_iter().map(table_name).find(|ours| *ours == name)
}

fn read_chain(attributes: &[u8]) -> Option<(&'static str, FoundChain)> {
    let table = find(attributes, CHAIN_TABLE).and_then(ours)?;
    let name = find(attributes, CHAIN_NAME).and_then(text)?.to_owned();
    let base = find(attributes, CHAIN_HOOK).map(|hook| Base {
        kind: find(attributes, CHAIN_TYPE).and_then(text).unwrap_or_default().to_owned(),
        hook: find(hook, HOOK_NUM).and_then(be32).unwrap_or(u32::MAX),
        priority: find(hook, HOOK_PRIORITY).and_then(be32).unwrap_or_default().cast_signed(),
    });
    let policy = find(attributes, CHAIN_POLICY).and_then(be32);
    Some((
        table,
        FoundChain { name, accepts: policy.is_none_or(|policy| policy == POLICY_ACCEPT), base, rules: Vec::new() },
    ))
}

fn read_rule(rule: &[u8]) -> Option<(&'static str, String, Vec<Expr>)> {
    let table = find(rule, RULE_TABLE).and_then(ours)?;
    let chain = find(rule, RULE_CHAIN).and_then(text)?.to_owned();
    let list = find(rule, RULE_EXPRESSIONS).unwrap_or_default();
    let exprs =
        attributes(list).filter(|(kind, _)| *kind == LIST_ELEM).map(|(_, element)| Expr::read(element)).collect();
    Some((table, chain, exprs))
}
