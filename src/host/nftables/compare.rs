//! Every way in which our tables differ from the plan.

use super::expr::Expr;
use super::plan::{Base, PlannedChain, PlannedTable};
use super::readback::{FoundChain, FoundTable};
use super::text::rule_text;
use crate::domain::ruleset::Difference;

/// The differences between what is wanted and what was found; empty means equal.
pub fn compare(plan: &[PlannedTable], found: &[FoundTable]) -> Vec<Difference> {
    let mut differences = Vec::new();
    for wanted in plan {
        match found.iter().find(|table| table.name == wanted.name) {
            None => differences.push(difference(wanted.name, "the table is missing")),
            Some(table) => compare_table(wanted, table, &mut differences),
        }
    }
    for table in found.iter().filter(|table| plan.iter().all(|wanted| wanted.name != table.name)) {
        differences.push(difference(table.name, "the table is not wanted"));
    }
    differences
}

fn compare_table(wanted: &PlannedTable, found: &FoundTable, differences: &mut Vec<Difference>) {
    if found.flags != 0 {
        let what =
            format!("the table has flags {:#x} (1 is dormant: its rules do nothing), wanted are none", found.flags);
        differences.push(difference(wanted.name, &what));
    }
    for chain in &wanted.chains {
        let place = format!("{} {}", wanted.name, chain.name);
        match found.chains.iter().find(|found| found.name == chain.name) {
            None => differences.push(difference(&place, "the chain is missing")),
            Some(found) => compare_chain(&place, chain, found, differences),
        }
    }
    for chain in found.chains.iter().filter(|chain| wanted.chains.iter().all(|wanted| wanted.name != chain.name)) {
        differences.push(difference(&format!("{} {}", found.name, chain.name), "the chain is not wanted"));
    }
}

fn compare_chain(place: &str, wanted: &PlannedChain, found: &FoundChain, differences: &mut Vec<Difference>) {
    if wanted.base != found.base {
        let what =
            format!("the chain is {}, wanted is {}", hook_text(found.base.as_ref()), hook_text(wanted.base.as_ref()));
        differences.push(difference(place, &what));
    }
    if !found.accepts {
        differences.push(difference(place, "the chain's policy is not accept"));
    }
    if wanted.rules == found.rules {
        return;
    }
    let missing = without(&wanted.rules, &found.rules);
    let unwanted = without(&found.rules, &wanted.rules);
    if missing.is_empty() && unwanted.is_empty() {
        differences.push(difference(place, "the rules are in another order"));
    }
    differences.extend(missing.iter().map(|rule| difference(place, &format!("missing rule `{}`", rule_text(rule)))));
    differences.extend(unwanted.iter().map(|rule| difference(place, &format!("unwanted rule `{}`", rule_text(rule)))));
}

/// The rules of `all` that have no counterpart in `others`, each counterpart used once.
fn without<'a>(all: &'a [Vec<Expr>], others: &[Vec<Expr>]) -> Vec<&'a Vec<Expr>> {
    let mut left: Vec<&Vec<Expr>> = others.iter().collect();
    all.iter()
        .filter(|rule| match left.iter().position(|other| other == rule) {
            Some(at) => {
                left.remove(at);
                false
            }
            None => true,
        })
        .collect()
}

fn hook_text(base: Option<&Base>) -> String {
    base.map_or_else(
        || "on no hook".to_owned(),
        |base| format!("of type {} on hook {} at priority {}", base.kind, base.hook, base.priority),
    )
}

fn difference(place: &str, what: &str) -> Difference {
    Difference { place: place.to_owned(), what: what.to_owned() }
}
