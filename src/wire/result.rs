//! The result of the plugins before us, which is our result too: read in the family of the
//! configuration's version. Fields that no version knows are dropped, as the reference drops them.

use super::document::{Document, WrongType, wrong};
use crate::domain::gotext::quote;
use ipnet::IpNet;
use serde_json::Value;
use std::net::IpAddr;

/// A result in the shape of version 1.1.0, into which every other is converted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CniResult {
    pub(super) interfaces: Vec<Option<Interface>>,
    pub(super) ips: Vec<Option<Ip>>,
    pub(super) routes: Vec<Option<Route>>,
    pub(super) dns: Dns,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) mac: String,
    pub(super) mtu: i64,
    pub(super) sandbox: String,
    pub(super) socket_path: String,
    pub(super) pci_id: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ip {
    pub(super) address: IpNet,
    pub(super) gateway: Option<IpAddr>,
    pub(super) interface: Option<i64>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Route {
    pub(super) dst: IpNet,
    pub(super) gw: Option<IpAddr>,
    pub(super) mtu: i64,
    pub(super) advmss: i64,
    pub(super) priority: i64,
    pub(super) table: Option<i64>,
    pub(super) scope: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Dns {
    pub(super) nameservers: Vec<String>,
    pub(super) domain: String,
    pub(super) search: Vec<String>,
    pub(super) options: Vec<String>,
}

/// Why a `prevResult` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResultError {
    #[error(transparent)]
    Type(#[from] WrongType),
    #[error("result type supports [{}] but unmarshalled CNIVersion is {}", .supported.join(" "), quote(.found))]
    Version { supported: &'static [&'static str], found: String },
}

/// Versions whose results have the same shape.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `ip4` and `ip6`.
    V02,
    /// `interfaces`, and `ips` with a `version`.
    V04,
    /// `ips` without.
    V1,
}

impl Shape {
    pub(super) fn of(version: &str) -> Shape {
        match version {
            "" | "0.1.0" | "0.2.0" => Shape::V02,
            "0.3.0" | "0.3.1" | "0.4.0" => Shape::V04,
            _ => Shape::V1,
        }
    }

    const fn versions(self) -> &'static [&'static str] {
        match self {
            Shape::V02 => &["", "0.1.0", "0.2.0"],
            Shape::V04 => &["0.3.0", "0.3.1", "0.4.0"],
            Shape::V1 => &["1.0.0", "1.1.0"],
        }
    }
}

/// Reads a `prevResult`; `version` is the configuration's.
pub fn parse(version: &str, result: &Document) -> Result<CniResult, ResultError> {
    let shape = Shape::of(version);
    let read = if shape == Shape::V02 { read_02(result) } else { read_new(result, shape) }?;
    let found = result.text("cniVersion")?;
    if shape.versions().contains(&found) {
        Ok(read)
    } else {
        Err(ResultError::Version { supported: shape.versions(), found: found.to_owned() })
    }
}

fn read_new(result: &Document, shape: Shape) -> Result<CniResult, WrongType> {
    let interface = |item: &Document| {
        let since_1 = |key| if shape == Shape::V1 { item.text(key) } else { Ok("") };
        Ok(Interface {
            name: item.text("name")?.to_owned(),
            mac: item.text("mac")?.to_owned(),
            mtu: if shape == Shape::V1 { item.integer("mtu")?.unwrap_or_default() } else { 0 },
            sandbox: item.text("sandbox")?.to_owned(),
            socket_path: since_1("socketPath")?.to_owned(),
            pci_id: since_1("pciID")?.to_owned(),
        })
    };
    let ip = |item: &Document| {
        if shape == Shape::V04 {
            item.text("version")?;
        }
        let interface = item.integer("interface")?;
        Ok(Ip { address: cidr(item, "address")?, gateway: address(item, "gateway")?, interface })
    };
    Ok(CniResult {
        interfaces: each(result, "interfaces", interface)?,
        ips: each(result, "ips", ip)?,
        routes: each(result, "routes", route)?,
        dns: dns(result)?,
    })
}

fn read_02(result: &Document) -> Result<CniResult, WrongType> {
    let mut read = CniResult { dns: dns(result)?, ..CniResult::default() };
    for key in ["ip4", "ip6"] {
        let Some(config) = result.object(key)? else { continue };
        let inside = |error: WrongType| error.inside(key);
        read.ips.push(Some(Ip {
            address: cidr(&config, "ip").map_err(inside)?,
            gateway: address(&config, "gateway").map_err(inside)?,
            interface: None,
        }));
        read.routes.extend(each(&config, "routes", route).map_err(inside)?);
    }
    Ok(read)
}

fn route(item: &Document) -> Result<Route, WrongType> {
    Ok(Route {
        dst: cidr(item, "dst")?,
        gw: address(item, "gw")?,
        mtu: item.integer("mtu")?.unwrap_or_default(),
        advmss: item.integer("advmss")?.unwrap_or_default(),
        priority: item.integer("priority")?.unwrap_or_default(),
        table: item.integer("table")?,
        scope: item.integer("scope")?,
    })
}

/// Whether the `dns` of a configuration has the types that it should have.
pub fn check_dns(configuration: &Document) -> Result<(), WrongType> {
    dns(configuration).map(|_| ())
}

fn dns(result: &Document) -> Result<Dns, WrongType> {
    let Some(dns) = result.object("dns")? else { return Ok(Dns::default()) };
    let read = || {
        Ok(Dns {
            nameservers: dns.texts("nameservers")?,
            domain: dns.text("domain")?.to_owned(),
            search: dns.texts("search")?,
            options: dns.texts("options")?,
        })
    };
    read().map_err(|error: WrongType| error.inside("dns"))
}

/// Reads every object of the list at `key`; a `null` stays one, for interfaces are counted.
fn each<T>(
    outer: &Document,
    key: &str,
    read: impl Fn(&Document) -> Result<T, WrongType>,
) -> Result<Vec<Option<T>>, WrongType> {
    let items = outer.objects(key)?;
    let place = |at: usize| format!("{key}[{at}]");
    let item = |(at, item): (usize, &Option<Document>)| {
        item.as_ref().map(|item| read(item).map_err(|error| error.inside(&place(at)))).transpose()
    };
    items.iter().enumerate().map(item).collect()
}

fn cidr(item: &Document, key: &str) -> Result<IpNet, WrongType> {
    const WANTED: &str = "an address with its prefix length such as 10.0.0.2/24";
    let value = item.get(key).unwrap_or(&Value::Null);
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| wrong(key, WANTED, value))
}

fn address(item: &Document, key: &str) -> Result<Option<IpAddr>, WrongType> {
    match item.get(key) {
        None => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(value) => {
            let parsed = value.as_str().and_then(|text| text.parse::<IpAddr>().ok());
            parsed.map(|ip| Some(ip.to_canonical())).ok_or_else(|| wrong(key, "an IP address such as 10.0.0.1", value))
        }
    }
}

#[cfg(test)]
#[path = "result_tests.rs"]
mod tests;
