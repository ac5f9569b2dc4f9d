//! What the flags and the environment of the validator say.

use super::flags::ValidateArgs;
use crate::domain::gotext::{parse_bool, parse_duration, quote};
use crate::domain::outbound::Outbound;
use crate::domain::validation::Plan;
use crate::telemetry::event::Level;
use std::time::Duration;

/// The proxy's user where nothing else is said.
const PROXY_UID: u32 = 1337;
/// The longest time for which a pod's start may be held up by one validation.
const LONGEST: Duration = Duration::from_secs(3600);

/// By which name the validator was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `validate`, which says what it does.
    Validate,
    /// `istio-iptables`, which makes rules unless it is told not to.
    IstioIptables,
}

/// The settings of a validation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub plan: Plan,
    pub level: Level,
    pub json: bool,
    /// What is wrong and does not matter.
    pub warnings: Vec<String>,
}

/// The arguments cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    #[error("{name} is {}: it takes {allowed}", quote(.value))]
    Value { name: String, value: String, allowed: String },
    #[error(
        "this program only validates, and --{missing} is not given: rules are made by the plugin istio-cni before a pod's containers start; give --run-validation and --skip-rule-apply, or use Istio's own image where its init container istio-init is to make them"
    )]
    WouldApply { missing: &'static str },
}

/// Where values come from: flags, else the environment.
pub struct Given<'a> {
    pub flags: &'a ValidateArgs,
    pub environment: &'a dyn Fn(&str) -> Option<String>,
}

impl Given<'_> {
    /// The value, and the name by which it was given. A variable without a value counts for nothing.
    fn text(&self, flag: &str) -> Option<(String, String)> {
        if let Some(value) = self.flags.get(flag) {
            return Some((format!("--{flag}"), value.to_owned()));
        }
        // The reference reads no variable for this one.
        let variable = flag.to_uppercase().replace('-', "_");
        let value = (self.environment)(&variable).filter(|value| flag != "envoy-port" && !value.is_empty());
        value.map(|value| (variable, value))
    }

    fn read<T>(
        &self,
        flag: &str,
        default: T,
        allowed: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ArgumentError> {
        let Some((name, value)) = self.text(flag) else { return Ok(default) };
        read(&value).ok_or_else(|| ArgumentError::Value { name, value, allowed: allowed.to_owned() })
    }

    fn port(&self, flag: &str, default: u16) -> Result<u16, ArgumentError> {
        self.read(flag, default, "a port from 1 to 65535", |text| text.parse().ok().filter(|port| *port != 0))
    }

    fn switch(&self, flag: &str, default: bool) -> Result<bool, ArgumentError> {
        self.read(flag, default, "true or false", |text| parse_bool(text).ok())
    }

    /// The proxy's user, if it is one: the reference takes any text, but only a number can be compared with who we are.
    fn proxy_uid(&self, warnings: &mut Vec<String>) -> Option<u32> {
        let Some((name, value)) = self.text("proxy-uid") else { return Some(PROXY_UID) };
        let uid = value.trim().parse().ok();
        if uid.is_none() && !value.trim().is_empty() {
            warnings.push(format!(
                "{name} is {}, which is no user's number, such as 1337: whether this validator runs as the proxy's user is not checked",
                quote(&value)
            ));
        }
        uid
    }

    /// The proxy's variable counts as the plugin reads it: what cannot be read is false.
    fn dual_stack(&self, warnings: &mut Vec<String>) -> Result<bool, ArgumentError> {
        const VARIABLE: &str = "ISTIO_DUAL_STACK";
        let Some(value) = (self.environment)(VARIABLE).filter(|value| !value.is_empty()) else {
            return self.switch("dual-stack", false);
        };
        let read = parse_bool(&value).unwrap_or_else(|problem| {
            warnings.push(format!("{VARIABLE} counts as false: {problem}"));
            false
        });
        self.switch("dual-stack", read)
    }
}

impl Settings {
    /// Reads the settings. What only says which rules are to be made is checked where the
    /// reference checks it, and means nothing else.
    pub fn read(given: &Given<'_>, form: Form, own_uid: u32) -> Result<Settings, ArgumentError> {
        for missing in ["run-validation", "skip-rule-apply"] {
            if !given.switch(missing, form == Form::Validate)? {
                return Err(ArgumentError::WouldApply { missing });
            }
        }
        let mut warnings = Vec::new();
        let timeout =
            given.read("probe-timeout", Duration::from_secs(5), "a time such as 5s or 500ms, at most 1h", |text| {
                parse_duration(text).ok().filter(|time| !time.is_zero() && *time <= LONGEST)
            })?;
        let plan = Plan {
            outbound_port: given.port("envoy-port", 15001)?,
            inbound_port: given.port("inbound-capture-port", 15006)?,
            probe_port: given.port("iptables-probe-port", 15002)?,
            timeout,
            dual_stack: given.dual_stack(&mut warnings)?,
            proxy_uid: given.proxy_uid(&mut warnings),
            own_uid,
        };
        // The reference listens twice on one port, and passes; so it is no error here either.
        if plan.outbound_port == plan.inbound_port {
            let port = plan.inbound_port;
            warnings.push(format!(
                "--envoy-port and --inbound-capture-port are both {port}: a proxy has a port for each, 15001 and 15006 unless the mesh says otherwise"
            ));
        }
        given.read("force-iptables-binary", (), "legacy, nft or nothing", |text| {
            ["", "legacy", "nft"].contains(&text).then_some(())
        })?;
        // A group may be one of the node's, which nobody knows here.
        Outbound::check(given.environment, |_| Some(0)).map_err(|wrong| ArgumentError::Value {
            name: wrong.variable.to_owned(),
            value: (given.environment)(wrong.variable).unwrap_or_default(),
            allowed: wrong.problem.split("it takes ").last().unwrap_or_default().to_owned(),
        })?;
        let levels = "a level (none, fatal, error, warn, info, debug), or a comma list of scope:level with the scopes \
                      default, validation and all";
        let level = given.read("log_output_level", Level::Info, levels, level)?;
        Ok(Settings { plan, level, json: given.switch("log_as_json", false)?, warnings })
    }
}

/// The threshold of this log: `all` before `validation` before `default`, or a bare level. Scopes
/// that we do not have are passed over.
fn level(value: &str) -> Option<Level> {
    let (mut default, mut own, mut all) = (Level::Info, None, None);
    for item in value.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let (scope, word) = item.split_once(':').unwrap_or(("default", item));
        let known = ["none", "fatal", "error", "warn", "info", "debug"].contains(&word);
        let level = known.then(|| Level::from_word(word))?;
        match scope {
            "default" => default = level,
            "validation" => own = Some(level),
            "all" => all = Some(level),
            _ => {}
        }
    }
    Some(all.or(own).unwrap_or(default))
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
