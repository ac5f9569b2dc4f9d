//! A certificate authority for one test: it vouches for the collector at 127.0.0.1 and for one
//! client.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::path::PathBuf;
use tempfile::TempDir;

/// The files of an authority, its server and its client, in PEM form.
pub struct Certificates {
    directory: TempDir,
    pub authority: String,
    pub server: (String, String),
}

impl Certificates {
    /// Makes an authority and what it vouches for.
    pub fn new() -> Certificates {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let vouched = |names: &[&str]| {
            let key = KeyPair::generate().unwrap();
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
            (certificate.pem(), key.serialize_pem())
        };
        let (authority, server, client) = (issuer.pem(), vouched(&["127.0.0.1", "localhost"]), vouched(&["agent"]));
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [("ca.pem", &authority), ("client.pem", &client.0), ("client.key", &client.1)] {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        Certificates { directory, authority, server }
    }

    /// One of `ca.pem`, `client.pem`, `client.key`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}
