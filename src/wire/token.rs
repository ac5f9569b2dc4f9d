//! When a service account's token expires: the one thing of it that is looked at. It is a JSON Web Token, whose middle
//! part says so to whoever reads it; nothing of it is ever shown.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// No token's claims are longer.
const LONGEST: usize = 64 << 10;

#[derive(Deserialize)]
struct Claims {
    exp: Option<f64>,
}

/// Seconds since the epoch at which the token expires; None where it does not say, as the tokens that are no JSON Web
/// Tokens do not.
pub fn expires(token: &str) -> Option<u64> {
    let claims = token.split('.').nth(1).filter(|claims| claims.len() <= LONGEST)?;
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    let expires = serde_json::from_slice::<Claims>(&claims).ok()?.exp?;
    (0.0..1e15).contains(&expires).then_some(expires as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("eyJhbGciOiJSUzI1NiJ9.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn the_expiry_is_read_where_there_is_one() {
        assert_eq!(expires(&token(r#"{"aud":["x"],"exp":1787410818,"iss":"y"}"#)), Some(1_787_410_818));
        assert_eq!(expires(&token(r#"{"iss":"kubernetes/serviceaccount"}"#)), None);
        for other in ["", "opaque", "a.b.c", &token("[]"), &token(r#"{"exp":-1}"#), &token(r#"{"exp":"soon"}"#)] {
            assert_eq!(expires(other), None, "{other}");
        }
    }
}
