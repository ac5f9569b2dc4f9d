//! Our tables as they are, written as `nft list ruleset` would.

use super::plan::Base;
use super::readback::{FoundChain, FoundTable};
use super::text::rule_text;

/// The only flag of a table that an administrator sets: its rules do nothing.
const DORMANT: u32 = 1;

/// One table.
pub fn table_text(table: &FoundTable) -> String {
    let mut text = format!("table inet {} {{\n", table.name);
    if table.flags & DORMANT != 0 {
        text.push_str("\tflags dormant;\n");
    }
    text.extend(table.chains.iter().map(chain_text));
    text.push_str("}\n");
    text
}

fn chain_text(chain: &FoundChain) -> String {
    let mut text = format!("\tchain {} {{\n", chain.name);
    if let Some(Base { kind, hook, priority }) = &chain.base {
        let policy = if chain.accepts { "accept" } else { "drop" };
        text.push_str(&format!("\t\ttype {kind} hook {} priority {priority}; policy {policy};\n", hook_name(*hook)));
    }
    for rule in &chain.rules {
        text.push_str(&format!("\t\t{}\n", rule_text(rule)));
    }
    text.push_str("\t}\n");
    text
}

/// `NF_INET_*`, and what the inet family has besides.
fn hook_name(hook: u32) -> String {
    let names = ["prerouting", "input", "forward", "output", "postrouting", "ingress"];
    let at = usize::try_from(hook).ok();
    at.and_then(|at| names.get(at)).map_or_else(|| hook.to_string(), |name| (*name).to_owned())
}
