//! What some rulesets need beside rules: TPROXY's policy routing (`ip rule` and `ip route`), and
//! addresses on `lo`. Made before the rules, without which it does nothing, and taken back if they
//! fail; policy routing that is not wanted any more is removed after them.

mod message;
mod read;

use super::netlink::{Message, NLM_F_DUMP, NLM_F_REQUEST, Netlink};
use super::nlattr::Writer;
use crate::domain::failure::Classify;
use crate::domain::ruleset::{Difference, Ruleset, TproxyRouting};
use crate::domain::step::ErrorType;
use message::{Item, LOOPBACK_INDEX, addition, address_family, command, items, removal, text, wanted_routing};
use read::FoundRule;
use std::io;
use std::net::IpAddr;

// Fixed parts of the messages: fib_rule_hdr, rtmsg (linux/rtnetlink.h), ifaddrmsg (linux/if_addr.h).
const RULE_HEADER: usize = 12;
const ROUTE_HEADER: usize = 12;
const ADDRESS_HEADER: usize = 8;

/// Policy routing or an address could not be read, made or taken back.
#[derive(Debug, thiserror::Error)]
pub enum RoutingError {
    /// The kernel refused to make or to remove something.
    #[error(
        "cannot {change} {what} in the pod's network namespace{} ({source}): it takes CAP_NET_ADMIN there, and for policy routing a kernel with CONFIG_IP_MULTIPLE_TABLES; check both",
        hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default()
    )]
    Refused { change: &'static str, what: String, hint: Option<String>, source: io::Error },
    /// The conversation broke off.
    #[error(
        "the route netlink conversation failed while {doing} ({source}): the runtime tries again; if this lasts, check the node's memory and its kernel's log"
    )]
    Netlink { doing: &'static str, source: io::Error },
}

impl Classify for RoutingError {
    fn error_type(&self) -> ErrorType {
        let (RoutingError::Refused { source, .. } | RoutingError::Netlink { source, .. }) = self;
        match (self, source.raw_os_error()) {
            (_, Some(libc::EPERM | libc::EACCES)) => ErrorType::PermissionDenied,
            (_, Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT)) => ErrorType::KernelUnsupported,
            (RoutingError::Refused { .. }, _) => ErrorType::RulesRejected,
            (RoutingError::Netlink { .. }, _) => ErrorType::Io,
        }
    }

    fn retryable(&self) -> bool {
        matches!(self, RoutingError::Netlink { .. })
    }
}

/// What was made and was not there before, so that it can be taken back.
#[derive(Debug, Default)]
#[must_use = "what was made must be kept or taken back"]
pub struct Made(Vec<Item>);

impl Made {
    /// Whether nothing was missing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Routing and addresses of the namespace that the calling thread is in.
pub struct Routing {
    netlink: Netlink,
}

impl Routing {
    /// Opens a netlink socket in the calling thread's namespace.
    pub fn open() -> Result<Routing, RoutingError> {
        let netlink = Netlink::open(libc::NETLINK_ROUTE as isize);
        Ok(Routing {
            netlink: netlink.map_err(|source| RoutingError::Netlink { doing: "opening the socket", source })?,
        })
    }

    /// The namespace's addresses in the kernel's order, IPv4 first.
    pub fn addresses(&mut self) -> Result<Vec<IpAddr>, RoutingError> {
        Ok(self.found_addresses()?.into_iter().map(|(_, address)| address).collect())
    }

    /// Makes what is missing. On an error nothing that this call made stays.
    pub fn apply(&mut self, ruleset: &Ruleset) -> Result<Made, RoutingError> {
        let mut made = Made::default();
        for item in items(ruleset) {
            match self.add(item) {
                Ok(true) => made.0.push(item),
                Ok(false) => {}
                Err(error) => {
                    self.take_back(made);
                    return Err(error);
                }
            }
        }
        Ok(made)
    }

    /// Removes what [`apply`](Routing::apply) made; what cannot be removed is harmless without rules.
    pub fn take_back(&mut self, made: Made) {
        for item in made.0.into_iter().rev() {
            let seq = self.netlink.next_seq();
            let _ = self.netlink.request(&removal(item, None, seq), seq);
        }
    }

    /// Removes the policy routing of an earlier ruleset that this one does not want: a rule exactly
    /// like ours, and before it the route to which it leads. False when there is none.
    pub fn remove_unwanted(&mut self, ruleset: &Ruleset) -> Result<bool, RoutingError> {
        let found = self.rules()?;
        let unwanted = unwanted(&found, ruleset);
        for rule in &unwanted {
            // Somebody else's rule may lead to the same table, and would miss the route.
            let shared = found
                .iter()
                .any(|other| other != rule && other.family == rule.family && other.routing.table == rule.routing.table);
            let route = Item::Route(rule.family, rule.routing);
            if !shared && self.exists(route)? {
                self.remove(route, None)?;
            }
            self.remove(Item::Rule(rule.family, rule.routing), Some(rule.priority))?;
        }
        Ok(!unwanted.is_empty())
    }

    /// What is missing, and what is ours and not wanted.
    pub fn differences(&mut self, ruleset: &Ruleset) -> Result<Vec<Difference>, RoutingError> {
        let mut differences = Vec::new();
        let mut note = |item, how: &str| {
            let (place, what) = text(item);
            differences.push(Difference { place: place.to_owned(), what: format!("{how} {what}") });
        };
        for item in items(ruleset) {
            if !self.exists(item)? {
                note(item, "missing");
            }
        }
        for rule in unwanted(&self.rules()?, ruleset) {
            note(Item::Rule(rule.family, rule.routing), "unwanted");
        }
        Ok(differences)
    }

    /// What of that is there, and what is ours and not wanted, as the commands that would make it, in comments.
    pub fn found(&mut self, ruleset: &Ruleset) -> Result<String, RoutingError> {
        let mut found = String::new();
        for item in items(ruleset) {
            if self.exists(item)? {
                found.push_str(&command(item));
            }
        }
        let unwanted = unwanted(&self.rules()?, ruleset);
        found.extend(unwanted.iter().map(|rule| command(Item::Rule(rule.family, rule.routing))));
        Ok(found)
    }

    /// Adds an item; false when it is there already.
    fn add(&mut self, item: Item) -> Result<bool, RoutingError> {
        // The kernel's own check does not see an equal rule whose priority it chose itself.
        if matches!(item, Item::Rule(..)) && self.exists(item)? {
            return Ok(false);
        }
        let seq = self.netlink.next_seq();
        self.change("add", item, &addition(item, seq), seq, libc::EEXIST)
    }

    /// Removes an item, which may be gone already.
    fn remove(&mut self, item: Item, priority: Option<u32>) -> Result<bool, RoutingError> {
        let seq = self.netlink.next_seq();
        let gone = if matches!(item, Item::Route(..)) { libc::ESRCH } else { libc::ENOENT };
        self.change("remove", item, &removal(item, priority, seq), seq, gone)
    }

    /// Sends a change; false when the kernel's answer says that it was made already.
    fn change(
        &mut self,
        change: &'static str,
        item: Item,
        message: &[u8],
        seq: u32,
        made_already: i32,
    ) -> Result<bool, RoutingError> {
        let sent = self.netlink.request(message, seq);
        let reply = sent.map_err(|source| RoutingError::Netlink { doing: "changing the routing", source })?;
        match reply.errno {
            0 => Ok(true),
            errno if errno == made_already => Ok(false),
            errno => {
                let (place, what) = text(item);
                let source = io::Error::from_raw_os_error(errno);
                Err(RoutingError::Refused { change, what: format!("{place} {what}"), hint: reply.hint, source })
            }
        }
    }

    fn exists(&mut self, item: Item) -> Result<bool, RoutingError> {
        match item {
            Item::Address(net) => Ok(self.found_addresses()?.contains(&(LOOPBACK_INDEX, IpAddr::V6(net.addr())))),
            Item::Rule(family, routing) => {
                let equal = |rule: &FoundRule| rule.plain && (rule.family, rule.routing) == (family, routing);
                Ok(self.rules()?.iter().any(equal))
            }
            Item::Route(family, routing) => {
                let mut header = [0; ROUTE_HEADER];
                header[0] = address_family(family);
                let found = self.dump("reading the routes", libc::RTM_GETROUTE, &header, read::local_default)?;
                Ok(found.contains(&(family, routing.table)))
            }
        }
    }

    fn found_addresses(&mut self) -> Result<Vec<(u32, IpAddr)>, RoutingError> {
        self.dump("reading the addresses", libc::RTM_GETADDR, &[0; ADDRESS_HEADER], read::address)
    }

    /// The rules of all families that look a mark up in a table.
    fn rules(&mut self) -> Result<Vec<FoundRule>, RoutingError> {
        self.dump("reading the routing rules", libc::RTM_GETRULE, &[0; RULE_HEADER], read::rule)
    }

    fn dump<T>(
        &mut self,
        doing: &'static str,
        kind: u16,
        fixed: &[u8],
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, RoutingError> {
        let request = |seq| {
            let mut writer = Writer::with_capacity(32);
            writer.message(kind, NLM_F_REQUEST | NLM_F_DUMP, seq, fixed, |_| {});
            writer.into_bytes()
        };
        let each = |found: &mut Vec<T>, message: Message<'_>| found.extend(read(message.payload));
        self.netlink.dump(request, Vec::new, each).map_err(|source| RoutingError::Netlink { doing, source })
    }
}

/// The rules exactly like ours that a ruleset does not want. One that the kernel could not tell
/// from another's when it is removed is left alone.
fn unwanted(found: &[FoundRule], ruleset: &Ruleset) -> Vec<FoundRule> {
    let ours = |rule: &FoundRule| rule.plain && rule.anonymous && rule.routing == TproxyRouting::OURS;
    let twins = |rule: &FoundRule| {
        let key = |rule: &FoundRule| (rule.family, rule.routing, rule.priority);
        found.iter().filter(|other| key(other) == key(rule)).count()
    };
    let is_unwanted = |rule: &FoundRule| wanted_routing(ruleset, rule.family).is_none() && ours(rule);
    found.iter().copied().filter(|rule| is_unwanted(rule) && twins(rule) == 1).collect()
}
