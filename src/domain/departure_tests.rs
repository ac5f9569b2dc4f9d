//! Each way in which an agent's life can end, and what becomes of the plugin.

use super::super::node_affinity::{Requirement, Term};
use super::*;

const NODE: &str = "node-a";

fn name() -> DaemonSetName {
    DaemonSetName::of_agent("istio-system", "istio-cni-node-x2b5k").unwrap()
}

fn doubt(error_type: ErrorType) -> Doubt {
    Doubt { error_type, problem: format!("it was {}", error_type.as_str()) }
}

fn unknown(error_type: ErrorType) -> Asked {
    Asked::Unknown(doubt(error_type))
}

/// A DaemonSet for nodes with `os=linux`.
fn on_linux() -> Asked {
    let term = Term {
        expressions: vec![Requirement { key: "os".into(), operator: "In".into(), values: vec!["linux".into()] }],
        fields: Vec::new(),
    };
    let placement = Placement { required: Some(vec![term]), ..Placement::default() };
    Asked::Found(DaemonSetFacts { placement, ..DaemonSetFacts::default() })
}

fn decided(asked: Asked, watched: Watched, node: Option<NodeLabels>) -> Departure {
    decide(NODE, &Findings { asked, watched, node })
}

fn labels(os: &str) -> Option<NodeLabels> {
    Some(NodeLabels::Known([("os".to_owned(), os.to_owned())].into()))
}

const UNWATCHED: Watched = Watched::Unknown { seen: false, why: None };
/// The watch is forbidden, but asking was allowed.
const ASKED_ONCE: Watched = Watched::Unknown { seen: true, why: None };
const WATCHED_AWAY: Watched = Watched::Gone { seen: true, blind: None };

#[test]
fn a_daemonset_that_stands_keeps_whatever_the_watch_last_saw() {
    for watched in [UNWATCHED, Watched::Present, Watched::Deleting, WATCHED_AWAY] {
        let found = Asked::Found(DaemonSetFacts::default());
        assert_eq!(decided(found, watched, None), Departure::Keep(Kept::Stands));
    }
}

#[test]
fn gone_or_going_removes() {
    for watched in [ASKED_ONCE, Watched::Present, Watched::Deleting, WATCHED_AWAY] {
        assert_eq!(decided(Asked::Missing, watched, None), Departure::Remove(Proof::Gone));
    }
    let deleting = DaemonSetFacts { deleting: true, ..DaemonSetFacts::default() };
    assert!(!deleting.needs_node());
    assert_eq!(decided(Asked::Found(deleting), UNWATCHED, None), Departure::Remove(Proof::Deleting));
}

#[test]
fn no_error_is_proof_by_itself() {
    for error in [
        ErrorType::ApiUnauthorized,
        ErrorType::ApiForbidden,
        ErrorType::ApiTimeout,
        ErrorType::ApiUnreachable,
        ErrorType::ApiError,
        ErrorType::ApiInvalidResponse,
        ErrorType::KubeconfigInvalid,
    ] {
        for watched in [UNWATCHED, Watched::Unknown { seen: true, why: Some(doubt(error)) }, Watched::Present] {
            let departure = decided(unknown(error), watched, None);
            assert_eq!(departure, Departure::Keep(Kept::Unproven(doubt(error))));
            let sentence = departure.sentence(Some(&name()), NODE);
            assert!(sentence.contains(&format!("(it was {})", error.as_str())), "{sentence}");
            assert!(sentence.contains("get, list and watch of this DaemonSet"), "{sentence}");
        }
    }
}

#[test]
fn what_the_watch_saw_before_we_were_refused_counts() {
    for error in [ErrorType::ApiUnauthorized, ErrorType::ApiForbidden, ErrorType::ApiUnreachable] {
        assert_eq!(decided(unknown(error), WATCHED_AWAY, None), Departure::Remove(Proof::SeenDeleted));
        assert_eq!(decided(unknown(error), Watched::Deleting, None), Departure::Remove(Proof::Deleting));
    }
}

#[test]
fn a_watch_that_went_blind_after_a_deletion_proves_it_only_if_it_was_refused() {
    let blind = |error| Watched::Gone { seen: true, blind: Some(doubt(error)) };
    for (error, removes) in [
        (ErrorType::ApiUnauthorized, true),
        (ErrorType::ApiForbidden, true),
        (ErrorType::ApiUnreachable, false),
        (ErrorType::ApiTimeout, false),
        (ErrorType::ApiError, false),
    ] {
        assert_eq!(decided(unknown(ErrorType::ApiUnauthorized), blind(error), None).removes(), removes, "{error:?}");
    }
}

#[test]
fn the_node_decides_when_the_daemonset_is_not_for_every_node() {
    assert_eq!(decided(on_linux(), UNWATCHED, labels("linux")), Departure::Keep(Kept::Stands));
    assert_eq!(decided(on_linux(), UNWATCHED, labels("windows")), Departure::Remove(Proof::Elsewhere));
    let unknown = NodeLabels::Unknown(doubt(ErrorType::ApiForbidden));
    let kept = Departure::Keep(Kept::Unplaced(doubt(ErrorType::ApiForbidden)));
    assert_eq!(decided(on_linux(), UNWATCHED, Some(unknown)), kept);
    assert!(!decided(on_linux(), UNWATCHED, None).removes());
    let Asked::Found(mut facts) = on_linux() else { panic!("it is there") };
    assert!(facts.needs_node());
    facts.placement.required.as_mut().unwrap()[0].expressions[0].operator = "Near".into();
    let departure = decided(Asked::Found(facts), UNWATCHED, labels("windows"));
    assert_eq!(departure.reason(), "placement_unknown");
    assert!(departure.sentence(Some(&name()), NODE).contains(r#"asks for "os" Near ["linux"]"#));
}

#[test]
fn a_daemonset_that_was_never_seen_is_no_uninstall() {
    let never = Watched::Gone { seen: false, blind: None };
    for watched in [UNWATCHED, never.clone()] {
        assert_eq!(decided(Asked::Missing, watched, None), Departure::Keep(Kept::Unseen));
    }
    for error in [ErrorType::ApiForbidden, ErrorType::ApiUnauthorized] {
        let blind = Watched::Gone { seen: false, blind: Some(doubt(error)) };
        for watched in [never.clone(), blind] {
            assert_eq!(decided(unknown(error), watched, None), Departure::Keep(Kept::Unproven(doubt(error))));
        }
    }
}

#[test]
fn the_daemonsets_name_is_the_pods_without_what_was_drawn_for_it() {
    let of = |pod: &str| {
        let DaemonSetName { namespace, name } = DaemonSetName::of_agent("kube-system", pod).unwrap();
        assert_eq!(namespace, "kube-system");
        name
    };
    assert_eq!(of("istio-cni-node-x2b5k"), "istio-cni-node");
    assert_eq!(of("my-cni-zz9bq"), "my-cni");
    assert_eq!(of("istio-cni-node-demo"), "istio-cni-node");
    for other in ["", "istio-cni", "my-agent", "x2b5k", "-x2b5k", "my-cni-x2b5kk", &format!("{}-x2b5k", "a".repeat(57))]
    {
        assert_eq!(of(other), "istio-cni-node", "{other}");
    }
    assert_eq!(of(&format!("{}-x2b5k", "a".repeat(56))), "a".repeat(56));
    assert_eq!(DaemonSetName::of_agent("", "istio-cni-node-x2b5k"), None);
}

#[test]
fn every_decision_has_its_reason_and_says_what_happens() {
    let doubt = || doubt(ErrorType::ApiTimeout);
    let all = [
        Departure::Keep(Kept::Stands),
        Departure::Keep(Kept::Unproven(doubt())),
        Departure::Keep(Kept::Unplaced(doubt())),
        Departure::Keep(Kept::Unnamed),
        Departure::Keep(Kept::Unseen),
        Departure::Remove(Proof::Gone),
        Departure::Remove(Proof::SeenDeleted),
        Departure::Remove(Proof::Deleting),
        Departure::Remove(Proof::Elsewhere),
    ];
    assert_eq!(all.each_ref().map(Departure::reason), Departure::REASONS);
    for departure in all {
        let sentence = departure.sentence(Some(&name()), NODE);
        assert!(sentence.contains("istio-cni-node"), "{sentence}");
        let keeps = sentence.contains("leaving plugin in place");
        assert_eq!(keeps, !departure.removes(), "{sentence}");
        let uncertain = matches!(&departure, Departure::Keep(kept) if *kept != Kept::Stands);
        assert_eq!(sentence.contains("remove the istio-cni entry"), uncertain, "{sentence}");
    }
}
