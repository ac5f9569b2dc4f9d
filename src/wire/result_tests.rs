//! Results of every family, in and out.

use super::*;
use crate::wire::result_print::print;
use serde_json::json;

fn through(version: &str, result: &Value) -> Result<String, ResultError> {
    let document = Document::from_slice(result.to_string().as_bytes()).unwrap();
    parse(version, &document).map(|result| String::from_utf8(print(Some(&result), version)).unwrap())
}

fn v1() -> Value {
    json!({
        "cniVersion": "1.0.0", "unknown": 1,
        "interfaces": [
            {"name": "eth0", "mac": "aa:bb", "mtu": 1500, "sandbox": "/run/netns/a", "socketPath": "/s", "pciID": "p"},
            {"name": ""}],
        "ips": [{"interface": 0, "address": "10.0.0.2/24", "gateway": "10.0.0.1"}, {"address": "fd00::2/64", "gateway": ""}],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1", "mtu": 1, "advmss": 2, "priority": 3, "table": 0, "scope": 5}],
        "dns": {"nameservers": ["10.96.0.10"], "domain": "d", "search": ["s"], "options": []}
    })
}

#[test]
fn version_1_comes_out_with_sorted_keys_and_without_what_is_empty() {
    let expected = r#"{
    "cniVersion": "1.1.0",
    "dns": {
        "domain": "d",
        "nameservers": [
            "10.96.0.10"
        ],
        "search": [
            "s"
        ]
    },
    "interfaces": [
        {
            "mac": "aa:bb",
            "mtu": 1500,
            "name": "eth0",
            "pciID": "p",
            "sandbox": "/run/netns/a",
            "socketPath": "/s"
        },
        {
            "name": ""
        }
    ],
    "ips": [
        {
            "address": "10.0.0.2/24",
            "gateway": "10.0.0.1",
            "interface": 0
        },
        {
            "address": "fd00::2/64"
        }
    ],
    "routes": [
        {
            "advmss": 2,
            "dst": "0.0.0.0/0",
            "gw": "10.0.0.1",
            "mtu": 1,
            "priority": 3,
            "scope": 5,
            "table": 0
        }
    ]
}"#;
    assert_eq!(through("1.1.0", &v1()).unwrap(), expected);
}

#[test]
fn version_04_has_dns_and_the_family_of_each_address() {
    let result = json!({
        "cniVersion": "0.4.0",
        "interfaces": [{"sandbox": "/n", "name": "eth0", "mtu": 1500}],
        "ips": [{"version": "6", "interface": 0, "address": "10.0.0.2/24"}, {"version": "6", "address": "fd00::2/64"}],
        "routes": []
    });
    let expected = r#"{
    "cniVersion": "0.3.1",
    "interfaces": [
        {
            "name": "eth0",
            "sandbox": "/n"
        }
    ],
    "ips": [
        {
            "version": "4",
            "interface": 0,
            "address": "10.0.0.2/24"
        },
        {
            "version": "6",
            "address": "fd00::2/64"
        }
    ],
    "dns": {}
}"#;
    assert_eq!(through("0.3.1", &result).unwrap(), expected);
}

#[test]
fn version_02_sorts_routes_by_family() {
    let result = json!({
        "ip4": {"ip": "10.0.0.2/24", "gateway": "10.0.0.1", "routes": [{"dst": "0.0.0.0/0"}, {"dst": "fd01::/64", "gw": "fd00::1"}]},
        "ip6": {"ip": "fd00::2/64"},
        "dns": {"nameservers": ["10.96.0.10"]}
    });
    let expected = r#"{
    "cniVersion": "0.1.0",
    "ip4": {
        "ip": "10.0.0.2/24",
        "gateway": "10.0.0.1",
        "routes": [
            {
                "dst": "0.0.0.0/0"
            }
        ]
    },
    "ip6": {
        "ip": "fd00::2/64",
        "routes": [
            {
                "dst": "fd01::/64",
                "gw": "fd00::1"
            }
        ]
    },
    "dns": {
        "nameservers": [
            "10.96.0.10"
        ]
    }
}"#;
    assert_eq!(through("", &result).unwrap(), expected);
}

#[test]
fn no_previous_result_is_an_empty_one_of_the_version() {
    let cases = [
        ("", "{\n    \"cniVersion\": \"0.1.0\",\n    \"dns\": {}\n}"),
        ("0.4.0", "{\n    \"cniVersion\": \"0.4.0\",\n    \"dns\": {}\n}"),
        ("1.0.0", "{\n    \"cniVersion\": \"1.0.0\"\n}"),
    ];
    for (version, expected) in cases {
        assert_eq!(String::from_utf8(print(None, version)).unwrap(), expected);
    }
}

#[test]
fn a_result_of_another_family_is_refused_with_the_references_words() {
    let cases = [
        ("1.0.0", "0.4.0", "result type supports [1.0.0 1.1.0] but unmarshalled CNIVersion is \"0.4.0\""),
        ("0.4.0", "", "result type supports [0.3.0 0.3.1 0.4.0] but unmarshalled CNIVersion is \"\""),
        ("", "0.3.0", "result type supports [ 0.1.0 0.2.0] but unmarshalled CNIVersion is \"0.3.0\""),
    ];
    for (config, result, expected) in cases {
        assert_eq!(through(config, &json!({"cniVersion": result})).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_wrong_value_names_its_place() {
    let cases = [
        (
            json!({"ips": [{"address": "10.0.0.2"}]}),
            "ips[0].address must be an address with its prefix length such as 10.0.0.2/24, not \"10.0.0.2\"",
        ),
        (
            json!({"ips": [null, {}]}),
            "ips[1].address must be an address with its prefix length such as 10.0.0.2/24, not null",
        ),
        (
            json!({"ips": [{"address": "10.0.0.2/24", "gateway": "x"}]}),
            "ips[0].gateway must be an IP address such as 10.0.0.1, not \"x\"",
        ),
        (json!({"interfaces": {}}), "interfaces must be a list, not an object"),
        (json!({"interfaces": ["eth0"]}), "interfaces must be a list of objects, not \"eth0\""),
        (json!({"interfaces": [{"mtu": "1500"}]}), "interfaces[0].mtu must be an integer, not \"1500\""),
        (json!({"dns": {"search": [1]}}), "dns.search must be a list of text, not the number 1"),
        (
            json!({"routes": [{"dst": "10.0.0.0/8", "table": 1.5}]}),
            "routes[0].table must be an integer, not the number 1.5",
        ),
    ];
    for (result, expected) in cases {
        assert_eq!(through("1.0.0", &result).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_null_interface_keeps_the_others_in_their_place() {
    let result = json!({"cniVersion": "1.0.0", "interfaces": [null, {"name": "a"}]});
    let printed: Value = serde_json::from_str(&through("1.0.0", &result).unwrap()).unwrap();
    assert_eq!(printed["interfaces"], json!([null, {"name": "a"}]));
}

#[test]
fn keys_match_in_any_case() {
    let result = json!({"CNIVersion": "1.0.0", "IPs": [{"Address": "10.0.0.2/24"}]});
    let printed: Value = serde_json::from_str(&through("1.0.0", &result).unwrap()).unwrap();
    assert_eq!(printed, json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.2/24"}]}));
}
