//! The kubeconfig for the plugin, printed: the reference's keys in the reference's order, with all
//! data inline, so that it needs no other file. `k8s::kubeconfig` reads the same access back from it.

use crate::domain::api_access::{ApiAccess, Authorization, ClientCertificate, REDACTED, Trust};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::fmt::Write;

/// The file's text, which has secrets in it.
pub fn print(access: &ApiAccess) -> String {
    text(access, scalar)
}

/// The file's text for the log: what is secret, or long and of no use to people, is left out.
pub fn describe(access: &ApiAccess) -> String {
    text(access, |_| REDACTED.to_owned())
}

fn text(access: &ApiAccess, hidden: impl Fn(&str) -> String) -> String {
    let mut text = String::from("apiVersion: v1\nclusters:\n- cluster:\n");
    let mut entry = |key: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "    {key}: {value}");
    };
    match &access.trust {
        Trust::Authorities(pem) => entry("certificate-authority-data", hidden(&BASE64.encode(pem))),
        Trust::Anybody => entry("insecure-skip-tls-verify", "true".to_owned()),
        Trust::PlainHttp => {}
    }
    entry("server", scalar(&access.server));
    text.push_str("  name: local\ncontexts:\n- context:\n    cluster: local\n    user: istio-cni\n");
    text.push_str("  name: istio-cni-context\ncurrent-context: istio-cni-context\nkind: Config\n");
    text.push_str("users:\n- name: istio-cni\n");
    let user = user(access, hidden);
    if user.is_empty() {
        text.push_str("  user: {}\n");
    } else {
        text.push_str("  user:\n");
        for (key, value) in user {
            let _ = writeln!(text, "    {key}: {value}");
        }
    }
    text
}

/// The user's entries, by key.
fn user(access: &ApiAccess, hidden: impl Fn(&str) -> String) -> Vec<(&'static str, String)> {
    let mut entries = Vec::new();
    if let Some(ClientCertificate { chain, key }) = &access.client_certificate {
        entries.push(("client-certificate-data", hidden(&BASE64.encode(chain))));
        entries.push(("client-key-data", hidden(&BASE64.encode(key))));
    }
    match &access.authorization {
        None => {}
        Some(Authorization::Token(token)) => entries.push(("token", hidden(token))),
        Some(Authorization::Password { username, password }) => {
            entries.push(("password", hidden(password)));
            entries.push(("username", hidden(username)));
        }
    }
    entries
}

/// A text as a YAML scalar: as it is where every reader takes that for the same text, else quoted.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-./:=[]_~".contains(c);
    let word = WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    let safe = text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(plain) && !text.ends_with(':');
    if safe && !word { text.to_owned() } else { quoted(text) }
}

/// A double-quoted scalar in ASCII.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        let code = u32::from(c);
        // Writing to a String cannot fail.
        let _ = match c {
            '"' | '\\' => write!(quoted, "\\{c}"),
            ' '..='~' => write!(quoted, "{c}"),
            _ if code <= 0xff => write!(quoted, "\\x{code:02x}"),
            _ if code <= 0xffff => write!(quoted, "\\u{code:04x}"),
            _ => write!(quoted, "\\U{code:08x}"),
        };
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> ApiAccess {
        ApiAccess {
            server: "https://[fd00::1]:6443".into(),
            trust: Trust::Authorities(b"PEM OF DATA".to_vec()),
            authorization: Some(Authorization::Token("abc.def-1".into())),
            client_certificate: None,
        }
    }

    #[test]
    fn the_service_accounts_file_is_the_references_byte_for_byte() {
        let expected = "apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: UEVNIE9GIERBVEE=
    server: https://[fd00::1]:6443
  name: local
contexts:
- context:
    cluster: local
    user: istio-cni
  name: istio-cni-context
current-context: istio-cni-context
kind: Config
users:
- name: istio-cni
  user:
    token: abc.def-1
";
        assert_eq!(print(&access()), expected);
        let described = expected.replace("UEVNIE9GIERBVEE=", REDACTED).replace("abc.def-1", REDACTED);
        assert_eq!(describe(&access()), described);
    }

    #[test]
    fn verification_can_be_waived_and_a_password_or_a_certificate_take_the_tokens_place() {
        let text = print(&ApiAccess { trust: Trust::Anybody, ..access() });
        assert!(text.contains("- cluster:\n    insecure-skip-tls-verify: true\n    server: https://"), "{text}");
        let password = Authorization::Password { username: "u".into(), password: "a: b".into() };
        let client = ClientCertificate { chain: b"chain".to_vec(), key: b"key".to_vec() };
        let text =
            print(&ApiAccess { authorization: Some(password), client_certificate: Some(client.clone()), ..access() });
        let user = "  user:\n    client-certificate-data: Y2hhaW4=\n    client-key-data: a2V5\n    password: \"a: b\"\n    username: u\n";
        assert!(text.ends_with(user), "{text}");
        let text = print(&ApiAccess { authorization: None, ..access() });
        assert!(text.ends_with("  user: {}\n"), "{text}");
    }

    #[test]
    fn what_yaml_takes_for_something_else_is_quoted() {
        for text in ["true", "Null", "y", "1", "0x1f", "~", "-", "a:", "a b", "a#b", "", "\u{e9}", ".inf", "!a", "*a"] {
            assert!(scalar(text).starts_with('"'), "{text}");
        }
        for text in ["https://10.0.0.1:443", "LS0tLS1CRUdJTg==", "eyJhbGciOiJS.eyJh_-"] {
            assert_eq!(scalar(text), text);
        }
        assert_eq!(quoted("a\"\\\n\u{7f}\u{2028}\u{1f600}"), r#""a\"\\\x0a\x7f\u2028\U0001f600""#);
    }
}
