//! How expressions stand in netlink messages: each a name with attributes of its own, numbers in
//! network order (linux/netfilter/nf_tables.h).

use super::expr::{CT_KEYS, Data, Expr, Header, META_KEYS, Verdict, nfproto};
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

/// `NF_NAT_RANGE_PROTO_SPECIFIED`.
const PORT_RANGE: u32 = 2;

const NF_DROP: i32 = 0;
const NF_ACCEPT: i32 = 1;
const NFT_JUMP: i32 = -3;
const NFT_RETURN: i32 = -5;

impl Expr {
    /// Writes the expression as an element of a rule's list.
    pub fn write(&self, writer: &mut Writer) {
        writer.nested(LIST_ELEM, |element| {
            element.text(EXPR_NAME, self.name());
            element.nested(EXPR_DATA, |data| self.write_data(data));
        });
    }

    /// The numbers are each expression's attributes (`NFTA_META_*` and so on), by name:
    /// meta dreg 1, key 2, sreg 3; ct dreg 1, key 2, direction 3, sreg 4; payload dreg 1, base 2,
    /// offset 3, len 4; bitwise sreg 1, dreg 2, len 3, mask 4, xor 5, op 6; cmp sreg 1, op 2, data 3;
    /// immediate dreg 1, data 2; redir port-min register 1, port-max register 2, flags 3; tproxy
    /// family 1, address register 2, port register 3.
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
                numbers(w, &[(1, REG_1), (2, REG_1), (3, u32::from(mask.length()))]);
                value(w, 4, mask);
                value(w, 5, &mask.zeros());
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
            // The kernel adds the port as upper end of the range, and the flag that says so.
            "redir" => {
                let plain = a.number(2).unwrap_or(REG_1) == REG_1 && a.number(3).unwrap_or(0) & !PORT_RANGE == 0;
                (a.number(1)? == REG_1 && plain).then_some(Expr::Redirect)
            }
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
    use crate::host::nftables::expr::MetaKey;

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
