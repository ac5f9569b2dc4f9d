//! What this process' environment says about outbound traffic.

use crate::domain::outbound::{Outbound, OutboundError, WrongValue};
use crate::host::groups;

/// Reads the variables.
pub fn outbound_settings() -> Result<Outbound, OutboundError> {
    Ok(outbound_settings_with(|_| None)?)
}

/// Reads the variables; `given` are values that win over them.
pub fn outbound_settings_with(given: impl Fn(&str) -> Option<String>) -> Result<Outbound, WrongValue> {
    let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    Outbound::check(|name| given(name).or_else(|| variable(name)), groups::id_of)
}
