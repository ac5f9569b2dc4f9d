//! How a process reaches the API server, and as whom: what a kubeconfig's current context comes
//! down to. It never shows a secret: not in `Debug`, and there is no `Display`.

use std::fmt;

/// The words that stand for a secret.
pub const REDACTED: &str = "REDACTED";

/// How to reach the API server, and as whom.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiAccess {
    /// `https://host:port`, perhaps with a path, without a slash at the end.
    pub server: String,
    /// Whose certificate the server may have.
    pub trust: Trust,
    /// What the client says of itself in each request.
    pub authorization: Option<Authorization>,
    /// How the client shows itself in TLS.
    pub client_certificate: Option<ClientCertificate>,
}

/// What a request's `Authorization` header is made of.
#[derive(Clone, PartialEq, Eq)]
pub enum Authorization {
    /// A bearer token of visible ASCII characters, at least one.
    Token(String),
    /// A user with a password.
    Password { username: String, password: String },
}

/// A client certificate chain and its key, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    pub chain: Vec<u8>,
    pub key: Vec<u8>,
}

/// Whose certificate the server may have.
#[derive(Clone, PartialEq, Eq)]
pub enum Trust {
    /// One that these (PEM) have signed.
    Authorities(Vec<u8>),
    /// Anybody's: `insecure-skip-tls-verify`.
    Anybody,
    /// There is none: plain HTTP.
    PlainHttp,
}

impl fmt::Debug for ApiAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiAccess")
            .field("server", &self.server)
            .field("trust", &self.trust)
            .field("authorization", &self.authorization)
            .field("client_certificate", &self.client_certificate)
            .finish()
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Authorization::Token(_) => write!(f, "Token({REDACTED})"),
            Authorization::Password { .. } => write!(f, "Password({REDACTED})"),
        }
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientCertificate({REDACTED})")
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trust::Authorities(_) => "Authorities",
            Trust::Anybody => "Anybody",
            Trust::PlainHttp => "PlainHttp",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let mut access = ApiAccess {
            server: "https://a:1".into(),
            trust: Trust::Authorities(b"SECRET".to_vec()),
            authorization: Some(Authorization::Token("SECRET".into())),
            client_certificate: Some(ClientCertificate { chain: b"SECRET".to_vec(), key: b"SECRET".to_vec() }),
        };
        for _ in 0..2 {
            let shown = format!("{access:?}");
            assert!(shown.contains("https://a:1") && !shown.contains("SECRET") && !shown.contains("83, 69"), "{shown}");
            access.authorization =
                Some(Authorization::Password { username: "SECRET".into(), password: "SECRET".into() });
        }
    }
}
