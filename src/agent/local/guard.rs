//! What every request to the local server must be, and what every answer says to browsers. Loopback keeps other machines
//! out, not other pages: a browser on the same machine, or at the other end of a port-forward, asks whatever a foreign
//! page tells it to. So only requests to a name of this machine are answered (a foreign name that resolves to loopback is
//! not one), none changes anything, and nothing of an answer can be read or embedded by another origin.

use axum::Router;
use axum::extract::Request;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;

/// The most bytes of path and query together.
const LONGEST_TARGET: usize = 2 << 10;

/// What a browser may do with an answer: show it, with styles and script from here, and ask here again.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

/// These routes, for requests that may be answered.
pub(super) fn protect(routes: Router) -> Router {
    routes.layer(from_fn(guarded))
}

async fn guarded(request: Request, next: Next) -> Response {
    let mut response = match refusal(&request) {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // What has its content in its name says for itself how long it may be kept.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Why a request is not answered: status and one sentence.
fn refusal(request: &Request) -> Option<Response> {
    let (headers, uri) = (request.headers(), request.uri());
    if !is_local(headers, uri.authority()) {
        let allowed = "this server answers to localhost, 127.0.0.1 and [::1] only: ask by one of these names\n";
        return Some((StatusCode::MISDIRECTED_REQUEST, allowed).into_response());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let allow = [(header::ALLOW, "GET, HEAD")];
        return Some(
            (StatusCode::METHOD_NOT_ALLOWED, allow, "only GET and HEAD: nothing can be changed here\n").into_response(),
        );
    }
    if uri.path_and_query().is_some_and(|target| target.as_str().len() > LONGEST_TARGET) {
        let longest = format!("the path and query may have {LONGEST_TARGET} bytes at most\n");
        return Some((StatusCode::URI_TOO_LONG, longest).into_response());
    }
    if is_of_another_page(headers) {
        return Some(
            (StatusCode::FORBIDDEN, "pages from elsewhere may link to this one, and nothing else\n").into_response(),
        );
    }
    None
}

/// Whether the request is to a name of this machine: `localhost` or a loopback address, at any port, because a
/// port-forward has its own. Exactly one `Host` is there.
fn is_local(headers: &HeaderMap, target: Option<&Authority>) -> bool {
    let mut given = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (given.next(), given.next()) else { return false };
    let Some(host) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else { return false };
    is_loopback(&host) && target.is_none_or(is_loopback)
}

fn is_loopback(authority: &Authority) -> bool {
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host();
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Whether a browser says that a page of another origin makes it ask, other than by a link that somebody followed.
fn is_of_another_page(headers: &HeaderMap) -> bool {
    let said = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    match said("sec-fetch-site") {
        Some(b"same-origin" | b"none") => false,
        Some(_) => (said("sec-fetch-mode"), said("sec-fetch-dest")) != (Some(b"navigate"), Some(b"document")),
        // A browser without Fetch Metadata names at least the origin of a script that wants to read the answer.
        None => headers.get(header::ORIGIN).is_some_and(is_foreign),
    }
}

fn is_foreign(origin: &HeaderValue) -> bool {
    let host = origin.to_str().ok().and_then(|origin| origin.split_once("://")).and_then(|(_, host)| host.parse().ok());
    !host.is_some_and(|host: Authority| is_loopback(&host))
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
