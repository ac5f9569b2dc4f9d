//! The thresholds of the log, from `--log_output_level` in the reference's form: a comma list of
//! `scope:level`, or a bare level.

use super::value::SettingError;
use crate::telemetry::event::Level;

/// The thresholds of the scopes that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLevels {
    /// The agent's own lines.
    pub agent: Level,
    /// What the plugin is told to log.
    pub plugin: Level,
}

impl Default for LogLevels {
    fn default() -> Self {
        LogLevels { agent: Level::Info, plugin: Level::Info }
    }
}

impl LogLevels {
    /// Reads the flag's value. A bare level is that of scope `default`; our own lines follow it
    /// unless `cni-agent` is named too. Scopes that we do not have are passed over.
    pub fn read(value: &str) -> Result<LogLevels, SettingError> {
        let mut levels = LogLevels::default();
        let mut own = None;
        for item in value.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (scope, word) = item.split_once(':').unwrap_or(("default", item));
            let level = level(word).ok_or_else(|| SettingError {
                key: "LOG_OUTPUT_LEVEL",
                value: value.to_owned(),
                allowed: "a level (none, fatal, error, warn, info, debug), or a comma list of scope:level with the scopes default, cni-agent, cni-plugin and all",
            })?;
            match scope {
                "default" => levels.agent = level,
                "cni-agent" => own = Some(level),
                "cni-plugin" => levels.plugin = level,
                "all" => return Ok(LogLevels { agent: level, plugin: level }),
                _ => {}
            }
        }
        Ok(LogLevels { agent: own.unwrap_or(levels.agent), ..levels })
    }
}

fn level(word: &str) -> Option<Level> {
    ["none", "fatal", "error", "warn", "info", "debug"].contains(&word).then(|| Level::from_word(word))
}
