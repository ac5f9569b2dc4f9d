//! Whether a node's taints keep a pod away, as Kubernetes' DaemonSet controller decides it.

/// A node's taint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taint {
    pub key: String,
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// A toleration of a pod template, as it stands in the object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Toleration {
    /// Empty for all keys.
    pub key: String,
    /// `Exists` or `Equal`; empty for the latter.
    pub operator: String,
    pub value: String,
    /// Empty for all effects.
    pub effect: String,
}

/// What the DaemonSet controller lets its pods tolerate besides: a node that is in trouble is to have them too.
const ALWAYS: [&str; 7] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "node.kubernetes.io/disk-pressure",
    "node.kubernetes.io/memory-pressure",
    "node.kubernetes.io/pid-pressure",
    "node.kubernetes.io/unschedulable",
    "node.kubernetes.io/network-unavailable",
];

/// The first of a node's taints that keeps a DaemonSet's pods with these tolerations away.
pub fn repels<'a>(taints: &'a [Taint], tolerations: &[Toleration]) -> Option<&'a Taint> {
    let counts = |taint: &&Taint| taint.effect != "PreferNoSchedule" && !ALWAYS.contains(&taint.key.as_str());
    taints.iter().filter(counts).find(|taint| !tolerations.iter().any(|toleration| toleration.covers(taint)))
}

impl Toleration {
    fn covers(&self, taint: &Taint) -> bool {
        let key = self.key.is_empty() && self.operator == "Exists" || self.key == taint.key;
        let effect = self.effect.is_empty() || self.effect == taint.effect;
        let value = match self.operator.as_str() {
            "Exists" => true,
            "" | "Equal" => self.value == taint.value,
            _ => false,
        };
        key && effect && value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, value: &str, effect: &str) -> Taint {
        Taint { key: key.into(), value: value.into(), effect: effect.into() }
    }

    fn toleration(key: &str, operator: &str, value: &str, effect: &str) -> Toleration {
        Toleration { key: key.into(), operator: operator.into(), value: value.into(), effect: effect.into() }
    }

    #[test]
    fn a_taint_keeps_away_who_does_not_tolerate_it() {
        let gpu = [taint("gpu", "yes", "NoSchedule")];
        for (toleration, stays_away) in [
            (toleration("", "Exists", "", ""), false),
            (toleration("gpu", "Exists", "", "NoSchedule"), false),
            (toleration("gpu", "", "yes", ""), false),
            (toleration("gpu", "Equal", "yes", "NoSchedule"), false),
            (toleration("gpu", "Equal", "no", ""), true),
            (toleration("gpu", "Exists", "", "NoExecute"), true),
            (toleration("cpu", "Exists", "", ""), true),
            (toleration("gpu", "Near", "yes", ""), true),
            (toleration("", "", "", ""), true),
        ] {
            assert_eq!(repels(&gpu, std::slice::from_ref(&toleration)).is_some(), stays_away, "{toleration:?}");
        }
    }

    #[test]
    fn trouble_and_preferences_keep_nobody_away() {
        let taints = [
            taint("node.kubernetes.io/unschedulable", "", "NoSchedule"),
            taint("node.kubernetes.io/not-ready", "", "NoExecute"),
            taint("old", "", "PreferNoSchedule"),
        ];
        assert_eq!(repels(&taints, &[]), None);
        let dedicated = taint("dedicated", "db", "NoExecute");
        assert_eq!(repels(std::slice::from_ref(&dedicated), &[]), Some(&dedicated));
    }
}
