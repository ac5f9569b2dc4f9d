//! Cuts a pod's facts down to what decision, rules and trace read, so that a node's worth of pods
//! costs little memory.

use super::pod::PodFacts;
use super::pod_status::{ContainerStatus, Life};
use super::proxy::{PROXY_CONTAINER, Variable};
use super::startup::Scope;

/// The annotations and labels with these prefixes are read; of others only [`ALSO`].
const PREFIXES: [&str; 3] = ["sidecar.istio.io", "traffic.sidecar.istio.io", "istio.io"];

/// Annotations that are read besides.
const ALSO: [&str; 2] = [PodFacts::CONFIG_HASH, "tracing.k8s.io/traceparent"];

/// Present or absent is all that is asked of this annotation, and its value is long.
const VALUE_UNREAD: &str = PodFacts::SIDECAR_STATUS;

/// Arguments beyond these (`proxy TYPE`) are not read.
const ARGUMENTS: usize = 2;

/// What is kept of a pod besides, because a setting asks about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The keys of labels whose presence or value is asked about.
    pub labels: Vec<String>,
    /// The keys of annotations whose presence is asked about.
    pub annotations: Vec<String>,
    /// Whether the lives of init containers are asked about in pods without a proxy too.
    pub every_init: bool,
    /// Whose starts are told.
    pub startups: Scope,
    /// The init container whose termination messages are read; empty is any. Those of all others may say anything,
    /// secrets too, and nobody keeps them.
    pub validator: String,
}

impl Kept {
    /// Drops what nobody reads. Deciding about the pod gives the same before and after.
    pub fn prune(&self, pod: &mut PodFacts) {
        pod.labels.retain(|key, _| is_read(key) || self.labels.contains(key));
        pod.annotations.retain(|key, _| is_read(key) || self.annotations.contains(key));
        for key in self.annotations.iter().map(String::as_str).filter(|key| !is_read(key)).chain([VALUE_UNREAD]) {
            if let Some(value) = pod.annotations.get_mut(key) {
                *value = String::new();
            }
        }
        for container in &mut pod.containers {
            if container.name == PROXY_CONTAINER {
                container.args.truncate(ARGUMENTS);
                container.env.retain(|(name, _)| Variable::ALL.iter().any(|variable| variable.name() == name));
            } else {
                container.args.clear();
                container.env.clear();
            }
            container.args.shrink_to_fit();
            container.env.shrink_to_fit();
        }
        pod.containers.shrink_to_fit();
        let startup = self.startups.includes(pod);
        if !self.every_init && !startup && !pod.annotations.contains_key(VALUE_UNREAD) {
            pod.status.init = Vec::new();
        }
        if !startup {
            pod.status.life = Life::default();
        }
        let unread = pod.status.init.iter_mut().filter(|status| !self.reads(&status.name));
        unread.chain(&mut pod.status.life.containers).for_each(ContainerStatus::forget_messages);
        pod.status.life.conditions.shrink_to_fit();
        pod.status.life.containers.shrink_to_fit();
        pod.status.init.shrink_to_fit();
    }

    fn reads(&self, init_container: &str) -> bool {
        self.validator.is_empty() || self.validator == init_container
    }
}

fn is_read(key: &str) -> bool {
    ALSO.contains(&key) || key.split_once('/').is_some_and(|(prefix, _)| PREFIXES.contains(&prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pod::Container;
    use crate::domain::pod_status::{ContainerState, PodStatus, Terminated};
    use crate::domain::proxy::Proxy;

    #[test]
    fn what_nobody_reads_is_gone_and_identity_stays() {
        let mut pod = PodFacts {
            name: "web-0".into(),
            annotations: [("big", "x"), (VALUE_UNREAD, "{...}"), (ALSO[0], "hash"), (ALSO[1], "00-1")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            labels: [("app".to_owned(), "web".to_owned())].into(),
            containers: vec![Container { name: "web".into(), args: vec!["serve".into()], ..Container::default() }],
            ..PodFacts::default()
        };
        Kept::default().prune(&mut pod);
        let left: Vec<_> = pod.annotations.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(left, [(ALSO[0], "hash"), (VALUE_UNREAD, ""), (ALSO[1], "00-1")]);
        assert!(pod.labels.is_empty() && pod.containers[0].args.is_empty());
        assert_eq!(pod.containers[0].name, "web");
    }

    #[test]
    fn what_a_setting_asks_about_stays() {
        let kept =
            Kept { labels: vec!["app".into()], annotations: vec!["mesh".into()], every_init: true, ..Kept::default() };
        let mut pod = PodFacts {
            annotations: [("mesh".to_owned(), "long".to_owned()), ("other".to_owned(), "x".to_owned())].into(),
            labels: [("app".to_owned(), "web".to_owned()), ("tier".to_owned(), "front".to_owned())].into(),
            status: PodStatus { init: vec![ContainerStatus::default()], ..PodStatus::default() },
            ..PodFacts::default()
        };
        let mut whole = pod.clone();
        kept.prune(&mut pod);
        assert_eq!(pod.annotations, [("mesh".to_owned(), String::new())].into());
        assert_eq!(pod.labels, [("app".to_owned(), "web".to_owned())].into());
        assert_eq!(pod.status.init.len(), 1);
        Kept::default().prune(&mut whole);
        assert!(whole.status.init.is_empty() && whole.labels.is_empty() && whole.annotations.is_empty());
    }

    #[test]
    fn what_containers_say_at_their_end_is_kept_of_the_validator_alone() {
        let said = || Terminated { exit_code: 1, message: "password=x".into(), ..Terminated::default() };
        let container = |name: &str| ContainerStatus {
            name: name.into(),
            state: ContainerState::Terminated(said()),
            last: Some(said()),
            ..ContainerStatus::default()
        };
        let mut pod = PodFacts {
            annotations: [(VALUE_UNREAD.to_owned(), String::new())].into(),
            status: PodStatus {
                init: vec![container("check"), container("migrate")],
                life: Life { containers: vec![container("web")], ..Life::default() },
                ..PodStatus::default()
            },
            ..PodFacts::default()
        };
        let messages = |pod: &PodFacts| {
            let all = pod.status.init.iter().chain(&pod.status.life.containers);
            let runs = all.flat_map(|it| [it.state.terminated().unwrap(), it.last.as_ref().unwrap()]);
            runs.map(|run| !run.message.is_empty()).collect::<Vec<_>>()
        };
        let mut any = pod.clone();
        Kept { startups: Scope::All, validator: "check".into(), ..Kept::default() }.prune(&mut pod);
        assert_eq!(messages(&pod), [true, true, false, false, false, false]);
        Kept { startups: Scope::All, ..Kept::default() }.prune(&mut any);
        assert_eq!(messages(&any), [true, true, true, true, false, false], "any of them may validate");
        any.status.life.containers[0].state =
            ContainerState::Terminated(Terminated { reason: "StartError".into(), ..said() });
        Kept { startups: Scope::All, ..Kept::default() }.prune(&mut any);
        assert!(messages(&any)[4], "what the runtime says of a container that never began is no word of it");
    }

    #[test]
    fn every_variable_that_can_be_read_is_kept_and_no_other() {
        let read = Variable::ALL.iter().map(|variable| (variable.name().to_owned(), "true".to_owned()));
        let env: Vec<_> = read.chain([("SECRET".to_owned(), "x".to_owned())]).collect();
        let proxy = Container { name: PROXY_CONTAINER.into(), env, ..Container::default() };
        let mut pod = PodFacts { containers: vec![proxy], ..PodFacts::default() };
        Kept::default().prune(&mut pod);
        let proxy = Proxy::of(&pod);
        assert!(Variable::ALL.iter().all(|variable| proxy.is_true(*variable)));
        assert_eq!(pod.containers[0].env.len(), Variable::ALL.len());
    }
}
