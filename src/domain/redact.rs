//! Takes what looks like a credential out of a line of a log. Nothing here writes any into one; this is for lines that
//! repeat what others said.

use super::api_access::REDACTED;

/// Words after which, behind `=` or `:`, comes something that is nobody's business.
const NAMED: &[&str] = &["token", "password", "passwd", "secret", "authorization", "apikey", "api_key", "api-key"];
/// Words that stand right before a credential.
const SCHEMES: &[&str] = &["bearer", "basic"];
/// What a JSON Web Token begins with: `{"` in base64.
const JWT: &str = "eyJ";
const SHORTEST_JWT: usize = 20;

/// The line without credentials.
pub fn redacted(line: &str) -> String {
    if line.contains("-----BEGIN") {
        return REDACTED.to_owned();
    }
    let mut safe = String::with_capacity(line.len());
    let (mut rest, mut last, mut between) = (line, String::new(), "");
    while !rest.is_empty() {
        let gap = rest.find(is_word).unwrap_or(rest.len());
        let (separator, after) = rest.split_at(gap);
        let end = after.find(|c| !is_word(c)).unwrap_or(after.len());
        let (word, next) = after.split_at(end);
        safe.push_str(separator);
        if !separator.is_empty() {
            between = separator;
        }
        let named = NAMED.iter().any(|name| last.ends_with(name)) && between.contains(['=', ':']);
        let secret = named || SCHEMES.contains(&last.as_str()) || (word.starts_with(JWT) && word.len() >= SHORTEST_JWT);
        safe.push_str(if secret && !word.is_empty() { REDACTED } else { word });
        last = word.to_ascii_lowercase();
        rest = next;
    }
    safe
}

/// What credentials, and names, are made of.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '~' | '+' | '/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_go_and_the_rest_stays() {
        for (line, wanted) in [
            ("Authorization: Bearer abc.DEF-1", "Authorization: REDACTED REDACTED"),
            (r#"{"token":"abc","user":"x"}"#, r#"{"token":"REDACTED","user":"x"}"#),
            ("password=hunter2 next", "password=REDACTED next"),
            ("the answer was eyJhbGciOiJSUzI1NiJ9.e30.c2ln, it said", "the answer was REDACTED, it said"),
            ("the token expired 2 hours ago", "the token expired 2 hours ago"),
            ("-----BEGIN PRIVATE KEY-----", "REDACTED"),
            ("pod shop/web-0 is redirected", "pod shop/web-0 is redirected"),
        ] {
            assert_eq!(redacted(line), wanted);
        }
    }
}
