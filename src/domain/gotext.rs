//! Numbers, truth values and quoting as Go's `strconv` reads and words them. Annotations are
//! checked by the reference in Go, and its error texts are what people find in runbooks.

use std::time::Duration;

/// Quotes a string as Go's `%q` does.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if is_printable(c) => out.push(c),
            c if (c as u32) < 0x80 => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if (c as u32) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    out.push('"');
    out
}

/// Letters, marks, numbers, punctuation, symbols and the ASCII blank.
fn is_printable(c: char) -> bool {
    // Rust escapes combining marks on their own, which Go prints: only in the range that follows
    // do the two differ, and there every assigned character is a mark.
    let combining = matches!(c as u32, 0x300..=0x36f);
    c == ' ' || combining || (!c.is_whitespace() && c.escape_debug().len() == 1)
}

/// Reads a port as `strconv.ParseUint(text, 10, 16)` does: decimal digits only, leading zeros
/// allowed. The error is Go's text.
pub fn parse_u16(text: &str) -> Result<u16, String> {
    let problem = |what| Err(format!("strconv.ParseUint: parsing {}: {what}", quote(text)));
    if text.is_empty() {
        return problem("invalid syntax");
    }
    let mut value: u32 = 0;
    for byte in text.bytes() {
        if !byte.is_ascii_digit() {
            return problem("invalid syntax");
        }
        value = value * 10 + u32::from(byte - b'0');
        if value > u32::from(u16::MAX) {
            return problem("value out of range");
        }
    }
    u16::try_from(value).or_else(|_| problem("value out of range"))
}

/// Reads a truth value as `strconv.ParseBool` does. The error is Go's text.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {}: invalid syntax", quote(text))),
    }
}

/// Reads a duration that is not negative as `time.ParseDuration` does: `5s`, `1m30s`, `1.5h`, `0`. The
/// error is Go's text.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 8] =
        [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("μs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let invalid = || format!("time: invalid duration {}", quote(text));
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", quote(text)));
        }
        let known = UNITS.iter().find(|(name, _)| *name == unit);
        let (_, factor) =
            known.ok_or_else(|| format!("time: unknown unit {} in duration {}", quote(unit), quote(text)))?;
        seconds += number * factor;
        rest = after;
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    // The expectations below were printed by Go 1.26.

    #[test]
    fn durations_are_those_of_go() {
        for (text, millis) in [
            ("5s", 5000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("0", 0),
            ("+7ms", 7),
            (".5s", 500),
            ("1h2m", 3_720_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for (text, problem) in [
            ("", "time: invalid duration \"\""),
            ("5", "time: missing unit in duration \"5\""),
            ("-5s", "time: invalid duration \"-5s\""),
            ("5 s", "time: unknown unit \" s\" in duration \"5 s\""),
            ("1d", "time: unknown unit \"d\" in duration \"1d\""),
            ("s", "time: invalid duration \"s\""),
            ("1.2.3s", "time: invalid duration \"1.2.3s\""),
            ("99999999999999999999999h", "time: invalid duration \"99999999999999999999999h\""),
        ] {
            assert_eq!(parse_duration(text), Err(problem.to_owned()), "{text}");
        }
    }

    #[test]
    fn quoting_is_that_of_go() {
        for (text, quoted) in [
            ("a\"b\\c", r#""a\"b\\c""#),
            ("\x07\x08\x0c\n\r\t\x0b", r#""\a\b\f\n\r\t\v""#),
            ("\0\x1f\x7f", r#""\x00\x1f\x7f""#),
            ("a b", r#""a b""#),
            ("é日本😀", r#""é日本😀""#),
            ("\u{a0}\u{200b}\u{2028}\u{ad}\u{e000}", r#""\u00a0\u200b\u2028\u00ad\ue000""#),
            ("e\u{301}", "\"e\u{301}\""),
        ] {
            assert_eq!(quote(text), quoted);
        }
    }

    #[test]
    fn ports_are_read_as_go_reads_them() {
        for (text, port) in [("0", 0), ("1", 1), ("080", 80), ("65535", 65535), ("0000000000000000000080", 80)] {
            assert_eq!(parse_u16(text), Ok(port));
        }
        for text in ["", "-1", "+1", "1_0", "0x1", " 1", "1 ", "*", "é", "12a"] {
            assert_eq!(parse_u16(text), Err(format!("strconv.ParseUint: parsing {}: invalid syntax", quote(text))));
        }
        for text in ["65536", "99999999999999999999999", "65536x"] {
            assert_eq!(parse_u16(text), Err(format!("strconv.ParseUint: parsing \"{text}\": value out of range")));
        }
    }

    #[test]
    fn only_twelve_words_are_truth_values() {
        for text in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(parse_bool(text), Ok(true));
        }
        for text in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(parse_bool(text), Ok(false));
        }
        for text in ["", "yes", "tRUE", " true", "on"] {
            assert_eq!(parse_bool(text), Err(format!("strconv.ParseBool: parsing \"{text}\": invalid syntax")));
        }
    }
}
