//! The Kubernetes API: the pods of this node by watch, and one pod by request.

mod api_client;
pub mod kubeconfig;
pub mod pod;
pub mod rest;
