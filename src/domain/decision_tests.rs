//! The decision, reason by reason, and the order of the reasons.

use super::*;
use crate::domain::outbound::Outbound;
use crate::domain::pod::Container;
use crate::domain::settings::Mode;
use crate::domain::settings::Ports;
use crate::domain::settings::Ranges;

/// An injected pod with one application and one sidecar.
fn meshed() -> PodFacts {
    let container = |name: &str, args: &[&str]| Container {
        name: name.into(),
        args: args.iter().map(|&arg| arg.into()).collect(),
        ..Container::default()
    };
    PodFacts {
        namespace: "shop".into(),
        name: "web-0".into(),
        annotations: [(STATUS.to_owned(), "{}".to_owned())].into(),
        containers: vec![container("web", &[]), container(PROXY_CONTAINER, &["proxy", "sidecar"])],
        ..PodFacts::default()
    }
}

fn skipped(pod: &PodFacts) -> (SkipReason, String) {
    match decide(pod).unwrap() {
        Decision::Skip(skip) => (skip.reason, skip.message),
        Decision::Enroll(settings) => panic!("enrolled with {settings:?}"),
    }
}

fn enrolled(pod: &PodFacts) -> RedirectSettings {
    match decide(pod).unwrap() {
        Decision::Enroll(settings) => *settings,
        Decision::Skip(skip) => panic!("skipped: {}", skip.message),
    }
}

fn annotate(pod: &mut PodFacts, key: &str, value: &str) {
    pod.annotations.insert(key.into(), value.into());
}

#[test]
fn an_injected_pod_is_enrolled_with_the_defaults() {
    assert_eq!(
        enrolled(&meshed()),
        RedirectSettings {
            mode: Mode::Redirect,
            include_inbound: Ports::All,
            exclude_inbound: vec![15020, 15021, 15090],
            include_ranges: Ranges::All,
            exclude_ranges_v4: vec![],
            exclude_ranges_v6: vec![],
            include_outbound: vec![],
            exclude_outbound: vec![15020],
            exclude_interfaces: vec![],
            reroute_interfaces: vec![],
            proxy_uid: 1337,
            proxy_gid: 1337,
            dns_capture: false,
            dual_stack: false,
            invalid_drop: false,
            outbound: Outbound::default(),
        }
    );
}

#[test]
fn each_reason_has_the_reference_s_words() {
    let mut pod = meshed();
    pod.annotations.clear();
    assert_eq!(skipped(&pod), (SkipReason::NotInjected, "excluded due to not containing sidecar annotation".into()));
    annotate(&mut pod, INJECT, "false");
    assert_eq!(skipped(&pod), (SkipReason::InjectDisabled, "excluded due to inject-disabled annotation".into()));
    pod.containers[1].args[1] = "router".into();
    assert_eq!(
        skipped(&pod),
        (SkipReason::NotSidecar, "excluded shop/web-0 pod because it has proxy type router".into())
    );
    pod.containers[1].name = "envoy".into();
    assert_eq!(
        skipped(&pod),
        (SkipReason::NoProxy, "excluded because it does not have istio-proxy container (have [envoy web])".into())
    );
    pod.containers[1].name = PROXY_CONTAINER.into();
    pod.containers[1].env = vec![("DISABLE_ENVOY".into(), "t".into())];
    assert_eq!(skipped(&pod), (SkipReason::EnvoyDisabled, "excluded due to DISABLE_ENVOY on istio-proxy".into()));
    pod.containers[0].name = INIT_CONTAINER.into();
    assert_eq!(
        skipped(&pod),
        (SkipReason::InitContainer, "excluded due to being already injected with istio-init container".into())
    );
}

#[test]
fn the_inject_label_wins_over_the_annotation_even_when_it_is_empty() {
    let mut pod = meshed();
    annotate(&mut pod, INJECT, "false");
    pod.labels.insert(INJECT.into(), "true".into());
    enrolled(&pod);
    pod.labels.insert(INJECT.into(), String::new());
    enrolled(&pod);
    pod.labels.insert(INJECT.into(), "False".into());
    assert_eq!(skipped(&pod).0, SkipReason::InjectDisabled);
}

#[test]
fn what_is_no_truth_value_neither_disables_injection_nor_envoy() {
    let mut pod = meshed();
    annotate(&mut pod, INJECT, "no");
    pod.containers[1].env = vec![("DISABLE_ENVOY".into(), "yes".into())];
    enrolled(&pod);
}

#[test]
fn the_status_annotation_counts_whatever_it_says() {
    let mut pod = meshed();
    annotate(&mut pod, STATUS, "");
    enrolled(&pod);
}

#[test]
fn a_native_sidecar_is_a_sidecar() {
    let mut pod = meshed();
    pod.containers.rotate_right(1);
    enrolled(&pod);
}

#[test]
fn a_skipped_pod_s_annotations_are_not_judged() {
    let mut pod = meshed();
    annotate(&mut pod, "sidecar.istio.io/interceptionMode", "MAGIC");
    pod.labels.insert(INJECT.into(), "false".into());
    assert_eq!(skipped(&pod).0, SkipReason::InjectDisabled);
}

#[test]
fn the_proxy_s_user_group_and_environment_become_settings() {
    let mut pod = meshed();
    pod.containers[1].run_as_user = Some(0);
    pod.containers[1].run_as_group = Some(2000);
    pod.containers[1].env = [("ISTIO_META_DNS_CAPTURE", "T"), ("ISTIO_DUAL_STACK", "1"), ("INVALID_DROP", "TRUE")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let settings = enrolled(&pod);
    assert_eq!((settings.proxy_uid, settings.proxy_gid), (1337, 2000));
    assert!(settings.dns_capture && settings.dual_stack && settings.invalid_drop);
    assert_eq!(warnings(&pod), []);
}

#[test]
fn an_unreadable_switch_is_off_and_warned_about() {
    let mut pod = meshed();
    pod.containers[1].env =
        vec![("ISTIO_META_DNS_CAPTURE".into(), "yes".into()), ("INVALID_DROP".into(), String::new())];
    assert!(!enrolled(&pod).dns_capture);
    let warnings = warnings(&pod);
    let variables: Vec<&str> = warnings.iter().map(|warning| warning.variable).collect();
    assert_eq!(variables, ["ISTIO_META_DNS_CAPTURE", "INVALID_DROP"]);
    assert!(
        warnings[0].message.starts_with(
            r#"cannot parse DNS capture environment variable strconv.ParseBool: parsing "yes": invalid syntax"#
        ),
        "{}",
        warnings[0].message
    );
    assert!(
        warnings[1].message.starts_with(
            r#"cannot parse invalid drop environment variable strconv.ParseBool: parsing "": invalid syntax"#
        ),
        "{}",
        warnings[1].message
    );
}

#[test]
fn a_user_that_cannot_be_is_refused() {
    for id in [-1, i64::MIN, 4_294_967_295, i64::MAX] {
        let mut pod = meshed();
        pod.containers[1].run_as_user = Some(id);
        let message = decide(&pod).unwrap_err().message;
        assert!(
            message.starts_with(&format!("securityContext.runAsUser of container istio-proxy is {id}")),
            "{message}"
        );
    }
}
