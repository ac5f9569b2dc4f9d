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

/// What a value of this form takes.
pub const TAKEN: &str = "a level (none, fatal, error, warn, info, debug), or a comma list of scope:level with the scopes default, cni-agent, cni-plugin and all";

impl LogLevels {
    /// Reads the flag's value. A bare level is that of scope `default`, which the agent's and the
    /// plugin's lines follow unless `cni-agent` or `cni-plugin` is named too; `all` wins over each.
    /// Scopes that we do not have are passed over.
    ///
    /// The reference's agent takes a bare level for its scope `default` alone, and what is in no
    /// scope that it names stays at `info`; so there the chart's `logging.level`, a bare level,
    /// reaches neither the lines of scope `cni-agent` nor the plugin.
    pub fn read(value: &str) -> Result<LogLevels, SettingError> {
        let unusable = || SettingError { key: "LOG_OUTPUT_LEVEL", value: value.to_owned(), allowed: TAKEN };
        let (mut default, mut agent, mut plugin, mut all) = (LogLevels::default().agent, None, None, None);
        for item in value.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (scope, word) = item.split_once(':').unwrap_or(("default", item));
            let level = level(word).ok_or_else(unusable)?;
            match scope {
                "default" => default = level,
                "cni-agent" => agent = Some(level),
                "cni-plugin" => plugin = Some(level),
                "all" => all = Some(level),
                _ => {}
            }
        }
        let of = |named: Option<Level>| all.or(named).unwrap_or(default);
        Ok(LogLevels { agent: of(agent), plugin: of(plugin) })
    }
}

fn level(word: &str) -> Option<Level> {
    ["none", "fatal", "error", "warn", "info", "debug"].contains(&word).then(|| Level::from_word(word))
}
