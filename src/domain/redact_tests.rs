//! What goes and what stays, by example.

use super::*;

#[test]
fn credentials_go_and_the_rest_stays() {
    for (line, wanted) in [
        ("Authorization: Bearer abc.DEF-1", "Authorization: REDACTED"),
        ("it said Bearer abc.DEF-1 and left", "it said Bearer REDACTED and left"),
        (r#"{"token":"abc","user":"x"}"#, r#"{"token":"REDACTED","user":"x"}"#),
        (r#"{"token":"a\"b@c!d","user":"x"}"#, r#"{"token":"REDACTED","user":"x"}"#),
        (r#"{"m":"{\"token\":\"a@b\",\"n\":1}"}"#, r#"{"m":"{\"token\":\"REDACTED\",\"n\":1}"}"#),
        ("password=hunter2 next", "password=REDACTED next"),
        ("password=hun@ter!2,x;y next", "password=REDACTED next"),
        ("token: Bearer a@b next", "token: REDACTED next"),
        ("https://joe:p@ss!w@registry:5000/x?y=1", "https://REDACTED@registry:5000/x?y=1"),
        ("root:hunter2@tcp(db:3306)/shop", "REDACTED@tcp(db:3306)/shop"),
        ("https://h/x?access_token=abc!", "https://h/x?access_token=REDACTED"),
        ("OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer a,b=c d", "OTEL_EXPORTER_OTLP_HEADERS=REDACTED"),
        ("run --token abc --name x", "run --token REDACTED --name x"),
        ("client-key-data: LS0tLS1C==", "client-key-data: REDACTED"),
        (
            "- name: DB_PASSWORD\n  value: a b\n- name: X\n  value: y",
            "- name: DB_PASSWORD\n  value: REDACTED b\n- name: X\n  value: y",
        ),
        ("secret: |\n  one\n  two\nnext: x", "secret: |\n  REDACTED\n  REDACTED\nnext: x"),
        ("the answer was eyJhbGciOiJSUzI1NiJ9.e30.c2ln, it said", "the answer was REDACTED, it said"),
        ("a\n-----BEGIN KEY-----\nab\n-----END KEY-----\nb", "a\nREDACTED\nb"),
        ("a\n-----BEGIN KEY-----\nab==\nsomething else", "a\nREDACTED\nsomething else"),
        ("joins by 4n1abc.0123456789abcdef", "joins by REDACTED"),
    ] {
        assert_eq!(redacted(line), wanted);
    }
}

#[test]
fn what_a_report_is_for_stays() {
    for line in [
        "the token expired 2 hours ago",
        "pod shop/web-0 is redirected",
        "ok       kubeconfig.token      it is valid for 50 minutes",
        "/var/run/secrets/kubernetes.io/serviceaccount/token: no such file",
        "plugin sha256 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "image docker.io/istio/install-cni:1.24@sha256:0123456789abcdef",
        r#"istio_cni_requests_total{command="add",outcome="enrolled",reason="",path="agent"} 7"#,
        "basic checks, a bearer token, and automountServiceAccountToken=true",
        "2026-01-02T03:04:05.678901Z 10.1.0.5:15001 [fd00::1]:15006",
        "http://jaeger:16686/trace/11111111222243338444555555555555",
        "PWD=/root HOME=/root",
    ] {
        assert_eq!(redacted(line), line);
    }
}
