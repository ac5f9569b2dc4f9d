//! The input of `iptables-restore --noflush` that makes a namespace have exactly our rules,
//! whatever older, partial or changed rules of ours it has. Each table is one transaction.

use super::compare::table_differences;
use super::dump::{Dump, DumpRule, DumpTable};
use super::{WantedChain, append_text, rule_text, table_name, wanted};
use crate::domain::ruleset::{Family, Ruleset, Table};

/// The input for a namespace without any rules of ours; empty when the family gets no rules.
pub fn restore_text(ruleset: &Ruleset, family: Family) -> String {
    repair_text(ruleset, family, "")
}

/// The input for a namespace whose `iptables-save` printed `saved`. Tables that are as wanted are
/// not touched; empty means that none differs. Other people's rules stay, and ours go before them
/// only in a hook where they would otherwise get nothing.
pub fn repair_text(ruleset: &Ruleset, family: Family, saved: &str) -> String {
    let dump = Dump::parse(saved, family);
    let mut text = String::new();
    for table in Table::ALL {
        let wanted = wanted(ruleset, family, table);
        let have = dump.table(table_name(table));
        if table_differences(&wanted, family, &have).is_empty() {
            continue;
        }
        text.push_str(&format!("*{}\n", have.name));
        for line in repair_lines(&wanted, family, &have) {
            text.push_str(&line);
            text.push('\n');
        }
        text.push_str("COMMIT\n");
    }
    within_word_limit(&text)
}

/// The same input with fewer words where a line has more than the tools take, which is 255. They
/// print one condition on an owner as five words, but also read it as three.
pub fn within_word_limit(input: &str) -> String {
    const SAFE: usize = 200;
    let shorten = |line: &str| {
        if line.split_whitespace().count() <= SAFE {
            return line.to_owned();
        }
        let joined = line.replace("-m owner", "-mowner");
        joined.replace("--gid-owner ", "--gid-owner=").replace("--uid-owner ", "--uid-owner=")
    };
    input.split_inclusive('\n').map(shorten).collect()
}

/// The lines of one table: empty all chains of ours, take our rules out of the others, add what is
/// wanted, remove the chains that are not.
fn repair_lines(wanted: &[WantedChain<'_>], family: Family, have: &DumpTable) -> Vec<String> {
    let own = || wanted.iter().filter(|chain| !chain.chain.is_hook());
    let stale: Vec<&str> =
        have.own_chains().filter(|name| !own().any(|chain| chain.chain.iptables_name() == *name)).collect();
    let mut lines: Vec<String> = Vec::new();
    let emptied = own().map(|chain| chain.chain.iptables_name()).chain(stale.iter().copied());
    lines.extend(emptied.map(|name| format!(":{name} - [0:0]")));
    lines.extend(leftovers(wanted, have).map(|rule| rule.text.replacen("-A", "-D", 1)));
    for chain in wanted {
        lines.extend(chain_lines(chain, family, have));
    }
    lines.extend(stale.iter().map(|name| format!("-X {name}")));
    lines
}

/// Our rules in chains that are not ours.
fn leftovers<'a>(wanted: &'a [WantedChain<'a>], have: &'a DumpTable) -> impl Iterator<Item = &'a DumpRule> {
    have.rules.iter().filter(move |rule| {
        let name = rule.parsed.chain.as_str();
        let in_own_chain = have.own_chains().any(|own| own == name);
        let is_wanted =
            || wanted.iter().any(|chain| chain.chain.iptables_name() == name && rule.is_among(&chain.rules));
        !in_own_chain && (have.is_ours(rule) || is_wanted())
    })
}

fn chain_lines(chain: &WantedChain<'_>, family: Family, have: &DumpTable) -> Vec<String> {
    let name = chain.chain.iptables_name();
    let foreign: Vec<&DumpRule> =
        have.rules_of(name).filter(|rule| !rule.is_among(&chain.rules) && !have.is_ours(rule)).collect();
    let starving = foreign.iter().any(|rule| chain.rules.iter().any(|own| rule.takes_all_of(own, have.matters())));
    if chain.chain.is_hook() && starving {
        let numbered = (1..).zip(&chain.rules);
        return numbered.map(|(at, rule)| format!("-I {name} {at} {}", rule_text(rule, family))).collect();
    }
    chain.rules.iter().map(|rule| append_text(name, rule, family)).collect()
}

#[cfg(test)]
#[path = "repair_tests.rs"]
mod tests;
