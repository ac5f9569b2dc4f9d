//! Where one signal goes and how: the `OTEL_EXPORTER_OTLP_*` variables, each of which has a variant
//! for one signal that overrides it.

use super::config::{Export, TlsFiles};
use super::endpoint::{Endpoint, Protocol, Scope};
use super::env::Env;
use super::pairs;
use crate::telemetry::metrics::Signal;
use std::path::PathBuf;
use std::time::Duration;

/// What a signal's exporter variable may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exporter {
    /// A collector.
    Otlp,
    /// The console.
    Console,
    /// Nothing.
    None,
}

/// The exporters that a variable names, where it names one that is known.
pub fn exporters(env: &mut Env<'_>, variable: &str, console: bool) -> Option<Vec<Exporter>> {
    let words = [("otlp", Exporter::Otlp), ("none", Exporter::None), ("console", Exporter::Console)];
    let known = if console { &words[..] } else { &words[..2] };
    // A list without a known word is as good as unset.
    env.words(variable, known).filter(|named| !named.is_empty())
}

/// The settings for all signals, which those of one signal override.
pub struct General {
    endpoint: Option<String>,
    insecure: Option<bool>,
    protocol: Option<Protocol>,
    headers: Option<Vec<(String, String)>>,
    timeout: Option<Duration>,
    gzip: Option<bool>,
    tls: TlsFiles,
}

const PREFIX: &str = "OTEL_EXPORTER_OTLP_";

impl General {
    /// Reads what is set for all signals.
    pub fn read(env: &mut Env<'_>) -> General {
        General::read_for(env, "")
    }

    fn read_for(env: &mut Env<'_>, signal: &str) -> General {
        let name = |suffix: &str| format!("{PREFIX}{signal}{suffix}");
        let path = |env: &Env<'_>, suffix: &str| env.text(&name(suffix)).map(PathBuf::from);
        let protocols = [("grpc", Protocol::Grpc), ("http/protobuf", Protocol::HttpProtobuf)];
        General {
            endpoint: env.text(&name("ENDPOINT")),
            insecure: env.flag(&name("INSECURE")),
            protocol: env.word(&name("PROTOCOL"), &protocols),
            headers: headers(env, &name("HEADERS")),
            timeout: env.millis(&name("TIMEOUT")),
            gzip: env.word(&name("COMPRESSION"), &[("gzip", true), ("none", false)]),
            tls: TlsFiles {
                ca: path(env, "CERTIFICATE"),
                certificate: path(env, "CLIENT_CERTIFICATE"),
                key: path(env, "CLIENT_KEY"),
                system_ca: env.text("SSL_CERT_FILE").map(PathBuf::from),
            },
        }
    }

    /// Where and how a signal is sent; `None` is nowhere. `exporters` are those named for it.
    pub fn export(
        &self,
        env: &mut Env<'_>,
        signal: Signal,
        exporters: Option<&[Exporter]>,
        disabled: bool,
    ) -> Option<Export> {
        let word = signal.name().to_ascii_uppercase();
        let own = General::read_for(env, &format!("{word}_"));
        let wanted = match exporters {
            Some(named) => named.contains(&Exporter::Otlp),
            None => own.endpoint.is_some() || self.endpoint.is_some(),
        };
        if !wanted || disabled {
            return None;
        }
        let protocol = own.protocol.or(self.protocol);
        let insecure = own.insecure.or(self.insecure).unwrap_or(false);
        let endpoint = self.endpoint(env, &own, signal, protocol, insecure)?;
        Some(Export {
            endpoint,
            headers: own.headers.or_else(|| self.headers.clone()).unwrap_or_default(),
            timeout: own.timeout.or(self.timeout).unwrap_or(Duration::from_secs(10)),
            gzip: own.gzip.or(self.gzip).unwrap_or(false),
            tls: TlsFiles {
                ca: own.tls.ca.or_else(|| self.tls.ca.clone()),
                certificate: own.tls.certificate.or_else(|| self.tls.certificate.clone()),
                key: own.tls.key.or_else(|| self.tls.key.clone()),
                system_ca: own.tls.system_ca,
            },
        })
    }

    fn endpoint(
        &self,
        env: &mut Env<'_>,
        own: &General,
        signal: Signal,
        protocol: Option<Protocol>,
        insecure: bool,
    ) -> Option<Endpoint> {
        let path = format!("v1/{}", signal.name());
        let own_variable = format!("{PREFIX}{}_ENDPOINT", signal.name().to_ascii_uppercase());
        let candidates = [
            (own_variable, own.endpoint.as_deref(), Scope::Signal),
            (format!("{PREFIX}ENDPOINT"), self.endpoint.as_deref(), Scope::General),
        ];
        for (variable, text, scope) in candidates {
            let Some(text) = text else { continue };
            match Endpoint::parse(text, scope, &path, protocol, insecure) {
                Ok(endpoint) => return Some(endpoint),
                Err(problem) => env.warn(&variable, problem),
            }
        }
        if own.endpoint.is_some() || self.endpoint.is_some() {
            // The default address instead of the one that the operator meant would be worse than none.
            return None;
        }
        let default = match protocol {
            Some(Protocol::Grpc) => "http://localhost:4317",
            _ => "http://localhost:4318",
        };
        Endpoint::parse(default, Scope::General, &path, protocol, insecure).ok()
    }
}

fn headers(env: &mut Env<'_>, variable: &str) -> Option<Vec<(String, String)>> {
    let mut kept = Vec::new();
    for (name, value) in pairs::read(env, variable)? {
        let name = name.to_ascii_lowercase();
        let token = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
        // A binary header of gRPC would have to be encoded, and nobody writes one into a variable.
        if !token || name.ends_with("-bin") || !value.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            env.warn(
                variable,
                format!("header {name:?} cannot be sent: names are HTTP tokens, values printable ASCII"),
            );
        } else {
            kept.push((name, value));
        }
    }
    Some(kept)
}
