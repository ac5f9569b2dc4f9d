//! What a pod says about its sidecar proxy: the facts of every container named `istio-proxy`,
//! merged as the reference merges them.

use super::gotext;
use super::pod::PodFacts;
use std::collections::BTreeMap;

/// The sidecar's container name.
pub const PROXY_CONTAINER: &str = "istio-proxy";

/// The user and group of a proxy that names none, or names root.
pub const DEFAULT_PROXY_ID: u32 = 1337;

macro_rules! variables {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)*) => {
        /// A switch in the proxy's environment. These are all that can be read of it, and all that
        /// is kept of it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Variable {
            $($(#[doc = $doc])+ $variant,)*
        }

        impl Variable {
            /// Every one.
            pub const ALL: &[Variable] = &[$(Variable::$variant,)*];

            /// Its name in the environment.
            pub const fn name(self) -> &'static str {
                match self { $(Variable::$variant => $name,)* }
            }
        }
    };
}

variables! {
    /// The proxy is not in use: the pod is left alone.
    DisableEnvoy = "DISABLE_ENVOY",
    /// Packets that connection tracking finds invalid are dropped.
    InvalidDrop = "INVALID_DROP",
    /// An IPv6 address is looked for beyond the first address.
    DualStack = "ISTIO_DUAL_STACK",
    /// DNS is captured to the proxy.
    DnsCapture = "ISTIO_META_DNS_CAPTURE",
}

/// The proxy of a pod. With several containers of that name the later one wins, and their
/// environments are merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxy<'a> {
    /// Whether there is one at all.
    pub present: bool,
    /// The proxy's type, when its arguments begin with `proxy TYPE`.
    pub kind: Option<&'a str>,
    /// `runAsUser` as written.
    pub user: Option<i64>,
    /// `runAsGroup` as written.
    pub group: Option<i64>,
    env: BTreeMap<&'a str, &'a str>,
}

impl<'a> Proxy<'a> {
    /// Finds the proxy of a pod.
    pub fn of(pod: &'a PodFacts) -> Proxy<'a> {
        let mut proxy = Proxy::default();
        for container in pod.containers.iter().filter(|container| container.name == PROXY_CONTAINER) {
            proxy.present = true;
            proxy.env.extend(container.env.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            if let [first, kind, ..] = &container.args[..]
                && first == "proxy"
            {
                proxy.kind = Some(kind);
            }
            if container.run_as_user.is_some() || container.run_as_group.is_some() {
                (proxy.user, proxy.group) = (container.run_as_user, container.run_as_group);
            }
        }
        proxy
    }

    /// Whether a variable of the proxy's environment is true. What is no truth value counts as
    /// false; [`Proxy::unreadable`] tells of it.
    pub fn is_true(&self, variable: Variable) -> bool {
        self.env.get(variable.name()).is_some_and(|value| gotext::parse_bool(value) == Ok(true))
    }

    /// Go's complaint about a variable that is set to no truth value.
    pub fn unreadable(&self, variable: Variable) -> Option<String> {
        gotext::parse_bool(self.env.get(variable.name())?).err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pod::Container;

    const SWITCHES: [Variable; 4] =
        [Variable::DisableEnvoy, Variable::InvalidDrop, Variable::DualStack, Variable::DnsCapture];
    const A: &str = SWITCHES[0].name();
    const B: &str = SWITCHES[1].name();
    const C: &str = SWITCHES[2].name();

    fn container(name: &str, args: &[&str], env: &[(&str, &str)], user: Option<i64>) -> Container {
        Container {
            name: name.into(),
            args: args.iter().map(|&arg| arg.into()).collect(),
            env: env.iter().map(|&(name, value)| (name.into(), value.into())).collect(),
            run_as_user: user,
            run_as_group: None,
        }
    }

    #[test]
    fn of_two_proxies_the_later_wins_and_their_environments_merge() {
        let pod = PodFacts {
            containers: vec![
                container(PROXY_CONTAINER, &["proxy", "router"], &[(A, "1"), (B, "1")], Some(1)),
                container("web", &["proxy", "other"], &[(B, "0")], Some(9)),
                container(PROXY_CONTAINER, &["proxy", "sidecar"], &[(B, "0"), (C, "yes")], Some(2)),
                container(PROXY_CONTAINER, &["version"], &[], None),
            ],
            ..PodFacts::default()
        };
        let proxy = Proxy::of(&pod);
        assert!(proxy.present);
        assert_eq!((proxy.kind, proxy.user, proxy.group), (Some("sidecar"), Some(2), None));
        let [_, _, c, d] = SWITCHES;
        assert_eq!(SWITCHES.map(|variable| proxy.is_true(variable)), [true, false, false, false]);
        assert_eq!(proxy.unreadable(c).unwrap(), r#"strconv.ParseBool: parsing "yes": invalid syntax"#);
        assert_eq!(proxy.unreadable(d), None);
    }
}
