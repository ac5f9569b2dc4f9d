//! Settings of the reference's agent that this one knows and does nothing about: silence would make
//! somebody believe that they count. Those that ask for what happens anyway are passed over.

use super::Lookup;
use super::value::boolean;

/// A setting that is given and changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WithoutEffect {
    /// Its name.
    pub name: &'static str,
    /// What happens instead.
    pub problem: &'static str,
}

/// Switches of which only `true` would change something.
const SWITCHES: &[WithoutEffect] = &[
    WithoutEffect {
        name: "AMBIENT_ENABLED",
        problem: "the plugin is told of it, but sets up no ambient pods, which stay outside the mesh; run Istio's own \
                  agent on nodes that have any",
    },
    WithoutEffect {
        name: "AMBIENT_DISABLE_SAFE_UPGRADE",
        problem: "the plugin is never removed at a mere restart, only when an uninstall is proven; remove it",
    },
];

/// Texts of which any would change something.
const TEXTS: &[WithoutEffect] = &[WithoutEffect {
    name: "FORCE_IPTABLES_BINARY",
    problem: "which iptables there is to use is found out by trying; choose between it and nftables with REDIRECT_BACKEND",
}];

/// Pods of a node that is not the agent's.
const OTHER_NODE: WithoutEffect = WithoutEffect {
    name: "REPAIR_NODE_NAME",
    problem: "the pods of the agent's own node are repaired, which KUBERNETES_NODE_NAME or NODE_NAME names; remove it",
};

/// Those that are given.
pub fn without_effect(lookup: Lookup<'_>) -> Vec<WithoutEffect> {
    let switched = SWITCHES.iter().filter(|switch| boolean(lookup, switch.name) == Ok(true));
    let node =
        ["KUBERNETES_NODE_NAME", "NODE_NAME"].into_iter().filter_map(lookup).find(|name| !name.trim().is_empty());
    let other = lookup("REPAIR_NODE_NAME").filter(|name| !name.trim().is_empty() && node.is_some());
    let elsewhere = other.filter(|other| node.is_none_or(|node| node.trim() != other.trim())).map(|_| &OTHER_NODE);
    let given = TEXTS.iter().filter(|text| lookup(text.name).is_some_and(|value| !value.trim().is_empty()));
    switched.chain(given).chain(elsewhere).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(key: &str, value: &str) -> Vec<&'static str> {
        let lookup = |name: &str| (name == key).then(|| value.to_owned());
        without_effect(&lookup).into_iter().map(|setting| setting.name).collect()
    }

    #[test]
    fn a_node_beside_the_agents_own_is_said() {
        let found = |pairs: &[(&str, &str)]| {
            let lookup = |name: &str| Some(pairs.iter().find(|(key, _)| *key == name)?.1.to_owned());
            without_effect(&lookup).into_iter().map(|setting| setting.name).collect::<Vec<_>>()
        };
        let (own, repair) = (("KUBERNETES_NODE_NAME", "node-a"), "REPAIR_NODE_NAME");
        assert_eq!(found(&[own, (repair, "node-b")]), [repair]);
        for fine in [&[own, (repair, "node-a")][..], &[own, (repair, "")], &[(repair, "node-b")]] {
            assert!(found(fine).is_empty(), "{fine:?}");
        }
    }

    #[test]
    fn what_asks_for_something_else_than_what_happens_is_said() {
        for switch in SWITCHES {
            assert_eq!(found(switch.name, "true"), [switch.name]);
            for value in ["false", "", "0", "perhaps"] {
                assert!(found(switch.name, value).is_empty(), "{}={value}", switch.name);
            }
        }
        assert_eq!(found("FORCE_IPTABLES_BINARY", "legacy"), ["FORCE_IPTABLES_BINARY"]);
        assert!(found("FORCE_IPTABLES_BINARY", "").is_empty());
        assert!(found("PATH", "true").is_empty());
    }
}
