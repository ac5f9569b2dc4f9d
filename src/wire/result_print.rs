//! A result on its way to standard output, in the version of the configuration: each family of
//! versions has its own keys in its own order.

use super::cni::{OLDEST_VERSION, pretty};
use super::result::{CniResult, Dns, Interface, Ip, Route, Shape};
use ipnet::IpNet;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;

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
