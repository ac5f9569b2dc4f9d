//! The options of `istio-cni-otel demo`.

use std::net::SocketAddr;

/// The hidden option with which the demo starts itself again to hold a namespace.
pub const HOLD_NETNS: &str = "--hold-netns";
/// The hidden option with which the demo starts itself again as a pod's validation container.
pub const VALIDATE_IN: &str = "--validate-in";

/// Shows a meshed pod's network set-up end to end on this machine
///
/// Makes network namespaces of its own for sample pods, runs the real plugin against the real agent for them, sends
/// real packets, validates, has a pod that started without the plugin repaired, and draws the traces that came of it. Needs no cluster, no collector and no root: without root it
/// works in a user namespace. Leaves nothing behind.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  istio-cni-otel demo                                look at it
  istio-cni-otel demo --serve                        and again in a browser, until Ctrl-C
  istio-cni-otel demo --otlp http://localhost:4318   and send the trace to a collector

Exit status: 0 all was as it should be, 1 something was not (one sentence says what), 130 interrupted
before its end; the page of --serve is meant to be ended by Ctrl-C, which is 0.")]
pub struct DemoArgs {
    /// Afterwards, keep a page with the traces and log lines at this address of loopback, until Ctrl-C; without an
    /// address at any free port of 127.0.0.1
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "127.0.0.1:0", value_parser = loopback)]
    pub serve: Option<SocketAddr>,

    /// Also send what the agent exports to this collector: OTLP over gRPC at port 4317, else over HTTP, unless
    /// OTEL_EXPORTER_OTLP_PROTOCOL says grpc or http/protobuf; its headers and certificates are taken from the other
    /// OTEL_EXPORTER_OTLP_ variables
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,

    /// Holds a network namespace, whose only user has this id if one is given, until standard input ends
    #[arg(long, value_name = "UID", num_args = 0..=1, hide = true, exclusive = true)]
    pub hold_netns: Option<Option<u32>>,

    /// Validates the redirection in the namespaces of this process, as the proxy's user
    #[arg(long, value_name = "PID", hide = true, exclusive = true)]
    pub validate_in: Option<u32>,
}

/// A page about pods is not for the network.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let numeric = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let address: SocketAddr = numeric
        .as_deref()
        .unwrap_or(text)
        .parse()
        .map_err(|_| "expected an address and a port, such as 127.0.0.1:8080".to_owned())?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err(format!("{} is not on loopback: the page is for this machine only, use 127.0.0.1 or [::1]", address.ip()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        demo: DemoArgs,
    }

    fn parse(args: &[&str]) -> Result<DemoArgs, String> {
        let args = ["demo"].into_iter().chain(args.iter().copied());
        Cli::try_parse_from(args).map(|cli| cli.demo).map_err(|error| error.to_string())
    }

    #[test]
    fn the_page_is_served_on_loopback_only() {
        let serve = |args: &[&str]| parse(args).map(|demo| demo.serve.map(|address| address.to_string()));
        assert_eq!(serve(&[]), Ok(None));
        assert_eq!(serve(&["--serve"]), Ok(Some("127.0.0.1:0".to_owned())));
        assert_eq!(serve(&["--serve", "localhost:8080"]), Ok(Some("127.0.0.1:8080".to_owned())));
        assert_eq!(serve(&["--serve", "[::1]:8080"]), Ok(Some("[::1]:8080".to_owned())));
        assert!(serve(&["--serve", "0.0.0.0:8080"]).unwrap_err().contains("not on loopback"));
        assert!(serve(&["--serve", "8080"]).unwrap_err().contains("such as 127.0.0.1:8080"));
    }
}
