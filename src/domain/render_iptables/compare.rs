//! What a dump has that the ruleset has not, and the other way round.
//!
//! Our own chains must be exactly as wanted. In `PREROUTING` and `OUTPUT` other people's rules may
//! stand anywhere, except where they end every packet of a rule of ours before it gets there.

use super::dump::{Dump, DumpRule, DumpTable};
use super::{WantedChain, append_text, table_name, tool_name, wanted};
use crate::domain::ruleset::{Difference, Family, Rule, Ruleset, Table};

/// Lists every difference between a ruleset's rules for one family and `iptables-save`'s output
/// for it. Empty means that the namespace does what the ruleset says.
pub fn differences(ruleset: &Ruleset, family: Family, saved: &str) -> Vec<Difference> {
    let dump = Dump::parse(saved, family);
    let of_table = |table| {
        let wanted = wanted(ruleset, family, table);
        table_differences(&wanted, family, &dump.table(table_name(table)))
    };
    Table::ALL.into_iter().flat_map(of_table).collect()
}

/// The differences in one table.
pub(super) fn table_differences(wanted: &[WantedChain<'_>], family: Family, have: &DumpTable) -> Vec<Difference> {
    let mut found = Vec::new();
    for chain in wanted {
        found.extend(chain_differences(chain, family, have));
    }
    let is_wanted = |name: &str| wanted.iter().any(|chain| chain.chain.iptables_name() == name);
    for name in have.own_chains().filter(|name| !is_wanted(name)) {
        found.push(difference(family, have, name, "a chain of ours that is not wanted".to_owned()));
    }
    // In chains that hold none of our rules, leftovers of ours may still stand.
    for rule in &have.rules {
        let name = rule.parsed.chain.as_str();
        if !is_wanted(name) && !have.own_chains().any(|own| own == name) && have.is_ours(rule) {
            found.push(difference(family, have, name, format!("unexpected rule: {}", rule.text)));
        }
    }
    found
}

fn chain_differences(wanted: &WantedChain<'_>, family: Family, have: &DumpTable) -> Vec<Difference> {
    let name = wanted.chain.iptables_name();
    let all: Vec<&DumpRule> = have.rules_of(name).collect();
    let here = |what: String| difference(family, have, name, what);
    if !wanted.chain.is_hook() {
        if !have.chains.iter().any(|chain| chain == name) {
            return vec![here(format!("the chain is missing, with {} rules", wanted.rules.len()))];
        }
        return sequence_differences(name, family, &wanted.rules, &all).into_iter().map(here).collect();
    }
    let ours: Vec<&DumpRule> =
        all.iter().copied().filter(|rule| rule.is_among(&wanted.rules) || have.is_ours(rule)).collect();
    let mut found: Vec<Difference> =
        sequence_differences(name, family, &wanted.rules, &ours).into_iter().map(here).collect();
    found.extend(shadows(wanted, &all, have).map(|(rule, before)| {
        here(format!("{} ends every packet of {} before it gets there", rule.text, append_text(name, before, family)))
    }));
    found
}

/// Foreign rules of a hook that stand before a rule of ours and leave it nothing; each with the
/// first rule of ours that it starves.
fn shadows<'a>(
    wanted: &'a WantedChain<'a>,
    all: &'a [&'a DumpRule],
    have: &'a DumpTable,
) -> impl Iterator<Item = (&'a DumpRule, &'a Rule)> {
    let foreign = |rule: &DumpRule| !rule.is_among(&wanted.rules) && !have.is_ours(rule);
    all.iter().enumerate().filter(move |(_, rule)| foreign(rule)).filter_map(move |(at, rule)| {
        let starved = wanted.rules.iter().find(|own| {
            let stands_after = all.iter().skip(at).any(|later| later.equals(own));
            stands_after && rule.takes_all_of(own, have.matters())
        });
        starved.map(|own| (*rule, *own))
    })
}

/// Rules that are missing or too many; if there are none, the first place where the order differs.
fn sequence_differences(name: &str, family: Family, wanted: &[&Rule], have: &[&DumpRule]) -> Vec<String> {
    if wanted.len() == have.len() && wanted.iter().zip(have).all(|(rule, at)| at.equals(rule)) {
        return Vec::new();
    }
    let mut unmatched: Vec<&DumpRule> = have.to_vec();
    let mut found = Vec::new();
    for rule in wanted {
        match unmatched.iter().position(|candidate| candidate.equals(rule)) {
            Some(at) => drop(unmatched.remove(at)),
            None => found.push(format!("missing rule: {}", append_text(name, rule, family))),
        }
    }
    found.extend(unmatched.into_iter().map(|rule| format!("unexpected rule: {}", rule.text)));
    if found.is_empty() {
        let misplaced = wanted.iter().zip(have).find(|(rule, at)| !at.equals(rule));
        found.extend(misplaced.map(|(rule, at)| {
            format!("wrong order: {} stands where {} belongs", at.text, append_text(name, rule, family))
        }));
    }
    found
}

fn difference(family: Family, table: &DumpTable, chain: &str, what: String) -> Difference {
    Difference { place: format!("{} {} {chain}", tool_name(family), table.name), what }
}
