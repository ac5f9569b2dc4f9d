//! Settings of sample pods, and programming them the way the use cases do.

use super::{Addresses, POD4, POD6};
use istio_cni_otel::domain::failure::Failure;
use istio_cni_otel::domain::outbound::Outbound;
use istio_cni_otel::domain::request::{Backend, Bounds};
use istio_cni_otel::domain::ruleset::{Difference, Ruleset, build};
use istio_cni_otel::domain::settings::{Mode, Ports, Ranges, RedirectSettings};
use istio_cni_otel::domain::step::Step;
use istio_cni_otel::host::kernel::HostNamespaces;
use istio_cni_otel::ops::ports::{Applied, BoxedError, Namespaces, PodKernel};
use std::net::IpAddr;
use std::os::fd::AsFd;

/// The settings of a pod without annotations.
pub fn default_settings() -> RedirectSettings {
    RedirectSettings {
        mode: Mode::Redirect,
        include_inbound: Ports::All,
        exclude_inbound: vec![15020, 15021, 15090],
        include_ranges: Ranges::All,
        exclude_ranges_v4: Vec::new(),
        exclude_ranges_v6: Vec::new(),
        include_outbound: Vec::new(),
        exclude_outbound: vec![15020],
        exclude_interfaces: Vec::new(),
        reroute_interfaces: Vec::new(),
        proxy_uid: 1337,
        proxy_gid: 1337,
        dns_capture: false,
        dual_stack: false,
        invalid_drop: false,
        outbound: Outbound::default(),
    }
}

/// The settings that need every kind of rule.
pub fn richest_settings() -> RedirectSettings {
    RedirectSettings {
        mode: Mode::Tproxy,
        exclude_ranges_v4: vec!["10.128.0.0/9".parse().unwrap()],
        exclude_ranges_v6: vec!["fd80::/9".parse().unwrap()],
        include_outbound: vec![443],
        exclude_interfaces: vec!["eth1".to_owned()],
        reroute_interfaces: vec!["tap0".to_owned()],
        dns_capture: true,
        dual_stack: true,
        invalid_drop: true,
        ..default_settings()
    }
}

/// Makes the test's own user, under which all its clients run, the proxy's. Where the test is not
/// root there is no other user to become; so the rules change sides, not the clients.
pub fn as_the_proxy(settings: RedirectSettings) -> RedirectSettings {
    RedirectSettings { proxy_uid: 0, proxy_gid: 0, ..settings }
}

/// The ruleset of these settings in a namespace with these addresses.
pub fn ruleset(settings: &RedirectSettings, addresses: Addresses) -> Ruleset {
    let v4 = addresses.v4().then(|| POD4.parse::<IpAddr>().unwrap());
    let v6 = addresses.v6().then(|| POD6.parse::<IpAddr>().unwrap());
    let addresses: Vec<IpAddr> = v4.into_iter().chain(v6).collect();
    build(settings, &addresses).unwrap()
}

/// Runs `work` with the kernel of a namespace, as a request with this backend does.
pub fn with_kernel<T: Send>(
    namespace: &impl AsFd,
    backend: Backend,
    work: impl FnOnce(&mut dyn PodKernel) -> Result<T, BoxedError> + Send,
) -> Result<T, Failure> {
    let mut result = None;
    let applied = Applied { backend, changed: false };
    HostNamespaces::FreshThread
        .inside(
            namespace.as_fd(),
            backend,
            &Bounds::default(),
            Box::new(|kernel| {
                result = Some(work(kernel).map_err(|error| Failure::from_error(Step::RulesApply, &error)));
                Ok(applied)
            }),
        )
        .map_err(|error| Failure::from_error(Step::NetnsOpen, &error))??;
    result.unwrap()
}

/// Applies a ruleset.
pub fn apply(namespace: &impl AsFd, backend: Backend, rules: &Ruleset) -> Result<Applied, Failure> {
    with_kernel(namespace, backend, |kernel| kernel.apply(rules))
}

/// Compares a namespace with a ruleset.
pub fn differences(namespace: &impl AsFd, backend: Backend, rules: &Ruleset) -> Vec<Difference> {
    with_kernel(namespace, backend, |kernel| kernel.differences(rules)).unwrap().1
}
