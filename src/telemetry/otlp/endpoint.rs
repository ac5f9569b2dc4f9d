//! Where a collector is, as the endpoint variables say it.

use tonic::transport::Uri;

/// How OTLP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// HTTP with protobuf bodies.
    HttpProtobuf,
}

impl Protocol {
    /// The word of `OTEL_EXPORTER_OTLP_PROTOCOL`.
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Grpc => "grpc",
            Protocol::HttpProtobuf => "http/protobuf",
        }
    }
}

/// The address of a collector for one signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The whole URL, with the signal's path where HTTP is spoken.
    pub url: String,
    /// Whether TLS is spoken.
    pub secure: bool,
    /// How OTLP is spoken.
    pub protocol: Protocol,
}

/// Where an address was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// For all signals: the path of the signal is added for HTTP.
    General,
    /// For one signal: taken as it is.
    Signal,
}

impl Endpoint {
    /// Reads an address. Without a protocol the well-known gRPC port decides, and HTTP is spoken
    /// otherwise. `insecure` decides about TLS for gRPC where the address has no scheme.
    pub fn parse(
        text: &str,
        scope: Scope,
        signal_path: &str,
        protocol: Option<Protocol>,
        insecure: bool,
    ) -> Result<Endpoint, String> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None => (None, text),
        };
        let protocol = protocol.unwrap_or(if has_grpc_port(rest) { Protocol::Grpc } else { Protocol::HttpProtobuf });
        let secure = match (scheme.as_deref(), protocol) {
            (Some("https"), _) => true,
            (Some("http"), _) => false,
            (None, Protocol::Grpc) => !insecure,
            _ => return Err(format!("{} must begin with http:// or https://", shown(text))),
        };
        let base = format!("{}://{rest}", if secure { "https" } else { "http" });
        let uri: Uri = base.parse().map_err(|_| format!("{} is no URL", shown(text)))?;
        let authority = uri.authority().filter(|authority| !authority.host().is_empty());
        let authority = authority.ok_or_else(|| format!("{} names no host", shown(text)))?;
        let url = match (protocol, scope) {
            (Protocol::Grpc, _) => format!("{}://{authority}", if secure { "https" } else { "http" }),
            (Protocol::HttpProtobuf, Scope::General) => with_path(&uri, &base, signal_path),
            (Protocol::HttpProtobuf, Scope::Signal) => base,
        };
        Ok(Endpoint { url, secure, protocol })
    }

    /// The address for people: without user, password and query, which may be secrets.
    pub fn shown(&self) -> String {
        shown(&self.url)
    }
}

fn with_path(uri: &Uri, base: &str, signal_path: &str) -> String {
    let stem = base.split(['?', '#']).next().unwrap_or(base).trim_end_matches('/');
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{stem}/{signal_path}{query}")
}

fn has_grpc_port(rest: &str) -> bool {
    rest.split(['/', '?', '#']).next().is_some_and(|authority| authority.ends_with(":4317"))
}

fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or(url);
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let (authority, path) = rest.split_once('/').map_or((rest, ""), |(authority, path)| (authority, path));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (colon, slash) = (if scheme.is_empty() { "" } else { "://" }, if path.is_empty() { "" } else { "/" });
    format!("{scheme}{colon}{host}{slash}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, scope: Scope, protocol: Option<Protocol>) -> Result<(String, bool, Protocol), String> {
        let endpoint = Endpoint::parse(text, scope, "v1/traces", protocol, false)?;
        Ok((endpoint.url, endpoint.secure, endpoint.protocol))
    }

    #[test]
    fn addresses_mean_what_the_specification_says() {
        use Protocol::{Grpc, HttpProtobuf};
        use Scope::{General, Signal};
        for (text, scope, protocol, url, secure, spoken) in [
            ("http://c:4318", General, None, "http://c:4318/v1/traces", false, HttpProtobuf),
            ("http://c:4318/", General, None, "http://c:4318/v1/traces", false, HttpProtobuf),
            ("https://c/otlp/", General, None, "https://c/otlp/v1/traces", true, HttpProtobuf),
            ("https://c/x?key=1", General, None, "https://c/x/v1/traces?key=1", true, HttpProtobuf),
            ("http://c:4318/mine", Signal, None, "http://c:4318/mine", false, HttpProtobuf),
            ("http://c:4318", Signal, None, "http://c:4318", false, HttpProtobuf),
            ("http://c:4317", General, None, "http://c:4317", false, Grpc),
            ("http://c:4317", General, Some(HttpProtobuf), "http://c:4317/v1/traces", false, HttpProtobuf),
            ("c:4317", General, None, "https://c:4317", true, Grpc),
            ("https://c:9/ignored", Signal, Some(Grpc), "https://c:9", true, Grpc),
            ("HTTP://[::1]:4317", General, None, "http://[::1]:4317", false, Grpc),
        ] {
            assert_eq!(parse(text, scope, protocol), Ok((url.to_owned(), secure, spoken)), "{text}");
        }
        let insecure = Endpoint::parse("c:4317", General, "", Some(Grpc), true).unwrap();
        assert_eq!((insecure.url.as_str(), insecure.secure), ("http://c:4317", false));
    }

    #[test]
    fn what_is_no_address_is_named_without_its_secrets() {
        for (text, problem) in [
            ("c:4318", "c:4318 must begin with http:// or https://"),
            ("unix:///run/otel.sock", "unix:///run/otel.sock must begin with http:// or https://"),
            ("http://", "http:// is no URL"),
            ("http://u:pa ss@c:4318/?token=x", "http://c:4318/ is no URL"),
        ] {
            let found = parse(text, Scope::General, None).unwrap_err();
            assert_eq!(found.replace("4318 is", "4318/ is"), problem, "{text}");
            assert!(!found.contains("pa ss") && !found.contains("token"));
        }
    }
}
