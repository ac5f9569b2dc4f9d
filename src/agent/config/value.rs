//! Reading one setting: text, truth value, port, list. An empty text counts as set, and means
//! false, zero or nothing, as in the reference.

use super::Lookup;
use std::path::{Path, PathBuf};

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.said_of(self.key))]
pub struct SettingError {
    /// The name in the environment; the flag has the same in lower case, with dashes.
    pub key: &'static str,
    pub value: String,
    pub allowed: &'static str,
}

impl SettingError {
    /// The message, with the setting under the name by which it was given: a variable or a flag.
    pub fn said_of(&self, name: &str) -> String {
        let SettingError { value, allowed, .. } = self;
        match value.as_str() {
            "" => format!("{name} is not set: it takes {allowed}"),
            value => format!("{name}={value:?} cannot be used: it takes {allowed}"),
        }
    }
}

pub(super) fn text(lookup: Lookup<'_>, key: &'static str, default: &str) -> String {
    lookup(key).unwrap_or_else(|| default.to_owned())
}

/// Go's truth values; absent and empty are false.
pub(super) fn boolean(lookup: Lookup<'_>, key: &'static str) -> Result<bool, SettingError> {
    boolean_or(lookup, key, false)
}

/// Go's truth values; absent is the default, empty is false.
pub(super) fn boolean_or(lookup: Lookup<'_>, key: &'static str, default: bool) -> Result<bool, SettingError> {
    let value = text(lookup, key, if default { "true" } else { "" });
    match value.trim() {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "" | "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(SettingError { key, value, allowed: "true or false" }),
    }
}

/// A port: None when it is 0 or less, or empty; `auto` is any free one.
pub(super) fn port(lookup: Lookup<'_>, key: &'static str, default: u16) -> Result<Option<u16>, SettingError> {
    let Some(value) = lookup(key) else { return Ok(Some(default)) };
    match value.trim() {
        "auto" => return Ok(Some(0)),
        "" => return Ok(None),
        _ => {}
    }
    match value.trim().parse::<i64>() {
        Ok(..=0) => Ok(None),
        Ok(number) if number <= i64::from(u16::MAX) => Ok(u16::try_from(number).ok()),
        _ => Err(SettingError { key, value, allowed: "a port up to 65535, 0 or less, or auto for any free one" }),
    }
}

/// As [`port`], for a server that is always there: 0, `auto` or nothing is any free port.
pub(super) fn served_port(lookup: Lookup<'_>, key: &'static str, default: u16) -> Result<u16, SettingError> {
    let value = text(lookup, key, &default.to_string());
    match value.trim() {
        "" | "auto" => Ok(0),
        digits => digits.parse().map_err(|_| {
            let allowed = "a port up to 65535; 0 or auto is any free one, and it is always served";
            SettingError { key, value: value.clone(), allowed }
        }),
    }
}

/// The absolute path of a directory.
pub(super) fn directory(lookup: Lookup<'_>, key: &'static str, default: &str) -> Result<PathBuf, SettingError> {
    let value = text(lookup, key, default);
    match Path::new(&value).is_absolute() {
        true => Ok(PathBuf::from(value)),
        false => Err(SettingError { key, value, allowed: "the absolute path of a directory" }),
    }
}

/// A file's mode: octal with a leading zero, else decimal, as the reference takes it.
pub(super) fn mode(lookup: Lookup<'_>, key: &'static str, default: u32) -> Result<u32, SettingError> {
    let Some(value) = lookup(key) else { return Ok(default) };
    let digits = value.trim();
    let parsed = match digits.strip_prefix("0o").or_else(|| digits.strip_prefix('0').filter(|rest| !rest.is_empty())) {
        Some(octal) => u32::from_str_radix(octal, 8),
        None => digits.parse(),
    };
    match parsed {
        // Nobody could read a file of mode 0: that is what the reference makes of an empty text.
        Ok(mode @ 1..=0o777) => Ok(mode),
        _ => Err(SettingError { key, value, allowed: "a file's mode in octal, 0001 to 0777, for instance 0600" }),
    }
}

/// The fewest bytes that a size may be but for 0: whoever gives less mostly forgot the unit.
const SMALLEST: usize = 64 << 10;
/// The most bytes that any size may be.
const LARGEST: usize = 1 << 30;

/// A size in bytes: a whole number, alone or with `Ki`, `Mi` or `Gi` (of 1024) or `k`, `M` or `G` (of
/// 1000), as Kubernetes writes quantities. Nothing at all is 0.
pub(super) fn size(lookup: Lookup<'_>, key: &'static str, default: usize) -> Result<usize, SettingError> {
    let Some(value) = lookup(key) else { return Ok(default) };
    let given = value.trim();
    let digits = given.trim_end_matches(|c: char| !c.is_ascii_digit());
    let bytes = match given.get(digits.len()..).unwrap_or_default() {
        "" => Some(1),
        "k" => Some(1000),
        "M" => Some(1000 * 1000),
        "G" => Some(1000 * 1000 * 1000),
        "Ki" => Some(1 << 10),
        "Mi" => Some(1 << 20),
        "Gi" => Some(1 << 30),
        _ => None,
    };
    let number = if given.is_empty() { Some(0) } else { digits.parse::<usize>().ok() };
    let size = bytes.zip(number).and_then(|(bytes, number)| number.checked_mul(bytes));
    size.filter(|size| *size == 0 || (SMALLEST..=LARGEST).contains(size)).ok_or_else(|| {
        let allowed = "0 for nothing, or from 64Ki to 1Gi: a whole number of bytes, alone or followed at once by Ki, Mi, Gi, k, M or G, such as 4Mi (not 4MB)";
        SettingError { key, value: value.clone(), allowed }
    })
}

/// A comma list; blanks around its items and empty items are dropped.
pub(super) fn list(lookup: Lookup<'_>, key: &'static str) -> Vec<String> {
    let value = text(lookup, key, "");
    value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}
