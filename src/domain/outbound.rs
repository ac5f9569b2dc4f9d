//! What a node says about the outbound traffic of all its pods, beside what each pod says: which
//! groups' traffic is captured, and which addresses are the application's own. The values are
//! variables of the plugin's process, as the reference has them.

use super::cidr;
use super::failure::Classify;
use super::gotext::quote;
use super::step::ErrorType;
use ipnet::{IpNet, Ipv4Net};
use std::fmt;
use std::net::Ipv4Addr;

/// The groups whose outbound traffic is captured: `*`, or names and ids.
pub const OWNER_GROUPS: &str = "ISTIO_OUTBOUND_OWNER_GROUPS";
/// The groups whose outbound traffic is not; only read while the former is `*`.
pub const OWNER_GROUPS_EXCLUDE: &str = "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE";
/// The IPv4 range that counts as the application's loopback.
pub const LOOPBACK_CIDR: &str = "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR";

/// The most groups that can be captured alone: one rule has to name them all.
pub const MOST_GROUPS: usize = 64;

/// The node's part of the redirect settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    pub groups: OwnerGroups,
    /// Within 127.0.0.0/8; IPv6 has one loopback address, and no such variable.
    pub loopback: Ipv4Net,
}

/// A choice of groups, by the group under which a socket was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnerGroups {
    /// All are captured, except these.
    AllBut(Vec<u32>),
    /// Only these are captured; none is, if there are none.
    Only(Vec<u32>),
}

impl Default for Outbound {
    fn default() -> Self {
        Outbound { groups: OwnerGroups::AllBut(Vec::new()), loopback: Ipv4Net::from(Ipv4Addr::LOCALHOST) }
    }
}

/// A variable with a value that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundError {
    /// Variable, value, what is wrong with it and what is allowed, in one sentence.
    pub message: String,
}

/// A value that is not allowed, before it is known to whom that is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongValue {
    /// The variable that the value is for.
    pub variable: &'static str,
    /// The value, in quotes.
    pub value: String,
    /// What is wrong with it, and what is allowed.
    pub problem: String,
}

impl WrongValue {
    fn new(variable: &'static str, value: &str, wrong: &str, allowed: &str) -> WrongValue {
        WrongValue { variable, problem: format!("{wrong}; it takes {allowed}"), value: quote(value) }
    }

    /// The message for whoever gave the value with a flag.
    pub fn of_flag(&self, flag: &str) -> String {
        format!("{flag} is {}: {}", self.value, self.problem)
    }
}

impl From<WrongValue> for OutboundError {
    /// The value stands in the environment of the plugin.
    fn from(WrongValue { variable, value, problem }: WrongValue) -> OutboundError {
        let message = format!(
            "{variable} is {value} in the environment of istio-cni: {problem}; correct it where the container runtime \
             is started, or take it away for the default"
        );
        OutboundError { message }
    }
}

impl fmt::Display for OutboundError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for OutboundError {}

impl Classify for OutboundError {
    fn error_type(&self) -> ErrorType {
        ErrorType::EnvironmentInvalid
    }
}

impl Outbound {
    /// Reads the variables. `get` gives the value of one, also an empty one; `group_id` gives the
    /// id of a group's name.
    pub fn read(
        get: impl Fn(&str) -> Option<String>,
        group_id: impl Fn(&str) -> Option<u32>,
    ) -> Result<Outbound, OutboundError> {
        Ok(Outbound::check(get, group_id)?)
    }

    /// The same, with the name of the variable apart.
    pub fn check(
        get: impl Fn(&str) -> Option<String>,
        group_id: impl Fn(&str) -> Option<u32>,
    ) -> Result<Outbound, WrongValue> {
        let include = get(OWNER_GROUPS).unwrap_or_else(|| "*".to_owned());
        let groups = if include == "*" {
            let exclude = get(OWNER_GROUPS_EXCLUDE).unwrap_or_default();
            OwnerGroups::AllBut(groups(OWNER_GROUPS_EXCLUDE, &exclude, &group_id)?)
        } else {
            OwnerGroups::Only(groups(OWNER_GROUPS, &include, &group_id)?)
        };
        let loopback = get(LOOPBACK_CIDR).map_or(Ok(Outbound::default().loopback), |value| loopback(&value))?;
        Ok(Outbound { groups, loopback })
    }
}

/// A list of groups; empty elements mean nothing, as in the reference.
fn groups(variable: &'static str, value: &str, group_id: impl Fn(&str) -> Option<u32>) -> Result<Vec<u32>, WrongValue> {
    let (most, some) = if variable == OWNER_GROUPS {
        (MOST_GROUPS, format!("* for all, or at most {MOST_GROUPS} groups"))
    } else {
        (usize::MAX, "groups".to_owned())
    };
    let last = u32::MAX - 1;
    let allowed = format!("{some} joined by commas, each an id from 0 to {last} or a name in the node's /etc/group");
    let wrong = |what: &str| WrongValue::new(variable, value, what, &allowed);
    let listed = value.split(',').map(str::trim).filter(|group| !group.is_empty());
    let mut ids = Vec::new();
    for group in listed {
        let id = group.parse().ok().filter(|id| *id != u32::MAX).or_else(|| group_id(group));
        ids.push(id.ok_or_else(|| wrong(&format!("{} is no group", quote(group))))?);
    }
    if ids.len() > most { Err(wrong(&format!("it has {} groups", ids.len()))) } else { Ok(ids) }
}

/// A range of loopback addresses.
fn loopback(value: &str) -> Result<Ipv4Net, WrongValue> {
    let wrong = |what: &str| {
        let allowed = "one range of IPv4 loopback addresses, from 127.0.0.0/8 to a single one like 127.0.0.1/32";
        WrongValue::new(LOOPBACK_CIDR, value, what, allowed)
    };
    match cidr::parse(value).map_err(|what| wrong(&what))? {
        IpNet::V4(net) if net.addr().is_loopback() && net.prefix_len() >= 8 => Ok(net.trunc()),
        _ => Err(wrong("it is no range of IPv4 loopback addresses")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Outbound, OutboundError> {
        let get = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Outbound::read(get, |name| (name == "staff").then_some(50))
    }

    fn groups_of(include: &str, exclude: &str) -> OwnerGroups {
        read(&[(OWNER_GROUPS, include), (OWNER_GROUPS_EXCLUDE, exclude)]).unwrap().groups
    }

    #[test]
    fn without_variables_the_defaults_apply() {
        let outbound = Outbound { groups: OwnerGroups::AllBut(vec![]), loopback: "127.0.0.1/32".parse().unwrap() };
        assert_eq!(read(&[]), Ok(outbound.clone()));
        assert_eq!(Outbound::default(), outbound);
    }

    #[test]
    fn groups_are_ids_or_names() {
        assert_eq!(groups_of("*", "0,staff,,4294967294"), OwnerGroups::AllBut(vec![0, 50, u32::MAX - 1]));
        assert_eq!(groups_of("staff, 7", ""), OwnerGroups::Only(vec![50, 7]));
        assert_eq!(groups_of("", ""), OwnerGroups::Only(vec![]), "an empty list is a list");
    }

    #[test]
    fn excluded_groups_are_only_read_while_all_are_included() {
        assert_eq!(groups_of("7", "nobody at all"), OwnerGroups::Only(vec![7]));
    }

    #[test]
    fn a_loopback_range_loses_its_host_bits() {
        let of = |value| read(&[(LOOPBACK_CIDR, value)]).map(|outbound| outbound.loopback.to_string());
        assert_eq!(of("127.0.0.1/8").unwrap(), "127.0.0.0/8");
        assert_eq!(of("127.3.2.1/32").unwrap(), "127.3.2.1/32");
    }

    #[test]
    fn a_wrong_value_is_named_with_its_variable_and_what_is_allowed() {
        let many = (0..65).map(|id| id.to_string()).collect::<Vec<_>>().join(",");
        for (variable, value, wrong, allowed) in [
            (OWNER_GROUPS, "staff,nosuch", "\"nosuch\" is no group", "* for all, or at most 64 groups"),
            (OWNER_GROUPS, "*,7", "\"*\" is no group", "a name in the node's /etc/group"),
            (OWNER_GROUPS, "4294967295", "\"4294967295\" is no group", "an id from 0 to 4294967294"),
            (OWNER_GROUPS, "100-200", "\"100-200\" is no group", "an id"),
            (OWNER_GROUPS, &many, "it has 65 groups", "at most 64"),
            (OWNER_GROUPS_EXCLUDE, "*", "\"*\" is no group", "it takes groups joined by commas"),
            (LOOPBACK_CIDR, "", "no '/'", "127.0.0.1/32"),
            (LOOPBACK_CIDR, "127.0.0.1", "no '/'", "127.0.0.0/8"),
            (LOOPBACK_CIDR, "127.0.0.0/7", "no range of IPv4 loopback addresses", "127.0.0.0/8"),
            (LOOPBACK_CIDR, "10.0.0.0/8", "no range of IPv4 loopback addresses", "127.0.0.0/8"),
            (LOOPBACK_CIDR, "::1/128", "no range of IPv4 loopback addresses", "127.0.0.0/8"),
        ] {
            let error = read(&[(variable, value)]).unwrap_err();
            assert_eq!(error.error_type(), ErrorType::EnvironmentInvalid);
            let begin = format!("{variable} is {value:?} in the environment of istio-cni: ");
            let message = error.to_string();
            assert!(message.starts_with(&begin), "{message}");
            assert!(message.contains(wrong) && message.contains(allowed), "{message}");
        }
    }
}
