//! The result of the plugins before us, which is our result too: read in the family of the
//! configuration's version, written in that version. Fields that no version knows are dropped, as
//! the reference drops them.

use super::cni::{OLDEST_VERSION, pretty};
use super::document::{Document, WrongType, wrong};
use crate::domain::gotext::quote;
use ipnet::IpNet;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;
use std::net::IpAddr;

/// A result in the shape of version 1.1.0, into which every other is converted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CniResult {
    interfaces: Vec<Option<Interface>>,
    ips: Vec<Option<Ip>>,
    routes: Vec<Option<Route>>,
    dns: Dns,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Interface {
    name: String,
    mac: String,
    mtu: i64,
    sandbox: String,
    socket_path: String,
    pci_id: String,
}

#[derive(Clone, Debug, PartialEq)]
struct Ip {
    address: IpNet,
    gateway: Option<IpAddr>,
    interface: Option<i64>,
}

#[derive(Clone, Debug, PartialEq)]
struct Route {
    dst: IpNet,
    gw: Option<IpAddr>,
    mtu: i64,
    advmss: i64,
    priority: i64,
    table: Option<i64>,
    scope: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Dns {
    nameservers: Vec<String>,
    domain: String,
    search: Vec<String>,
    options: Vec<String>,
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
enum Shape {
    /// `ip4` and `ip6`.
    V02,
    /// `interfaces`, and `ips` with a `version`.
    V04,
    /// `ips` without.
    V1,
}

impl Shape {
    fn of(version: &str) -> Shape {
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

/// Writes a result for standard output; without one, an empty one of that version.
pub fn print(result: Option<&CniResult>, version: &str) -> Vec<u8> {
    let version = if version.is_empty() { OLDEST_VERSION } else { version };
    let empty = CniResult::default();
    let result = result.unwrap_or(&empty);
    pretty(&match Shape::of(version) {
        Shape::V02 => result.as_02(version),
        Shape::V04 => result.as_04(version),
        Shape::V1 => result.as_1(version),
    })
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

/// An object on its way out. Empty members are left out unless they are told to stay.
struct Out(Vec<(&'static str, Member)>);

enum Member {
    Value(Value),
    Object(Out),
    List(Vec<Option<Out>>),
}

impl Out {
    fn new() -> Out {
        Out(Vec::new())
    }

    fn always(mut self, key: &'static str, value: impl Into<Value>) -> Out {
        self.0.push((key, Member::Value(value.into())));
        self
    }

    fn text(self, key: &'static str, text: &str) -> Out {
        if text.is_empty() { self } else { self.always(key, text) }
    }

    fn number(self, key: &'static str, number: i64) -> Out {
        if number == 0 { self } else { self.always(key, number) }
    }

    fn optional<T: ToString>(self, key: &'static str, value: Option<&T>) -> Out {
        match value {
            Some(value) => self.always(key, value.to_string()),
            None => self,
        }
    }

    fn index(self, key: &'static str, number: Option<i64>) -> Out {
        match number {
            Some(number) => self.always(key, number),
            None => self,
        }
    }

    fn texts(self, key: &'static str, texts: &[String]) -> Out {
        if texts.is_empty() { self } else { self.always(key, texts) }
    }

    fn object(mut self, key: &'static str, object: Out) -> Out {
        self.0.push((key, Member::Object(object)));
        self
    }

    fn list<T>(mut self, key: &'static str, items: &[Option<T>], write: impl Fn(&T) -> Out) -> Out {
        if !items.is_empty() {
            self.0.push((key, Member::List(items.iter().map(|item| item.as_ref().map(&write)).collect())));
        }
        self
    }
}

impl Serialize for Out {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, member) in &self.0 {
            match member {
                Member::Value(value) => map.serialize_entry(key, value)?,
                Member::Object(object) => map.serialize_entry(key, object)?,
                Member::List(items) => map.serialize_entry(key, items)?,
            }
        }
        map.end()
    }
}

impl CniResult {
    /// Version 1: keys sorted, an empty `dns` left out.
    fn as_1(&self, version: &str) -> Out {
        let interface = |item: &Interface| {
            let out = Out::new().text("mac", &item.mac).number("mtu", item.mtu).always("name", item.name.as_str());
            out.text("pciID", &item.pci_id).text("sandbox", &item.sandbox).text("socketPath", &item.socket_path)
        };
        let ip = |item: &Ip| {
            let out = Out::new().always("address", item.address.to_string());
            out.optional("gateway", item.gateway.as_ref()).index("interface", item.interface)
        };
        let route = |item: &Route| {
            let out = Out::new().number("advmss", item.advmss).always("dst", item.dst.to_string());
            let out = out.optional("gw", item.gw.as_ref()).number("mtu", item.mtu).number("priority", item.priority);
            out.index("scope", item.scope).index("table", item.table)
        };
        let mut out = Out::new().always("cniVersion", version);
        if self.dns != Dns::default() {
            let Dns { nameservers, domain, search, options } = &self.dns;
            let dns = Out::new().text("domain", domain).texts("nameservers", nameservers);
            out = out.object("dns", dns.texts("options", options).texts("search", search));
        }
        out = out.list("interfaces", &self.interfaces, interface);
        out.list("ips", &self.ips, ip).list("routes", &self.routes, route)
    }

    /// Versions 0.3.0 to 0.4.0: keys in the specification's order, `dns` always there.
    fn as_04(&self, version: &str) -> Out {
        let interface = |item: &Interface| {
            let out = Out::new().always("name", item.name.as_str());
            out.text("mac", &item.mac).text("sandbox", &item.sandbox)
        };
        let ip = |item: &Ip| {
            let family = if item.address.addr().to_canonical().is_ipv4() { "4" } else { "6" };
            let out = Out::new().always("version", family).index("interface", item.interface);
            out.always("address", item.address.to_string()).optional("gateway", item.gateway.as_ref())
        };
        let route = |item: &Route| {
            let out = Out::new().always("dst", item.dst.to_string()).optional("gw", item.gw.as_ref());
            let out = out.number("mtu", item.mtu).number("advmss", item.advmss).number("priority", item.priority);
            out.index("table", item.table).index("scope", item.scope)
        };
        let out = Out::new().always("cniVersion", version).list("interfaces", &self.interfaces, interface);
        out.list("ips", &self.ips, ip).list("routes", &self.routes, route).object("dns", self.dns_in_order())
    }

    /// Versions 0.1.0 and 0.2.0: the first address of each family, with its family's routes.
    fn as_02(&self, version: &str) -> Out {
        let config = |ipv4: bool| {
            let of_family = |net: &IpNet| net.addr().to_canonical().is_ipv4() == ipv4;
            let ip = self.ips.iter().flatten().find(|ip| of_family(&ip.address))?;
            let routes: Vec<_> = self.routes.iter().flatten().filter(|route| of_family(&route.dst)).collect();
            let routes: Vec<_> = routes.into_iter().map(Some).collect();
            let route =
                |route: &&Route| Out::new().always("dst", route.dst.to_string()).optional("gw", route.gw.as_ref());
            let out = Out::new().always("ip", ip.address.to_string()).optional("gateway", ip.gateway.as_ref());
            Some(out.list("routes", &routes, route))
        };
        let mut out = Out::new().always("cniVersion", version);
        for (key, ipv4) in [("ip4", true), ("ip6", false)] {
            if let Some(config) = config(ipv4) {
                out = out.object(key, config);
            }
        }
        out.object("dns", self.dns_in_order())
    }

    fn dns_in_order(&self) -> Out {
        let Dns { nameservers, domain, search, options } = &self.dns;
        Out::new()
            .texts("nameservers", nameservers)
            .text("domain", domain)
            .texts("search", search)
            .texts("options", options)
    }
}

#[cfg(test)]
#[path = "result_tests.rs"]
mod tests;
