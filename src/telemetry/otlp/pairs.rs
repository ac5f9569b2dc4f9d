//! Lists of `key=value` between commas with percent-encoded values, as `OTEL_RESOURCE_ATTRIBUTES`
//! and `OTEL_EXPORTER_OTLP_HEADERS` have them (the form of W3C baggage).

use super::env::Env;

/// Reads the list in a variable; one that cannot be read is ignored with a warning.
pub fn read(env: &mut Env<'_>, variable: &str) -> Option<Vec<(String, String)>> {
    let text = env.text(variable)?;
    parse(&text).map_err(|problem| env.warn(variable, problem)).ok()
}

/// Reads a list. What cannot be read is named by its place: values may be secrets.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let members = text.split(',').enumerate().filter(|(_, member)| !member.trim().is_empty());
    members.map(|(index, member)| pair(member).ok_or_else(|| problem(index))).collect()
}

fn problem(index: usize) -> String {
    format!("member {} of the list is not of the form key=value with a percent-encoded value", index + 1)
}

fn pair(member: &str) -> Option<(String, String)> {
    // Baggage may carry properties behind a semicolon; they mean nothing here.
    let member = member.split(';').next()?;
    let (key, value) = member.split_once('=')?;
    let key = decode(key.trim())?;
    (!key.is_empty()).then_some((key, decode(value.trim())?))
}

/// Replaces `%xx`. `None` when a percent sign is not followed by two hex digits, or when the
/// outcome is no UTF-8.
pub fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let (high, low) = (digit(rest.next())?, digit(rest.next())?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn members_are_decoded_and_trimmed() {
        let read = parse(" a = 1 ,b=x%20y%3D%2C , c= , authorization=Basic%20dTpw==,,").unwrap();
        assert_eq!(read, owned(&[("a", "1"), ("b", "x y=,"), ("c", ""), ("authorization", "Basic dTpw==")]));
    }

    #[test]
    fn a_wrong_member_is_named_without_its_value() {
        for text in ["a=1,secret", "a=1,b=%zz", "a=1,b=%4", "a=1,=x", "a=1,b=%ff"] {
            let problem = parse(text).unwrap_err();
            assert!(problem.starts_with("member 2 of the list is not") && !problem.contains("secret"), "{problem}");
        }
    }
}
