//! Whatever a runtime gives the real plugin: it answers with one JSON document or, where the
//! protocol says so, with nothing; it never panics, and standard error is JSON lines.

mod support;

use proptest::prelude::*;
use serde_json::{Value, json};
use support::*;

const KEYS: &str = "cniVersion|name|prevResult|dns|ipam|capabilities|plugin_log_level|exclude_namespaces|pod_namespace|native_nftables|redirect_backend|api_timeout_ms|status_mode|trace_parent|agent_socket";

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        "0\\.[1-4]\\.0|1\\.[01]\\.0|debug|none|auto|strict|parent".prop_map(Value::from),
        Just(json!([])),
        Just(json!(["kube-system", null, 1])),
        Just(json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.2/24"}]})),
        Just(json!({"ip4": {"ip": "10.0.0.2/24"}})),
    ]
}

fn any_stdin() -> impl Strategy<Value = Vec<u8>> {
    let changed = proptest::collection::vec((KEYS, any_value()), 0..4).prop_map(|changes| {
        let mut configuration =
            json!({"cniVersion": "1.1.0", "name": "n", "api_timeout_ms": 50, "agent_timeout_ms": 50});
        for (key, value) in changes {
            configuration[key] = value;
        }
        configuration.to_string().into_bytes()
    });
    prop_oneof![
        1 => proptest::collection::vec(any::<u8>(), 0..64),
        6 => changed,
    ]
}

fn any_environment() -> impl Strategy<Value = Vec<(String, String)>> {
    let text = "[^\\x00]{0,20}";
    (
        "ADD|ADD|ADD|CHECK|DEL|GC|STATUS|VERSION||add",
        prop_oneof![8 => Just("cafe".to_owned()), 1 => text],
        prop_oneof![8 => Just("eth0".to_owned()), 1 => text],
        prop_oneof![4 => "/nonexistent|/dev/null|/proc/self/ns/net", 1 => text],
        prop_oneof![
            4 => "K8S_POD_NAMESPACE=(shop|kube-system);K8S_POD_NAME=web-0(;K8S_POD_UID=[0-9a-f-]{0,36})?",
            1 => text,
            1 => Just(String::new())
        ],
        prop_oneof![3 => Just(String::new()), 1 => text, 1 => "00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]"],
    )
        .prop_map(|(command, container, ifname, netns, args, parent)| {
            let variables = [
                ("CNI_COMMAND", command),
                ("CNI_CONTAINERID", container),
                ("CNI_IFNAME", ifname),
                ("CNI_NETNS", netns),
                ("CNI_ARGS", args),
                ("TRACEPARENT", parent),
                ("CNI_PATH", "/opt/cni/bin".to_owned()),
            ];
            variables.map(|(key, value)| (key.to_owned(), value)).into()
        })
}

fn is_answer(environment: &[(String, String)], answer: &Answer) {
    let command = environment[0].1.as_str();
    assert!(!answer.stdout.contains("panicked"), "{answer:?}");
    if command.is_empty() {
        return assert!(answer.success && answer.stdout.is_empty(), "{answer:?}");
    }
    for line in answer.stderr.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
    match (answer.success, command) {
        (false, _) => assert!(answer.error().0 > 0),
        (true, "ADD" | "VERSION") => assert!(answer.result()["cniVersion"].is_string()),
        (true, _) => assert_eq!(answer.stdout, ""),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_answer_is_one_document(stdin in any_stdin(), environment in any_environment()) {
        is_answer(&environment, &call(&environment, &stdin));
    }
}
