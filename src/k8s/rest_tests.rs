//! The plugin's lookup against an API server in every mood.

use super::*;
use crate::domain::identity::TraceId;
use crate::domain::step::ErrorType;
use crate::telemetry::story::Clock;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use serde_json::json;
use std::net::TcpListener;
use std::sync::Arc;

#[path = "../../tests/support/scripted_api.rs"]
mod scripted_api;
use scripted_api::{Reply, ScriptedApi};

const UID: &str = "11111111-2222-4333-8444-555555555555";
const PKI: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/pki");

fn pod_json(uid: &str) -> Reply {
    let pod = json!({"kind": "Pod", "metadata": {"name": "web-0", "namespace": "shop", "uid": uid},
        "spec": {"containers": [{"name": "web"}]}});
    Reply::Json(200, pod.to_string())
}

fn status(code: u16, message: &str) -> Reply {
    Reply::Json(code, json!({"kind": "Status", "status": "Failure", "code": code, "message": message}).to_string())
}

fn wanted(uid: &str) -> PodRef {
    PodRef { namespace: "shop".into(), name: "web-0".into(), uid: Some(uid.into()) }
}

fn bounds(attempts: u32) -> Bounds {
    let (pod_interval, api_timeout) = (Duration::from_millis(1), Duration::from_secs(1));
    Bounds { pod_attempts: attempts, pod_interval, api_timeout, ..Bounds::default() }
}

/// A directory with a kubeconfig of this cluster and user.
fn kubeconfig(cluster: &str, user: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "current-context: c\ncontexts: [{{name: c, context: {{cluster: l, user: u}}}}]\n\
         clusters: [{{name: l, cluster: {{{cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
    );
    std::fs::write(directory.path().join(kubeconfig::FILE_NAME), text).unwrap();
    directory
}

/// Looks for the pod, and also gives the log messages.
fn find(directory: &tempfile::TempDir, pod: &PodRef, bounds: &Bounds) -> (Lookup, Vec<String>) {
    let story = Story::begin(Clock::start(), TraceId::of_pod(UID), None, pod.clone(), Level::Debug, None);
    let pods = RestPods::new(&story, directory.path().join(kubeconfig::FILE_NAME), "istio-system");
    let found = pods.find(pod, bounds);
    let logs = story.into_batch().logs.into_iter().map(|log| format!("{} {:?}", log.severity_text, log.body));
    (found, logs.collect())
}

/// The error of a lookup against a server with this script, and how often it was asked.
fn failure(script: Vec<Reply>, attempts: u32) -> (ErrorType, String, usize) {
    let api = ScriptedApi::http(script);
    let directory = kubeconfig(&format!("server: 'http://{}'", api.address), "token: t");
    let error = find(&directory, &wanted(UID), &bounds(attempts)).0.found.expect_err("the lookup fails");
    (error.error_type(), error.to_string(), api.requests().len())
}

#[test]
fn the_pod_is_got_with_token_and_user_agent() {
    let api = ScriptedApi::http(vec![pod_json(UID)]);
    let directory = kubeconfig(&format!("server: 'http://{}/base'", api.address), "token: t-1");
    let Lookup { source, attempts, found } = find(&directory, &wanted(UID), &bounds(1)).0;
    assert_eq!((found.unwrap().uid.as_str(), source, attempts), (UID, "api", 1));
    let [head] = &api.requests()[..] else { panic!("one request") };
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("get /base/api/v1/namespaces/shop/pods/web-0 http/1.1\r\n"), "{head}");
    for line in ["authorization: bearer t-1", "accept: application/json", "user-agent: istio-cni/0."] {
        assert!(head.contains(line), "{line} is not in {head}");
    }
}

#[test]
fn names_cannot_leave_their_place_in_the_path() {
    let api = ScriptedApi::http(vec![status(404, "")]);
    let directory = kubeconfig(&format!("server: 'http://{}'", api.address), "");
    let pod = PodRef { namespace: "a/../b?c".into(), name: "x y#\u{e4}\r\n".into(), uid: None };
    assert!(find(&directory, &pod, &bounds(1)).0.found.is_err());
    let head = api.requests().remove(0);
    assert!(head.starts_with("GET /api/v1/namespaces/a%2F..%2Fb%3Fc/pods/x%20y%23%C3%A4%0D%0A HTTP"), "{head}");
}

#[test]
fn a_pod_that_comes_late_is_waited_for() {
    let api =
        ScriptedApi::http(vec![status(404, "x"), Reply::HangUp, status(500, "y"), pod_json("other"), pod_json(UID)]);
    let directory = kubeconfig(&format!("server: 'http://{}'", api.address), "");
    let (found, logs) = find(&directory, &wanted(UID), &bounds(9));
    assert_eq!((found.attempts, found.found.is_ok()), (5, true));
    let retries = logs.iter().filter(|line| line.starts_with("debug") && line.contains("Failed to get pod info: "));
    assert_eq!(retries.count(), 4, "{logs:?}");
    let degraded =
        "in a degraded state and web-0 is not a CNI pod, podNamespace: shop, conf pod namespace: istio-system";
    assert_eq!(logs.iter().filter(|line| line.starts_with("warn") && line.contains(degraded)).count(), 1, "{logs:?}");
}

#[test]
fn a_static_pod_is_known_by_its_hash_and_a_runtime_without_uid_is_believed() {
    let mirror = json!({"kind": "Pod", "metadata": {"name": "web-0", "namespace": "shop", "uid": UID,
        "annotations": {"kubernetes.io/config.hash": "abc"}}, "spec": {"containers": [{"name": "web"}]}});
    let api = ScriptedApi::http(vec![Reply::Json(200, mirror.to_string())]);
    let directory = kubeconfig(&format!("server: 'http://{}'", api.address), "");
    for pod in [wanted("abc"), wanted(UID), PodRef { uid: None, ..wanted("") }] {
        assert!(find(&directory, &pod, &bounds(1)).0.found.is_ok(), "{pod:?}");
    }
}

#[test]
fn every_refusal_has_its_type_and_says_what_to_do() {
    let cases = [
        (
            status(401, "Unauthorized"),
            ErrorType::ApiUnauthorized,
            "does not accept the kubeconfig's credentials (401: Unauthorized)",
        ),
        (
            status(403, "no RBAC"),
            ErrorType::ApiForbidden,
            "does not allow to get pods of namespace shop (403: no RBAC): check the ClusterRole istio-cni",
        ),
        (
            status(404, "pods \"web-0\" not found"),
            ErrorType::PodNotFound,
            "knows no pod shop/web-0 (404: pods \"web-0\" not found)",
        ),
        (status(500, "etcd"), ErrorType::ApiError, "answered with status 500: etcd"),
        (
            Reply::Json(302, "moved".into()),
            ErrorType::ApiError,
            "answered with status 302; check its health and its log (asked",
        ),
        (Reply::Json(200, "{".into()), ErrorType::ApiInvalidResponse, "not the pod shop/web-0: EOF while parsing"),
        (Reply::Json(200, "{}".into()), ErrorType::ApiInvalidResponse, "its kind is \"\""),
        (
            Reply::Json(200, r#"{"kind":"Pod","metadata":{"name":"web-1","namespace":"shop","uid":"u"}}"#.into()),
            ErrorType::ApiInvalidResponse,
            "it is the pod \"shop/web-1\"",
        ),
        (
            Reply::Json(200, r#"{"kind":"Pod","metadata":{"name":"web-0","namespace":"shop"}}"#.into()),
            ErrorType::ApiInvalidResponse,
            "it has no UID",
        ),
        (Reply::Raw(b"SSH-2.0-OpenSSH\r\n\r\n".into()), ErrorType::ApiInvalidResponse, "something that is not the pod"),
        (Reply::HangUp, ErrorType::ApiUnreachable, "no connection to the API server"),
        (
            pod_json("other"),
            ErrorType::PodReplaced,
            "has UID other at the API server, but the runtime sets up the one with UID 11111111-",
        ),
    ];
    for (reply, kind, expected) in cases {
        let (error_type, message, asked) = failure(vec![reply.clone()], 3);
        assert_eq!(error_type, kind, "{reply:?}: {message}");
        assert!(message.contains(expected), "{message}");
        assert!(message.contains("(asked 3 times in "), "{message}");
        assert_eq!(asked, if matches!(reply, Reply::HangUp) { 0 } else { 3 });
    }
}

#[test]
fn a_server_that_hangs_costs_its_limit_and_no_more_attempts_than_there_is_patience_for() {
    let start = Instant::now();
    let (error_type, message, asked) = failure(vec![Reply::Silence], 30);
    assert_eq!(error_type, ErrorType::ApiTimeout, "{message}");
    assert!(message.contains("did not answer within 1000 ms (api_timeout_ms)"), "{message}");
    assert!((2..=3).contains(&asked), "30 attempts of 1 ms and twice 1 s are the patience; it was asked {asked} times");
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn an_answer_that_breaks_off_is_no_pod() {
    let (error_type, message, _) =
        failure(vec![Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".into())], 1);
    assert_eq!(error_type, ErrorType::ApiInvalidResponse, "{message}");
    assert!(message.contains("it broke off: "), "{message}");
}

#[test]
fn nobody_listening_is_unreachable() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let directory = kubeconfig(&format!("server: 'http://{free}'"), "");
    let error = find(&directory, &wanted(UID), &bounds(2)).0.found.err().unwrap();
    assert_eq!(error.error_type(), ErrorType::ApiUnreachable);
    assert!(error.to_string().contains("check that it can be reached from this node"), "{error}");
}

#[test]
fn an_unusable_kubeconfig_ends_the_lookup_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let (found, logs) = find(&directory, &wanted(UID), &bounds(1000));
    assert_eq!(found.found.err().unwrap().error_type(), ErrorType::KubeconfigMissing);
    assert!(logs[0].contains("Failed setting up kubernetes client with kubeconfig "), "{logs:?}");
    assert_eq!(logs.len(), 1);
}

#[test]
fn an_oversized_answer_is_not_read() {
    let (error_type, message, _) =
        failure(vec![Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n".into())], 1);
    assert_eq!(error_type, ErrorType::ApiInvalidResponse, "{message}");
    assert!(message.contains("it has 9000000 bytes, at most 8388608 are read"), "{message}");
}

/// A server's TLS with the test certificate; it may ask for a client certificate.
fn server_tls(client_certificate: bool) -> Arc<rustls::ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let read = |name: &str| std::fs::read(format!("{PKI}/{name}")).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(&read("server.crt")).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(&read("server.key")).unwrap();
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if client_certificate {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&read("ca.crt")).unwrap()).unwrap();
        builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap(),
        )
    } else {
        builder.with_no_client_auth()
    };
    Arc::new(builder.with_single_cert(chain, key).unwrap())
}

fn over_tls(address: &str, cluster: &str, user: &str, client_certificate: bool) -> Result<PodFacts, BoxedError> {
    let api = ScriptedApi::serve(address, vec![pod_json(UID)], Some(server_tls(client_certificate)));
    let directory = kubeconfig(&format!("server: 'https://{}', {cluster}", api.address), user);
    find(&directory, &wanted(UID), &Bounds { api_timeout: Duration::from_secs(5), ..bounds(1) }).0.found
}

#[test]
fn tls_works_with_the_ca_by_file_for_both_families_and_with_verification_waived() {
    let ca = format!("certificate-authority: {PKI}/ca.crt");
    over_tls("127.0.0.1:0", &ca, "token: t", false).unwrap();
    over_tls("[::1]:0", &ca, "token: t", false).unwrap();
    over_tls("127.0.0.1:0", "insecure-skip-tls-verify: true", "", false).unwrap();
}

#[test]
fn a_client_certificate_is_shown_when_it_is_asked_for() {
    let ca = format!("certificate-authority: {PKI}/ca.crt");
    let user = format!("client-certificate: {PKI}/client.crt, client-key: {PKI}/client.key");
    over_tls("127.0.0.1:0", &ca, &user, true).unwrap();
    let without = over_tls("127.0.0.1:0", &ca, "token: t", true).err().unwrap();
    assert_eq!(without.error_type(), ErrorType::ApiUnreachable, "{without}");
}

#[test]
fn a_stranger_and_broken_certificates_are_refused_without_a_panic() {
    let stranger = format!("certificate-authority: {PKI}/stranger.crt");
    let error = over_tls("127.0.0.1:0", &stranger, "", false).err().unwrap();
    assert!(error.to_string().contains("check the certificate authority"), "{error}");
    let ca = format!("certificate-authority: {PKI}/ca.crt");
    let cases = [
        (
            format!("certificate-authority: {PKI}/ca.crt, certificate-authority-data: eA=="),
            String::new(),
            "certificate-authority",
        ),
        (ca.clone(), format!("client-certificate: {PKI}/client.crt, client-key: {PKI}/server.key"), "client-key"),
        (ca.clone(), format!("client-certificate: {PKI}/client.crt, client-key: {PKI}/client.crt"), "client-key"),
        (ca, format!("client-certificate: {PKI}/client.key, client-key: {PKI}/client.key"), "client-certificate"),
    ];
    for (cluster, user, expected) in cases {
        let error = over_tls("127.0.0.1:0", &cluster, &user, false).err().unwrap();
        assert_eq!(error.error_type(), ErrorType::KubeconfigInvalid, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}
