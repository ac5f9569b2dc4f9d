//! Pure serde of what crosses a process boundary: CNI configuration and results, the agent's
//! socket protocol, the spool's framing, the kubeconfig for the plugin, the validator's termination message,
//! traces for programs.
pub mod agent;
pub mod args;
pub mod cni;
pub mod conflist;
pub mod document;
pub mod environment;
pub mod explain;
pub mod finding;
pub mod kubeconfig;
pub mod netconf;
pub mod redact;
pub mod result;
pub mod result_print;
pub mod spool;
pub mod tar;
pub mod termination;
pub mod token;
pub mod trace;
