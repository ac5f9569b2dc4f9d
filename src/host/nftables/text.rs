//! A rule's expressions as a person reads them, close to what `nft list ruleset` prints. Wanted
//! and found rules are written by the same code, so that a difference shows as one.

use super::expr::{CtKey, Data, Expr, Header, MetaKey, Verdict};
use crate::domain::ruleset::Family;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The text of one rule.
pub fn rule_text(rule: &[Expr]) -> String {
    let mut words: Vec<String> = Vec::with_capacity(rule.len());
    let mut register = Register::default();
    for expr in rule {
        words.extend(register.step(expr));
    }
    words.join(" ")
}

/// What the register holds while a rule is read from left to right.
#[derive(Default)]
struct Register {
    loaded: Option<Expr>,
    mask: Option<Data>,
}

impl Register {
    /// Follows one expression; some have a text of their own, others only with the next one.
    fn step(&mut self, expr: &Expr) -> Option<String> {
        match expr {
            Expr::Meta(_) | Expr::Ct(_) | Expr::Payload { .. } | Expr::Immediate(_) => {
                *self = Register { loaded: Some(expr.clone()), mask: None };
                None
            }
            Expr::Mask(mask) => {
                self.mask = Some(*mask);
                None
            }
            Expr::Compare { not, value } => Some(self.comparison(*not, value)),
            Expr::SetMeta(key) => Some(format!("{} set {}", meta(*key), self.content())),
            Expr::SetCt(key) => Some(format!("ct {} set {}", ct(*key), self.content())),
            Expr::Counter => Some("counter".to_owned()),
            Expr::Redirect => Some(format!("redirect to :{}", self.port())),
            Expr::Tproxy(Family::V4) => Some(format!("tproxy ip to :{}", self.port())),
            Expr::Tproxy(Family::V6) => Some(format!("tproxy ip6 to :{}", self.port())),
            Expr::Verdict(Verdict::Jump(chain)) => Some(format!("jump {chain}")),
            Expr::Verdict(Verdict::Accept) => Some("accept".to_owned()),
            Expr::Verdict(Verdict::Drop) => Some("drop".to_owned()),
            Expr::Verdict(Verdict::Return) => Some("return".to_owned()),
            Expr::Other(name) => Some(format!("[{name}]")),
        }
    }

    fn comparison(&self, not: bool, value: &Data) -> String {
        let equal = if not { "!= " } else { "" };
        match &self.loaded {
            Some(Expr::Ct(CtKey::State)) if not => format!("ct state {}", states(self.mask.as_ref())),
            Some(Expr::Meta(key)) => format!("{} {equal}{}", meta(*key), meta_value(*key, value)),
            Some(Expr::Ct(key)) => format!("ct {} {equal}{}", ct(*key), number(value)),
            Some(Expr::Payload { header, offset, length }) => {
                let prefix = self.mask.as_ref().map(|mask| format!("/{}", ones(mask))).unwrap_or_default();
                format!("{} {equal}{}{prefix}", field(*header, *offset, *length), field_value(*header, value))
            }
            _ => format!("register {equal}{}", number(value)),
        }
    }

    fn content(&self) -> String {
        match &self.loaded {
            Some(Expr::Immediate(value)) => number(value),
            Some(Expr::Meta(key)) => meta(*key).to_owned(),
            Some(Expr::Ct(key)) => format!("ct {}", ct(*key)),
            _ => "register".to_owned(),
        }
    }

    fn port(&self) -> String {
        match &self.loaded {
            Some(Expr::Immediate(value)) => field_value(Header::Transport, value),
            _ => "register".to_owned(),
        }
    }
}

const fn meta(key: MetaKey) -> &'static str {
    match key {
        MetaKey::Mark => "meta mark",
        MetaKey::InName => "iifname",
        MetaKey::OutName => "oifname",
        MetaKey::SocketUid => "meta skuid",
        MetaKey::SocketGid => "meta skgid",
        MetaKey::NfProto => "meta nfproto",
        MetaKey::L4Proto => "meta l4proto",
    }
}

fn meta_value(key: MetaKey, value: &Data) -> String {
    match (key, value.as_slice()) {
        (MetaKey::InName | MetaKey::OutName, name) => {
            format!("{:?}", String::from_utf8_lossy(name).trim_end_matches('\0'))
        }
        (MetaKey::L4Proto, [6]) => "tcp".to_owned(),
        (MetaKey::L4Proto, [17]) => "udp".to_owned(),
        (MetaKey::NfProto, [2]) => "ipv4".to_owned(),
        (MetaKey::NfProto, [10]) => "ipv6".to_owned(),
        (MetaKey::SocketUid | MetaKey::SocketGid, id) => {
            id.try_into().map_or_else(|_| number(value), |id| u32::from_ne_bytes(id).to_string())
        }
        _ => number(value),
    }
}

const fn ct(key: CtKey) -> &'static str {
    match key {
        CtKey::State => "state",
        CtKey::Mark => "mark",
        CtKey::Zone => "zone",
    }
}

fn states(mask: Option<&Data>) -> String {
    const NAMES: [(u8, &str); 5] = [(1, "invalid"), (2, "established"), (4, "related"), (8, "new"), (64, "untracked")];
    let bits = mask.and_then(|mask| mask.as_slice().try_into().ok()).map_or(0, u32::from_ne_bytes);
    let names: Vec<&str> =
        NAMES.into_iter().filter(|(bit, _)| bits & u32::from(*bit) != 0).map(|(_, name)| name).collect();
    names.join(",")
}

fn field(header: Header, offset: u32, length: u32) -> String {
    let name = match (header, offset, length) {
        (Header::Network, 12, 4) => "ip saddr",
        (Header::Network, 16, 4) => "ip daddr",
        (Header::Network, 8, 16) => "ip6 saddr",
        (Header::Network, 24, 16) => "ip6 daddr",
        (Header::Transport, 0, 2) => "th sport",
        (Header::Transport, 2, 2) => "th dport",
        (Header::Network, ..) => return format!("@nh,{},{}", offset * 8, length * 8),
        (Header::Transport, ..) => return format!("@th,{},{}", offset * 8, length * 8),
    };
    name.to_owned()
}

fn field_value(header: Header, value: &Data) -> String {
    let bytes = value.as_slice();
    if let (Header::Transport, Ok(port)) = (header, bytes.try_into()) {
        return u16::from_be_bytes(port).to_string();
    }
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ipv4Addr::from(v4).to_string();
    }
    <[u8; 16]>::try_from(bytes).map_or_else(|_| number(value), |v6| Ipv6Addr::from(v6).to_string())
}

/// A prefix length, from its mask.
fn ones(mask: &Data) -> u32 {
    mask.as_slice().iter().map(|byte| byte.count_ones()).sum()
}

/// A number in the machine's order, as marks and zones are.
fn number(value: &Data) -> String {
    let bytes = value.as_slice();
    if let Ok(short) = bytes.try_into() {
        return u16::from_ne_bytes(short).to_string();
    }
    if let Ok(word) = bytes.try_into() {
        return format!("0x{:x}", u32::from_ne_bytes(word));
    }
    bytes.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}
