//! A pod's service account where every pod has it, changed as the kubelet changes it, and an API
//! server that is reached with TLS.

use crate::otlp::Certificates;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

/// The directory, which is the test process' own.
pub struct Account {
    directory: PathBuf,
    certificates: Certificates,
    swaps: usize,
}

/// A token as long as real ones.
pub fn token(n: usize) -> String {
    format!("token-{n}-{}", "x".repeat(900))
}

impl Account {
    /// Where a pod has it. There can be one in a test file.
    pub fn mounted() -> Account {
        let run = fs::canonicalize("/var/run").unwrap();
        assert_eq!(
            run,
            PathBuf::from("/run"),
            "only /run is the test's own, so this test needs /var/run to lead there"
        );
        let directory = run.join("secrets/kubernetes.io/serviceaccount");
        fs::create_dir_all(&directory).unwrap();
        for name in ["token", "ca.crt"] {
            symlink(format!("..data/{name}"), directory.join(name)).unwrap();
        }
        Account { directory, certificates: Certificates::new(), swaps: 0 }
    }

    /// Who vouches for the API server.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// The token of this number from now on, or none: all files change at once.
    pub fn swap(&mut self, number: Option<usize>) {
        let name = format!("..{}", self.swaps);
        let next = self.directory.join(&name);
        fs::create_dir(&next).unwrap();
        fs::write(next.join("ca.crt"), &self.certificates.authority).unwrap();
        if let Some(number) = number {
            fs::write(next.join("token"), token(number)).unwrap();
        }
        symlink(&name, self.directory.join("..data_tmp")).unwrap();
        fs::rename(self.directory.join("..data_tmp"), self.directory.join("..data")).unwrap();
        if let Some(before) = self.swaps.checked_sub(1) {
            fs::remove_dir_all(self.directory.join(format!("..{before}"))).unwrap();
        }
        self.swaps += 1;
    }
}

/// A port of loopback behind whose TLS is the server at this address, while the runtime lives.
pub fn tls_front(certificates: &Certificates, server: SocketAddr) -> (u16, Runtime) {
    // Any provider that is there already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (certificate, key) = &certificates.server;
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that goes away ends its own connection alone.
                let Ok(mut client) = acceptor.accept(stream).await else { return };
                let Ok(mut server) = TcpStream::connect(server).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (port, runtime)
}
