//! What the agent is told about looking at pods that are set up already.

use super::Lookup;
use super::value::{SettingError, text};
use crate::domain::gotext::parse_duration;
use crate::domain::outbound::{Outbound, OutboundError, WrongValue};
use crate::host::groups;
use crate::host::pod_netns::PodNetns;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The time between two rounds unless somebody says otherwise.
const INTERVAL: Duration = Duration::from_secs(300);
/// The shortest one: each round reads every pod's rules.
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest one.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How pods' rules are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// From one round to the next; None is no rounds.
    pub interval: Option<Duration>,
    /// Where the host's processes are to be seen.
    pub host_proc: PathBuf,
}

/// Reads them.
pub fn read(lookup: Lookup<'_>) -> Result<AuditSettings, SettingError> {
    Ok(AuditSettings { interval: interval(lookup)?, host_proc: host_proc(lookup)? })
}

impl AuditSettings {
    /// The settings by their names.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        let interval = self.interval.map_or_else(|| "0".to_owned(), |interval| format!("{interval:?}"));
        vec![("AUDIT_INTERVAL", interval), ("HOST_PROC", self.host_proc.display().to_string())]
    }
}

fn interval(lookup: Lookup<'_>) -> Result<Option<Duration>, SettingError> {
    const KEY: &str = "AUDIT_INTERVAL";
    let Some(value) = lookup(KEY) else { return Ok(Some(INTERVAL)) };
    match duration(value.trim()) {
        Ok(Duration::ZERO) => Ok(None),
        Ok(interval) if (SHORTEST..=LONGEST).contains(&interval) => Ok(Some(interval)),
        _ => {
            let allowed = "seconds, or a duration with its units, from 1s to 24h, such as 5m or 1m30s; 0 is never";
            Err(SettingError { key: KEY, value, allowed })
        }
    }
}

/// Whole seconds, or a duration as Go writes it. Nothing at all is zero.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) if text.is_empty() => Ok(Duration::ZERO),
        Err(_) => parse_duration(text),
    }
}

fn host_proc(lookup: Lookup<'_>) -> Result<PathBuf, SettingError> {
    const KEY: &str = "HOST_PROC";
    let value = text(lookup, KEY, "");
    match value.as_str() {
        "" => Ok(PodNetns::default_proc()),
        path if Path::new(path).is_absolute() => Ok(PathBuf::from(path)),
        _ => Err(SettingError { key: KEY, value, allowed: "the absolute path at which the host's /proc is mounted" }),
    }
}

/// What the node says about outbound traffic, for pods of which no ADD is recorded.
pub fn outbound(lookup: Lookup<'_>) -> Result<Outbound, OutboundError> {
    Outbound::check(lookup, groups::id_of).map_err(outbound_error)
}

fn outbound_error(WrongValue { variable, value, problem }: WrongValue) -> OutboundError {
    let message = format!(
        "{variable} is {value} in the environment of the node agent: {problem}; give it the value that istio-cni has on \
         this node, or take it away for the default"
    );
    OutboundError { message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outbound::LOOPBACK_CIDR;

    fn with(key: &str, value: &str) -> Result<AuditSettings, SettingError> {
        read(&|name| (name == key).then(|| value.to_owned()))
    }

    #[test]
    fn an_interval_is_a_number_with_a_unit() {
        let interval = |value| with("AUDIT_INTERVAL", value).map(|settings| settings.interval.map(|it| it.as_secs()));
        for (value, seconds) in
            [("90", 90), ("90s", 90), (" 5m ", 300), ("2h", 7200), ("24h", 86_400), ("1m30s", 90), ("1", 1)]
        {
            assert_eq!(interval(value).unwrap(), Some(seconds), "{value}");
        }
        for off in ["0", "0s", "", "0h"] {
            assert_eq!(interval(off).unwrap(), None, "{off}");
        }
        for wrong in ["-1", "5 m", "1d", "m", "25h", "99999999999999999999h", "0.5s", "€"] {
            let error = interval(wrong).unwrap_err().to_string();
            assert!(error.contains("AUDIT_INTERVAL") && error.contains("such as 5m"), "{error}");
        }
        assert_eq!(read(&|_| None).unwrap().interval, Some(INTERVAL));
    }

    #[test]
    fn the_hosts_proc_is_a_path() {
        assert_eq!(with("HOST_PROC", "/host/proc").unwrap().host_proc, Path::new("/host/proc"));
        assert!(with("HOST_PROC", "proc").unwrap_err().to_string().contains("the absolute path"));
        assert!(with("HOST_PROC", "").unwrap().host_proc.is_absolute());
    }

    #[test]
    fn a_wrong_word_about_outbound_traffic_is_no_reason_not_to_start() {
        let with = |value: &'static str| outbound(&|name| (name == LOOPBACK_CIDR).then(|| value.to_owned()));
        let wrong = with("10.0.0.0/8").unwrap_err();
        assert!(wrong.message.contains("in the environment of the node agent"), "{wrong}");
        let read = with("127.1.0.0/16").unwrap();
        assert_eq!(read.loopback, "127.1.0.0/16".parse().unwrap());
    }
}
