//! The agent's way to the API server from inside a pod: the service account's token and CA.

#![expect(clippy::unwrap_used, reason = "tests assert by panicking")]

#[allow(dead_code, reason = "another test needs the authority itself")]
#[path = "support/certificates.rs"]
mod certificates;
mod support;

use certificates::Certificates;
use istio_cni_otel::domain::failure::Classify;
use istio_cni_otel::domain::step::ErrorType;
use istio_cni_otel::k8s::client::{ApiClient, ApiSource};
use istio_cni_otel::k8s::error::ApiError;
use istio_cni_otel::k8s::pod::Pod;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use support::scripted_api::{Reply, ScriptedApi};
use support::{UID, loopback, pod};

fn server(certificates: &Certificates) -> ScriptedApi {
    loopback();
    // Any provider that is there already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (certificate, key) = &certificates.server;
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let reply = Reply::Json(200, pod(json!({})).to_string());
    ScriptedApi::serve("127.0.0.1:0", vec![reply], Some(Arc::new(config)))
}

fn ask(api: &ScriptedApi, account: &Path, ca: &Path) -> Result<Pod, ApiError> {
    let source = ApiSource::InCluster {
        host: "127.0.0.1".into(),
        port: api.address.port(),
        account: account.to_owned(),
        ca: ca.to_owned(),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(ApiClient::new(source, |_| {}).pod("shop", "web-0", std::time::Duration::from_secs(10)))
}

#[test]
fn the_service_accounts_token_and_authority_are_used() {
    let (certificates, account) = (Certificates::new(), tempfile::tempdir().unwrap());
    std::fs::write(account.path().join("token"), "the-token").unwrap();
    let api = server(&certificates);
    let pod = ask(&api, account.path(), &certificates.path("ca.pem")).unwrap();
    assert_eq!(pod.metadata.uid, UID);
    let head = api.requests()[0].to_lowercase();
    assert!(head.starts_with("get /api/v1/namespaces/shop/pods/web-0 "), "{head}");
    assert!(head.contains("authorization: bearer the-token\r\n"), "{head}");
}

#[test]
fn a_server_that_the_authority_does_not_vouch_for_is_not_believed() {
    let (certificates, stranger) = (Certificates::new(), Certificates::new());
    let account = tempfile::tempdir().unwrap();
    std::fs::write(account.path().join("token"), "the-token").unwrap();
    let api = server(&stranger);
    let error = ask(&api, account.path(), &certificates.path("ca.pem")).unwrap_err();
    assert_eq!(error.error_type(), ErrorType::ApiUnreachable);
    assert!(error.whole().contains("certificate"), "{}", error.whole());
    assert!(api.requests().is_empty(), "the token was not sent");
}

#[test]
fn a_pod_without_a_service_account_is_told_what_is_missing() {
    let (certificates, account) = (Certificates::new(), tempfile::tempdir().unwrap());
    let api = server(&certificates);
    let error = ask(&api, account.path(), &certificates.path("ca.pem")).unwrap_err();
    assert_eq!(error.error_type(), ErrorType::KubeconfigInvalid);
    assert!(error.to_string().contains("token of the pod's service account cannot be read"), "{error}");
}
