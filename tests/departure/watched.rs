//! The watch of the DaemonSet, which knows of an uninstall before the agent is told to stop.

use crate::agent::{Agent, seeing_it};
use crate::objects::{another, daemonset, deleting, reply};
use crate::support::api::{Api, Fault};
use crate::support::scripted_api::{Reply, ScriptedApi};
use crate::support::{self, loopback};
use istio_cni_otel::domain::departure::Watched;
use istio_cni_otel::domain::step::ErrorType;
use istio_cni_otel::k8s::daemonset_watch::Pauses;
use serde_json::json;
use std::time::Duration;

#[test]
fn the_watch_sees_the_deletion_before_the_account_goes() {
    let (api, agent, mut watching) = seeing_it();
    assert_eq!(watching.told(), "watching Present");
    // helm uninstall
    api.remove(&daemonset(&json!({})));
    watching.until(&agent, |state| matches!(state, Watched::Gone { seen: true, blind: None }));
    api.take_only_token("nobody's");
    assert_eq!(agent.departure().reason(), "daemonset_unknown", "without the watch");
    assert_eq!(agent.departure_with(watching.state.clone()).reason(), "daemonset_seen_deleted");
    // The watch itself is refused, too.
    api.end_watches(false);
    watching.until(&agent, |state| matches!(state, Watched::Gone { blind: Some(_), .. }));
    assert_eq!(agent.departure_with(watching.state.clone()).reason(), "daemonset_seen_deleted");
}

#[test]
fn the_watch_sees_a_deletion_that_lasts() {
    let (api, agent, mut watching) = seeing_it();
    api.put(&deleting());
    watching.until(&agent, |state| *state == Watched::Deleting);
    api.fail("daemonsets.get", Some(Fault::Status(403)));
    assert_eq!(agent.departure_with(watching.state.clone()).reason(), "daemonset_deleting");
}

#[test]
fn the_watch_sees_that_it_came_back() {
    let (api, agent, mut watching) = seeing_it();
    api.remove(&daemonset(&json!({})));
    watching.until(&agent, |state| matches!(state, Watched::Gone { .. }));
    api.put(&daemonset(&json!({})));
    watching.until(&agent, |state| *state == Watched::Present);
    // The old pod's token is one of the service account that was replaced as well.
    api.take_only_token("the new account's");
    assert_eq!(agent.departure_with(watching.state.clone()).reason(), "daemonset_unknown");
}

#[test]
fn a_watch_that_cannot_see_for_another_reason_proves_nothing() {
    let (api, agent, mut watching) = seeing_it();
    api.remove(&daemonset(&json!({})));
    watching.until(&agent, |state| matches!(state, Watched::Gone { .. }));
    let blind_by = |kind| move |state: &Watched| matches!(state, Watched::Gone { blind: Some(doubt), .. } if doubt.error_type == kind);
    api.fail("daemonsets.watch", Some(Fault::Status(500)));
    api.fail("daemonsets.list", Some(Fault::Status(500)));
    api.end_watches(false);
    watching.until(&agent, blind_by(ErrorType::ApiError));
    // In the meantime it may have come back: a refusal proves nothing any more.
    let asked = api.count("refused");
    api.take_only_token("nobody's");
    api.wait_for("refused", asked + 2);
    watching.until(&agent, blind_by(ErrorType::ApiError));
    assert_eq!(agent.departure_with(watching.state.clone()).reason(), "daemonset_unknown");
}

#[test]
fn a_watch_that_lost_its_place_looks_again() {
    let api = Api::start();
    let agent = Agent::of(api.address);
    api.put(&daemonset(&json!({})));
    api.put(&another());
    let mut watching = agent.watching();
    watching.until(&agent, |state| *state == Watched::Present);
    api.hold_watches(true);
    api.remove(&daemonset(&json!({})));
    api.end_watches(true);
    watching.until(&agent, |state| matches!(state, Watched::Gone { seen: true, blind: None }));
    assert_eq!(api.count("daemonsets.list"), 2, "{:?}", api.requests());
}

#[test]
fn a_watch_that_ends_as_it_should_costs_one_request() {
    let api = Api::start();
    let agent = Agent::of(api.address);
    api.put(&daemonset(&json!({})));
    let _watching = agent.watching();
    support::eventually("the third watch", || {
        // It is not known whether the one that was asked for is open yet.
        api.end_watches(false);
        (api.count("daemonsets.watch") >= 3).then_some(())
    });
    assert_eq!(api.count("daemonsets.list"), 1, "{:?}", api.requests());
    for request in api.requests() {
        assert!(request.contains("/namespaces/istio-system/daemonsets?"), "{request}");
        assert!(request.contains("fieldSelector=metadata.name%3Distio-cni-node"), "{request}");
    }
}

#[test]
fn a_watch_asks_for_metadata_alone() {
    loopback();
    let list = json!({"kind": "PartialObjectMetadataList", "metadata": {"resourceVersion": "7"}, "items": []});
    let api = ScriptedApi::http(vec![reply(200, &list), Reply::Silence]);
    let agent = Agent::of(api.address);
    let mut watching = agent.watching();
    watching.until(&agent, |state| matches!(state, Watched::Gone { seen: false, blind: None }));
    support::eventually("the watch is asked for", || (api.requests().len() == 2).then_some(()));
    let [list, watch] = &api.requests()[..] else { unreachable!() };
    let (list, watch) = (list.to_lowercase(), watch.to_lowercase());
    assert!(list.contains("accept: application/json;as=partialobjectmetadatalist;g=meta.k8s.io;v=v1\r\n"), "{list}");
    assert!(watch.contains("accept: application/json;as=partialobjectmetadata;g=meta.k8s.io;v=v1\r\n"), "{watch}");
    for part in ["watch=true", "resourceversion=7", "timeoutseconds=290", "allowwatchbookmarks=true"] {
        assert!(watch.contains(part), "{part} is not in {watch}");
    }
}

#[test]
fn what_is_not_permitted_is_told_once_and_tried_again() {
    let api = Api::start();
    let agent = Agent::of(api.address);
    api.put(&daemonset(&json!({})));
    api.fail("daemonsets.list", Some(Fault::Status(403)));
    let mut watching = agent.watching();
    let told = watching.told();
    assert!(told.starts_with("forbidden ") && told.contains("get, list and watch of its DaemonSet"), "{told}");
    watching.until(
        &agent,
        |state| matches!(state, Watched::Unknown { why: Some(doubt), .. } if doubt.error_type == ErrorType::ApiForbidden),
    );
    api.wait_for("daemonsets.list", 4);
    api.fail("daemonsets.list", None);
    assert_eq!(watching.told(), "watching Present", "and nothing else before");
    assert!(Pauses::default().forbidden >= Duration::from_secs(120));
}

#[test]
fn what_was_asked_for_once_counts_where_the_watch_is_not_permitted() {
    let api = Api::start();
    let agent = Agent::of(api.address);
    api.put(&daemonset(&json!({})));
    api.fail("daemonsets.list", Some(Fault::Status(403)));
    let mut watching = agent.watching();
    watching.until(&agent, |state| matches!(state, Watched::Unknown { seen: true, why: Some(_) }));
    assert_eq!(agent.departure_with(watching.state.clone()).reason(), "daemonset_stands");
    api.wait_for("daemonsets.list", 4);
    assert_eq!(api.count("daemonsets.get"), 2, "the watch asks until it knows, and no longer");
    api.remove(&daemonset(&json!({})));
    assert_eq!(agent.departure_with(watching.state.clone()).reason(), "daemonset_gone");
    api.fail("daemonsets.get", Some(Fault::Status(403)));
    assert_eq!(agent.departure_with(watching.state.clone()).reason(), "daemonset_unknown", "the refusal is no proof");
}

#[test]
fn a_daemonset_that_never_was_there_proves_nothing() {
    let api = Api::start();
    let agent = Agent::of(api.address);
    let mut watching = agent.watching();
    watching.until(&agent, |state| matches!(state, Watched::Gone { seen: false, blind: None }));
    assert_eq!(agent.departure_with(watching.state.clone()).reason(), "daemonset_unseen");
    // Nor does it when asking and watching are refused from now on.
    for request in ["daemonsets.get", "daemonsets.list", "daemonsets.watch"] {
        api.fail(request, Some(Fault::Status(403)));
    }
    api.end_watches(false);
    watching.until(&agent, |state| matches!(state, Watched::Gone { seen: false, blind: Some(_) }));
    assert_eq!(agent.departure_with(watching.state.clone()).reason(), "daemonset_unknown");
    // The same where it may be asked for, but not watched.
    api.fail("daemonsets.get", None);
    assert_eq!(agent.departure_with(agent.watching().state).reason(), "daemonset_unseen");
}

#[test]
fn a_watch_that_works_again_says_so() {
    let api = Api::start();
    let agent = Agent::of(api.address);
    api.put(&daemonset(&json!({})));
    let watching = agent.watching();
    assert_eq!(watching.told(), "watching Present");
    api.fail("daemonsets.watch", Some(Fault::Status(500)));
    api.end_watches(false);
    assert!(watching.told().starts_with("failed "));
    api.fail("daemonsets.watch", None);
    assert_eq!(watching.told(), "watching Present");
}
