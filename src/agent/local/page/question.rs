//! What the list of traces is asked for, as it stands in a URL.

use super::words::shown;
use crate::telemetry::history::{Filter, Kind};

/// How many traces are shown at first, and when more are asked for.
pub(super) const SHOWN: [usize; 3] = [50, 200, 1_000];
/// The longest text that is searched for, in bytes.
const LONGEST: usize = 256;

/// A question for traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) filter: Filter,
    pub(super) most: usize,
}

impl Question {
    /// Reads a URL's pairs. What is not asked for here is nobody's business; what cannot be answered is said in one
    /// sentence.
    pub(super) fn read(pairs: &[(String, String)]) -> Result<Question, String> {
        let mut question = Question { filter: Filter::default(), most: SHOWN[0] };
        for (key, value) in pairs {
            match (key.as_str(), value.trim()) {
                ("text", text) if text.len() > LONGEST => {
                    return Err(format!("text may have {LONGEST} bytes at most"));
                }
                ("text", text) => question.filter.text = text.to_owned(),
                ("kind", "" | "all") => question.filter.kind = None,
                ("kind", name) => question.filter.kind = Some(Kind::from_name(name).ok_or_else(|| no_kind(name))?),
                ("failed", "" | "0" | "false") => question.filter.failed = false,
                ("failed", "1" | "true" | "on") => question.filter.failed = true,
                ("failed", other) => {
                    return Err(format!("failed={:?} cannot be used: it takes true or false", shown(other, 40)));
                }
                ("most", number) => {
                    let most = SHOWN[SHOWN.len() - 1];
                    let given = number.parse().ok().filter(|given| (1..=most).contains(given));
                    let problem = || format!("most={:?} cannot be used: it takes 1 to {most}", shown(number, 40));
                    question.most = given.ok_or_else(problem)?;
                }
                _ => {}
            }
        }
        Ok(question)
    }

    /// The page that answers it.
    pub(super) fn url(&self) -> String {
        let Filter { text, kind, failed } = &self.filter;
        let pairs = [
            (!text.is_empty()).then(|| format!("text={}", encoded(text))),
            kind.map(|kind| format!("kind={}", kind.name())),
            failed.then(|| "failed=true".to_owned()),
            (self.most != SHOWN[0]).then(|| format!("most={}", self.most)),
        ];
        match pairs.into_iter().flatten().collect::<Vec<_>>().join("&") {
            none if none.is_empty() => "/".to_owned(),
            pairs => format!("/?{pairs}"),
        }
    }

    /// The same question for the next larger number of traces, if there is one.
    pub(super) fn more(&self) -> Option<Question> {
        let most = SHOWN.into_iter().find(|most| *most > self.most)?;
        Some(Question { most, ..self.clone() })
    }

    /// Whether anything is left out.
    pub(super) fn is_filtered(&self) -> bool {
        self.filter != Filter::default()
    }
}

fn no_kind(name: &str) -> String {
    let kinds: Vec<&str> = Kind::ALL.into_iter().map(Kind::name).collect();
    format!("kind={:?} cannot be used: it takes all or one of {}", shown(name, 40), kinds.join(", "))
}

/// Text as it stands in a query (RFC 3986, section 2.1).
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Question, String> {
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Question::read(&pairs)
    }

    #[test]
    fn a_question_comes_back_from_its_url() {
        let question =
            read(&[("text", " shop/ä&b "), ("kind", "add"), ("failed", "on"), ("most", "200"), ("x", "y")]).unwrap();
        assert_eq!(question.url(), "/?text=shop%2F%C3%A4%26b&kind=add&failed=true&most=200");
        assert_eq!(question.more().unwrap().most, 1_000);
        let all = read(&[("text", ""), ("kind", "all"), ("failed", "")]).unwrap();
        assert!(!all.is_filtered() && question.is_filtered());
        assert_eq!(all.url(), "/");
    }

    #[test]
    fn what_cannot_be_answered_is_named_with_what_is_allowed() {
        let problem = |key, value: &str| read(&[(key, value)]).unwrap_err();
        assert_eq!(problem("most", "0"), "most=\"0\" cannot be used: it takes 1 to 1000");
        assert_eq!(problem("most", "1001"), "most=\"1001\" cannot be used: it takes 1 to 1000");
        assert_eq!(problem("failed", "perhaps"), "failed=\"perhaps\" cannot be used: it takes true or false");
        assert!(problem("kind", "nonsense").contains("it takes all or one of add, "));
        assert!(problem("text", &"x".repeat(257)).contains("256 bytes"));
    }
}
