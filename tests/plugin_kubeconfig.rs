//! The kubeconfig for the plugin, from the agent's own access to what the plugin reads from it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

use istio_cni_otel::domain::api_access::{ApiAccess, Authorization, ClientCertificate, Trust};
use istio_cni_otel::domain::failure::{Classify, whole};
use istio_cni_otel::domain::step::ErrorType;
use istio_cni_otel::k8s::client::ApiSource;
use istio_cni_otel::k8s::kubeconfig::load;
use istio_cni_otel::k8s::plugin_kubeconfig::{Options, PluginKubeconfigError, Wanted, files, wanted};
use istio_cni_otel::wire::kubeconfig::{describe, print};
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const CA: &str = include_str!("data/pki/ca.crt");

/// A pod's service account, and where the plugin's kubeconfig goes.
struct Account {
    directory: TempDir,
}

impl Account {
    fn new() -> Account {
        let account = Account { directory: tempfile::tempdir().unwrap() };
        account.write("token", "the-token\n");
        account.write("ca.crt", CA);
        account
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn source(&self, host: &str) -> ApiSource {
        let account = self.directory.path().to_owned();
        ApiSource::InCluster { host: host.into(), port: 6443, ca: account.join("ca.crt"), account }
    }

    fn wanted(&self, source: &ApiSource, protocol: &str, skip: bool) -> Result<Wanted, PluginKubeconfigError> {
        wanted(source, &Options { target: &self.path("target"), protocol, skip_tls_verify: skip })
    }

    /// The access, for a source of this host.
    fn access(&self, host: &str) -> ApiAccess {
        written(self.wanted(&self.source(host), "", false).unwrap())
    }

    /// Why there is none.
    fn problem(&self) -> (ErrorType, String) {
        let error = self.wanted(&self.source("10.0.0.1"), "", false).unwrap_err();
        assert!(error.retryable(), "{error}");
        (error.error_type(), format!("{} {error:?}", whole(&error)))
    }

    /// The agent's own kubeconfig, of this cluster and user.
    fn kubeconfig(&self, cluster: &str, user: &str) -> ApiSource {
        let text = format!(
            "current-context: c\ncontexts: [{{name: c, context: {{cluster: l, user: u}}}}]\n\
             clusters: [{{name: l, cluster: {{{cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
        );
        self.write("own", text);
        ApiSource::Kubeconfig(self.path("own"))
    }
}

fn written(wanted: Wanted) -> ApiAccess {
    match wanted {
        Wanted::Write(access) => access,
        Wanted::Leave => panic!("the kubeconfig is to be written"),
    }
}

fn token(text: &str) -> Option<Authorization> {
    Some(Authorization::Token(text.into()))
}

#[test]
fn a_service_account_gives_server_authority_and_token() {
    let account = Account::new();
    let access = account.access("10.0.0.1");
    assert_eq!(access.server, "https://10.0.0.1:6443");
    assert!(access.trust == Trust::Authorities(CA.into()) && access.authorization == token("the-token"));
    assert_eq!(account.access("fd00::1").server, "https://[fd00::1]:6443");
    assert_eq!(account.access("kubernetes.default").server, "https://kubernetes.default:6443");
    assert_eq!(files(&account.source("a")), [account.path("token"), account.path("ca.crt")]);
}

#[test]
fn verification_is_waived_or_there_is_no_tls_as_the_environment_says() {
    let account = Account::new();
    std::fs::remove_file(account.path("ca.crt")).unwrap();
    let with = |protocol, skip| written(account.wanted(&account.source("10.0.0.1"), protocol, skip).unwrap());
    assert_eq!(with("https", true).trust, Trust::Anybody);
    let plain = with("http", true);
    assert_eq!((plain.server.as_str(), &plain.trust), ("http://10.0.0.1:6443", &Trust::PlainHttp));
    let error = account.wanted(&account.source("10.0.0.1"), "ftp", false).unwrap_err();
    assert_eq!((error.error_type(), error.retryable()), (ErrorType::KubeconfigInvalid, false));
    assert_eq!(error.to_string(), "KUBERNETES_SERVICE_PROTOCOL is \"ftp\"; allowed are https and http");
    let error = account.wanted(&account.source("not a host"), "", true).unwrap_err();
    assert!(error.to_string().contains("\"not a host\" with port 6443"), "{error}");
}

#[test]
fn a_token_that_is_rotated_or_gone_for_a_while_is_found_as_it_is() {
    let account = Account::new();
    assert!(account.access("a").authorization == token("the-token"));
    std::fs::remove_file(account.path("token")).unwrap();
    let (kind, message) = account.problem();
    assert_eq!(kind, ErrorType::TokenMissing);
    assert!(message.contains("/token of the pod's service account does not exist"), "{message}");
    account.write("token", "the-next-token");
    assert!(account.access("a").authorization == token("the-next-token"));
}

#[test]
fn a_token_that_can_be_none_is_refused_and_never_shown() {
    let account = Account::new();
    let secrets = [&b" \n"[..], b"SECRET\x07", b"SEC RET", b"SECRET\xff", "SECRET\u{e9}".as_bytes()];
    for secret in secrets.into_iter().chain([&[b'S'; 1 << 21][..]]) {
        account.write("token", secret);
        let (kind, message) = account.problem();
        assert_eq!(kind, ErrorType::TokenMissing);
        assert!(message.contains("/token of the pod's service account ") && !message.contains("SEC"), "{message}");
    }
    std::fs::remove_file(account.path("token")).unwrap();
    std::fs::create_dir(account.path("token")).unwrap();
    assert_eq!(account.problem().0, ErrorType::Io);
}

#[test]
fn a_pipe_without_a_writer_is_not_waited_for() {
    let account = Account::new();
    std::fs::remove_file(account.path("token")).unwrap();
    nix::unistd::mkfifo(&account.path("token"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(account.problem().0, ErrorType::TokenMissing);
}

#[test]
fn an_authority_that_is_none_is_refused() {
    let account = Account::new();
    for text in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA"] {
        account.write("ca.crt", text);
        let (kind, message) = account.problem();
        assert_eq!(kind, ErrorType::KubeconfigInvalid);
        assert!(message.contains("/ca.crt has no certificate in it"), "{message}");
    }
    std::fs::remove_file(account.path("ca.crt")).unwrap();
    let (kind, message) = account.problem();
    assert_eq!(kind, ErrorType::Io);
    assert!(message.contains("/ca.crt cannot be read"), "{message}");
}

#[test]
fn the_agents_own_kubeconfig_is_taken_over_with_its_data() {
    let account = Account::new();
    account.write("client.pem", "CHAIN");
    let source = account.kubeconfig(
        "server: 'https://a:1/base', certificate-authority: ca.crt",
        "client-certificate: client.pem, client-key-data: a2V5, username: u, password: p",
    );
    let access = written(account.wanted(&source, "", false).unwrap());
    assert_eq!((access.server.as_str(), &access.trust), ("https://a:1/base", &Trust::Authorities(CA.into())));
    let password = Authorization::Password { username: "u".into(), password: "p".into() };
    let client = ClientCertificate { chain: b"CHAIN".to_vec(), key: b"key".to_vec() };
    assert!(access.authorization == Some(password) && access.client_certificate == Some(client));
    assert_eq!(written(account.wanted(&source, "", true).unwrap()).trust, Trust::Anybody);
    assert_eq!(files(&source), [account.path("own")]);
}

#[test]
fn a_kubeconfig_that_the_plugin_cannot_use_is_refused_with_the_reason() {
    let account = Account::new();
    let source = account.kubeconfig("server: 'http://a:1'", "exec: {command: aws, args: [SECRET]}");
    let error = account.wanted(&source, "", false).unwrap_err();
    assert_eq!(error.error_type(), ErrorType::KubeconfigInvalid);
    let message = format!("{} {error:?}", whole(&error));
    assert!(message.contains("exec or auth-provider") && !message.contains("SECRET"), "{message}");
    let missing = ApiSource::Kubeconfig(account.path("missing"));
    assert_eq!(account.wanted(&missing, "", false).unwrap_err().error_type(), ErrorType::KubeconfigMissing);
}

#[test]
fn the_agents_own_file_is_left_alone_when_it_is_the_plugins() {
    let account = Account::new();
    let source = account.kubeconfig("server: 'http://a:1'", "token: t");
    let at = |target: &Path| wanted(&source, &Options { target, protocol: "", skip_tls_verify: false }).unwrap();
    assert_eq!(at(&account.path("own")), Wanted::Leave);
    std::fs::hard_link(account.path("own"), account.path("hard")).unwrap();
    std::os::unix::fs::symlink("own", account.path("soft")).unwrap();
    assert_eq!(at(&account.path("hard")), Wanted::Leave);
    assert_eq!(at(&account.path("soft")), Wanted::Leave);
    std::fs::copy(account.path("own"), account.path("copy")).unwrap();
    assert!(matches!(at(&account.path("copy")), Wanted::Write(_)));
    std::fs::write(account.path("own"), "broken: [").unwrap();
    let options = Options { target: &account.path("own"), protocol: "", skip_tls_verify: false };
    assert!(wanted(&source, &options).is_err(), "the plugin could not use it");
}

fn authorizations() -> impl Strategy<Value = Option<Authorization>> {
    prop_oneof![
        Just(None),
        "[!-~]{1,40}".prop_map(|token| Some(Authorization::Token(token))),
        prop_oneof![Just("null".to_owned()), Just("~".to_owned()), "[0-9._]{1,8}"]
            .prop_map(|token| Some(Authorization::Token(token))),
        (any::<String>(), any::<String>()).prop_filter_map("a user has a name", |(username, password)| {
            (!username.is_empty()).then_some(Some(Authorization::Password { username, password }))
        }),
    ]
}

fn pem() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 1..40)
}

prop_compose! {
    fn accesses()(
        host in prop_oneof![Just("10.0.0.1"), Just("[fd00::1]"), Just("api.example")],
        port in 1_u16..,
        base in prop_oneof![Just(""), Just("/k8s/clusters/c-1")],
        authorities in proptest::option::of(pem()),
        plain in any::<bool>(),
        authorization in authorizations(),
        client in proptest::option::of((pem(), pem())),
    ) -> ApiAccess {
        let (scheme, trust) = match authorities {
            _ if plain => ("http", Trust::PlainHttp),
            Some(pem) => ("https", Trust::Authorities(pem)),
            None => ("https", Trust::Anybody),
        };
        let client_certificate = client.map(|(chain, key)| ClientCertificate { chain, key });
        ApiAccess { server: format!("{scheme}://{host}:{port}{base}"), trust, authorization, client_certificate }
    }
}

proptest! {
    #[test]
    fn the_plugin_reads_what_the_agent_means(access in accesses()) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("istio-cni-kubeconfig");
        let text = print(&access);
        std::fs::write(&path, &text).unwrap();
        let read = load(&path);
        prop_assert!(read.is_ok(), "{:?} from\n{text}", read.err());
        prop_assert!(read.unwrap() == access, "another access from\n{text}");
        if let Some(Authorization::Token(token)) = &access.authorization {
            // A short one may be a word of the file itself.
            prop_assert!(token.len() < 20 || !describe(&access).contains(token.as_str()));
        }
    }
}
