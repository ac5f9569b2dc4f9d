//! Reads typed values out of an injected environment and collects what cannot be used. As the
//! specification asks, an empty value counts as unset, and a wrong one is ignored with a warning.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// A variable with a value that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The variable's name.
    pub variable: String,
    /// What is wrong, and what is allowed.
    pub problem: String,
}

/// The environment that is being read.
pub struct Env<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    warnings: Vec<Warning>,
}

impl<'a> Env<'a> {
    /// Begins to read.
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Env<'a> {
        Env { lookup, warnings: Vec::new() }
    }

    /// What could not be used, each variable once.
    pub fn into_warnings(self) -> Vec<Warning> {
        self.warnings
    }

    /// Says that a variable is not used.
    pub fn warn(&mut self, variable: &str, problem: String) {
        let warning = Warning { variable: variable.to_owned(), problem };
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// A text without the blanks around it.
    pub fn text(&self, variable: &str) -> Option<String> {
        (self.lookup)(variable).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// A number within a range.
    pub fn number<T>(&mut self, variable: &str, allowed: RangeInclusive<T>) -> Option<T>
    where
        T: FromStr + PartialOrd + std::fmt::Display,
    {
        let text = self.text(variable)?;
        match text.parse::<T>() {
            Ok(number) if allowed.contains(&number) => Some(number),
            _ => {
                let (least, most) = (allowed.start(), allowed.end());
                self.warn(variable, format!("{text:?} is no number from {least} to {most}"));
                None
            }
        }
    }

    /// A time in milliseconds, from one to a day.
    pub fn millis(&mut self, variable: &str) -> Option<Duration> {
        self.number(variable, 1..=86_400_000_u64).map(Duration::from_millis)
    }

    /// `true` or `false` in any case; unset is `None`.
    pub fn flag(&mut self, variable: &str) -> Option<bool> {
        let text = self.text(variable)?;
        if text.eq_ignore_ascii_case("true") {
            return Some(true);
        }
        if !text.eq_ignore_ascii_case("false") {
            self.warn(variable, format!("{text:?} is neither true nor false, so it means false"));
        }
        Some(false)
    }

    /// One of a few words.
    pub fn word<T: Copy>(&mut self, variable: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(variable)?;
        self.one_of(variable, &text, words)
    }

    /// A list of a few words between commas; wrong ones are left out.
    pub fn words<T: Copy>(&mut self, variable: &str, words: &[(&str, T)]) -> Option<Vec<T>> {
        let text = self.text(variable)?;
        let named = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        Some(named.filter_map(|word| self.one_of(variable, word, words)).collect())
    }

    fn one_of<T: Copy>(&mut self, variable: &str, text: &str, words: &[(&str, T)]) -> Option<T> {
        let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.warn(variable, format!("{text:?} is not known here; allowed: {}", known.join(", ")));
        }
        found
    }
}
