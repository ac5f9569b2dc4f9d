//! The renderings against the real tools and the kernel: every golden pod's rules are accepted,
//! saved back equal, and bring any other pod's rules to their own. Each scenario has a network
//! namespace of its own; without root, in a user namespace.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests assert by panicking")]

use istio_cni_otel::domain::decision::{Decision, decide};
use istio_cni_otel::domain::outbound::{LOOPBACK_CIDR, OWNER_GROUPS, OWNER_GROUPS_EXCLUDE, Outbound, OwnerGroups};
use istio_cni_otel::domain::render_iptables::{differences, repair_text, restore_text};
use istio_cni_otel::domain::render_nft;
use istio_cni_otel::domain::ruleset::{Family, Ruleset, build};
use istio_cni_otel::k8s::pod::Pod;
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

/// The user and group that most golden pods' proxies have.
const PROXY: u32 = 1337;

/// A network namespace that lives as long as the value, and a shell inside.
struct Scratch {
    shell: Child,
    answers: Lines<BufReader<ChildStdout>>,
    files: tempfile::TempDir,
}

impl Scratch {
    fn new() -> Scratch {
        let mut unshare = Command::new("unshare");
        if !is_root() {
            unshare.args(["--user", "--keep-caps", &format!("--map-user={PROXY}"), &format!("--map-group={PROXY}")]);
        }
        unshare.args(["--net", "sh"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = unshare.spawn().expect("unshare is needed: apt-get install util-linux");
        let answers = BufReader::new(shell.stdout.take().unwrap()).lines();
        let mut scratch = Scratch { shell, answers, files: tempfile::tempdir().unwrap() };
        scratch.run("true", "").unwrap_or_else(|error| panic!("the kernel lets this user make no namespaces: {error}"));
        scratch
    }

    /// Runs a command inside; its output, or what it complained of.
    fn run(&mut self, command: &str, input: &str) -> Result<String, String> {
        let [stdin, stdout, stderr, lock] = ["in", "out", "err", "lock"].map(|name| self.files.path().join(name));
        std::fs::write(&stdin, input).unwrap();
        let line = format!(
            "XTABLES_LOCKFILE={} PATH=$PATH:/usr/sbin:/sbin {command} <{} >{} 2>{}; echo $?\n",
            lock.display(),
            stdin.display(),
            stdout.display(),
            stderr.display()
        );
        self.shell.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
        let status = self.answers.next().map(|line| line.unwrap());
        let text = |path| std::fs::read_to_string(path).unwrap_or_default();
        match status.as_deref() {
            Some("0") => Ok(text(&stdout)),
            status => Err(format!("{command} ended with {status:?}: {}\n{input}", text(&stderr))),
        }
    }

    fn restore(&mut self, variant: Variant, family: Family, text: &str) {
        if !text.is_empty() {
            self.run(&variant.restore(family), text).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    fn save(&mut self, variant: Variant, family: Family) -> String {
        self.run(&variant.tool(family, "save"), "").unwrap_or_else(|error| panic!("{error}"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// A variant of the tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Nft,
    Legacy,
}

impl Variant {
    fn restore(self, family: Family) -> String {
        format!("{} --noflush", self.tool(family, "restore"))
    }

    fn tool(self, family: Family, what: &str) -> String {
        let name = if family == Family::V4 { "iptables" } else { "ip6tables" };
        let variant = if self == Variant::Nft { "nft" } else { "legacy" };
        format!("{name}-{variant}-{what}")
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Says what was left out, past the harness's capture.
fn not_tested(what: &str) {
    let _ = writeln!(std::io::stderr(), "kernel_rules: NOT tested with {what}");
}

/// The variants of iptables that this machine has.
fn variants() -> Vec<Variant> {
    let mut scratch = Scratch::new();
    let mut found = Vec::new();
    for variant in [Variant::Nft, Variant::Legacy] {
        let restored = scratch.run(&variant.restore(Family::V4), "*nat\nCOMMIT\n");
        // Without root, the kernel does not show the legacy variant's tables.
        match restored.and_then(|_| scratch.run(&variant.tool(Family::V4, "save"), "")) {
            Ok(_) => found.push(variant),
            Err(error) => not_tested(&format!("{variant:?}: {error}")),
        }
    }
    assert!(!found.is_empty(), "no variant of iptables works here: apt-get install iptables");
    found
}

/// The rulesets of the golden pods that get rules, with their names.
fn rulesets() -> Vec<(String, Ruleset)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let pods = files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let found: Vec<(String, Ruleset)> = pods.filter_map(|path| ruleset(path)).collect();
    assert!(found.len() >= 29, "only {} golden pods get rules", found.len());
    found
}

fn ruleset(path: &Path) -> Option<(String, Ruleset)> {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let text = std::fs::read_to_string(path).unwrap();
    let pod: Pod = serde_saphyr::from_str(&text).unwrap();
    let Ok(Decision::Enroll(mut settings)) = decide(&pod.into_facts()) else { return None };
    let said = |what: &str| text.lines().find_map(|line| line.strip_prefix(&format!("# {what}: ")));
    let variable = |name: &str| {
        let heads = [
            (OWNER_GROUPS, "owner-groups"),
            (OWNER_GROUPS_EXCLUDE, "owner-groups-exclude"),
            (LOOPBACK_CIDR, "loopback-cidr"),
        ];
        said(heads.into_iter().find(|(variable, _)| *variable == name)?.1).map(str::to_owned)
    };
    settings.outbound = Outbound::read(variable, |_| None).ok()?;
    // iptables takes only users and groups that its user namespace knows.
    let own = matches!(&settings.outbound.groups, OwnerGroups::AllBut(ids) | OwnerGroups::Only(ids) if ids.is_empty());
    let nameable = own && (settings.proxy_uid, settings.proxy_gid) == (PROXY, PROXY);
    if !is_root() && !nameable {
        not_tested(&format!("{name}, for want of root"));
        return None;
    }
    let addresses: &[&str] = match said("family") {
        Some("v4") => &["192.0.2.1"],
        Some("v6") => &["2001:db8::1"],
        _ => &["192.0.2.1", "2001:db8::1"],
    };
    let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    Some((name, build(&settings, &addresses).unwrap()))
}

#[test]
fn iptables_takes_every_pod_s_rules_and_saves_them_equal() {
    for variant in variants() {
        for (name, rules) in rulesets() {
            let mut scratch = Scratch::new();
            for family in Family::ALL {
                scratch.restore(variant, family, &restore_text(&rules, family));
                let saved = scratch.save(variant, family);
                assert_eq!(differences(&rules, family, &saved), [], "{name} {variant:?}\n{saved}");
                assert_eq!(repair_text(&rules, family, &saved), "", "{name} {variant:?}");
            }
        }
    }
}

#[test]
fn any_pod_s_rules_are_repaired_into_any_other_s() {
    let foreign = "*nat\n:OTHERS - [0:0]\n-A PREROUTING -p udp -m udp --dport 99 -j OTHERS\n-A OTHERS -s 10.9.0.0/16 -j RETURN\nCOMMIT\n";
    for variant in variants() {
        let mut scratch = Scratch::new();
        scratch.restore(variant, Family::V4, foreign);
        let mut all = rulesets();
        // Forwards and backwards, so that each is repaired into both neighbours.
        let back: Vec<_> = all.iter().rev().cloned().collect();
        all.extend(back);
        for (name, rules) in all {
            for family in Family::ALL {
                let before = scratch.save(variant, family);
                scratch.restore(variant, family, &repair_text(&rules, family, &before));
                let after = scratch.save(variant, family);
                assert_eq!(
                    differences(&rules, family, &after),
                    [],
                    "{name} {variant:?}\nbefore:\n{before}\nafter:\n{after}"
                );
            }
        }
        let saved = scratch.save(variant, Family::V4);
        for line in foreign.lines().filter(|line| line.starts_with("-A")) {
            assert!(saved.contains(line), "{variant:?} lost {line}:\n{saved}");
        }
    }
}

#[test]
fn partial_and_shadowed_rules_are_repaired() {
    let (_, rules) = rulesets().into_iter().find(|(name, _)| name == "tproxy-dual-stack").unwrap();
    let residues = [
        "*nat\n:ISTIO_OUTPUT - [0:0]\n-A OUTPUT -j ISTIO_OUTPUT\n-A OUTPUT -j ISTIO_OUTPUT\nCOMMIT\n",
        "*nat\n:ISTIO_PRERT - [0:0]\n-A PREROUTING -j ISTIO_PRERT\n-A ISTIO_PRERT -p tcp -j RETURN\nCOMMIT\n",
        "*nat\n-A OUTPUT -p tcp -j ACCEPT\n-A PREROUTING -i eth0 -j RETURN\nCOMMIT\n",
        "*mangle\n-A OUTPUT -p tcp -m connmark --mark 0x539 -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff\n-A PREROUTING -j RETURN\nCOMMIT\n",
        "*raw\n:ISTIO_INBOUND - [0:0]\n-A PREROUTING -p udp -j RETURN\n-A PREROUTING -j ISTIO_INBOUND\n-A ISTIO_INBOUND -p udp -j CT --zone 7\nCOMMIT\n",
    ];
    for variant in variants() {
        for residue in residues {
            let mut scratch = Scratch::new();
            scratch.restore(variant, Family::V4, residue);
            let before = scratch.save(variant, Family::V4);
            assert_ne!(differences(&rules, Family::V4, &before), []);
            scratch.restore(variant, Family::V4, &repair_text(&rules, Family::V4, &before));
            let after = scratch.save(variant, Family::V4);
            assert_eq!(differences(&rules, Family::V4, &after), [], "{variant:?}\n{before}\n{after}");
        }
    }
}

#[test]
fn a_refused_table_leaves_the_namespace_as_it_was() {
    let (_, rules) = rulesets().into_iter().find(|(name, _)| name == "defaults").unwrap();
    for variant in variants() {
        let mut scratch = Scratch::new();
        let broken = restore_text(&rules, Family::V4).replace("COMMIT", "-A ISTIO_OUTPUT -j NO_SUCH_CHAIN\nCOMMIT");
        scratch.run(&variant.restore(Family::V4), &broken).unwrap_err();
        let saved = scratch.save(variant, Family::V4);
        assert!(!saved.contains("ISTIO_"), "{variant:?} left half a table:\n{saved}");
    }
}

#[test]
fn nft_takes_every_pod_s_script_and_lists_as_many_rules() {
    for (name, rules) in rulesets() {
        let mut scratch = Scratch::new();
        let script = render_nft::script(&rules);
        scratch.run("nft --check --file -", &script).unwrap_or_else(|error| panic!("{name}: {error}"));
        scratch.run("nft --file -", &script).unwrap_or_else(|error| panic!("{name}: {error}"));
        let listed = scratch.run("nft list ruleset", "").unwrap();
        let counters = |text: &str| text.matches("counter").count();
        assert_eq!(counters(&listed), counters(&script), "{name}\n{script}\n{listed}");
    }
}
