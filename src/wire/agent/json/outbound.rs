//! What the node says about outbound traffic, as a part of a call.

use super::{ProtocolError, known};
use crate::domain::outbound::{Outbound, OutboundError, OwnerGroups};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// The settings, or the sentence that says why there are none.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum OutboundJson {
    Settings {
        /// `all but` or `only`.
        groups: String,
        #[serde(default)]
        ids: Vec<u32>,
        loopback: String,
    },
    Wrong {
        wrong: String,
    },
}

const ALL_BUT: &str = "all but";
const ONLY: &str = "only";

impl Default for OutboundJson {
    fn default() -> Self {
        OutboundJson::from(Ok(Outbound::default()))
    }
}

impl OutboundJson {
    /// Whether it is what an absent one means.
    pub(super) fn is_default(&self) -> bool {
        self.read().is_ok_and(|read| read == Ok(Outbound::default()))
    }

    /// Reads it; only a node's own words are an inner error.
    pub(super) fn read(&self) -> Result<Result<Outbound, OutboundError>, ProtocolError> {
        let (groups, ids, loopback) = match self {
            OutboundJson::Settings { groups, ids, loopback } => (groups, ids.clone(), loopback),
            OutboundJson::Wrong { wrong } => return Ok(Err(OutboundError { message: wrong.clone() })),
        };
        let choice = match groups.as_str() {
            ALL_BUT => Some(OwnerGroups::AllBut(ids)),
            ONLY => Some(OwnerGroups::Only(ids)),
            _ => None,
        };
        let net = loopback.parse().ok().filter(|net: &Ipv4Net| net.addr().is_loopback() && net.prefix_len() >= 8);
        let groups = known("groups", choice, groups)?;
        Ok(Ok(Outbound { groups, loopback: known("loopback", net, loopback)? }))
    }
}

impl From<Result<Outbound, OutboundError>> for OutboundJson {
    fn from(outbound: Result<Outbound, OutboundError>) -> Self {
        let Outbound { groups, loopback } = match outbound {
            Ok(outbound) => outbound,
            Err(OutboundError { message }) => return OutboundJson::Wrong { wrong: message },
        };
        let (groups, ids) = match groups {
            OwnerGroups::AllBut(ids) => (ALL_BUT, ids),
            OwnerGroups::Only(ids) => (ONLY, ids),
        };
        OutboundJson::Settings { groups: groups.to_owned(), ids, loopback: loopback.to_string() }
    }
}
