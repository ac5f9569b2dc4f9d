//! nf_tables expressions: the kernel's little register machine, as far as our rules use it.
//! They are written for a rule that is wanted and read from one that is there, so that the two
//! compare as values. All of ours work on register 1; what uses another, or is no expression of
//! ours, reads as [`Expr::Other`] and so equals nothing wanted.

use crate::domain::ruleset::Family;

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

    /// These bytes, if they fit.
    pub fn read(value: &[u8]) -> Option<Data> {
        (value.len() <= 16).then(|| Data::new(value))
    }

    /// As many zeros.
    pub const fn zeros(self) -> Data {
        Data { length: self.length, bytes: [0; 16] }
    }

    /// The number of bytes.
    pub const fn length(self) -> u8 {
        self.length
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

pub(super) const META_KEYS: [MetaKey; 7] = [
    MetaKey::Mark,
    MetaKey::InName,
    MetaKey::OutName,
    MetaKey::SocketUid,
    MetaKey::SocketGid,
    MetaKey::NfProto,
    MetaKey::L4Proto,
];
pub(super) const CT_KEYS: [CtKey; 3] = [CtKey::State, CtKey::Mark, CtKey::Zone];

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
}
