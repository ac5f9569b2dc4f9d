//! What the plugin makes of a runtime's environment and of standard input: the table of errors,
//! versions and results, on the real binary.

mod support;

use serde_json::{Value, json};
use support::*;

fn refused(node: &Node) -> (u64, String) {
    node.call_as_is().error()
}

fn with_stdin(stdin: &[u8]) -> (u64, String) {
    call(&Node::new().environment, stdin).error()
}

#[test]
fn version_is_answered_without_anything_else() {
    let answer = call(&[("CNI_COMMAND".to_owned(), "VERSION".to_owned())], b"not json");
    let expected = "{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"0.1.0\",\"0.2.0\",\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n";
    assert_eq!((answer.success, answer.stdout.as_str(), answer.stderr.as_str()), (true, expected, ""));
}

#[test]
fn a_person_who_starts_it_by_hand_is_told_what_it_is() {
    let answer = call(&[], b"");
    assert!(answer.success && answer.stdout.is_empty());
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        "CNI plugin istio-cni {version}\nCNI protocol versions supported: 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0\n"
    );
    assert_eq!(answer.stderr, expected);
}

#[test]
fn the_environment_is_checked_before_the_configuration() {
    let cases = [
        (
            Node::new().env("CNI_NETNS", "").env("CNI_PATH", ""),
            "required env variables [CNI_NETNS,CNI_PATH] missing; the container runtime must set each of them ",
        ),
        (
            Node::new().env("CNI_CONTAINERID", "a/b"),
            "invalid characters in containerID; a/b; CNI_CONTAINERID takes letters, digits, ",
        ),
        (
            Node::new().env("CNI_IFNAME", "a-very-long-name"),
            "interface name is too long; interface name should be less than 16 characters; CNI_IFNAME is \"a-very-long-name\": ",
        ),
        (Node::new().env("CNI_IFNAME", ".."), "interface name is . or ..; CNI_IFNAME is \"..\": "),
        (
            Node::new().env("CNI_IFNAME", "a b"),
            "interface name contains / or : or whitespace characters; CNI_IFNAME is \"a b\": ",
        ),
    ];
    for (node, expected) in cases {
        let (code, message) = refused(&node);
        assert_eq!(code, 4, "{message}");
        assert!(message.starts_with(expected) && message.ends_with("; step config.parse"), "{message}");
        assert!(node.spooled().is_empty(), "the configuration is not read, so nobody knows where to");
    }
}

#[test]
fn an_unknown_command_is_named_with_the_known_ones() {
    let node = Node::new().env("CNI_COMMAND", "FLY");
    let (code, message) = refused(&node);
    let expected = format!(
        "unknown CNI_COMMAND: FLY; the container runtime must call one of ADD, CHECK, DEL, GC, STATUS or VERSION; step config.parse, trace {TRACE}"
    );
    assert_eq!((code, message), (4, expected));
    assert_eq!(call(&node.environment, b"").error().0, 6, "the configuration is looked at first");
}

#[test]
fn the_error_is_indented_and_on_standard_error_too() {
    let answer = Node::new().env("CNI_IFNAME", "..").call_as_is();
    let details = "CNI_IFNAME is \\\"..\\\": the container runtime must give the name of the pod's interface, such as eth0; step config.parse";
    let expected = format!(
        "{{\n    \"code\": 4,\n    \"msg\": \"interface name is . or ..\",\n    \"details\": \"{details}\"\n}}"
    );
    assert_eq!(answer.stdout, expected);
    let line = format!("istio-cni failed with: interface name is . or ..; {}", details.replace('\\', ""));
    assert_eq!(answer.messages("error"), [line]);
}

#[test]
fn what_is_no_configuration_is_code_6_or_7() {
    let truncated = b"{\"cniVersion\": \"1.0.0\", \"name\": \"n\", \"prevRes";
    let cases: [(&[u8], u64, &str); 8] = [
        (b"", 6, "error unmarshall network config: EOF while parsing a value"),
        (truncated, 6, "error unmarshall network config: EOF while parsing a string"),
        (b"{not json", 6, "error unmarshall network config: key must be a string"),
        (b"[]", 6, "error unmarshall network config: invalid type"),
        (b"{\"name\": \"n\"} trailing", 6, "error unmarshall network config: trailing characters"),
        (b"{\"name\": 7}", 6, "error unmarshall network config: name must be text"),
        (b"{\"cniVersion\": \"1.0.0\"}", 7, "missing network name"),
        (b"{\"name\": \"a/b\"}", 7, "invalid characters found in network name; a/b"),
    ];
    for (stdin, code, expected) in cases {
        let (got, message) = with_stdin(stdin);
        assert_eq!(got, code, "{message}");
        let allowed =
            if code == 6 { "standard input takes one whole JSON object" } else { "letters, digits, _, . and -" };
        assert!(message.starts_with(expected) && message.contains(allowed), "{message}");
        assert!(message.ends_with("; step config.parse"), "no trace is left without a run directory: {message}");
    }
}

#[test]
fn an_oversized_configuration_is_not_read_to_its_end() {
    let huge = format!("{{\"name\": \"n\", \"x\": \"{}\"}}", "y".repeat(5 << 20));
    let (code, message) = with_stdin(huge.as_bytes());
    assert_eq!(code, 5);
    assert!(message.contains("larger than 4194304 bytes"), "{message}");
    assert!(message.ends_with("to standard input and close it; step config.parse"), "{message}");
}

#[test]
fn versions_are_refused_with_what_is_spoken() {
    let (code, message) = refused(&Node::new().conf("cniVersion", json!("0.5.0")));
    assert_eq!(code, 1);
    let expected = "incompatible CNI versions; config is \"0.5.0\", plugin supports [\"0.1.0\" \"0.2.0\" \"0.3.0\" \"0.3.1\" \"0.4.0\" \"1.0.0\" \"1.1.0\"]";
    assert!(message.starts_with(expected) && message.contains("; set cniVersion in "), "{message}");
    for (command, version) in [("CHECK", "0.3.1"), ("GC", "1.0.0"), ("STATUS", "1.0.0")] {
        let node = Node::new().env("CNI_COMMAND", command).conf("cniVersion", json!(version));
        let (code, message) = refused(&node);
        assert_eq!(code, 1);
        let expected = format!("config version does not allow {command}; config is \"{version}\", {command} needs ");
        assert!(message.starts_with(&expected) && message.contains("; set cniVersion in "), "{message}");
    }
}

#[test]
fn wrong_types_and_values_name_the_key() {
    let cases = [
        (
            "exclude_namespaces",
            json!("kube-system"),
            999,
            "failed to parse network configuration: exclude_namespaces must be a list",
        ),
        (
            "native_nftables",
            json!("yes"),
            999,
            "failed to parse network configuration: native_nftables must be true or false",
        ),
        ("prevResult", json!("x"), 999, "failed to parse network configuration: prevResult must be an object"),
        (
            "prevResult",
            json!({"cniVersion": "0.4.0"}),
            999,
            "could not parse prevResult: result type supports [1.0.0 1.1.0] but unmarshalled CNIVersion is \"0.4.0\"",
        ),
        (
            "prevResult",
            json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.1"}]}),
            999,
            "could not parse prevResult: ips[0].address must be",
        ),
        (
            "redirect_backend",
            json!("ebpf"),
            7,
            "invalid network configuration: redirect_backend is \"ebpf\"; allowed is one of auto, nftables, iptables",
        ),
        (
            "agent_timeout_ms",
            json!(0),
            7,
            "invalid network configuration: agent_timeout_ms is 0; allowed is an integer from 1 to 3600000",
        ),
    ];
    for (key, value, code, expected) in cases {
        let (got, message) = refused(&Node::new().conf(key, value));
        assert_eq!(got, code, "{message}");
        let todo =
            message.starts_with("could not parse prevResult") || message.contains("; correct the istio-cni entry");
        assert!(message.starts_with(expected) && todo, "{message}");
    }
}

#[test]
fn malformed_args_are_named() {
    for (args, expected) in [
        ("K8S_POD_NAME", "failed to load args: ARGS: invalid pair \"K8S_POD_NAME\""),
        ("K8S_POD_NAME=a=b", "failed to load args: ARGS: invalid pair \"K8S_POD_NAME=a=b\""),
        (
            "IgnoreUnknown=perhaps",
            "failed to load args: ARGS: error parsing value of pair \"IgnoreUnknown=perhaps\": boolean unmarshal error: invalid input perhaps",
        ),
        ("A=1;K8S_POD_NAME=x", "failed to load args: ARGS: unknown args [\"A=1\"]"),
    ] {
        let (code, message) = refused(&Node::new().env("CNI_ARGS", args));
        assert_eq!(code, 999);
        assert!(message.starts_with(&format!("{expected}; CNI_ARGS takes KEY=VALUE pairs ")), "{message}");
    }
}

/// Calls ADD for a pod that is skipped, so that the answer is the previous result.
fn passed_on(version: &str, prev_result: Value) -> String {
    let node = Node::new().env("CNI_ARGS", "").conf("cniVersion", json!(version)).conf("prevResult", prev_result);
    let answer = node.call_as_is();
    assert!(answer.success, "{answer:?}");
    answer.stdout
}

#[test]
fn the_previous_result_is_passed_on_in_the_configurations_version() {
    let v1 = r#"{
    "cniVersion": "1.1.0",
    "interfaces": [
        {
            "name": "eth0",
            "sandbox": "/run/netns/x"
        }
    ],
    "ips": [
        {
            "address": "10.1.0.5/24",
            "gateway": "10.1.0.1",
            "interface": 0
        }
    ]
}"#;
    assert_eq!(passed_on("1.1.0", prev_result()), v1);
    let v04 = json!({"cniVersion": "0.3.0", "ips": [{"version": "4", "address": "10.1.0.5/24"}]});
    let expected = json!({"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.1.0.5/24"}], "dns": {}});
    assert_eq!(serde_json::from_str::<Value>(&passed_on("0.4.0", v04)).unwrap(), expected);
    let v02 = json!({"ip4": {"ip": "10.1.0.5/24"}});
    let expected = json!({"cniVersion": "0.2.0", "ip4": {"ip": "10.1.0.5/24"}, "dns": {}});
    assert_eq!(serde_json::from_str::<Value>(&passed_on("0.2.0", v02)).unwrap(), expected);
    assert_eq!(passed_on("1.0.0", Value::Null), "{\n    \"cniVersion\": \"1.0.0\"\n}");
    assert_eq!(passed_on("", Value::Null), "{\n    \"cniVersion\": \"0.1.0\",\n    \"dns\": {}\n}");
}

#[test]
fn what_needs_no_input_or_output_is_answered_even_when_nothing_is_there() {
    let args = |namespace: &str, name: &str| format!("K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name}");
    let cases = [
        (
            args("istio-system", "istio-cni-node-x7z"),
            "info",
            "istio-cni-node-x7z looks like our own agent pod, skipping",
        ),
        (args("", "web-0"), "debug", "Not a kubernetes pod"),
        (args("kube-system", "dns-0"), "info", "pod namespace kube-system excluded"),
    ];
    for (args, level, expected) in cases {
        let answer = Node::new().env("CNI_ARGS", &args).call_as_is();
        assert_eq!(answer.result(), prev_result());
        assert!(answer.messages(level).iter().any(|line| line == expected), "{}", answer.stderr);
    }
}

#[test]
fn a_level_of_none_silences_standard_error_but_not_the_answer() {
    let answer = Node::new().conf("plugin_log_level", json!("none")).call_as_is();
    assert_eq!(answer.error().0, 999);
    assert_eq!(answer.stderr, "");
}

#[test]
fn a_namespace_that_is_none_is_refused() {
    let cases = [
        ("/nonexistent", 999, "the network namespace /nonexistent does not exist"),
        ("/dev/null", 999, "/dev/null is not a network namespace"),
        ("/proc/self/ns/mnt", 999, "is a namespace, but not a network namespace"),
        ("/proc/self/ns/net", 8, "plugin's netns and netns from CNI_NETNS should not be the same"),
    ];
    for (path, code, expected) in cases {
        let (got, message) = Node::new().call("ADD", path).error();
        assert_eq!(got, code, "{message}");
        assert!(message.contains(expected), "{message}");
    }
    let allowed = Node::new().env("CNI_NETNS_OVERRIDE", "1").call("ADD", "/proc/self/ns/net").error();
    assert!(allowed.1.contains("nor the kubeconfig "), "it goes on to the next step: {allowed:?}");
}

#[test]
fn del_and_gc_never_fail_for_what_is_gone() {
    for (command, version) in [("DEL", "0.1.0"), ("DEL", "1.0.0"), ("GC", "1.1.0")] {
        let node = Node::new().conf("cniVersion", json!(version)).conf("prevResult", Value::Null);
        let answer = node.call(command, "/nonexistent");
        assert!(answer.success && answer.stdout.is_empty(), "{answer:?}");
    }
    let broken = Node::new().conf("redirect_backend", json!(5)).conf("prevResult", json!({"cniVersion": "9"}));
    let answer = broken.call("DEL", "");
    assert!(answer.success, "{answer:?}");
    assert!(answer.messages("warn")[0].contains("redirect_backend must be text"), "{}", answer.stderr);
    assert_eq!(Node::new().call("DEL", "/proc/self/ns/net").error().0, 8);
}
