//! The output of `iptables-save`: tables, their chains, and rules in order, known or not.

use super::parse::{ParsedRule, parse_rule};
use super::{OWN_PREFIX, table_name};
use crate::domain::ruleset::{Action, Chain, Family, Match, Proto, Rule, Table};

/// A dump of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    pub tables: Vec<DumpTable>,
}

/// One table of a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DumpTable {
    /// The table's name, `nat` for example.
    pub name: String,
    /// Chains in the order of the dump, built-in ones too.
    pub chains: Vec<String>,
    /// Rules in the order of the dump.
    pub rules: Vec<DumpRule>,
}

/// One rule of a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpRule {
    /// The line from `-A` on, without counters.
    pub text: String,
    /// What could be understood of it.
    pub parsed: ParsedRule,
}

impl Dump {
    /// Reads a dump. Comments and lines of no known form are passed over.
    pub fn parse(text: &str, family: Family) -> Dump {
        let mut dump = Dump::default();
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('*') {
                dump.tables.push(DumpTable { name: name.trim().to_owned(), ..DumpTable::default() });
                continue;
            }
            let Some(table) = dump.tables.last_mut() else { continue };
            if let Some(chain) = line.strip_prefix(':') {
                table.chains.extend(chain.split_whitespace().next().map(str::to_owned));
            } else if let Some(parsed) = parse_rule(line, family) {
                let text = line.find("-A ").and_then(|start| line.get(start..)).unwrap_or(line);
                table.rules.push(DumpRule { text: text.to_owned(), parsed });
            }
        }
        dump
    }

    /// The table of that name; a table that is not in the dump is empty.
    pub fn table(&self, name: &str) -> DumpTable {
        let found = self.tables.iter().find(|table| table.name == name).cloned();
        found.unwrap_or_else(|| DumpTable { name: name.to_owned(), ..DumpTable::default() })
    }
}

impl DumpTable {
    /// The rules of one chain, in order.
    pub fn rules_of<'a>(&'a self, chain: &'a str) -> impl Iterator<Item = &'a DumpRule> {
        self.rules.iter().filter(move |rule| rule.parsed.chain == chain)
    }

    /// The protocol that our rules in this table are about.
    pub fn matters(&self) -> Proto {
        if self.name == table_name(Table::Raw) { Proto::Udp } else { Proto::Tcp }
    }

    /// Our chains, and those that other versions of us left.
    pub fn own_chains(&self) -> impl Iterator<Item = &str> {
        self.chains.iter().map(String::as_str).filter(|name| name.starts_with(OWN_PREFIX))
    }
}

impl DumpRule {
    /// Whether the rule is one of these.
    pub fn is_among(&self, rules: &[&Rule]) -> bool {
        rules.iter().any(|rule| self.equals(rule))
    }

    /// Whether the rule says the same as `rule`.
    pub fn equals(&self, rule: &Rule) -> bool {
        self.parsed.action.as_ref() == Some(&rule.action)
            && self.parsed.matches.as_deref() == Some(rule.matches.as_slice())
    }

    /// Whether a rule in a chain that is not ours was nevertheless written by us, now or earlier:
    /// it jumps to a chain of ours, or it is of a shape that only our rules in `PREROUTING` and
    /// `OUTPUT` have: letting a whole interface go, or handling our marks.
    pub fn looks_like_ours(&self) -> bool {
        if self.parsed.target.starts_with(OWN_PREFIX) {
            return true;
        }
        let hooks = [Chain::Prerouting.iptables_name(), Chain::Output.iptables_name()];
        if !hooks.contains(&self.parsed.chain.as_str()) {
            return false;
        }
        let Some(matches) = &self.parsed.matches else { return false };
        let ours = |mark: u32| Rule::MARKS.contains(&mark);
        let handles_mark = matches.iter().any(|condition| match condition {
            Match::Mark { value, .. } | Match::ConnMark(value) => ours(*value),
            _ => false,
        });
        match (&self.parsed.action, &matches[..]) {
            (Some(Action::Return), [Match::InIface(_) | Match::OutIface(_)]) => true,
            (Some(Action::Return | Action::SaveMark | Action::RestoreMark), _) => handles_mark,
            (Some(Action::SetMark(mark)), _) => ours(*mark),
            _ => false,
        }
    }

    /// Whether every packet of `rule` that matters to us ends here before it gets there. What
    /// matters is one protocol: TCP, or UDP in the raw table.
    pub fn takes_all_of(&self, rule: &Rule, matters: Proto) -> bool {
        const FINAL: [&str; 9] =
            ["ACCEPT", "DROP", "RETURN", "REJECT", "REDIRECT", "DNAT", "SNAT", "MASQUERADE", "TPROXY"];
        let Some(matches) = &self.parsed.matches else { return false };
        let holds = |condition: &Match| *condition == Match::Proto(matters) || rule.matches.contains(condition);
        FINAL.contains(&self.parsed.target.as_str()) && matches.iter().all(holds)
    }
}
