//! Which requests are answered, and what every answer says.

use super::*;
use axum::body::Body;
use axum::routing::get;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

/// What a request gets: `headers` are lines of a head.
fn asked(method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let routes = protect(Router::new().route("/", get(|| async { "secret" })));
    let service = TowerToHyperService::new(routes);
    futures::executor::block_on(service.call(request.body(Body::empty()).unwrap())).unwrap()
}

fn status(headers: &[(&str, &str)]) -> u16 {
    asked("GET", "/", headers).status().as_u16()
}

#[test]
fn names_of_this_machine_are_answered_at_any_port() {
    for host in ["localhost", "LocalHost:8080", "127.0.0.1:15015", "127.8.9.1", "[::1]:15015", "[::1]"] {
        assert_eq!(status(&[("host", host)]), 200, "{host}");
    }
}

#[test]
fn a_foreign_name_is_refused_whatever_it_resolves_to() {
    let foreign =
        ["evil.example", "localhost.evil.example", "10.0.0.1", "evil@localhost", "", "::1", "[::2]", "0.0.0.0", "a b"];
    for host in foreign {
        assert_eq!(status(&[("host", host)]), 421, "{host}");
    }
    assert_eq!(status(&[]), 421, "no Host at all");
    assert_eq!(status(&[("host", "localhost"), ("host", "localhost")]), 421, "two of them");
    assert_eq!(asked("GET", "http://evil.example/", &[("host", "localhost")]).status(), 421);
}

#[test]
fn nothing_but_reading_is_allowed() {
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "NONSENSE"] {
        let answer = asked(method, "/", &[("host", "localhost")]);
        assert_eq!(answer.status(), 405, "{method}");
        assert_eq!(answer.headers()["allow"], "GET, HEAD");
    }
    assert_eq!(asked("HEAD", "/", &[("host", "localhost")]).status(), 200);
}

#[test]
fn a_huge_query_is_refused() {
    let target = format!("/?text={}", "x".repeat(LONGEST_TARGET));
    assert_eq!(asked("GET", &target, &[("host", "localhost")]).status(), 414);
}

#[test]
fn another_origins_page_may_link_here_and_nothing_else() {
    let fetch = |site, mode, destination| {
        let said = [
            ("host", "localhost"),
            ("sec-fetch-site", site),
            ("sec-fetch-mode", mode),
            ("sec-fetch-dest", destination),
        ];
        status(&said)
    };
    assert_eq!(fetch("same-origin", "cors", "empty"), 200, "the page's own script");
    assert_eq!(fetch("none", "navigate", "document"), 200, "the address bar");
    assert_eq!(fetch("cross-site", "navigate", "document"), 200, "a link in a dashboard");
    assert_eq!(fetch("cross-site", "no-cors", "image"), 403);
    assert_eq!(fetch("same-site", "cors", "empty"), 403, "another port of this machine");
    assert_eq!(fetch("cross-site", "navigate", "iframe"), 403);
    assert_eq!(
        status(&[("host", "localhost"), ("origin", "https://evil.example")]),
        403,
        "a browser without Fetch Metadata"
    );
    assert_eq!(status(&[("host", "localhost"), ("origin", "null")]), 403);
    assert_eq!(status(&[("host", "localhost"), ("origin", "http://localhost:15015")]), 200);
}

#[test]
fn every_answer_has_the_protections_also_a_refusal() {
    for answer in [
        asked("GET", "/", &[("host", "localhost")]),
        asked("GET", "/nowhere", &[("host", "localhost")]),
        asked("PUT", "/", &[]),
    ] {
        for (name, value) in HEADERS {
            assert_eq!(answer.headers()[name], value);
        }
        assert_eq!(answer.headers()["cache-control"], "no-store");
        assert!(!answer.headers().contains_key("access-control-allow-origin"));
    }
}
