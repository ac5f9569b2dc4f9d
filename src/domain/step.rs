//! The closed lists behind the telemetry: the steps that a request, an installation, a validation or a repair is made
//! of, and the types that their errors have. They are span names, metric labels and attribute values, so they are stable and few.

/// One step of a request; `name` is its span name and its `step` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    ConfigParse,
    NetnsOpen,
    AgentCall,
    PodLookup,
    RedirectDecide,
    RulesBuild,
    RulesApply,
    RulesVerify,
    InstallBinaries,
    InstallKubeconfig,
    InstallConflist,
    InstallVerify,
    UninstallConflist,
    UninstallKubeconfig,
    UninstallBinaries,
    ValidateListen,
    ValidateConnect,
    RepairNetns,
    RepairEvict,
    RepairDelete,
    RepairLabel,
}

impl Step {
    /// The steps of a plugin's call, in the order in which an ADD runs them: those before the
    /// installation's.
    pub const CALL: &[Step] = Step::ALL.split_at(Step::InstallBinaries as usize).0;

    /// Every step, in the order in which an ADD, an installation, its removal, a validation and a repair run them.
    pub const ALL: [Step; 21] = [
        Step::ConfigParse,
        Step::NetnsOpen,
        Step::AgentCall,
        Step::PodLookup,
        Step::RedirectDecide,
        Step::RulesBuild,
        Step::RulesApply,
        Step::RulesVerify,
        Step::InstallBinaries,
        Step::InstallKubeconfig,
        Step::InstallConflist,
        Step::InstallVerify,
        Step::UninstallConflist,
        Step::UninstallKubeconfig,
        Step::UninstallBinaries,
        Step::ValidateListen,
        Step::ValidateConnect,
        Step::RepairNetns,
        Step::RepairEvict,
        Step::RepairDelete,
        Step::RepairLabel,
    ];

    /// The span name and metric label.
    pub const fn name(self) -> &'static str {
        match self {
            Step::ConfigParse => "config.parse",
            Step::NetnsOpen => "netns.open",
            Step::AgentCall => "agent.call",
            Step::PodLookup => "pod.lookup",
            Step::RedirectDecide => "redirect.decide",
            Step::RulesBuild => "rules.build",
            Step::RulesApply => "rules.apply",
            Step::RulesVerify => "rules.verify",
            Step::InstallBinaries => "install.binaries",
            Step::InstallKubeconfig => "install.kubeconfig",
            Step::InstallConflist => "install.conflist",
            Step::InstallVerify => "install.verify",
            Step::UninstallConflist => "uninstall.conflist",
            Step::UninstallKubeconfig => "uninstall.kubeconfig",
            Step::UninstallBinaries => "uninstall.binaries",
            Step::ValidateListen => "validate.listen",
            Step::ValidateConnect => "validate.connect",
            Step::RepairNetns => "repair.netns",
            Step::RepairEvict => "repair.evict",
            Step::RepairDelete => "repair.delete",
            Step::RepairLabel => "repair.label",
        }
    }

    /// The step with this name, if there is one.
    pub fn from_name(name: &str) -> Option<Step> {
        Step::ALL.into_iter().find(|step| step.name() == name)
    }
}

macro_rules! error_types {
    ($($(#[doc = $doc:literal])* $variant:ident => $text:literal,)*) => {
        /// What kind of thing went wrong: the value of `error.type`, on spans, logs and metrics.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorType { $($(#[doc = $doc])* $variant,)* }

        impl ErrorType {
            /// Every error type.
            pub const ALL: &'static [ErrorType] = &[$(ErrorType::$variant,)*];

            /// The attribute and label value.
            pub const fn as_str(self) -> &'static str {
                match self { $(ErrorType::$variant => $text,)* }
            }

            /// The type with this text, if there is one.
            pub fn from_text(text: &str) -> Option<ErrorType> {
                ErrorType::ALL.iter().copied().find(|kind| kind.as_str() == text)
            }
        }
    };
}

error_types! {
    /// The CNI environment is incomplete or malformed.
    EnvironmentInvalid => "environment_invalid",
    /// The network configuration on stdin is unusable.
    ConfigInvalid => "config_invalid",
    /// A CNI version that is not spoken, or one that does not know the command.
    VersionUnsupported => "version_unsupported",
    /// CNI_ARGS is malformed.
    ArgsInvalid => "args_invalid",
    /// The network namespace does not exist (any more).
    NetnsMissing => "netns_missing",
    /// The path is not a network namespace, or it cannot be opened or entered.
    NetnsInvalid => "netns_invalid",
    /// The namespace is the host's own.
    NetnsHost => "netns_host",
    /// Nobody serves the agent's socket.
    AgentUnreachable => "agent_unreachable",
    /// The agent did not answer in time.
    AgentTimeout => "agent_timeout",
    /// The agent answered something that is no answer.
    AgentProtocol => "agent_protocol",
    /// The agent is at its limit of requests under way, or stopping.
    AgentBusy => "agent_busy",
    /// There is no kubeconfig to reach the API server with.
    KubeconfigMissing => "kubeconfig_missing",
    /// The kubeconfig cannot be read or makes no sense.
    KubeconfigInvalid => "kubeconfig_invalid",
    /// The API server knows no such pod.
    PodNotFound => "pod_not_found",
    /// The pod of that name has another UID: it was replaced.
    PodReplaced => "pod_replaced",
    /// No connection to the API server.
    ApiUnreachable => "api_unreachable",
    /// The API server did not answer in time.
    ApiTimeout => "api_timeout",
    /// The API server does not accept the token (401).
    ApiUnauthorized => "api_unauthorized",
    /// The API server does not allow the request (403).
    ApiForbidden => "api_forbidden",
    /// Any other error answer of the API server.
    ApiError => "api_error",
    /// The API server answered something that is no pod.
    ApiInvalidResponse => "api_invalid_response",
    /// An annotation of the pod has a value that is not allowed.
    AnnotationInvalid => "annotation_invalid",
    /// The namespace has no usable address.
    AddressMissing => "address_missing",
    /// The kernel lacks something that the rules need.
    KernelUnsupported => "kernel_unsupported",
    /// The kernel refused for lack of privilege.
    PermissionDenied => "permission_denied",
    /// The kernel or the tool refused a rule.
    RulesRejected => "rules_rejected",
    /// The rules read back are not the rules wanted.
    RulesDrifted => "rules_drifted",
    /// Somebody else holds the namespace's lock for too long.
    LockTimeout => "lock_timeout",
    /// A host tool (iptables-restore, iptables-save) is not there.
    ToolMissing => "tool_missing",
    /// A host tool failed for another reason than a refused rule.
    ToolFailed => "tool_failed",
    /// A host tool did not end in time.
    ToolTimeout => "tool_timeout",
    /// The plugin's binary is not where the agent's image should have it.
    BinaryMissing => "binary_missing",
    /// The pod's service account has no token, or it cannot be read.
    TokenMissing => "token_missing",
    /// There is no network configuration yet that the plugin could be chained to.
    PrimaryMissing => "primary_missing",
    /// A network configuration of the node cannot be used.
    ConflistInvalid => "conflist_invalid",
    /// What was installed is not there, or is something else.
    InstallDrifted => "install_drifted",
    /// A file system is mounted read-only, or a file is immutable.
    ReadOnly => "read_only",
    /// A file system has no room left.
    NoSpace => "no_space",
    /// Nothing redirects: a connection that should have been caught met nobody.
    RedirectMissing => "redirect_missing",
    /// A connection was caught, but by the wrong rule: its destination or its family is another.
    RedirectWrong => "redirect_wrong",
    /// The validation failed, and did not say in what way.
    ValidationFailed => "validation_failed",
    /// A port that is to be listened on cannot be had.
    PortTaken => "port_taken",
    /// The object has changed meanwhile (409): what was decided about it may not hold any more.
    ApiConflict => "api_conflict",
    /// A disruption budget does not allow the eviction now (429).
    EvictionBlocked => "eviction_blocked",
    /// More was to be repaired than the node's limit allows.
    RepairLimit => "repair_limit",
    /// The pod's sandbox, with its network, could not be made.
    SandboxFailed => "sandbox_failed",
    /// A volume of the pod could not be mounted.
    VolumeFailed => "volume_failed",
    /// The image of a container could not be had.
    ImagePullFailed => "image_pull_failed",
    /// A container could not be started, or ended when it should not have.
    ContainerFailed => "container_failed",
    /// A container of the pod is not ready, or a readiness gate is not.
    PodNotReady => "pod_not_ready",
    /// The pod failed as a whole: it was not admitted, or took too long.
    PodFailed => "pod_failed",
    /// The pod was evicted or preempted.
    PodEvicted => "pod_evicted",
    /// The pod was deleted.
    PodDeleted => "pod_deleted",
    /// Reading or writing a file or socket failed.
    Io => "io",
    /// A defect of this software; always worth a report.
    Internal => "internal",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_read_back() {
        for step in Step::ALL {
            assert_eq!(Step::from_name(step.name()), Some(step));
        }
        for kind in ErrorType::ALL {
            assert_eq!(ErrorType::from_text(kind.as_str()), Some(*kind));
        }
    }
}
