//! Our rules against those that the reference plugin left behind, where its recorded dumps are on
//! this machine (`../shared/conformance`, or the directory in `CONFORMANCE`).

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

use istio_cni_otel::domain::decision::{Decision, decide};
use istio_cni_otel::domain::render_iptables::{Dump, differences, restore_text};
use istio_cni_otel::domain::ruleset::{Action, Chain, Family, Match, Rule, Ruleset, Table, build};
use istio_cni_otel::domain::{nft, render_nft};
use istio_cni_otel::k8s::pod::Pod;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// A recorded case: its name, its pod's rules as we build them, and the reference's dumps.
struct Case {
    name: String,
    rules: Ruleset,
    seen: serde_json::Value,
}

impl Case {
    /// One recorded dump, line by line.
    fn dump(&self, what: &str) -> Vec<&str> {
        self.seen["rules"][what].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect()
    }
}

/// The cases in which the reference enrolled the pod with this backend; None, said on the
/// terminal, where there are no records.
fn cases(native_nftables: bool) -> Option<Vec<Case>> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance");
    let directory = std::env::var_os("CONFORMANCE").map_or_else(default, PathBuf::from).join("cases");
    if !directory.is_dir() {
        // Past the test harness's capture, so that it is seen in any case.
        let _ = writeln!(
            std::io::stderr(),
            "recorded_rules: {} is not on this machine, so the reference's recorded rules were NOT compared",
            directory.display()
        );
        return None;
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let cases: Vec<Case> = files.iter().filter_map(|file| case(file, native_nftables)).collect();
    assert!(cases.len() >= 10, "only {} recorded cases are of this backend", cases.len());
    Some(cases)
}

fn case(file: &Path, native_nftables: bool) -> Option<Case> {
    let case: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let addresses: &[&str] = match case["netns"].as_str().unwrap() {
        "v4" => &["10.1.0.5"],
        "v6" => &["fd00:1::5"],
        "dual" => &["10.1.0.5", "fd00:1::5"],
        other => panic!("{}: namespace with {other}", file.display()),
    };
    let is_native = case["conf"]["native_nftables"] == true;
    let left = ["iptables-save", "nft"].map(|dump| !case["seen"]["rules"][dump].as_array().unwrap().is_empty());
    if is_native != native_nftables || case["expect"]["exit"] != 0 || left == [false, false] {
        return None;
    }
    let pod: Pod = serde_json::from_value(case["pod"].clone()).unwrap();
    let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    match decide(&pod.into_facts()).unwrap() {
        Decision::Skip(skip) => panic!("{} is skipped: {}", file.display(), skip.message),
        Decision::Enroll(settings) => Some(Case {
            name: file.file_stem().unwrap().to_string_lossy().into_owned(),
            rules: build(&settings, &addresses).unwrap(),
            seen: case["seen"].clone(),
        }),
    }
}

/// The rules of each table and chain, in order.
fn by_chain(text: &str, family: Family) -> BTreeMap<(String, String), Vec<String>> {
    let mut chains: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for table in Dump::parse(text, family).tables {
        for rule in table.rules {
            chains.entry((table.name.clone(), rule.parsed.chain.clone())).or_default().push(rule.text);
        }
    }
    chains
}

#[test]
fn the_iptables_rules_are_those_that_the_reference_leaves() {
    let Some(cases) = cases(false) else { return };
    for case in cases {
        for (family, dump) in [(Family::V4, "iptables-save"), (Family::V6, "ip6tables-save")] {
            let seen = case.dump(dump).join("\n");
            let ours = by_chain(&restore_text(&case.rules, family), family);
            assert_eq!(ours, by_chain(&seen, family), "{} {dump}", case.name);
            assert_eq!(differences(&case.rules, family, &seen), [], "{} {dump}", case.name);
        }
    }
}

/// Ours does in nf_tables what the reference does in iptables, so there are three kinds of rules in
/// which it is not like the reference's: IPv6 is let go first where it gets no rules, invalid packets
/// of every protocol are dropped, and so is what is for a transparent socket that is not there.
fn as_the_reference(rules: &Ruleset) -> Vec<(Table, Chain, Vec<String>)> {
    let chains = nft::nft_chains(rules).into_iter();
    chains
        .map(|chain| {
            let lets_ipv6_go = chain.base.is_some() && !rules.ipv6;
            let undelivered = |rule: &Rule| chain.chain == Chain::Tproxy && rule.action == Action::Drop;
            let rules = chain.rules.into_iter().skip(usize::from(lets_ipv6_go));
            let rules = rules.filter(|rule| !undelivered(rule)).map(|mut rule| {
                if rule.action == Action::Jump(Chain::Drop) {
                    rule.matches.push(Match::Proto(istio_cni_otel::domain::ruleset::Proto::Tcp));
                }
                plain(&render_nft::rule_text(&rule))
            });
            (chain.table, chain.chain, rules.collect())
        })
        .collect()
}

/// The words of a rule without regard to their order and to spellings of the same value.
fn plain(rule: &str) -> String {
    let rule = rule.replace("ip daddr 0.0.0.0/0", "meta nfproto ipv4");
    let mut words: Vec<String> = rule
        .split_whitespace()
        .map(|word| word.trim_end_matches("/32").trim_end_matches("/128"))
        .map(|word| match word.strip_prefix("0x") {
            Some(digits) => format!("0x{}", digits.trim_start_matches('0')),
            None => word.to_owned(),
        })
        .collect();
    words.sort();
    words.join(" ")
}

#[test]
fn the_nftables_rules_are_those_that_the_reference_leaves() {
    let Some(cases) = cases(true) else { return };
    for case in cases {
        let seen = case.dump("nft").join("\n");
        for (table, chain, mut ours) in as_the_reference(&case.rules) {
            let mut theirs = nft_rules(&seen, nft::table_name(table), chain.nft_name());
            if (table, chain, case.rules.ipv6) == (Table::Mangle, Chain::Inbound, true) {
                // Its inserts end up in another order here; all four return, so no packet tells.
                ours[..4].sort();
                theirs[..4].sort();
            }
            assert_eq!(ours, theirs, "{} {} {}", case.name, nft::table_name(table), chain.nft_name());
        }
    }
}

/// The rules of one chain in `nft list ruleset`'s output.
fn nft_rules(text: &str, table: &str, chain: &str) -> Vec<String> {
    let in_table = text.lines().skip_while(|line| *line != format!("table inet {table} {{"));
    let in_chain =
        in_table.skip(1).take_while(|line| *line != "}").skip_while(|line| *line != format!("\tchain {chain} {{"));
    let rules = in_chain.skip(1).take_while(|line| *line != "\t}").map(str::trim);
    rules.filter(|line| !line.starts_with("type ")).map(plain).collect()
}
