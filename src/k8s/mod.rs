//! The Kubernetes API: the pods of this node by watch, and one pod by request.

mod api_client;
pub mod cache;
pub mod client;
pub mod error;
pub mod kubeconfig;
pub mod lookup;
pub mod plugin_kubeconfig;
pub mod pod;
pub mod rest;
pub mod search;
pub mod watch;
