//! How the values of the traffic annotations are read. Errors are the reference's inner texts;
//! who reads the annotation says which one it was.

use super::cidr;
use super::gotext::{parse_u16, quote};
use super::settings::{Mode, Ports, Ranges};
use ipnet::IpNet;

/// The longest name that a network interface can have.
const INTERFACE_NAME_MAX: usize = 15;

/// The value that stands for everything, where it stands for anything.
const ALL: &str = "*";

/// The interception mode.
pub(super) fn parse_mode(value: &str) -> Result<Mode, String> {
    match value {
        "REDIRECT" => Ok(Mode::Redirect),
        "TPROXY" => Ok(Mode::Tproxy),
        _ => Err(format!("interceptionMode invalid: {value}")),
    }
}

/// `*`, or decimal ports joined by commas; blanks around either are allowed.
pub(super) fn parse_ports(value: &str) -> Result<Ports, String> {
    if value == ALL {
        return Ok(Ports::All);
    }
    let list = value.trim();
    if list.is_empty() {
        return Ok(Ports::These(Vec::new()));
    }
    let ports: Result<Vec<u16>, String> = list
        .split(',')
        .map(|port| parse_u16(port.trim()).map_err(|inner| format!("failed parsing port {}: {inner}", quote(port))))
        .collect();
    match ports {
        Ok(ports) => Ok(Ports::These(deduplicated(ports))),
        Err(inner) => Err(format!("portList {} invalid: {inner}", quote(value))),
    }
}

/// Ranges joined by commas, nothing trimmed.
pub(super) fn parse_ranges(value: &str) -> Result<Vec<IpNet>, String> {
    if value.is_empty() {
        return Ok(Vec::new());
    }
    value
        .split(',')
        .map(|range| cidr::parse(range).map_err(|inner| format!("failed parsing cidr '{range}': {inner}")))
        .collect()
}

/// `*` or ranges.
pub(super) fn parse_ranges_or_all(value: &str) -> Result<Ranges, String> {
    if value == ALL {
        return Ok(Ranges::All);
    }
    let (v4, v6) = by_family(parse_ranges(value).map_err(|inner| format!("IPRanges invalid: {inner}"))?);
    Ok(Ranges::These { v4, v6 })
}

/// Interface names joined by commas; blanks around a name are allowed.
pub(super) fn parse_interfaces(value: &str) -> Result<Vec<String>, String> {
    if value.is_empty() {
        return Ok(Vec::new());
    }
    let names: Result<Vec<String>, String> = value.split(',').map(|name| parse_interface(name.trim())).collect();
    names.map(deduplicated)
}

fn parse_interface(name: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.is_empty() {
        Err("empty interface name".to_owned())
    } else if name.len() > INTERFACE_NAME_MAX {
        Err(format!("interface name {} too long (max {INTERFACE_NAME_MAX} chars)", quote(name)))
    } else if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(allowed) {
        Err(format!("interface name {} contains invalid characters", quote(name)))
    } else {
        Ok(name.to_owned())
    }
}

/// The ranges of each family, in their order.
pub(super) fn by_family(ranges: Vec<IpNet>) -> (Vec<ipnet::Ipv4Net>, Vec<ipnet::Ipv6Net>) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for range in ranges {
        match range {
            IpNet::V4(range) => v4.push(range),
            IpNet::V6(range) => v6.push(range),
        }
    }
    (v4, v6)
}

/// The items without repetitions, each at its first place.
pub(super) fn deduplicated<T: Clone + Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut seen = std::collections::BTreeSet::new();
    items.into_iter().filter(|item| seen.insert(item.clone())).collect()
}
