//! Kubeconfigs as the agent writes them, and as nobody should.

use super::*;

/// Writes the text as a kubeconfig, with a few files beside it, and reads it.
fn access(text: &str) -> Result<ApiAccess, KubeconfigError> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ca.crt"), "PEM OF A FILE").unwrap();
    std::fs::write(directory.path().join("token"), "from-a-file\n").unwrap();
    let path = directory.path().join(FILE_NAME);
    std::fs::write(&path, text).unwrap();
    load(&path)
}

fn config(cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nclusters:\n- cluster: {{{cluster}}}\n  name: local\ncontexts:\n- context:\n    cluster: local\n    \
         user: istio-cni\n  name: istio-cni-context\ncurrent-context: istio-cni-context\nkind: Config\nusers:\n- name: istio-cni\n  \
         user: {{{user}}}\n"
    )
}

fn problem(cluster: &str, user: &str) -> String {
    let error = access(&config(cluster, user)).expect_err("an unusable kubeconfig");
    assert_eq!(error.error_type(), ErrorType::KubeconfigInvalid);
    error.to_string()
}

const PLAIN: &str = "server: 'http://127.0.0.1:1'";

#[test]
fn the_agents_kubeconfig_is_read() {
    let text = "apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: UEVNIE9GIERBVEE=
    server: https://[fd00::1]:6443
  name: local
contexts:
- context:
    cluster: local
    user: istio-cni
  name: istio-cni-context
current-context: istio-cni-context
kind: Config
users:
- name: istio-cni
  user:
    token: abc.def-1
";
    let access = access(text).unwrap();
    assert_eq!(access.server, "https://[fd00::1]:6443");
    assert!(matches!(access.trust, Trust::Authorities(pem) if pem == b"PEM OF DATA"));
    assert!(access.authorization == Some(Authorization::Token("abc.def-1".into())));
    assert!(access.client_certificate.is_none());
}

#[test]
fn json_is_yaml_too_and_other_orders_and_forms_are_fine() {
    let access = access(
        r#"{"current-context": "c", "contexts": [{"name": "x", "context": {"cluster": "y"}}, {"name": "c", "context": {"cluster": "l"}}],
            "clusters": [{"name": "l", "cluster": {"server": "http://127.0.0.1:8080/base/"}}]}"#,
    )
    .unwrap();
    assert_eq!(access.server, "http://127.0.0.1:8080/base");
    assert!(matches!(access.trust, Trust::PlainHttp));
    assert!(access.authorization.is_none());
}

#[test]
fn trust_comes_from_data_from_a_file_or_is_waived() {
    let https = "server: 'https://127.0.0.1:1'";
    let file = access(&config(&format!("{https}, certificate-authority: ca.crt"), "")).unwrap();
    assert!(matches!(file.trust, Trust::Authorities(pem) if pem == b"PEM OF A FILE"));
    let waived = access(&config(&format!("{https}, insecure-skip-tls-verify: true"), "")).unwrap();
    assert!(matches!(waived.trust, Trust::Anybody));
    assert!(problem(https, "").contains("neither certificate-authority-data nor insecure-skip-tls-verify"));
}

#[test]
fn credentials_come_from_a_token_a_token_file_a_password_or_a_certificate() {
    let with = |user: &str| access(&config(PLAIN, user)).unwrap();
    let token = |text: &str| Some(Authorization::Token(text.into()));
    assert!(with("token: t").authorization == token("t"));
    assert!(with("tokenFile: token").authorization == token("from-a-file"));
    let password = Authorization::Password { username: "u".into(), password: "p".into() };
    assert_eq!(header(&password), "Basic dTpw");
    assert!(with("username: u, password: p").authorization == Some(password));
    let client = with("client-certificate: ca.crt, client-key-data: a2V5").client_certificate.unwrap();
    assert_eq!((client.chain.as_slice(), client.key.as_slice()), (&b"PEM OF A FILE"[..], &b"key"[..]));
}

#[test]
fn a_missing_file_is_told_apart_from_an_unreadable_one() {
    let missing = load(Path::new("/nonexistent/istio-cni-kubeconfig")).err().unwrap();
    assert_eq!(missing.error_type(), ErrorType::KubeconfigMissing);
    assert!(missing.to_string().contains("/nonexistent/istio-cni-kubeconfig does not exist"), "{missing}");
    let directory = load(Path::new("/")).err().unwrap();
    assert_eq!(directory.error_type(), ErrorType::KubeconfigInvalid);
}

#[test]
fn a_file_that_the_kubeconfig_names_is_not_called_the_kubeconfig() {
    let authority = "server: 'https://a', certificate-authority: /gone";
    for (cluster, user, expected) in [
        (PLAIN, "tokenFile: /gone", "the token file /gone, named in the kubeconfig "),
        (PLAIN, "client-certificate: /gone", "the client-certificate file /gone, named in the kubeconfig "),
        (PLAIN, "client-key: /gone", "the client-key file /gone, named in the kubeconfig "),
        (authority, "", "the certificate-authority file /gone, named in the kubeconfig "),
    ] {
        let message = problem(cluster, user);
        assert!(message.contains(expected) && message.contains("istio-cni-kubeconfig, does not exist: "), "{message}");
    }
    let message = problem(PLAIN, "tokenFile: /");
    assert!(
        message.contains("the token file /, named in the kubeconfig ") && message.contains(", cannot be read"),
        "{message}"
    );
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        ("", "", "its server is \"\"; allowed is https://HOST:PORT"),
        ("server: 'ftp://a:1'", "", "its server is \"ftp://a:1\""),
        ("server: '10.0.0.1:443'", "", "its server is \"10.0.0.1:443\""),
        ("server: 'https://a', certificate-authority-data: '%'", "", "its certificate-authority-data is not base64"),
        ("server: 'https://a', insecure-skip-tls-verify: true, tls-server-name: x", "", "tls-server-name"),
        (PLAIN, "exec: {command: aws}", "exec or auth-provider"),
        (PLAIN, "client-key: ca.crt", "a client-key without a client-certificate"),
        (PLAIN, "token: \"a\\nb\"", "characters that no token has"),
    ];
    for (cluster, user, expected) in cases {
        let message = problem(cluster, user);
        assert!(message.contains(expected), "{message}");
    }
    for (broken, expected) in [
        ("current-context: istio", "no context named"),
        ("cluster: local", "no cluster named"),
        ("user: istio-cni\n  name", "no user named"),
    ] {
        let text = config(PLAIN, "").replacen(broken, &broken.replacen(": ", ": not-", 1), 1);
        let message = access(&text).err().unwrap().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_broken_file_is_located_but_never_quoted() {
    for text in [
        "users: [{name: a, user: {token: SECRET}",
        "\u{0}",
        "- SECRET",
        "users: SECRET",
        "users:\n- name: a\n  user:\n   token: [SECRET]\n",
    ] {
        let error = access(text).err().unwrap();
        let message = format!("{error} {error:?}");
        assert!(!message.contains("SECRET"), "{message}");
    }
    let located = access("current-context: a\nusers: 1\n").err().unwrap().to_string();
    assert!(located.contains("(line 2, column"), "{located}");
}

#[test]
fn an_endless_file_is_not_read() {
    assert!(matches!(load(Path::new("/dev/zero")), Err(KubeconfigError::TooLarge { .. })));
}
