//! What can be the key and the value of a label, as the API server checks it.

/// How long a name or a value may be.
const NAME: usize = 63;
/// How long the prefix of a key may be.
const PREFIX: usize = 253;

/// What a key of a label is, for people.
pub const KEY_ALLOWED: &str =
    "a label's key: up to 63 letters, digits, '-', '_' and '.', after a DNS name and a slash or alone";
/// What a value of a label is, for people.
pub const VALUE_ALLOWED: &str =
    "a label's value: nothing, or up to 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends";

/// Whether it can be the key of a label: a name, or a DNS name, a slash and a name.
pub fn is_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_name(prefix) && is_name(name),
        None => is_name(text),
    }
}

/// Whether it can be the value of a label.
pub fn is_value(text: &str) -> bool {
    text.is_empty() || is_name(text)
}

fn is_name(text: &str) -> bool {
    text.len() <= NAME && has_ends(text, |byte| byte.is_ascii_alphanumeric(), b"-_.")
}

fn is_dns_name(text: &str) -> bool {
    let is_part = |part: &str| has_ends(part, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit(), b"-");
    text.len() <= PREFIX && text.split('.').all(is_part)
}

/// Whether the text begins and ends with one of a kind, and has only these others in between.
fn has_ends(text: &str, is_kind: impl Fn(u8) -> bool, others: &[u8]) -> bool {
    let ends = [text.bytes().next(), text.bytes().next_back()];
    ends.into_iter().all(|end| end.is_some_and(&is_kind))
        && text.bytes().all(|byte| is_kind(byte) || others.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_those_that_the_api_server_takes() {
        for key in ["app", "a", "cni.istio.io/uninitialized", "A_b.c-9", &"a".repeat(63), "0.io/x"] {
            assert!(is_key(key), "{key}");
        }
        for key in ["", "/", "a/", "/a", "-a", "a-", "a/b/c", "A.io/x", "a..b/x", "a b", "é", &"a".repeat(64)] {
            assert!(!is_key(key), "{key}");
        }
        for value in ["", "true", "a.b_c-d", "V1", &"v".repeat(63)] {
            assert!(is_value(value), "{value}");
        }
        for value in ["-", "a-", ".a", "a/b", "a b", "ä", &"v".repeat(64)] {
            assert!(!is_value(value), "{value}");
        }
    }
}
