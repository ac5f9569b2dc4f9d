//! A selector of labels in the API's own text form, `app=web,tier!=db,zone in (a,b),!canary`: which
//! labels it asks about, and whether an object's hold for it. What the API server would refuse is
//! refused here too.

use super::label;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What a text of this kind may be, for people.
pub const ALLOWED: &str = "a label selector: requirements joined by commas, each KEY, !KEY, KEY=VALUE, KEY==VALUE, \
                           KEY!=VALUE, KEY in (VALUE,...), KEY notin (VALUE,...), KEY>NUMBER or KEY<NUMBER";

/// Requirements that must all hold; without any it holds for everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

/// What is asked of one label.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    asked: Asked,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Exists,
    Absent,
    /// It is there and is one of these.
    In(BTreeSet<String>),
    /// It is not there, or is none of these.
    NotIn(BTreeSet<String>),
    /// It is a whole number above this.
    Above(i64),
    Below(i64),
}

/// The text is no selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectorError {
    Unexpected { found: String, expected: &'static str },
    Key { key: String },
    Value { value: String },
    Number { value: String },
    NoValues,
}

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SelectorError::Unexpected { found, expected } => write!(f, "found {found} where {expected} should be"),
            SelectorError::Key { key } => write!(f, "{key:?} is no key: it takes {}", label::KEY_ALLOWED),
            SelectorError::Value { value } => write!(f, "{value:?} is no value: it takes {}", label::VALUE_ALLOWED),
            SelectorError::Number { value } => write!(f, "{value:?} is not a whole number"),
            SelectorError::NoValues => f.write_str("there is no value between the parentheses"),
        }
    }
}

impl std::error::Error for SelectorError {}

impl LabelSelector {
    /// Reads a selector; an empty text, or one of blanks, holds for everything.
    pub fn parse(text: &str) -> Result<LabelSelector, SelectorError> {
        let mut words = Words { words: split(text), next: 0 };
        let mut requirements = Vec::new();
        if words.peek() == &Word::End {
            return Ok(LabelSelector(requirements));
        }
        loop {
            requirements.push(words.requirement()?);
            match words.take() {
                Word::End => return Ok(LabelSelector(requirements)),
                Word::Sign(",") => {}
                found => return Err(found.unexpected("a comma or the end")),
            }
        }
    }

    /// Whether an object with these labels is selected.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| requirement.asked.holds(labels.get(&requirement.key)))
    }

    /// The labels that it asks about.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|requirement| requirement.key.as_str())
    }
}

impl Asked {
    fn holds(&self, value: Option<&String>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match self {
            Asked::Exists => value.is_some(),
            Asked::Absent => value.is_none(),
            Asked::In(values) => value.is_some_and(|value| values.contains(value)),
            Asked::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Asked::Above(bound) => number().is_some_and(|number| number > *bound),
            Asked::Below(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

/// A part of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Word<'a> {
    Text(&'a str),
    Sign(&'static str),
    /// A sign that means nothing.
    Unknown(&'a str),
    End,
}

/// The signs; the longer ones first, so that they are found first.
const SIGNS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];

impl Word<'_> {
    fn unexpected(&self, expected: &'static str) -> SelectorError {
        let found = match self {
            Word::Text(text) | Word::Unknown(text) => format!("{text:?}"),
            Word::Sign(sign) => format!("{sign:?}"),
            Word::End => "the end".to_owned(),
        };
        SelectorError::Unexpected { found, expected }
    }
}

fn split(text: &str) -> Vec<Word<'_>> {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    let is_sign = |c: char| matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<');
    let mut rest = text.trim_matches(blank);
    let mut words = Vec::new();
    while !rest.is_empty() {
        let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
        let length = match sign {
            Some(sign) => sign.len(),
            None => rest.find(|c| blank(c) || is_sign(c)).unwrap_or(rest.len()),
        };
        let (word, after) = rest.split_at(length);
        words.push(match sign {
            Some(sign) => Word::Sign(sign),
            None if word.is_empty() => Word::Unknown(rest),
            None => Word::Text(word),
        });
        rest = after.trim_start_matches(blank);
    }
    words
}

struct Words<'a> {
    words: Vec<Word<'a>>,
    next: usize,
}

impl<'a> Words<'a> {
    fn peek(&self) -> &Word<'a> {
        self.words.get(self.next).unwrap_or(&Word::End)
    }

    fn take(&mut self) -> Word<'a> {
        let word = self.peek().clone();
        self.next += 1;
        word
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let absent = self.peek() == &Word::Sign("!");
        if absent {
            self.take();
        }
        let key = match self.take() {
            Word::Text(key) if label::is_key(key) => key.to_owned(),
            Word::Text(key) => return Err(SelectorError::Key { key: key.to_owned() }),
            found => return Err(found.unexpected("a label's key")),
        };
        let asked = match self.peek() {
            _ if absent => Asked::Absent,
            Word::End | Word::Sign(",") => Asked::Exists,
            _ => self.comparison()?,
        };
        Ok(Requirement { key, asked })
    }

    fn comparison(&mut self) -> Result<Asked, SelectorError> {
        let only = |value: &str| BTreeSet::from([value.to_owned()]);
        Ok(match self.take() {
            Word::Sign("=" | "==") => Asked::In(only(self.value()?)),
            Word::Sign("!=") => Asked::NotIn(only(self.value()?)),
            Word::Sign(">") => Asked::Above(number(self.value()?)?),
            Word::Sign("<") => Asked::Below(number(self.value()?)?),
            Word::Text("in") => Asked::In(self.values()?),
            Word::Text("notin") => Asked::NotIn(self.values()?),
            found => return Err(found.unexpected("=, ==, !=, >, <, in or notin")),
        })
    }

    /// One value; none is the empty one.
    fn value(&mut self) -> Result<&'a str, SelectorError> {
        match self.peek() {
            Word::End | Word::Sign(",") => Ok(""),
            _ => match self.take() {
                Word::Text(value) => checked(value),
                found => Err(found.unexpected("a value")),
            },
        }
    }

    /// Values between parentheses; nothing before or after a comma is the empty one.
    fn values(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        match self.take() {
            Word::Sign("(") => {}
            found => return Err(found.unexpected("an opening parenthesis")),
        }
        if self.peek() == &Word::Sign(")") {
            return Err(SelectorError::NoValues);
        }
        let mut values = BTreeSet::new();
        loop {
            let value = match self.peek() {
                Word::Sign("," | ")") => "",
                _ => match self.take() {
                    Word::Text(value) => checked(value)?,
                    found => return Err(found.unexpected("a value")),
                },
            };
            values.insert(value.to_owned());
            match self.take() {
                Word::Sign(",") => {}
                Word::Sign(")") => return Ok(values),
                found => return Err(found.unexpected("a comma or a closing parenthesis")),
            }
        }
    }
}

fn checked(value: &str) -> Result<&str, SelectorError> {
    if label::is_value(value) { Ok(value) } else { Err(SelectorError::Value { value: value.to_owned() }) }
}

fn number(value: &str) -> Result<i64, SelectorError> {
    value.parse().map_err(|_| SelectorError::Number { value: value.to_owned() })
}

#[cfg(test)]
#[path = "label_selector_tests.rs"]
mod tests;
