//! Secrets of every kind, with all that a password may have in it, in every place where one was seen: nothing of them is
//! left.

use super::*;
use proptest::prelude::*;
use serde_json::json;

/// What no file may have in it: it stands twice in each secret, so that none is cut in two either.
const MARK: &str = "PLANTED";

/// A secret that needs no quotes.
fn plain() -> impl Strategy<Value = String> {
    let junk = r"[!#$%&*+,./:;<=>?@^_|~(){}\[\]a-zA-Z0-9-]{0,8}";
    (junk, junk, junk).prop_map(|(one, two, three)| format!("{one}{MARK}{two}{MARK}{three}"))
}

/// A secret of any characters.
fn any_text() -> impl Strategy<Value = String> {
    let junk = r#"[ -~é\n\t]{0,8}"#;
    (junk, junk, junk).prop_map(|(one, two, three)| format!("{one}{MARK}{two}{MARK}{three}"))
}

/// Lines of logs, settings, manifests and answers with the secret in them.
fn lines(secret: &str) -> Vec<String> {
    vec![
        format!("password={secret}"),
        format!("level=info db_password={secret} next=1"),
        format!("GET https://h/x?a=1&access_token={secret} HTTP/1.1"),
        format!("dial https://joe:{secret}@registry:5000/v2: refused"),
        format!("HTTPS_PROXY=http://joe:{secret}@proxy:3128 was used"),
        format!("postgres://joe:{secret}@db/shop?x=y"),
        format!("Authorization: Bearer {secret}"),
        format!("authorization: Digest username=joe, response=\"{secret}\", qop=x"),
        format!("Cookie: a=b; session={secret}; c=d"),
        format!("the server said: Bearer {secret} is refused"),
        format!("OTEL_EXPORTER_OTLP_HEADERS=x=y,authorization=Basic {secret}"),
        format!("OTEL_EXPORTER_OTLP_TRACES_HEADERS: 'api-key={secret}'"),
        format!("    token: {secret}"),
        format!("    client-key-data: {secret}\n    client-certificate-data: {secret}"),
        format!("- name: DB_PASSWORD\n  value: {secret}\n- name: OTHER\n  value: x"),
        format!("annotations:\n  example.com/api-token: {secret}\n  other: x"),
        format!("run --token {secret} --other"),
        format!("run --password={secret}"),
        format!("secret: |\n  {secret}\n  {secret}\nother: x"),
        format!("-----BEGIN RSA PRIVATE KEY-----\n{secret}\n-----END RSA PRIVATE KEY-----"),
        format!("it was eyJhbGciOiJSUzI1NiJ9.{MARK}.{MARK} all along"),
        format!("metric{{token=\"{secret}\"}} 1"),
    ]
}

/// JSON with the secret in it.
fn documents(secret: &str) -> Vec<Value> {
    let inner = json!({"spec": {"env": [{"name": "API_KEY", "value": secret}]}}).to_string();
    vec![
        json!({"token": secret, "other": 1}),
        json!({"list": [{"users": [{"user": {"client-key-data": secret}}]}]}),
        json!({"env": [{"name": "DB_PASSWORD", "value": secret}]}),
        json!({"attributes": [{"key": "http.request.header.authorization", "value": {"stringValue": secret}}]}),
        json!({"annotations": {"example.com/secret": secret, "kubectl.kubernetes.io/last-applied-configuration": inner}}),
        json!({"command": ["run", "--token", secret, "--other"]}),
        json!({"credentials": {"user": {"deep": [secret]}}}),
        json!({"evidence": [format!("-----BEGIN KEY-----\n{secret}\n-----END KEY-----")]}),
        json!({"what": format!("it said {{\"password\":{}", Value::from(secret))}),
    ]
}

#[track_caller]
fn assert_gone(file: &str) {
    let safe = String::from_utf8(redacted_file(file.as_bytes())).unwrap();
    assert!(!safe.contains(MARK), "{file:?} became {safe:?}");
}

proptest! {
    #[test]
    fn no_secret_is_left_in_text(secret in plain()) {
        for line in lines(&secret) {
            assert_gone(&line);
            assert_gone(&format!("first line\n{line}\n{{\"message\":\"a line of JSON\"}}\nlast line"));
            // The same in a finding.
            assert_gone(&json!({"findings": [{"evidence": [line]}]}).to_string());
        }
    }

    #[test]
    fn no_secret_is_left_in_json(secret in any_text()) {
        for document in documents(&secret) {
            assert_gone(&document.to_string());
            assert_gone(&format!("{document:#}"));
            assert_gone(&format!("a log line\n{document}\nanother"));
            assert_gone(&json!({"text": document.to_string()}).to_string());
        }
    }

    #[test]
    fn no_secret_is_left_in_json_that_broke_off(secret in any_text()) {
        let broken = format!("{{\"a\":[1,{{\"token\":{},\"b\":2}}", Value::from(secret));
        assert_gone(&broken);
        assert_gone(&format!("it said {}, then nothing", Value::from(broken)));
    }

    #[test]
    fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,80}") {
        let _ = redacted_file(&bytes);
        let _ = redacted_file(text.as_bytes());
        let _ = redacted_file(format!("token: {text}").as_bytes());
    }
}

#[test]
fn the_rest_of_a_document_stays() {
    let report = json!({"node": "node-a", "findings": [{"check": "kubeconfig.token", "status": "ok", "evidence": ["valid for 50 minutes"]}]});
    assert_eq!(redacted_file(report.to_string().as_bytes()), report.to_string().into_bytes());
    let lines = "one\n{\"a\":1}\ntwo\n";
    assert_eq!(redacted_file(lines.as_bytes()), lines.as_bytes());
}
