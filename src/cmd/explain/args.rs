//! The command line of `explain`.

use crate::cmd::reach::ReachArgs;
use clap::{Args, ValueEnum};

/// Explain what was done with a pod's network, and why: the decision, the timeline, each step, what failed and what
/// to do about it, the rules as they are and as they should be, and where the trace is.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  istio-cni-otel explain shop/web-0
  kubectl istio-cni explain web-0 -n shop
  istio-cni-otel explain --uid $(kubectl get pod web-0 -o jsonpath={.metadata.uid}) --rules
  istio-cni-otel explain shop/web-0 --output json | jq .summary
  istio-cni-otel explain shop/web-0 --trace-url 'http://jaeger:16686/trace/{trace_id}'

On a node, as root, or in the agent's pod, its agent is asked over RUN_DIR/page.sock; from elsewhere through the API
server, by a port-forward to the agent's pod on the pod's node. A pod that is gone is looked for on all nodes.

Exit status: 0 the pod was explained; 1 no agent knows it; 2 no agent could be asked, or the command line is wrong.")]
pub struct ExplainArgs {
    /// The pod: NAMESPACE/NAME, or NAME with --namespace
    #[arg(value_name = "NAMESPACE/POD", required_unless_present = "uid", conflicts_with = "uid")]
    pub pod: Option<String>,
    /// The pod's UID, or a trace id, which an error message has
    #[arg(long, value_name = "UID")]
    pub uid: Option<String>,
    /// Namespace of a pod that is given by its name alone
    /// [default: that of the kubeconfig's context, as kubectl has it; default where there is none]
    #[arg(long, short, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Node whose agent is asked [default: the pod's]
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// How the explanation is printed
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Print the rules that the pod has and those that it should have, also where they are in order
    #[arg(long)]
    pub rules: bool,
    /// Where traces can be looked at: a URL with {trace_id} in it [env: TRACE_URL=] [default: what the agent says]
    #[arg(long, value_name = "URL")]
    pub trace_url: Option<String>,
    #[command(flatten)]
    pub reach: ReachArgs,
}

/// How an explanation is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// As the agent gives it.
    Json,
}

/// Which pod is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    Named { namespace: String, name: String },
    Uid(String),
}

impl ExplainArgs {
    /// Which pod is meant, or what is wrong with how it is named. `usual` says the namespace of a bare name where
    /// nobody gave one.
    pub fn wanted(&self, usual: impl FnOnce() -> Option<String>) -> Result<Wanted, String> {
        if let Some(uid) = &self.uid {
            let fits = !uid.is_empty() && uid.len() <= 253;
            return if fits {
                Ok(Wanted::Uid(uid.clone()))
            } else {
                Err("--uid takes the UID of a pod, or a trace id".to_owned())
            };
        }
        let pod = self.pod.as_deref().unwrap_or_default();
        let pod = pod.strip_prefix("pod/").filter(|name| !name.is_empty()).unwrap_or(pod);
        let bare = || self.namespace.clone().or_else(usual).unwrap_or_else(|| "default".to_owned());
        let (namespace, name) = match pod.split_once('/') {
            Some((namespace, name)) => (namespace.to_owned(), name),
            None => (bare(), pod),
        };
        let is_name = |text: &str| {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
            !text.is_empty() && text.len() <= 253 && text.chars().all(plain)
        };
        if is_name(&namespace) && is_name(name) {
            return Ok(Wanted::Named { namespace, name: name.to_owned() });
        }
        Err(format!("{pod:?} is no pod: give NAMESPACE/NAME, in lower-case letters, digits, '-' and '.'"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        explain: ExplainArgs,
    }

    fn wanted(line: &[&str]) -> Result<Wanted, String> {
        Line::try_parse_from([&["explain"], line].concat()).map_err(|error| error.to_string())?.explain.wanted(|| None)
    }

    fn named(namespace: &str, name: &str) -> Result<Wanted, String> {
        Ok(Wanted::Named { namespace: namespace.into(), name: name.into() })
    }

    #[test]
    fn a_pod_is_named_as_kubectl_would_or_with_its_namespace() {
        assert_eq!(wanted(&["shop/web-0"]), named("shop", "web-0"));
        assert_eq!(wanted(&["web-0"]), named("default", "web-0"));
        assert_eq!(wanted(&["web-0", "-n", "shop"]), named("shop", "web-0"));
        assert_eq!(wanted(&["pod/web-0", "-n", "shop"]), named("shop", "web-0"));
        assert_eq!(wanted(&["--uid", "u-1"]), Ok(Wanted::Uid("u-1".into())));
    }

    #[test]
    fn what_can_be_no_pod_is_refused() {
        for wrong in
            [&["Shop/web-0"][..], &["shop/"], &["a/b/c"], &["\u{1b}[31m"], &["--uid", ""], &[], &["a", "--uid", "b"]]
        {
            assert!(wanted(wrong).is_err(), "{wrong:?}");
        }
    }
}
