//! The files behind TLS. They are read whenever a connection is set up anew, so that certificates
//! may be renewed while the process runs.

use super::config::TlsFiles;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where distributions keep their bundle of authorities.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What TLS is set up with, in PEM form.
#[derive(Clone)]
pub struct TlsPem {
    /// The authorities.
    pub ca: Vec<u8>,
    /// The client's certificate chain and private key.
    pub client: Option<(Vec<u8>, Vec<u8>)>,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {path} for TLS to the collector")]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "the system has no bundle of certificate authorities; name one in OTEL_EXPORTER_OTLP_CERTIFICATE or SSL_CERT_FILE"
    )]
    NoAuthorities,
    #[error("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY must be set together")]
    HalfAnIdentity,
}

/// Reads the files.
pub fn read(files: &TlsFiles) -> Result<TlsPem, TlsError> {
    let client = match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => Some((read_file(certificate)?, read_file(key)?)),
        (None, None) => None,
        _ => return Err(TlsError::HalfAnIdentity),
    };
    Ok(TlsPem { ca: authorities(files)?, client })
}

fn authorities(files: &TlsFiles) -> Result<Vec<u8>, TlsError> {
    if let Some(path) = files.ca.as_ref().or(files.system_ca.as_ref()) {
        return read_file(path);
    }
    let bundle = SYSTEM_BUNDLES.iter().find_map(|path| fs::read(path).ok().filter(|pem| !pem.is_empty()));
    bundle.ok_or(TlsError::NoAuthorities)
}

fn read_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}
