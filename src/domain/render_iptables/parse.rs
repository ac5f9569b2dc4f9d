//! From one line of a dump back to a rule. Variants that mean the same are one rule: legacy and
//! nf_tables spellings, masks, numeric protocols, any order of options. What the model cannot say
//! stays unknown, and is never taken for one of our rules.

use crate::domain::ruleset::{Action, Chain, CtState, Family, Match, Proto, Rule};
use ipnet::IpNet;
use std::net::IpAddr;

/// A line of a dump, as far as the model can say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedRule {
    /// The chain's name.
    pub chain: String,
    /// The conditions in canonical order; None when one is beyond the model.
    pub matches: Option<Vec<Match>>,
    /// The target's name; empty for a rule without one.
    pub target: String,
    /// What it does; None when it is beyond the model.
    pub action: Option<Action>,
}

impl ParsedRule {
    /// The rule, when all of it is understood. Its family is that of the dump, so none is set.
    pub fn rule(&self) -> Option<Rule> {
        Some(Rule { family: None, matches: self.matches.clone()?, action: self.action.clone()? })
    }
}

/// Parses `-A CHAIN ...`, with or without counters before it; None for other lines.
pub fn parse_rule(line: &str, family: Family) -> Option<ParsedRule> {
    let words = split_words(line);
    let mut words = words.iter().map(String::as_str).skip_while(|word| word.starts_with('['));
    if words.next() != Some("-A") {
        return None;
    }
    let chain = words.next()?.to_owned();
    let mut reader = Reader { words: words.collect(), at: 0, family, conditions: Conditions::default() };
    let (target, action) = reader.read();
    Some(ParsedRule { chain, matches: reader.conditions.known(), target, action })
}

/// Splits at blanks; a double-quoted word may hold blanks, and quotes behind a backslash.
fn split_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => word.get_or_insert_default().extend(chars.next()),
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The conditions read so far.
#[derive(Default)]
struct Conditions {
    matches: Vec<Match>,
    beyond: bool,
}

impl Conditions {
    fn add(&mut self, condition: Option<Match>) {
        match condition {
            Some(condition) => self.matches.push(condition),
            None => self.beyond = true,
        }
    }

    fn known(self) -> Option<Vec<Match>> {
        (!self.beyond).then(|| Rule::new(self.matches, Action::Return).matches)
    }
}

/// The words after the chain's name, read from left to right.
struct Reader<'a> {
    words: Vec<&'a str>,
    at: usize,
    family: Family,
    conditions: Conditions,
}

impl<'a> Reader<'a> {
    fn read(&mut self) -> (String, Option<Action>) {
        while let Some(word) = self.next() {
            let (not, option) = if word == "!" { (true, self.next().unwrap_or_default()) } else { (false, word) };
            match option {
                "-j" => {
                    let target = self.next().unwrap_or_default().to_owned();
                    let action = self.action(&target);
                    return (target, action);
                }
                // A goto does not come back, which no rule of ours is like.
                "-g" => return (self.next().unwrap_or_default().to_owned(), None),
                option => self.condition(option, not),
            }
        }
        (String::new(), None)
    }

    fn next(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.at).copied();
        self.at += 1;
        word
    }

    /// An option's value, empty when the next word is an option already. Very old versions write
    /// the `!` before the value.
    fn value(&mut self, option: &str, not: bool) -> (&'a str, bool) {
        let word = |at: usize| self.words.get(at).copied().unwrap_or_default();
        let is_option = |word: &str| word.starts_with('-') && option != "--comment";
        match (word(self.at), word(self.at + 1)) {
            ("!", value) if !is_option(value) => {
                self.at += 2;
                (value, true)
            }
            (value, _) if value == "!" || is_option(value) => ("", not),
            (value, _) => {
                self.at += 1;
                (value, not)
            }
        }
    }

    fn condition(&mut self, option: &str, not: bool) {
        let (value, not) = self.value(option, not);
        let positive = |condition: Option<Match>| if not { None } else { condition };
        let condition = match option {
            "-m" | "--match" => {
                let known = ["tcp", "udp", "multiport", "owner", "mark", "connmark", "conntrack", "state", "comment"];
                if !known.contains(&value) {
                    self.conditions.add(None);
                }
                return;
            }
            "--comment" => return,
            "-s" | "--source" | "-d" | "--destination" => match network(value, self.family) {
                Some(net) if net.prefix_len() == 0 && !not => return,
                Some(net) if option.trim_start_matches('-').starts_with('s') => Some(Match::Source { net, not }),
                Some(net) => Some(Match::Destination { net, not }),
                None => None,
            },
            "-i" | "--in-interface" => positive(Some(Match::InIface(value.to_owned()))),
            "-o" | "--out-interface" => positive(Some(Match::OutIface(value.to_owned()))),
            "-p" | "--protocol" => positive(protocol(value).map(Match::Proto)),
            "--dport" | "--dports" | "--destination-port" | "--destination-ports" => {
                ports(value).map(|ports| Match::DestinationPorts { ports, not })
            }
            "--sport" | "--source-port" => positive(value.parse().ok().map(Match::SourcePort)),
            "--uid-owner" => value.parse().ok().map(|id| Match::Uid { id, not }),
            "--gid-owner" => value.parse().ok().map(|id| Match::Gid { id, not }),
            // The mark and the connection's mark have the same option: the module said which.
            "--mark" => match (whole_mark(value), self.last_module()) {
                (Some(value), Some("mark")) => Some(Match::Mark { value, not }),
                (Some(value), Some("connmark")) => positive(Some(Match::ConnMark(value))),
                _ => None,
            },
            "--ctstate" | "--state" => positive(state(value).map(Match::Ct)),
            _ => None,
        };
        self.conditions.add(condition);
    }

    /// The module that was named last.
    fn last_module(&self) -> Option<&'a str> {
        let before = self.words.get(..self.at)?;
        let named = before.iter().rposition(|word| matches!(*word, "-m" | "--match"))?;
        before.get(named + 1).copied()
    }

    fn action(&mut self, target: &str) -> Option<Action> {
        let options = self.target_options()?;
        let value = |name: &str| options.iter().find(|(option, _)| *option == name).map(|(_, value)| *value);
        let only = |names: &[&str]| options.iter().all(|(option, _)| names.contains(option));
        let whole = |name: &str| value(name).is_none_or(|mask| number(mask) == Some(u32::MAX));
        match target {
            "RETURN" if options.is_empty() => Some(Action::Return),
            "ACCEPT" if options.is_empty() => Some(Action::Accept),
            "DROP" if options.is_empty() => Some(Action::Drop),
            "REDIRECT" if only(&["--to-ports"]) => Some(Action::Redirect(value("--to-ports")?.parse().ok()?)),
            "TPROXY" if only(&["--on-port", "--on-ip", "--tproxy-mark"]) => {
                let anywhere = value("--on-ip").is_none_or(|ip| ip.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified()));
                let (port, mark) = (value("--on-port")?.parse().ok()?, whole_mark(value("--tproxy-mark")?)?);
                anywhere.then_some(Action::Tproxy { port, mark })
            }
            "MARK" if only(&["--set-xmark", "--set-mark"]) && options.len() == 1 => {
                Some(Action::SetMark(whole_mark(options.first()?.1)?))
            }
            "CONNMARK" if only(&["--save-mark", "--nfmask", "--ctmask"]) && whole("--nfmask") && whole("--ctmask") => {
                value("--save-mark").map(|_| Action::SaveMark)
            }
            "CONNMARK"
                if only(&["--restore-mark", "--nfmask", "--ctmask"]) && whole("--nfmask") && whole("--ctmask") =>
            {
                value("--restore-mark").map(|_| Action::RestoreMark)
            }
            "CT" if only(&["--zone"]) => Some(Action::CtZone(value("--zone")?.parse().ok()?)),
            target if options.is_empty() => Chain::ALL
                .into_iter()
                .find(|chain| !chain.is_hook() && chain.iptables_name() == target)
                .map(Action::Jump),
            _ => None,
        }
    }

    /// The target's options with their values, empty for those that have none. None when an
    /// option is negated or a word is no option.
    fn target_options(&mut self) -> Option<Vec<(&'a str, &'a str)>> {
        let mut options = Vec::new();
        while let Some(option) = self.next() {
            if !option.starts_with("--") {
                return None;
            }
            let value = match self.words.get(self.at) {
                Some(next) if !next.starts_with('-') => self.next().unwrap_or_default(),
                _ => "",
            };
            options.push((option, value));
        }
        Some(options)
    }
}

/// An address, or an address with a length or a mask.
fn network(text: &str, family: Family) -> Option<IpNet> {
    let (address, mask) = text.split_once('/').unwrap_or((text, ""));
    let address: IpAddr = address.parse().ok()?;
    if address.is_ipv4() != (family == Family::V4) {
        return None;
    }
    let net = match mask {
        "" => IpNet::from(address),
        mask => match mask.parse() {
            Ok(length) => IpNet::new(address, length).ok()?,
            Err(_) => IpNet::with_netmask(address, mask.parse().ok()?).ok()?,
        },
    };
    Some(net.trunc())
}

fn protocol(text: &str) -> Option<Proto> {
    match text {
        "tcp" | "6" => Some(Proto::Tcp),
        "udp" | "17" => Some(Proto::Udp),
        _ => None,
    }
}

fn ports(text: &str) -> Option<Vec<u16>> {
    text.split(',').map(|port| port.parse().ok()).collect()
}

/// A number, decimal or hexadecimal.
fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A mark whose mask, if any, covers all of it.
fn whole_mark(text: &str) -> Option<u32> {
    let (value, mask) = text.split_once('/').unwrap_or((text, "0xffffffff"));
    (number(mask)? == u32::MAX).then_some(number(value)?)
}

fn state(text: &str) -> Option<CtState> {
    let mut states: Vec<&str> = text.split(',').collect();
    states.sort_unstable();
    match &states[..] {
        ["INVALID"] => Some(CtState::Invalid),
        ["ESTABLISHED", "RELATED"] => Some(CtState::RelatedOrEstablished),
        _ => None,
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
