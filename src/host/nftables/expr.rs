//! nf_tables expressions: the kernel's little register machine, as far as our rules use it.
//! They are written for a rule that is wanted and read from one that is there, so that the two
//! compare as values. All of ours work on register 1; what uses another, or is no expression of
//! ours, reads as [`Expr::Other`] and so equals nothing wanted.

use crate::domain::ruleset::Family;
use crate::host::nlattr::{Writer, attributes, be32, find, text};

const REG_VERDICT: u32 = 0;
const REG_1: u32 = 1;

const EXPR_NAME: u16 = 1;
const EXPR_DATA: u16 = 2;
/// A rule's list of expressions has elements of this type.
pub const LIST_ELEM: u16 = 1;

const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;

const NF_DROP: i32 = 0;
const NF_ACCEPT: i32 = 1;
const NFT_JUMP: i32 = -3;
const NFT_RETURN: i32 = -5;

/// A register's content: up to 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Data {
    length: u8,
    bytes: [u8; 16],
}

impl Data {
    /// The first 16 of these bytes.
    pub fn new(value: &[u8]) -> Data {
        let mut data = Data { length: 0, bytes: [0; 16] };
        for (slot, byte) in data.bytes.iter_mut().zip(value) {
            *slot = *byte;
            data.length += 1;
        }
        data
    }

    fn read(value: &[u8]) -> Option<Data> {
        (value.len() <= 16).then(|| Data::new(value))
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl std::fmt::Debug for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_slice().fmt(f)
    }
}

/// Where a packet is looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    Network = libc::NFT_PAYLOAD_NETWORK_HEADER as isize,
    Transport = libc::NFT_PAYLOAD_TRANSPORT_HEADER as isize,
}

/// What is known about a packet beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaKey {
    Mark = libc::NFT_META_MARK as isize,
    InName = libc::NFT_META_IIFNAME as isize,
    OutName = libc::NFT_META_OIFNAME as isize,
    SocketUid = libc::NFT_META_SKUID as isize,
    SocketGid = libc::NFT_META_SKGID as isize,
    NfProto = libc::NFT_META_NFPROTO as isize,
    L4Proto = libc::NFT_META_L4PROTO as isize,
}

/// What is known about a packet's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CtKey {
    State = libc::NFT_CT_STATE as isize,
    Mark = libc::NFT_CT_MARK as isize,
    Zone = libc::NFT_CT_ZONE as isize,
}

const META_KEYS: [MetaKey; 7] = [
    MetaKey::Mark,
    MetaKey::InName,
    MetaKey::OutName,
    MetaKey::SocketUid,
    MetaKey::SocketGid,
    MetaKey::NfProto,
    MetaKey::L4Proto,
];
const CT_KEYS: [CtKey; 3] = [CtKey::State, CtKey::Mark, CtKey::Zone];

/// The end of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(String),
}

/// One expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// Loads a fact about the packet.
    Meta(MetaKey),
    /// Stores the register as a fact about the packet.
    SetMeta(MetaKey),
    /// Loads a fact about the connection.
    Ct(CtKey),
    /// Stores the register as a fact about the connection.
    SetCt(CtKey),
    /// Loads bytes of the packet.
    Payload { header: Header, offset: u32, length: u32 },
    /// Keeps these bits of the register.
    Mask(Data),
    /// Goes on only if the register equals this, or with `not` only if it does not.
    Compare { not: bool, value: Data },
    /// Loads a constant.
    Immediate(Data),
    /// Counts packets and bytes; its numbers are left out.
    Counter,
    /// Redirects to the local port in the register.
    Redirect,
    /// Hands to the transparent socket at the port in the register.
    Tproxy(Family),
    /// Ends the rule.
    Verdict(Verdict),
    /// Anything else, by its name.
    Other(String),
}

/// `NFPROTO_*` of a family.
pub const fn nfproto(family: Family) -> u8 {
    match family {
        Family::V4 => libc::NFPROTO_IPV4 as u8,
        Family::V6 => libc::NFPROTO_IPV6 as u8,
    }
}

impl Expr {
    /// The expression's name in the kernel.
    pub fn name(&self) -> &str {
        match self {
            Expr::Meta(_) | Expr::SetMeta(_) => "meta",
            Expr::Ct(_) | Expr::SetCt(_) => "ct",
            Expr::Payload { .. } => "payload",
            Expr::Mask(_) => "bitwise",
            Expr::Compare { .. } => "cmp",
            Expr::Immediate(_) | Expr::Verdict(_) => "immediate",
            Expr::Counter => "counter",
            Expr::Redirect => "redir",
            Expr::Tproxy(_) => "tproxy",
            Expr::Other(name) => name,
        }
    }

    /// Writes the expression as an element of a rule's list.
    pub fn write(&self, writer: &mut Writer) {
        writer.nested(LIST_ELEM, |element| {
            element.text(EXPR_NAME, self.name());
            element.nested(EXPR_DATA, |data| self.write_data(data));
        });
    }

    fn write_data(&self, w: &mut Writer) {
        match self {
            Expr::Meta(key) => numbers(w, &[(1, REG_1), (2, *key as u32)]),
            Expr::SetMeta(key) => numbers(w, &[(2, *key as u32), (3, REG_1)]),
            Expr::Ct(key) => numbers(w, &[(1, REG_1), (2, *key as u32)]),
            Expr::SetCt(key) => numbers(w, &[(2, *key as u32), (4, REG_1)]),
            Expr::Payload { header, offset, length } => {
                numbers(w, &[(1, REG_1), (2, *header as u32), (3, *offset), (4, *length)]);
            }
            Expr::Mask(mask) => {
                numbers(w, &[(1, REG_1), (2, REG_1), (3, u32::from(mask.length))]);
                value(w, 4, mask);
                value(w, 5, &Data { length: mask.length, bytes: [0; 16] });
            }
            Expr::Compare { not, value: data } => {
                numbers(w, &[(1, REG_1), (2, u32::from(*not))]);
                value(w, 3, data);
            }
            Expr::Immediate(data) => {
                numbers(w, &[(1, REG_1)]);
                value(w, 2, data);
            }
            Expr::Verdict(verdict) => {
                numbers(w, &[(1, REG_VERDICT)]);
                w.nested(2, |data| data.nested(DATA_VERDICT, |inner| verdict.write(inner)));
            }
            Expr::Redirect => numbers(w, &[(1, REG_1)]),
            Expr::Tproxy(family) => numbers(w, &[(1, u32::from(nfproto(*family))), (3, REG_1)]),
            Expr::Counter | Expr::Other(_) => {}
        }
    }

    /// Reads an element of a rule's list.
    pub fn read(element: &[u8]) -> Expr {
        let name = find(element, EXPR_NAME).and_then(text).unwrap_or("unnamed");
        let data = find(element, EXPR_DATA).unwrap_or_default();
        Expr::read_data(name, &Attributes::of(data)).unwrap_or_else(|| Expr::Other(name.to_owned()))
    }

    fn read_data(name: &str, a: &Attributes<'_>) -> Option<Expr> {
        match name {
            "counter" => Some(Expr::Counter),
            "meta" => {
                let key = META_KEYS.into_iter().find(|key| a.number(2) == Some(*key as u32))?;
                match (a.number(1), a.number(3)) {
                    (Some(REG_1), None) => Some(Expr::Meta(key)),
                    (None, Some(REG_1)) => Some(Expr::SetMeta(key)),
                    _ => None,
                }
            }
            "ct" => {
                let key = CT_KEYS.into_iter().find(|key| a.number(2) == Some(*key as u32))?;
                match (a.number(1), a.number(3), a.number(4)) {
                    (Some(REG_1), None, None) => Some(Expr::Ct(key)),
                    (None, None, Some(REG_1)) => Some(Expr::SetCt(key)),
                    _ => None,
                }
            }
            "payload" if a.number(1)? == REG_1 => {
                let header = [Header::Network, Header::Transport];
                let header = header.into_iter().find(|header| a.number(2) == Some(*header as u32))?;
                Some(Expr::Payload { header, offset: a.number(3)?, length: a.number(4)? })
            }
            "bitwise" => {
                let (mask, xor) = (a.value(4)?, a.value(5)?);
                let plain = a.number(6).unwrap_or(0) == 0 && xor.as_slice().iter().all(|byte| *byte == 0);
                (a.number(1)? == REG_1 && a.number(2)? == REG_1 && plain).then_some(Expr::Mask(mask))
            }
            "cmp" if a.number(1)? == REG_1 => {
                let not = match a.number(2)? {
                    0 => false,
                    1 => true,
                    _ => return None,
                };
                Some(Expr::Compare { not, value: a.value(3)? })
            }
            "immediate" => match a.number(1)? {
                REG_VERDICT => Verdict::read(find(a.get(2)?, DATA_VERDICT)?).map(Expr::Verdict),
                REG_1 => a.value(2).map(Expr::Immediate),
                _ => None,
            },
            // The kernel adds the port as upper end of the range, and flags.
            "redir" => (a.number(1)? == REG_1 && a.number(2).unwrap_or(REG_1) == REG_1).then_some(Expr::Redirect),
            "tproxy" if a.number(3)? == REG_1 && a.get(2).is_none() => {
                let families = [Family::V4, Family::V6];
                families.into_iter().find(|f| a.number(1) == Some(u32::from(nfproto(*f)))).map(Expr::Tproxy)
            }
            _ => None,
        }
    }
}

impl Verdict {
    fn write(&self, w: &mut Writer) {
        let code = match self {
            Verdict::Accept => NF_ACCEPT,
            Verdict::Drop => NF_DROP,
            Verdict::Return => NFT_RETURN,
            Verdict::Jump(_) => NFT_JUMP,
        };
        w.be32(VERDICT_CODE, code.cast_unsigned());
        if let Verdict::Jump(chain) = self {
            w.text(VERDICT_CHAIN, chain);
        }
    }

    fn read(attributes: &[u8]) -> Option<Verdict> {
        match find(attributes, VERDICT_CODE).and_then(be32)?.cast_signed() {
            NF_ACCEPT => Some(Verdict::Accept),
            NF_DROP => Some(Verdict::Drop),
            NFT_RETURN => Some(Verdict::Return),
            NFT_JUMP => find(attributes, VERDICT_CHAIN).and_then(text).map(|chain| Verdict::Jump(chain.to_owned())),
            _ => None,
        }
    }
}

fn numbers(w: &mut Writer, numbers: &[(u16, u32)]) {
    for (kind, number) in numbers {
        w.be32(*kind, *number);
    }
}

fn value(w: &mut Writer, kind: u16, data: &Data) {
    w.nested(kind, |inner| inner.bytes(DATA_VALUE, data.as_slice()));
}

/// An expression's attributes by type.
struct Attributes<'a>([Option<&'a [u8]>; 8]);

impl<'a> Attributes<'a> {
    fn of(bytes: &'a [u8]) -> Attributes<'a> {
        let mut found = [None; 8];
        for (kind, value) in attributes(bytes) {
            if let Some(slot) = found.get_mut(usize::from(kind)) {
                *slot = Some(value);
            }
        }
        Attributes(found)
    }

    fn get(&self, kind: usize) -> Option<&'a [u8]> {
        self.0.get(kind).copied().flatten()
    }

    fn number(&self, kind: usize) -> Option<u32> {
        be32(self.get(kind)?)
    }

    fn value(&self, kind: usize) -> Option<Data> {
        Data::read(find(self.get(kind)?, DATA_VALUE)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_expression_is_read_as_it_was_written() {
        let mut all: Vec<Expr> = META_KEYS.into_iter().flat_map(|key| [Expr::Meta(key), Expr::SetMeta(key)]).collect();
        all.extend(CT_KEYS.into_iter().flat_map(|key| [Expr::Ct(key), Expr::SetCt(key)]));
        all.extend([Expr::Tproxy(Family::V4), Expr::Tproxy(Family::V6), Expr::Redirect, Expr::Counter]);
        all.extend(
            [Verdict::Accept, Verdict::Drop, Verdict::Return, Verdict::Jump("istio-output".to_owned())]
                .map(Expr::Verdict),
        );
        all.push(Expr::Payload { header: Header::Transport, offset: 2, length: 2 });
        all.push(Expr::Mask(Data::new(&[255, 240, 0, 0])));
        all.push(Expr::Compare { not: true, value: Data::new(&[1; 16]) });
        all.push(Expr::Immediate(Data::new(&[0x3a, 0x99])));
        for expr in all {
            let mut writer = Writer::default();
            expr.write(&mut writer);
            let bytes = writer.into_bytes();
            assert_eq!(Expr::read(find(&bytes, LIST_ELEM).unwrap()), expr);
        }
    }

    #[test]
    fn an_expression_on_another_register_equals_none_of_ours() {
        let mut writer = Writer::default();
        writer.text(EXPR_NAME, "meta");
        writer.nested(EXPR_DATA, |data| numbers(data, &[(1, 2), (2, MetaKey::Mark as u32)]));
        assert_eq!(Expr::read(&writer.into_bytes()), Expr::Other("meta".to_owned()));
    }
}
