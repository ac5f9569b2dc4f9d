//! What the agent is told about telling how pods start.

use super::Lookup;
use super::audit::duration;
use super::value::{SettingError, text};
use crate::domain::startup::Scope;
use std::time::Duration;

/// How long a pod may take unless somebody says otherwise.
const LIMIT: Duration = Duration::from_secs(600);
/// The shortest limit: the API's times are whole seconds.
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest one.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Whose starts are told, and when at the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartupSettings {
    pub scope: Scope,
    /// After so long a start is told although the pod is not ready.
    pub limit: Duration,
}

/// Reads them.
pub fn read(lookup: Lookup<'_>) -> Result<StartupSettings, SettingError> {
    Ok(StartupSettings { scope: scope(lookup)?, limit: limit(lookup)? })
}

impl StartupSettings {
    /// The settings by their names.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        vec![("STARTUP_TRACES", self.scope.name().to_owned()), ("STARTUP_LIMIT", format!("{:?}", self.limit))]
    }
}

fn scope(lookup: Lookup<'_>) -> Result<Scope, SettingError> {
    const KEY: &str = "STARTUP_TRACES";
    let value = text(lookup, KEY, Scope::Meshed.name());
    let known = Scope::ALL.into_iter().find(|scope| scope.name() == value.trim());
    known.ok_or(SettingError { key: KEY, value, allowed: "meshed, all or off" })
}

fn limit(lookup: Lookup<'_>) -> Result<Duration, SettingError> {
    const KEY: &str = "STARTUP_LIMIT";
    let Some(value) = lookup(KEY).filter(|value| !value.trim().is_empty()) else { return Ok(LIMIT) };
    match duration(value.trim()) {
        Ok(limit) if (SHORTEST..=LONGEST).contains(&limit) => Ok(limit),
        _ => {
            let allowed = "seconds, or a duration with its units, from 1s to 24h, such as 10m or 1m30s";
            Err(SettingError { key: KEY, value, allowed })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(key: &str, value: &str) -> Result<StartupSettings, SettingError> {
        read(&|name| (name == key).then(|| value.to_owned()))
    }

    #[test]
    fn meshed_pods_for_ten_minutes_unless_somebody_says_otherwise() {
        assert_eq!(read(&|_| None).unwrap(), StartupSettings { scope: Scope::Meshed, limit: LIMIT });
        for (value, scope) in [("meshed", Scope::Meshed), ("all", Scope::All), (" off ", Scope::Off)] {
            assert_eq!(with("STARTUP_TRACES", value).unwrap().scope, scope, "{value}");
        }
        for (value, seconds) in [("90", 90), ("1m30s", 90), ("24h", 86_400), ("", 600)] {
            assert_eq!(with("STARTUP_LIMIT", value).unwrap().limit.as_secs(), seconds, "{value}");
        }
    }

    #[test]
    fn a_wrong_value_names_key_value_and_what_is_allowed() {
        for (key, value, allowed) in [
            ("STARTUP_TRACES", "some", "meshed, all or off"),
            ("STARTUP_TRACES", "true", "meshed, all or off"),
            ("STARTUP_LIMIT", "0", "from 1s to 24h"),
            ("STARTUP_LIMIT", "-5m", "from 1s to 24h"),
            ("STARTUP_LIMIT", "25h", "such as 10m"),
        ] {
            let error = with(key, value).unwrap_err();
            assert_eq!((error.key, error.value.as_str()), (key, value));
            assert!(error.to_string().contains(allowed), "{error}");
        }
    }
}
