//! Pure facts and decisions: what a pod is, whether it is redirected, with which rules, and what a
//! step or an error is called. No I/O, no serialisation: `std` and `ipnet` only.

pub mod annotation;
mod annotation_value;
pub mod api_access;
pub mod cidr;
pub mod cni_files;
pub mod culprit;
pub mod decision;
pub mod departure;
pub mod failure;
pub mod gotext;
pub mod identity;
pub mod install;
pub mod nft;
pub mod node_affinity;
pub mod notice;
pub mod outbound;
pub mod pod;
pub mod pod_state;
pub mod pod_status;
pub mod proxy;
pub mod prune;
pub mod render;
pub mod render_iptables;
pub mod render_nft;
pub mod request;
pub mod reverts;
pub mod ruleset;
pub mod settings;
pub mod step;
pub mod trace_context;
pub mod validation;
pub mod validation_run;
