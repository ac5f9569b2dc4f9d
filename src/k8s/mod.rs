//! The Kubernetes API: the pods of this node by watch, and one pod by request.

pub mod kubeconfig;
pub mod pod;
