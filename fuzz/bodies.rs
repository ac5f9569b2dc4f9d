//! What each fuzz target does with its bytes. The targets of `cargo fuzz` and the plain tests
//! share it: a target ends without a panic, and what it read once it reads again in the same way.

#![allow(clippy::expect_used, clippy::panic, reason = "a finding is a panic")]

use istio_cni_otel::domain::cni_files::{ConfFile, Placement, Removal, Verdict};
use istio_cni_otel::domain::decision::{Decision, decide};
use istio_cni_otel::domain::outbound::{LOOPBACK_CIDR, OWNER_GROUPS, OWNER_GROUPS_EXCLUDE, Outbound};
use istio_cni_otel::domain::pod::{Container, PodFacts};
use istio_cni_otel::domain::render_nft;
use istio_cni_otel::domain::request::Command;
use istio_cni_otel::domain::ruleset::build;
use istio_cni_otel::domain::trace_context;
use istio_cni_otel::telemetry::batch;
use istio_cni_otel::wire::agent::{self, HEADER};
use istio_cni_otel::wire::args;
use istio_cni_otel::wire::cni::{CniError, SUPPORTED_VERSIONS};
use istio_cni_otel::wire::conflist::{self, PluginEntry};
use istio_cni_otel::wire::netconf::NetConf;
use istio_cni_otel::wire::result_print::print;
use istio_cni_otel::wire::spool::{Item, Reader, record};
use istio_cni_otel::wire::termination;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What a target does with its bytes.
pub type Body = fn(&[u8]);

/// Every target: its name, which is also its corpus', and its body.
pub const ALL: [(&str, Body); 7] = [
    ("configuration", configuration),
    ("args", arguments),
    ("annotations", annotations),
    ("protocol", protocol),
    ("spool", spool),
    ("conflist", conflist),
    ("termination", termination),
];

/// Standard input of the plugin.
pub fn configuration(bytes: &[u8]) {
    let conf = match NetConf::parse(bytes) {
        Ok(conf) => conf,
        Err(error) => return check_error(&error),
    };
    for command in Command::ALL {
        let mut conf = conf.clone();
        if let Err(error) = conf.check_name().and_then(|()| conf.check_version(command)) {
            check_error(&error);
            continue;
        }
        let _ = conf.settings().inspect_err(check_error);
        let _ = conf.lenient_settings();
        match conf.prev_result() {
            Ok(result) => SUPPORTED_VERSIONS.iter().for_each(|version| {
                let printed = print(result.as_ref(), version);
                let read: serde_json::Value = serde_json::from_slice(&printed).expect("a result is JSON");
                assert_eq!(read["cniVersion"], *version);
            }),
            Err(error) => check_error(&error),
        }
    }
}

/// `CNI_ARGS`, and the trace context, which come from the same environment.
pub fn arguments(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = args::parse(&text).inspect_err(|error| assert!(!error.to_string().is_empty()));
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let _ = trace_context::link(next(), next(), next(), "environment");
}

/// Annotations and environment of a pod: each line is `KEY=VALUE`; lines that begin with a blank
/// are the proxy's environment, and the variables of the plugin's process go by their names.
pub fn annotations(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut proxy = Container { name: "istio-proxy".to_owned(), ..Container::default() };
    let mut pod = PodFacts::default();
    let mut node = BTreeMap::new();
    pod.annotations.insert("sidecar.istio.io/status".to_owned(), "{}".to_owned());
    for (key, value) in text.split('\n').filter_map(|line| line.split_once('=')) {
        match key.strip_prefix(' ') {
            None if [OWNER_GROUPS, OWNER_GROUPS_EXCLUDE, LOOPBACK_CIDR].contains(&key) => {
                node.insert(key, value);
            }
            Some(key) => proxy.env.push((key.to_owned(), value.to_owned())),
            None => {
                pod.annotations.insert(key.to_owned(), value.to_owned());
            }
        }
    }
    pod.containers.push(proxy);
    let said = |name: &str| node.get(name).map(|value| (*value).to_owned());
    let outbound = Outbound::read(said, |name| (name == "staff").then_some(50));
    match decide(&pod) {
        Ok(Decision::Enroll(mut settings)) => {
            settings.outbound = match outbound {
                Ok(outbound) => outbound,
                Err(error) => return assert!(error.message.contains(" in the environment of istio-cni: ")),
            };
            for addresses in [&["10.0.0.2"][..], &["fd00::2"], &["10.0.0.2", "fd00::2"]] {
                let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().expect("an address")).collect();
                let ruleset = build(&settings, &addresses).expect("there is an address");
                assert!(!render_nft::script(&ruleset).is_empty());
            }
        }
        Ok(Decision::Skip(skip)) => assert!(!skip.message.is_empty()),
        Err(error) => assert!(error.message.starts_with("annotation value error for value "), "{}", error.message),
    }
}

/// A frame of the agent's socket.
pub fn protocol(bytes: &[u8]) {
    let Some((head, body)) = bytes.split_first_chunk::<HEADER>() else { return };
    let _ = agent::header(*head);
    if let Ok(call) = agent::decode_call(body) {
        let again = agent::encode_call(&call).expect("a call that was read can be written");
        assert_eq!(agent::decode_call(&again).expect("and read again"), call);
    }
    if let Ok(conclusion) = agent::decode_conclusion(body) {
        let again = agent::encode_conclusion(&conclusion).expect("a conclusion that was read can be written");
        assert_eq!(agent::decode_conclusion(&again).expect("and read again"), conclusion);
    }
    telemetry(body);
}

/// A file of the spool.
pub fn spool(bytes: &[u8]) {
    for item in Reader::new(bytes) {
        if let Item::Record(payload) = item {
            assert!(record(payload).is_some());
            telemetry(payload);
        }
    }
}

/// A file of the node's CNI configuration directory: what is written for it is valid, and the way out leads back.
pub fn conflist(bytes: &[u8]) {
    let entry = PluginEntry::default();
    for name in ["10-a.conf", "10-a.conflist", "a.file"] {
        let placement = Placement::Chained { file: Some(name.to_owned()) };
        let files = [ConfFile { name: name.to_owned(), content: Ok(bytes.to_vec()) }];
        let Verdict::Write(write) = conflist::decide(&files, &placement, &entry, None).verdict else { continue };
        let installed = [ConfFile { name: write.file.clone(), content: Ok(write.content) }];
        let found = conflist::decide(&installed, &placement, &entry, Some(&write.file)).verdict;
        assert_eq!(found, Verdict::Valid { file: write.file.clone() });
        let removals = conflist::remove(&installed, &placement);
        let [Removal::Rewrite { file, content }] = &removals[..] else { panic!("{removals:?}") };
        let left = [ConfFile { name: file.clone(), content: Ok(content.clone()) }];
        assert_eq!(conflist::remove(&left, &placement), []);
        assert!(matches!(conflist::decide(&left, &placement, &entry, None).verdict, Verdict::Write(_)));
    }
}

/// The termination message of a container that may be the validator.
pub fn termination(bytes: &[u8]) {
    let Ok(read) = termination::decode(bytes) else { return };
    let again = termination::encode(&read);
    assert!(again.len() <= termination::MAX_WRITTEN);
    let read = termination::decode(&again).expect("what was read can be written and read again");
    assert_eq!(termination::encode(&read), again);
}

fn telemetry(bytes: &[u8]) {
    if let Ok(read) = batch::decode(bytes) {
        let again = batch::decode(&batch::encode(&read)).expect("what was read can be written and read again");
        assert_eq!(again, read);
    }
}

/// An error is one JSON object with a code and a sentence.
fn check_error(error: &CniError) {
    let json: serde_json::Value = serde_json::from_slice(&error.to_json()).expect("an error is JSON");
    assert!(json["code"].as_u64().is_some_and(|code| code > 0) && !json["msg"].as_str().unwrap_or_default().is_empty());
}
