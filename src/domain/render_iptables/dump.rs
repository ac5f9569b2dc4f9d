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

    /// Whether a rule of this table in a chain that is not ours was nevertheless written by us, now
    /// or earlier: it jumps to a chain of ours, or it is of the shape of our other rules in
    /// `PREROUTING` and `OUTPUT`. Others write such rules too, so the shape counts only in a table
    /// with chains of ours, and beside the rules that come with it whenever it is ours.
    pub fn is_ours(&self, rule: &DumpRule) -> bool {
        if rule.jumps_to_own_chain() {
            return true;
        }
        let hooks = [Chain::Prerouting.iptables_name(), Chain::Output.iptables_name()];
        let shaped = hooks.contains(&rule.parsed.chain.as_str())
            && ((self.name == table_name(Table::Mangle) && rule.handles_our_marks()) || self.is_one_of_several(rule));
        shaped && self.own_chains().next().is_some()
    }

    /// Whether the rule lets a whole interface go as ours do: an excluded interface in both
    /// directions, a rerouted one beside a jump to a chain of ours.
    fn is_one_of_several(&self, rule: &DumpRule) -> bool {
        let Some([interface]) = rule.parsed.matches.as_deref() else { return false };
        let any = |wanted: &dyn Fn(&DumpRule) -> bool| self.rules.iter().any(wanted);
        match interface {
            Match::InIface(name) if rule.lets_go(Chain::Prerouting, interface) => {
                let out = Match::OutIface(name.clone());
                let rerouted = |other: &DumpRule| {
                    let matches = other.parsed.matches.as_deref().unwrap_or_default();
                    other.jumps_to_own_chain() && matches.contains(interface)
                };
                any(&|other| other.lets_go(Chain::Output, &out) || rerouted(other))
            }
            Match::OutIface(name) if rule.lets_go(Chain::Output, interface) => {
                let incoming = Match::InIface(name.clone());
                any(&|other| other.lets_go(Chain::Prerouting, &incoming))
            }
            _ => false,
        }
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

    fn jumps_to_own_chain(&self) -> bool {
        self.parsed.target.starts_with(OWN_PREFIX)
    }

    /// Whether it lets exactly this go: a whole interface.
    fn lets_go(&self, chain: Chain, interface: &Match) -> bool {
        self.parsed.chain == chain.iptables_name()
            && self.parsed.action == Some(Action::Return)
            && self.parsed.matches.as_deref() == Some(std::slice::from_ref(interface))
    }

    /// Whether it does with our marks what our rules do: for TCP only.
    fn handles_our_marks(&self) -> bool {
        let Some(matches) = &self.parsed.matches else { return false };
        let ours = |mark: u32| Rule::MARKS.contains(&mark);
        let looks_at_mark = matches.iter().any(|condition| match condition {
            Match::Mark { value, .. } | Match::ConnMark(value) => ours(*value),
            _ => false,
        });
        let does = match &self.parsed.action {
            Some(Action::Return | Action::SaveMark | Action::RestoreMark) => looks_at_mark,
            Some(Action::SetMark(mark)) => ours(*mark),
            _ => false,
        };
        does && matches.contains(&Match::Proto(Proto::Tcp))
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
