//! A ruleset as one text for people and files: a backend's own language, and what is not in the
//! tables as commands in comments.

use super::request::Backend;
use super::ruleset::{Family, Ruleset};
use super::{render_iptables, render_nft};

/// The rules in a backend's language (`Auto` is nftables), then addresses and routing.
pub fn text(rules: &Ruleset, backend: Backend) -> String {
    let tables = if backend == Backend::Iptables { iptables(rules) } else { nft(rules) };
    tables + &routing(rules)
}

/// The whole script, after the command that takes it.
fn nft(rules: &Ruleset) -> String {
    let script = render_nft::script(rules);
    if script.is_empty() { script } else { format!("# nft -f -\n{script}") }
}

/// What each family's tool gets, after the command that takes it.
fn iptables(rules: &Ruleset) -> String {
    let mut text = String::new();
    for family in Family::ALL {
        let input = render_iptables::restore_text(rules, family);
        if !input.is_empty() {
            text.push_str(&format!("# {}-restore --noflush\n{input}", render_iptables::tool_name(family)));
        }
    }
    text
}

/// What is not in the tables, as commands that would do it.
fn routing(rules: &Ruleset) -> String {
    let mut text = String::new();
    for address in &rules.loopback {
        text.push_str(&format!("# ip -6 addr add {address} dev lo\n"));
    }
    let families: &[&str] = if rules.ipv6 { &["-4", "-6"] } else { &["-4"] };
    if let Some(routing) = rules.routing {
        for family in families {
            text.push_str(&format!("# ip {family} rule add fwmark {} lookup {}\n", routing.mark, routing.table));
            text.push_str(&format!("# ip {family} route add local default dev lo table {}\n", routing.table));
        }
    }
    text
}
