//! What this process' environment says about outbound traffic.

use crate::domain::outbound::{Outbound, OutboundError};
use crate::host::groups;

/// Reads the variables; `given` are values that win over them.
pub fn outbound_settings(given: impl Fn(&str) -> Option<String>) -> Result<Outbound, OutboundError> {
    let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    Outbound::read(|name| given(name).or_else(|| variable(name)), groups::id_of)
}
