//! Ready-made settings and rulesets for the tests of rendering, comparison and repair.

use crate::domain::outbound::Outbound;
use crate::domain::ruleset::{Ruleset, build};
use crate::domain::settings::{Mode, Ports, Ranges, RedirectSettings};

/// The settings of a pod without any wish of its own.
pub fn default_settings() -> RedirectSettings {
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
        dual_stack: true,
        invalid_drop: false,
        outbound: Outbound::default(),
    }
}

/// The ruleset of these settings in a dual-stack namespace.
pub fn ruleset(settings: &RedirectSettings) -> Ruleset {
    build(settings, &["10.1.0.5".parse().unwrap(), "fd00:1::5".parse().unwrap()]).unwrap()
}
