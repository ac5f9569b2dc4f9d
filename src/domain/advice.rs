//! What to do next about an error of each type, for whoever reads an explanation: one sentence, beside the
//! error's own, which has the values.

use super::step::ErrorType;

/// The next step.
pub const fn advice(error: ErrorType) -> &'static str {
    match error {
        ErrorType::EnvironmentInvalid | ErrorType::ArgsInvalid | ErrorType::VersionUnsupported => {
            "check the container runtime's version: it calls the plugin in a way that the CNI specification does not allow"
        }
        ErrorType::ConfigInvalid => "correct the named key in the plugin's entry of the node's network configuration",
        ErrorType::NetnsMissing | ErrorType::NetnsInvalid => {
            "wait for the kubelet to make another sandbox; if it happens again, look at the container runtime's log"
        }
        ErrorType::NetnsHost => "a pod in the host's network cannot be redirected: remove hostNetwork, or the sidecar",
        ErrorType::AgentUnreachable | ErrorType::AgentTimeout | ErrorType::AgentBusy | ErrorType::AgentProtocol => {
            "look at the istio-cni-node pod of this node: kubectl get pods -A -l k8s-app=istio-cni-node"
        }
        ErrorType::KubeconfigMissing | ErrorType::KubeconfigInvalid | ErrorType::TokenMissing => {
            "look at the istio-cni-node pod of this node, which writes the plugin's kubeconfig"
        }
        ErrorType::PodNotFound | ErrorType::PodReplaced => {
            "nothing, if the pod was deleted meanwhile; else check that the API server answers in time"
        }
        ErrorType::ApiUnreachable | ErrorType::ApiTimeout | ErrorType::ApiError | ErrorType::ApiInvalidResponse => {
            "check the API server, and the network between this node and it; pods are tried again by themselves"
        }
        ErrorType::ApiUnauthorized | ErrorType::ApiForbidden => {
            "check the service account istio-cni and its ClusterRole: installing the chart again restores them"
        }
        ErrorType::AnnotationInvalid => "correct the named annotation in the workload's template, and roll it out",
        ErrorType::AddressMissing => {
            "check the primary network plugin, which should have given the pod an address before"
        }
        ErrorType::KernelUnsupported => {
            "load the named kernel modules on the node, or set the other redirect backend (REDIRECT_BACKEND)"
        }
        ErrorType::PermissionDenied => {
            "give the agent's container the capabilities of the chart: SYS_ADMIN and NET_ADMIN"
        }
        ErrorType::RulesRejected => {
            "see what the kernel refused; the other redirect backend (REDIRECT_BACKEND) may take it"
        }
        ErrorType::RulesDrifted => {
            "find out what else writes rules in pods' namespaces, then delete the pod to set it up again"
        }
        ErrorType::LockTimeout => {
            "wait for the next attempt; if it lasts, look for a plugin or an agent that hangs on the node"
        }
        ErrorType::ToolMissing | ErrorType::ToolFailed | ErrorType::ToolTimeout => {
            "check the iptables tools on the node and in the agent's image, or set REDIRECT_BACKEND=nftables"
        }
        ErrorType::BinaryMissing => "check the agent's image: the plugin belongs in CNI_BIN_SOURCE_DIR",
        ErrorType::PrimaryMissing => {
            "install the primary network plugin of the cluster; the agent waits for its configuration"
        }
        ErrorType::ConflistInvalid => "correct the named file in the node's network configuration",
        ErrorType::InstallDrifted => {
            "find out who else writes the node's network configuration; the agent restores it meanwhile"
        }
        ErrorType::ReadOnly | ErrorType::NoSpace | ErrorType::Io => "check the named file system on the node",
        ErrorType::RedirectMissing | ErrorType::RedirectWrong => {
            "let the agent repair the pod (REPAIR_REPAIR_PODS), or delete it so that it is set up again"
        }
        ErrorType::ValidationFailed => "look at the log of the pod's container istio-validation",
        ErrorType::PortTaken => "free the named port in the pod: the proxy needs it for itself",
        ErrorType::ApiConflict => "nothing: the pod has changed, and is looked at again",
        ErrorType::EvictionBlocked => "make room in the pod's disruption budget, or delete the pod by hand",
        ErrorType::RepairLimit => "check why so many pods of the node start without rules before the limit is raised",
        ErrorType::SandboxFailed => {
            "look at the failed calls below, and at kubectl describe pod for what the runtime says"
        }
        ErrorType::VolumeFailed => "look at kubectl describe pod for the volume that cannot be mounted",
        ErrorType::ImagePullFailed => "check the image's name, and that the node can reach its registry",
        ErrorType::ContainerFailed => "look at the container's log: kubectl logs --previous",
        ErrorType::PodNotReady => "look at the readiness probe and the logs of the containers that are not ready",
        ErrorType::PodFailed | ErrorType::PodEvicted | ErrorType::PodDeleted => {
            "nothing, if that was wanted; else see who did it with kubectl get events"
        }
        ErrorType::Internal => "report this with the trace: it is a defect of istio-cni-otel",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_advice_for_every_type() {
        for error in ErrorType::ALL {
            let text = advice(*error);
            assert!(text.len() > 20 && !text.ends_with('.') && !text.contains('\n'), "{error:?}: {text}");
        }
    }
}
