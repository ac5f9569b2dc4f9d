//! What a pod says about its sidecar proxy: the facts of every container named `istio-proxy`,
//! merged as the reference merges them.

use super::gotext;
use super::pod::PodFacts;
use std::collections::BTreeMap;

/// The sidecar's container name.
pub const PROXY_CONTAINER: &str = "istio-proxy";

/// The user and group of a proxy that names none, or names root.
pub const DEFAULT_PROXY_ID: u32 = 1337;

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
    pub fn is_true(&self, variable: &str) -> bool {
        self.env.get(variable).is_some_and(|value| gotext::parse_bool(value) == Ok(true))
    }

    /// Go's complaint about a variable that is set to no truth value.
    pub fn unreadable(&self, variable: &str) -> Option<String> {
        gotext::parse_bool(self.env.get(variable)?).err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pod::Container;

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
                container(PROXY_CONTAINER, &["proxy", "router"], &[("A", "1"), ("B", "1")], Some(1)),
                container("web", &["proxy", "other"], &[("B", "0")], Some(9)),
                container(PROXY_CONTAINER, &["proxy", "sidecar"], &[("B", "0"), ("C", "yes")], Some(2)),
                container(PROXY_CONTAINER, &["version"], &[], None),
            ],
            ..PodFacts::default()
        };
        let proxy = Proxy::of(&pod);
        assert!(proxy.present);
        assert_eq!((proxy.kind, proxy.user, proxy.group), (Some("sidecar"), Some(2), None));
        assert_eq!(["A", "B", "C", "D"].map(|name| proxy.is_true(name)), [true, false, false, false]);
        assert_eq!(proxy.unreadable("C").unwrap(), r#"strconv.ParseBool: parsing "yes": invalid syntax"#);
        assert_eq!(proxy.unreadable("D"), None);
    }
}
