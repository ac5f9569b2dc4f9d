//! What the agent is told about pods that started without their redirection: how they are known, and
//! what is done about them. The names and the defaults are the reference's code's; of those that are
//! ours, `CONFIGURATION.md` says so.

use super::Lookup;
use super::value::{SettingError, boolean, boolean_or, text};
use crate::domain::field_selector::{self, FieldSelector};
use crate::domain::label;
use crate::domain::label_selector::{self, LabelSelector};
use crate::domain::prune::Kept;
use crate::domain::repair::{Detector, Mode, Policy, kept};
use crate::domain::validation::EXIT_NOT_REDIRECTED;
use crate::domain::validation_run::CONTAINER;

const LABELS: &str = "REPAIR_LABEL_SELECTORS";
const FIELDS: &str = "REPAIR_FIELD_SELECTORS";

/// What is done about broken pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairSettings {
    /// None when no mode is switched on: then nothing is done.
    pub policy: Option<Policy>,
    pub detector: Detector,
    /// How many pods may be deleted or evicted in a minute; 0 is any number.
    pub limit_per_minute: u32,
    /// The label selector and the field selector, as they were given.
    pub selectors: (String, String),
    /// How often a pod is tried before it is left alone until its next change.
    pub attempts: u32,
}

/// The settings, unless repair is switched off.
pub fn read(lookup: Lookup<'_>) -> Result<Option<RepairSettings>, SettingError> {
    let settings = RepairSettings {
        policy: policy(lookup)?,
        detector: detector(lookup)?,
        selectors: (text(lookup, LABELS, ""), text(lookup, FIELDS, "")),
        limit_per_minute: number(lookup, "REPAIR_LIMIT_PER_MINUTE", 30, 0..=100_000)?,
        attempts: number(lookup, "REPAIR_ATTEMPTS", 5, 1..=100)?,
    };
    Ok(boolean_or(lookup, "REPAIR_ENABLED", true)?.then_some(settings))
}

impl RepairSettings {
    /// What the cache must keep of pods for this; nothing where nothing is done.
    pub fn kept(&self) -> Option<Kept> {
        self.policy.as_ref().map(|policy| kept(&self.detector, policy))
    }

    /// The settings by their names; none of them is a secret.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        let Some(policy) = &self.policy else { return vec![("REPAIR_MODE", "none".to_owned())] };
        let Policy { mode, deletes, evicts, label: (key, value) } = policy;
        let removes = *deletes || *mode == Mode::Delete;
        let mut settings = vec![("REPAIR_MODE", mode.name().to_owned())];
        if removes {
            settings.push(("REPAIR_DELETE_PODS", removes.to_string()));
            settings.push(("REPAIR_EVICT", evicts.to_string()));
            settings.push(("REPAIR_LIMIT_PER_MINUTE", self.limit_per_minute.to_string()));
        }
        if *mode == Mode::Label {
            settings.push(("REPAIR_BROKEN_POD_LABEL_KEY", key.clone()));
            settings.push(("REPAIR_BROKEN_POD_LABEL_VALUE", value.clone()));
        }
        let selectors = [(LABELS, &self.selectors.0), (FIELDS, &self.selectors.1)];
        settings.extend(selectors.into_iter().filter(|(_, it)| !it.is_empty()).map(|(key, it)| (key, it.clone())));
        settings.push(("REPAIR_INIT_CONTAINER_NAME", self.detector.container.clone()));
        settings.push(("REPAIR_INIT_CONTAINER_EXIT_CODE", self.detector.exit_code.to_string()));
        settings
    }
}

fn policy(lookup: Lookup<'_>) -> Result<Option<Policy>, SettingError> {
    let wanted = [
        (Mode::Repair, boolean(lookup, "REPAIR_REPAIR_PODS")?),
        (Mode::Delete, boolean(lookup, "REPAIR_DELETE_PODS")?),
        (Mode::Label, boolean(lookup, "REPAIR_LABEL_PODS")?),
    ];
    let label = label(lookup)?;
    let evicts = boolean(lookup, "REPAIR_EVICT")?;
    let deletes = wanted.contains(&(Mode::Delete, true));
    let mode = wanted.into_iter().find_map(|(mode, is_wanted)| is_wanted.then_some(mode));
    Ok(mode.map(|mode| Policy { mode, deletes, evicts, label }))
}

fn label(lookup: Lookup<'_>) -> Result<(String, String), SettingError> {
    const KEY: &str = "REPAIR_BROKEN_POD_LABEL_KEY";
    const VALUE: &str = "REPAIR_BROKEN_POD_LABEL_VALUE";
    let (key, value) = (text(lookup, KEY, "cni.istio.io/uninitialized"), text(lookup, VALUE, "true"));
    if !label::is_key(&key) {
        return Err(SettingError { key: KEY, value: key, allowed: label::KEY_ALLOWED });
    }
    if !label::is_value(&value) {
        return Err(SettingError { key: VALUE, value, allowed: label::VALUE_ALLOWED });
    }
    Ok((key, value))
}

fn detector(lookup: Lookup<'_>) -> Result<Detector, SettingError> {
    let (labels, fields) = (text(lookup, LABELS, ""), text(lookup, FIELDS, ""));
    Ok(Detector {
        annotation: text(lookup, "REPAIR_SIDECAR_ANNOTATION", Detector::SIDECAR),
        container: text(lookup, "REPAIR_INIT_CONTAINER_NAME", CONTAINER),
        message: text(lookup, "REPAIR_INIT_CONTAINER_TERMINATION_MESSAGE", "").trim().to_owned(),
        exit_code: exit_code(lookup)?,
        labels: LabelSelector::parse(&labels).map_err(|_| SettingError {
            key: LABELS,
            value: labels,
            allowed: label_selector::ALLOWED,
        })?,
        fields: FieldSelector::parse(&fields).map_err(|_| SettingError {
            key: FIELDS,
            value: fields,
            allowed: field_selector::ALLOWED,
        })?,
    })
}

/// An empty text is 0, which is any, as in the reference.
fn exit_code(lookup: Lookup<'_>) -> Result<i32, SettingError> {
    const KEY: &str = "REPAIR_INIT_CONTAINER_EXIT_CODE";
    let value = text(lookup, KEY, &EXIT_NOT_REDIRECTED.to_string());
    match value.trim() {
        "" => Ok(0),
        digits => digits.parse().ok().filter(|code| (0..=255).contains(code)).ok_or(SettingError {
            key: KEY,
            value,
            allowed: "an exit code, 1 to 255, or 0 for any",
        }),
    }
}

fn number(
    lookup: Lookup<'_>,
    key: &'static str,
    default: u32,
    range: std::ops::RangeInclusive<u32>,
) -> Result<u32, SettingError> {
    let Some(value) = lookup(key).filter(|value| !value.trim().is_empty()) else { return Ok(default) };
    let allowed =
        if *range.start() == 0 { "a whole number up to 100000; 0 is no limit" } else { "a whole number from 1 to 100" };
    let number = value.trim().parse().ok().filter(|number| range.contains(number));
    number.ok_or(SettingError { key, value, allowed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn read(pairs: &[(&str, &str)]) -> Result<Option<RepairSettings>, SettingError> {
        let map: HashMap<&str, &str> = pairs.iter().copied().collect();
        super::read(&|key| map.get(key).map(|value| (*value).to_owned()))
    }

    fn mode(pairs: &[(&str, &str)]) -> Option<Mode> {
        read(pairs).unwrap().unwrap().policy.map(|policy| policy.mode)
    }

    #[test]
    fn nothing_given_means_the_defaults_of_the_references_code() {
        let settings = read(&[]).unwrap().unwrap();
        assert_eq!(settings.policy, None, "it is on, and does nothing");
        assert_eq!(
            settings.detector,
            Detector {
                annotation: "sidecar.istio.io/status".into(),
                container: "istio-validation".into(),
                message: String::new(),
                exit_code: 126,
                labels: LabelSelector::default(),
                fields: FieldSelector::default(),
            }
        );
        assert_eq!((settings.limit_per_minute, settings.attempts), (30, 5));
        assert_eq!(settings.kept(), None);
        let policy = read(&[("REPAIR_REPAIR_PODS", "true")]).unwrap().unwrap().policy.unwrap();
        assert_eq!(policy.label, ("cni.istio.io/uninitialized".to_owned(), "true".to_owned()));
        assert_eq!((policy.deletes, policy.evicts), (false, false));
    }

    #[test]
    fn it_can_be_switched_off() {
        for off in ["false", "0", ""] {
            assert_eq!(read(&[("REPAIR_ENABLED", off), ("REPAIR_REPAIR_PODS", "true")]), Ok(None), "{off:?}");
        }
    }

    #[test]
    fn repair_wins_over_delete_and_delete_over_label() {
        let on = |key: &'static str| (key, "true");
        let (repair, delete, label) = (on("REPAIR_REPAIR_PODS"), on("REPAIR_DELETE_PODS"), on("REPAIR_LABEL_PODS"));
        assert_eq!(mode(&[]), None);
        assert_eq!(mode(&[label]), Some(Mode::Label));
        assert_eq!(mode(&[delete, label]), Some(Mode::Delete));
        assert_eq!(mode(&[repair, delete, label]), Some(Mode::Repair));
        let both = read(&[repair, delete]).unwrap().unwrap().policy.unwrap();
        assert!(both.deletes, "what cannot be repaired may be deleted");
    }

    #[test]
    fn every_setting_is_read() {
        let settings = read(&[
            ("REPAIR_DELETE_PODS", "true"),
            ("REPAIR_EVICT", "true"),
            ("REPAIR_LIMIT_PER_MINUTE", "7"),
            ("REPAIR_ATTEMPTS", "2"),
            ("REPAIR_BROKEN_POD_LABEL_KEY", "broken"),
            ("REPAIR_BROKEN_POD_LABEL_VALUE", ""),
            ("REPAIR_SIDECAR_ANNOTATION", ""),
            ("REPAIR_INIT_CONTAINER_NAME", ""),
            ("REPAIR_INIT_CONTAINER_TERMINATION_MESSAGE", " no rules "),
            ("REPAIR_INIT_CONTAINER_EXIT_CODE", ""),
            ("REPAIR_LABEL_SELECTORS", "app in (a,b)"),
            ("REPAIR_FIELD_SELECTORS", "metadata.namespace!=kube-system"),
        ])
        .unwrap()
        .unwrap();
        let policy = settings.policy.clone().unwrap();
        assert_eq!((policy.mode, policy.evicts, policy.label), (Mode::Delete, true, ("broken".into(), String::new())));
        assert_eq!((settings.limit_per_minute, settings.attempts), (7, 2));
        let kept = settings.kept().unwrap();
        let Detector { annotation, container, message, exit_code, labels, .. } = settings.detector;
        assert_eq!((annotation.as_str(), container.as_str(), message.as_str(), exit_code), ("", "", "no rules", 0));
        assert_eq!(labels.keys().collect::<Vec<_>>(), ["app"]);
        assert_eq!((kept.labels, kept.every_init), (vec!["app".to_owned(), "broken".to_owned()], true));
    }

    #[test]
    fn a_wrong_value_names_key_value_and_what_is_allowed() {
        for (key, value, allowed) in [
            ("REPAIR_ENABLED", "perhaps", "true or false"),
            ("REPAIR_REPAIR_PODS", "yes", "true or false"),
            ("REPAIR_DELETE_PODS", "2", "true or false"),
            ("REPAIR_LABEL_PODS", "on", "true or false"),
            ("REPAIR_EVICT", "on", "true or false"),
            ("REPAIR_LIMIT_PER_MINUTE", "-1", "a whole number up to 100000; 0 is no limit"),
            ("REPAIR_ATTEMPTS", "0", "a whole number from 1 to 100"),
            ("REPAIR_INIT_CONTAINER_EXIT_CODE", "256", "an exit code, 1 to 255, or 0 for any"),
            ("REPAIR_INIT_CONTAINER_EXIT_CODE", "x", "an exit code, 1 to 255, or 0 for any"),
            ("REPAIR_BROKEN_POD_LABEL_KEY", "a b", "a label's key"),
            ("REPAIR_BROKEN_POD_LABEL_VALUE", "a b", "a label's value"),
            ("REPAIR_LABEL_SELECTORS", "a in b", "KEY notin (VALUE,...)"),
            ("REPAIR_FIELD_SELECTORS", "spec.x=y", "status.podIP"),
        ] {
            let error = read(&[(key, value)]).unwrap_err();
            assert_eq!((error.key, error.value.as_str()), (key, value));
            assert!(error.to_string().contains(allowed), "{error}");
        }
    }
}
