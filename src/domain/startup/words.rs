//! Texts of others as they stand in a sentence of ours.

use crate::domain::unseen::misleads;

/// How much of a text is repeated, characters.
const SHOWN: usize = 800;

/// A text on one line: control characters become blanks, and so does what would turn the line around. What
/// is too long loses its middle, because its end says what went wrong.
pub fn one_line(text: &str) -> String {
    let line: String = text.trim().chars().map(|c| if misleads(c) { ' ' } else { c }).collect();
    let count = line.chars().count();
    if count <= SHOWN {
        return line;
    }
    let (begin, end) = (SHOWN / 3, SHOWN - SHOWN / 3);
    let head: String = line.chars().take(begin).collect();
    let tail: String = line.chars().skip(count - end).collect();
    format!("{head}…{tail}")
}

/// The name of a container, as far as it can be one.
pub fn name(text: &str) -> String {
    text.chars().filter(|c| !misleads(*c)).take(63).collect()
}

/// A number of seconds, for people.
pub fn seconds(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, 0) => format!("{minutes}m"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_stays_on_its_line() {
        assert_eq!(one_line(" a\nb\u{1b}[31m\u{202e}c "), "a b [31m c");
        let long = one_line(&format!("begin{}end", "x".repeat(2000)));
        assert!(long.starts_with("begin") && long.ends_with("end") && long.chars().count() == SHOWN + 1);
        assert_eq!(name("web\u{1b}\n-1"), "web-1");
        assert_eq!(name(&"x".repeat(100)).len(), 63);
    }

    #[test]
    fn times_are_short() {
        assert_eq!([5, 60, 65, 600].map(|s| seconds(s * 1_000_000_000)), ["5s", "1m", "1m5s", "10m"]);
    }
}
