//! Takes what looks like a credential out of a text that others may have written parts of: by the name that stands before
//! it, by its own shape, or by where it stands, as in a URL. In doubt too much goes. Nothing of ours writes credentials
//! anywhere; this is for reports that leave the cluster.

mod names;
mod shape;
mod value;

pub use names::{is_pair_name, is_pair_value, names_flag, names_secret};

use super::api_access::REDACTED;

/// Words that stand right before a credential.
const SCHEMES: [&str; 2] = ["bearer", "basic"];

/// The text without credentials.
pub fn redacted(text: &str) -> String {
    let text = shape::without_pem(text);
    let (mut safe, mut scan) = (String::with_capacity(text.len()), Scan::default());
    for line in text.split_inclusive('\n') {
        let content = line.trim_end_matches(['\n', '\r']);
        scan.line(content, &mut safe);
        safe.push_str(&line[content.len()..]);
    }
    safe
}

/// What a line leaves for the next ones to heed.
#[derive(Default)]
struct Scan {
    /// The last `name` or `key` was that of a secret, whose `value` is to come.
    pair: bool,
    /// The value of a secret goes on in all lines that begin further right than this.
    block: Option<usize>,
    /// Where this line's first key begins.
    column: usize,
}

impl Scan {
    fn line(&mut self, line: &str, safe: &mut String) {
        self.column = line.find(|c: char| !matches!(c, ' ' | '\t' | '-')).unwrap_or(line.len());
        let indent = line.len() - line.trim_start().len();
        if self.block.is_some_and(|block| indent > block || line.trim().is_empty()) {
            if !line.trim().is_empty() {
                safe.push_str(&line[..indent]);
                safe.push_str(REDACTED);
            }
            return;
        }
        self.block = None;
        let mut rest = line;
        while !rest.is_empty() {
            let (between, from) = rest.split_at(rest.find(is_word).unwrap_or(rest.len()));
            safe.push_str(between);
            let (word, after) = from.split_at(from.find(|c| !is_word(c)).unwrap_or(from.len()));
            rest = self.word(word, after, safe);
        }
    }

    /// Writes a word, and what follows it as far as that depends on it; the rest is to be looked at.
    fn word<'a>(&mut self, word: &str, after: &'a str, safe: &mut String) -> &'a str {
        let separator = value::separator(after);
        if separator > 0 && is_pair_name(word) {
            self.pair = names_secret(value::peek(&after[separator..]));
        } else if separator > 0 && (names_secret(word) || (self.pair && is_pair_value(word))) {
            self.pair = false;
            safe.push_str(word);
            safe.push_str(&after[..separator]);
            return self.secret(word, &after[separator..], safe);
        }
        if let Some(end) = value::userinfo(after) {
            // Without a scheme the word is the user's name.
            if after.starts_with("://") {
                safe.push_str(word);
                safe.push_str("://");
            }
            safe.push_str(REDACTED);
            return &after[end..];
        }
        let spaces = after.len() - after.trim_start_matches([' ', '\t']).len();
        let next = &after[spaces..];
        if spaces > 0 && !next.is_empty() && (names_flag(word) || is_scheme_of(word, next)) {
            safe.push_str(word);
            safe.push_str(&after[..spaces]);
            return self.secret(word, next, safe);
        }
        safe.push_str(if shape::is_credential(word) { REDACTED } else { word });
        after
    }

    /// Leaves out the value that begins here; what follows it is to be looked at.
    fn secret<'a>(&mut self, name: &str, text: &'a str, safe: &mut String) -> &'a str {
        if let Some((open, content)) = value::quoted(text) {
            safe.push_str(&text[..open]);
            safe.push_str(if content == 0 { "" } else { REDACTED });
            return &text[open + content..];
        }
        let first = value::unquoted(text);
        match &text[..first] {
            "true" | "false" | "null" | REDACTED => {
                safe.push_str(&text[..first]);
                return &text[first..];
            }
            word if is_block(word) && text.len() == first => {
                self.block = Some(self.column);
                safe.push_str(word);
                return "";
            }
            word if word.starts_with(['{', '[']) => {
                self.block = Some(self.column);
                safe.push_str(REDACTED);
                return "";
            }
            _ => {}
        }
        safe.push_str(REDACTED);
        if names::is_whole_line(name) {
            return "";
        }
        let rest = &text[first..];
        let spaces = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        match &text[..first] {
            // `token: Bearer abc`: the value is yet to come.
            word if spaces > 0 && is_scheme(word) => &rest[spaces + value::unquoted(&rest[spaces..])..],
            _ => rest,
        }
    }
}

/// What names, and most credentials, are made of.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '~' | '+' | '/')
}

/// Whether a YAML value is to come on the next lines.
fn is_block(word: &str) -> bool {
    word.is_empty()
        || word.starts_with(['|', '>']) && word.chars().skip(1).all(|c| c.is_ascii_digit() || "+-".contains(c))
}

fn is_scheme(word: &str) -> bool {
    SCHEMES.iter().any(|scheme| word.eq_ignore_ascii_case(scheme))
}

/// Whether a word is such a scheme with its credential behind it. `basic` is a word of people's too.
fn is_scheme_of(word: &str, next: &str) -> bool {
    let next = value::peek(next);
    let encoded = || next.contains(|c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '=');
    is_scheme(word) && (word.eq_ignore_ascii_case("bearer") && !next.starts_with("token") || encoded())
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;
