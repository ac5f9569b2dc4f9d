//! The Kubernetes API: the pods of this node by watch, and one pod by request.

pub mod agents;
mod answer;
pub mod api_client;
pub mod cache;
pub mod client;
pub mod cluster;
pub mod daemonset;
pub mod daemonset_watch;
pub mod error;
pub mod events;
mod exec_credential;
pub mod forward;
pub mod kubeconfig;
pub mod lookup;
pub mod parent;
pub mod plugin_kubeconfig;
pub mod pod;
pub mod pod_changes;
pub mod pod_events;
pub mod pod_status;
pub mod resource;
pub mod rest;
pub mod search;
pub mod source;
pub mod watch;
