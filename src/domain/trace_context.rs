//! W3C Trace Context and Baggage as a runtime's environment or a pod's annotation carries them.
//! What is malformed is no context: a tracing header never fails an ADD.

use super::identity::{SpanId, TraceId, TraceLink};

/// No `tracestate` or `baggage` beyond these is looked at (the specifications' own limits).
const MAX_STATE: usize = 512;
const MAX_STATE_MEMBERS: usize = 32;
const MAX_BAGGAGE: usize = 8192;
const MAX_BAGGAGE_MEMBERS: usize = 64;

/// The context of these three texts as a link; `source` says where it was found. Without a valid
/// `traceparent` there is none; an invalid `tracestate` or baggage member is left out.
pub fn link(traceparent: &str, tracestate: &str, baggage: &str, source: &'static str) -> Option<TraceLink> {
    let (trace_id, span_id, flags) = parse_traceparent(traceparent)?;
    let state = if is_tracestate(tracestate) { tracestate.trim().to_owned() } else { String::new() };
    Some(TraceLink { trace_id, span_id, flags, state, source, baggage: parse_baggage(baggage) })
}

/// Parses `00-TRACE-SPAN-FLAGS`. A later version may have more after its flags.
fn parse_traceparent(text: &str) -> Option<(TraceId, SpanId, u8)> {
    let text = text.trim();
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if hex_byte(version)? == 0xff || (version == "00" && parts.next().is_some()) {
        return None;
    }
    Some((TraceId::from_hex(trace)?, SpanId::from_hex(span)?, hex_byte(flags)?))
}

fn hex_byte(text: &str) -> Option<u8> {
    let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits { u8::from_str_radix(text, 16).ok() } else { None }
}

fn is_tracestate(text: &str) -> bool {
    let printable = |value: &str| value.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && byte != b',' && byte != b'=');
    let key_byte = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@')
    };
    let member = |text: &str| {
        let text = text.trim();
        text.is_empty()
            || text.split_once('=').is_some_and(|(key, value)| {
                !key.is_empty() && key.bytes().all(key_byte) && !value.is_empty() && printable(value)
            })
    };
    text.len() <= MAX_STATE && text.split(',').count() <= MAX_STATE_MEMBERS && text.split(',').all(member)
}

/// The members of a `baggage` text, decoded, in their order; properties are dropped.
fn parse_baggage(text: &str) -> Vec<(String, String)> {
    let token = |byte: u8| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte);
    let member = |text: &str| {
        let (key, value) = text.split(';').next()?.split_once('=')?;
        let (key, value) = (key.trim(), value.trim());
        let valid = !key.is_empty() && key.bytes().all(token);
        let visible = value.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b'\\'));
        if valid && visible { Some((key.to_owned(), percent_decoded(value))) } else { None }
    };
    if text.len() > MAX_BAGGAGE {
        return Vec::new();
    }
    text.split(',').take(MAX_BAGGAGE_MEMBERS).filter_map(member).collect()
}

/// Decodes `%XX`; bytes that are no UTF-8 become the replacement character.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).and_then(|digits| hex_byte(std::str::from_utf8(digits).ok()?));
        match escaped {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_context_becomes_a_link() {
        let found = link(PARENT, "vendor=1, a@b=x y", "user=J%C3%BCrgen;p=1, k = v", "environment").unwrap();
        assert_eq!(found.trace_id.to_hex(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!((found.span_id.to_hex().as_str(), found.flags), ("b7ad6b7169203331", 1));
        assert_eq!(found.state, "vendor=1, a@b=x y");
        let baggage = [("user".to_owned(), "J\u{fc}rgen".to_owned()), ("k".to_owned(), "v".to_owned())];
        assert_eq!((found.baggage.as_slice(), found.source), (&baggage[..], "environment"));
    }

    #[test]
    fn a_later_version_may_have_more() {
        assert!(link(&PARENT.replacen("00", "01", 1), "", "", "x").is_some());
        assert!(link(&format!("{}-more", PARENT.replacen("00", "cc", 1)), "", "", "x").is_some());
    }

    #[test]
    fn what_is_malformed_is_no_context() {
        let bad = [
            String::new(),
            "garbage".to_owned(),
            PARENT.to_uppercase(),
            format!("{PARENT}-more"),
            PARENT.replacen("00", "ff", 1),
            PARENT.replace("01", "+1"),
            PARENT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            PARENT.replace("b7ad6b7169203331", &"0".repeat(16)),
            PARENT.replace("b7ad6b7169203331", "b7ad6b716920333"),
            PARENT.replace("-01", ""),
        ];
        for text in bad {
            assert_eq!(link(&text, "", "", "x"), None, "{text}");
        }
    }

    #[test]
    fn invalid_state_and_baggage_do_not_cost_the_link() {
        let many = ["a=1"; 33].join(",");
        for state in ["A=1", "a", "a=", "a=b=c", "a=\u{e4}", many.as_str(), &"a=".repeat(300)] {
            assert_eq!(link(PARENT, state, "", "x").unwrap().state, "", "{state}");
        }
        let kept = link(PARENT, "", "a b=1,=2,c,d=\"e\",f=%zz,g=%ff", "x").unwrap().baggage;
        assert_eq!(kept, [("f".to_owned(), "%zz".to_owned()), ("g".to_owned(), "\u{fffd}".to_owned())]);
        assert!(link(PARENT, "", &"a=1,".repeat(3000), "x").unwrap().baggage.is_empty());
    }
}
