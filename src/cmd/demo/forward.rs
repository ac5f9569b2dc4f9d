//! Sends on to a collector what the agent exports, by the same transport as the agent's own.

use crate::telemetry::otlp::config::{Config, Export};
use crate::telemetry::otlp::request::Request;
use crate::telemetry::otlp::stop::stop;
use crate::telemetry::otlp::transport::Transport;
use anyhow::{Context, Result, anyhow, bail};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

/// How long a collector may take for one request, with all attempts.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where the address stands in the environment.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// What is true whatever becomes of the sending, which is the last thing that happens.
const WENT_WELL: &str = "The demo itself went well; nothing is left behind.";

/// The way onward: requests, and at last the end.
pub type Onward = UnboundedSender<Option<Request>>;

/// Sends requests on, one after the other.
pub struct Forwarder {
    /// The collector's address for people, and the protocol.
    collector: String,
    onward: Onward,
    task: JoinHandle<Result<Sent>>,
}

/// How much the collector took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    pub spans: usize,
    pub logs: usize,
    pub metrics: usize,
}

impl Forwarder {
    /// To the collector at `url`. Protocol, headers and certificates are those of the caller's `OTEL_*` variables.
    pub fn start(url: &str) -> Result<Forwarder> {
        let ways = Ways::new(url, &|name| std::env::var(name).ok())?;
        let collector = ways.shown();
        let (onward, requests) = unbounded_channel();
        Ok(Forwarder { collector, onward, task: tokio::spawn(run(ways, requests)) })
    }

    /// Where requests go in.
    pub fn onward(&self) -> Onward {
        self.onward.clone()
    }

    /// Waits until everything is sent; says where to, and how much.
    pub async fn finish(self) -> Result<(String, Sent)> {
        // Where the task has ended already it says why.
        let _ended = self.onward.send(None);
        let sent = self.task.await.context("the sending to the collector broke off")?;
        let sent = sent.map_err(|problem| {
            let collector = &self.collector;
            anyhow!("✗ the collector {collector} did not take the telemetry: {problem} {WENT_WELL}")
        })?;
        Ok((self.collector, sent))
    }
}

struct Ways {
    traces: Transport,
    logs: Transport,
    metrics: Transport,
    collector: String,
}

impl Ways {
    fn new(url: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Ways> {
        let lookup = |name: &str| match name {
            ENDPOINT => Some(url.to_owned()),
            // The address was given, for all signals.
            _ if name.ends_with("_ENDPOINT") || !name.starts_with("OTEL_EXPORTER_OTLP_") => None,
            _ => env(name),
        };
        let (config, warnings) = Config::from_env(&lookup);
        if let Some(warning) = warnings.first() {
            let place = if warning.variable == ENDPOINT { "--otlp" } else { warning.variable.as_str() };
            bail!("cannot send to the collector: {place}: {}", warning.problem);
        }
        let collector = config.traces.as_ref().map(describe).unwrap_or_default();
        let way = |export: Option<Export>| {
            let export = export.ok_or_else(|| anyhow!("cannot send to the collector: --otlp is not its address"))?;
            Ok::<_, anyhow::Error>(Transport::new(export, config.retry))
        };
        Ok(Ways { traces: way(config.traces)?, logs: way(config.logs)?, metrics: way(config.metrics)?, collector })
    }

    fn shown(&self) -> String {
        self.collector.clone()
    }

    fn of(&mut self, request: &Request) -> &mut Transport {
        match request {
            Request::Traces(_) => &mut self.traces,
            Request::Logs(_) => &mut self.logs,
            Request::Metrics(_) => &mut self.metrics,
        }
    }
}

fn describe(export: &Export) -> String {
    let address = export.endpoint.shown();
    format!("{} ({})", address.trim_end_matches("/v1/traces"), export.endpoint.protocol.name())
}

async fn run(mut ways: Ways, mut requests: UnboundedReceiver<Option<Request>>) -> Result<Sent> {
    let (_never, stop) = stop();
    let mut sent = Sent::default();
    while let Some(Some(request)) = requests.recv().await {
        sent.count(&request);
        let answer = ways.of(&request).export(|| request.clone(), PATIENCE, &stop).await;
        let accepted = answer.map_err(|error| anyhow!("{}: does a collector listen there?", error.problem))?;
        if accepted.rejected > 0 {
            bail!("it rejected {} items: {}.", accepted.rejected, accepted.message);
        }
    }
    Ok(sent)
}

impl Sent {
    fn count(&mut self, request: &Request) {
        match request {
            Request::Traces(request) => {
                let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
                self.spans += scopes.map(|scope| scope.spans.len()).sum::<usize>();
            }
            Request::Logs(request) => {
                let scopes = request.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
                self.logs += scopes.map(|scope| scope.log_records.len()).sum::<usize>();
            }
            Request::Metrics(request) => {
                let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
                self.metrics += scopes.map(|scope| scope.metrics.len()).sum::<usize>();
            }
        }
    }
}

impl std::fmt::Display for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} spans, {} log records and {} metrics", self.spans, self.logs, self.metrics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collector(url: &str, env: &[(&str, &str)]) -> Result<String, String> {
        let lookup = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Ways::new(url, &lookup).map(|ways| ways.collector).map_err(|error| error.to_string())
    }

    #[test]
    fn the_protocol_is_the_ports_unless_it_is_said() {
        let said = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
        assert_eq!(collector("http://c:4317", &[]).unwrap(), "http://c:4317 (grpc)");
        assert_eq!(collector("http://c:4318", &[]).unwrap(), "http://c:4318 (http/protobuf)");
        assert_eq!(collector("http://c:4318", &said).unwrap(), "http://c:4318 (grpc)");
    }

    #[test]
    fn the_address_given_wins_over_the_environments() {
        let env = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://b:4318"),
            ("OTEL_SDK_DISABLED", "true"),
            ("OTEL_TRACES_EXPORTER", "none"),
        ];
        assert_eq!(collector("http://c:4318", &env).unwrap(), "http://c:4318 (http/protobuf)");
    }

    #[test]
    fn a_password_in_an_address_is_not_shown() {
        assert!(!collector("http://user:secret@c:4318", &[]).unwrap().contains("secret"));
        assert!(!collector("ftp://user:secret@c", &[]).unwrap_err().contains("secret"));
    }
}
