//! How the page writes what it shows: texts of others, times, durations and numbers.

use crate::domain::unseen::misleads;
use crate::telemetry::timestamp::Timestamp;

/// The longest text of others on the page, in characters, where nothing else is said.
pub(super) const TEXT: usize = 1_000;

/// A text of somebody else, as it may be shown: bounded, and without characters that move or hide other ones. (What is
/// markup in it is escaped where it is written.)
pub(super) fn shown(text: &str, most: usize) -> String {
    let mut shown: String =
        text.chars().take(most).map(|c| if misleads(c) && c != '\n' { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(most).is_some() {
        shown.push('…');
    }
    shown
}

/// A duration in the unit that suits it, with up to three digits that matter. A number and its unit stay on one line.
pub(super) fn duration(ns: u64) -> String {
    const MINUTE: u64 = 60_000_000_000;
    match ns {
        0..1_000 => format!("{ns}\u{a0}ns"),
        1_000..1_000_000 => format!("{}\u{a0}µs", digits(ns as f64 / 1e3)),
        1_000_000..1_000_000_000 => format!("{}\u{a0}ms", digits(ns as f64 / 1e6)),
        1_000_000_000..MINUTE => format!("{}\u{a0}s", digits(ns as f64 / 1e9)),
        _ if ns < 60 * MINUTE => two(ns / MINUTE, "min", ns % MINUTE / 1_000_000_000, "s"),
        _ if ns < 48 * 60 * MINUTE => two(ns / MINUTE / 60, "h", ns / MINUTE % 60, "min"),
        _ => two(ns / MINUTE / 1440, "d", ns / MINUTE / 60 % 24, "h"),
    }
}

fn two(large: u64, unit: &str, small: u64, part: &str) -> String {
    match small {
        0 => format!("{large}\u{a0}{unit}"),
        small => format!("{large}\u{a0}{unit} {small}\u{a0}{part}"),
    }
}

/// The same of seconds.
pub(super) fn seconds(seconds: f64) -> String {
    duration((seconds.max(0.0) * 1e9) as u64)
}

fn digits(value: f64) -> String {
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// A time as a machine reads it.
pub(super) fn instant(ns: u64) -> String {
    Timestamp(ns).to_string()
}

/// The day of a time, in UTC.
pub(super) fn day(ns: u64) -> String {
    instant(ns).chars().take(10).collect()
}

/// The time of the day, in UTC, with milliseconds.
pub(super) fn clock(ns: u64) -> String {
    instant(ns).chars().skip(11).take(12).collect()
}

/// A number with thin spaces between its thousands.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// So many of something: `1 pod`, `2 pods`.
pub(super) fn count(number_of: usize, one: &str) -> String {
    let many = if number_of == 1 { "" } else { "s" };
    format!("{} {one}{many}", number(number_of as u64))
}

/// Bytes in the unit that suits them.
pub(super) fn bytes(bytes: f64) -> String {
    match bytes {
        ..1024.0 => format!("{bytes:.0}\u{a0}B"),
        ..1_048_576.0 => format!("{}\u{a0}KiB", digits(bytes / 1024.0)),
        _ => format!("{}\u{a0}MiB", digits(bytes / 1_048_576.0)),
    }
}

/// Lower-case hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_would_deceive_its_reader_shows_where() {
        assert_eq!(shown("web\u{202e}0-\u{1b}[31m\u{0}", 99), "web\u{fffd}0-\u{fffd}[31m\u{fffd}");
        assert_eq!(shown("ä\nβ", 99), "ä\nβ");
        assert_eq!(shown("abcdef", 3), "abc…");
        assert_eq!(shown("abc", 3), "abc");
    }

    #[test]
    fn durations_have_three_digits_that_matter() {
        let given = [0, 999, 1_500, 685_400, 2_291_000, 10_000_000, 123_400_000, 59_999_000_000, 61_000_000_000];
        let wanted = ["0 ns", "999 ns", "1.5 µs", "685 µs", "2.29 ms", "10 ms", "123 ms", "60 s", "1 min 1 s"];
        let said = |ns| duration(ns).replace('\u{a0}', " ");
        assert_eq!(given.map(said), wanted);
        assert_eq!(said(3_600_000_000_000 * 25), "25 h");
        assert_eq!(said(u64::MAX), "213503 d 23 h");
    }

    #[test]
    fn numbers_and_times_read_easily() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(number), ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]);
        assert_eq!((count(1, "span"), count(2, "span")), ("1 span".to_owned(), "2 spans".to_owned()));
        let at = 1_787_410_818_123_456_789;
        assert_eq!((day(at), clock(at)), ("2026-08-22".to_owned(), "15:00:18.123".to_owned()));
        let sizes = [512.0, 2048.0, 12.5 * 1_048_576.0].map(bytes);
        assert_eq!(sizes, ["512\u{a0}B", "2\u{a0}KiB", "12.5\u{a0}MiB"]);
    }
}
