//! What an answer of the API server says: an object, or an error and the pause that it asks for. The client library
//! reads bodies alone, and so would lose what a busy server, or a proxy before it, says in a header.

use kube::client::Body;
use kube::core::Status;
use kube::core::response::StatusDetails;
use serde::de::DeserializeOwned;
use ureq::http::header::RETRY_AFTER;
use ureq::http::{HeaderMap, Response};

/// The object in an answer, else the error that it is.
pub(super) async fn read<T: DeserializeOwned>(answer: Response<Body>) -> Result<T, kube::Error> {
    let (head, body) = answer.into_parts();
    let body = body.collect_bytes().await?;
    if head.status.is_client_error() || head.status.is_server_error() {
        return Err(kube::Error::Api(refusal(head.status.as_u16(), &head.headers, &body).boxed()));
    }
    serde_json::from_slice(&body).map_err(kube::Error::SerdeError)
}

/// What an error says of itself. A body that is no `Status`, as a proxy's, is the message; the header counts where the
/// body names no pause.
fn refusal(code: u16, headers: &HeaderMap, body: &[u8]) -> Status {
    // Every field of a `Status` may be missing, so any object of JSON would read as one.
    let said = serde_json::from_slice::<Status>(body).ok().filter(|status| status.code != 0);
    let words = || Status::failure(String::from_utf8_lossy(body).trim(), "").with_code(code);
    let mut status = said.unwrap_or_else(words);
    let said = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    if let Some(seconds) = said {
        let details = status.details.get_or_insert_with(nothing);
        if details.retry_after_seconds == 0 {
            details.retry_after_seconds = seconds;
        }
    }
    status
}

fn nothing() -> StatusDetails {
    let [name, group, kind, uid] = [const { String::new() }; 4];
    StatusDetails { name, group, kind, uid, causes: Vec::new(), retry_after_seconds: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(header: Option<&'static str>, body: &str) -> (u16, String, Option<u32>) {
        let mut headers = HeaderMap::new();
        headers.extend(header.map(|value| (RETRY_AFTER, value.parse().unwrap())));
        let status = refusal(429, &headers, body.as_bytes());
        (status.code, status.message, status.details.map(|details| details.retry_after_seconds))
    }

    #[test]
    fn a_busy_server_names_its_pause_in_a_header() {
        let body = "Too many requests, please try again later.\n";
        assert_eq!(refused(Some("7"), body), (429, body.trim().to_owned(), Some(7)));
        assert_eq!(refused(None, body).2, None);
        for none in ["soon", "-1", "", "99999999999"] {
            assert_eq!(refused(Some(none), body).2, None, "{none:?}");
        }
    }

    #[test]
    fn what_a_proxy_says_in_json_is_no_status() {
        for body in
            [r#"{"error": {"code": 429, "message": "slow down"}}"#, r#"{"message": "Unauthorized"}"#, "{}", "[]"]
        {
            assert_eq!(refused(Some("7"), body), (429, body.to_owned(), Some(7)));
        }
    }

    #[test]
    fn what_the_status_says_counts_more() {
        let status = r#"{"kind": "Status", "status": "Failure", "code": 429, "message": "budget",
            "details": {"retryAfterSeconds": 10}}"#;
        assert_eq!(refused(Some("7"), status), (429, "budget".to_owned(), Some(10)));
        let without = status.replace("10", "0");
        assert_eq!(refused(Some("7"), &without), (429, "budget".to_owned(), Some(7)));
    }
}
