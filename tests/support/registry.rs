//! The telemetry registry of `otel-config/registry/`, read as Weaver reads it as far as it is used
//! there, and compared with telemetry that really came.

#![allow(dead_code, reason = "each test file uses another part of this")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's helper fails by panicking")]

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::Value as Yaml;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Attributes of OpenTelemetry's registry that are no texts.
const NUMBERS: &[&str] = &["server.port", "k8s.container.restart_count", "process.exit.code"];
/// The only spans whose names go on, with the name of a container.
const OF_CONTAINERS: [&str; 3] = ["pod.init", "pod.container", "pod.image"];
/// The only attributes whose last part is free.
const TEMPLATE: &str = "istio_cni.link.baggage";

/// What the registry says.
#[derive(Debug, Default)]
pub struct Registry {
    /// The attributes that are defined there.
    pub attributes: BTreeMap<String, Attribute>,
    /// All groups by their id.
    pub groups: BTreeMap<String, Group>,
}

/// A defined attribute.
#[derive(Debug, Default)]
pub struct Attribute {
    /// `string`, `int`, …; `enum` where it has members.
    pub kind: String,
    /// The values of its members.
    pub members: BTreeSet<String>,
}

/// A group of attributes.
#[derive(Clone, Debug, Default)]
pub struct Group {
    pub kind: String,
    pub brief: String,
    /// The referenced attributes with those of the group it extends, and whether each is required.
    pub refs: BTreeMap<String, bool>,
    /// The examples of referenced attributes.
    pub examples: BTreeMap<String, BTreeSet<String>>,
    /// The other fields as they stand there.
    pub fields: BTreeMap<String, String>,
    extends: Option<String>,
}

/// Where the registry is.
pub fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("otel-config/registry")
}

/// Reads a YAML file of the registry.
pub fn yaml(name: &str) -> Yaml {
    let text = std::fs::read_to_string(directory().join(name)).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn text(yaml: &Yaml, key: &str) -> Option<String> {
    yaml.get(key).and_then(Yaml::as_str).map(str::to_owned)
}

fn texts(yaml: Option<&Yaml>) -> BTreeSet<String> {
    let entries = yaml.and_then(Yaml::as_array).into_iter().flatten();
    entries.map(|entry| entry.as_str().map_or_else(|| entry.to_string(), str::to_owned)).collect()
}

impl Registry {
    /// Reads all files.
    pub fn read() -> Registry {
        let mut registry = Registry::default();
        for entry in std::fs::read_dir(directory()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".yaml") && name != "manifest.yaml" {
                for group in yaml(&name)["groups"].as_array().unwrap_or_else(|| panic!("{name} has no groups")) {
                    registry.add(group);
                }
            }
        }
        registry.inherit();
        registry
    }

    fn add(&mut self, yaml: &Yaml) {
        let id = text(yaml, "id").unwrap();
        let mut group = Group {
            kind: text(yaml, "type").unwrap(),
            brief: text(yaml, "brief").unwrap(),
            extends: text(yaml, "extends"),
            ..Group::default()
        };
        for key in ["metric_name", "instrument", "unit", "name", "span_kind"] {
            group.fields.extend(text(yaml, key).map(|value| (key.to_owned(), value)));
        }
        for attribute in yaml.get("attributes").and_then(Yaml::as_array).into_iter().flatten() {
            if let Some(key) = text(attribute, "ref") {
                let required = text(attribute, "requirement_level").as_deref() == Some("required");
                assert!(group.refs.insert(key.clone(), required).is_none(), "{id} has {key} twice");
                group.examples.insert(key, texts(attribute.get("examples")));
            } else {
                let key = text(attribute, "id").unwrap();
                let defined = definition(attribute);
                assert!(self.attributes.insert(key.clone(), defined).is_none(), "{key} is defined twice");
            }
        }
        assert!(self.groups.insert(id.clone(), group).is_none(), "group {id} is there twice");
    }

    fn inherit(&mut self) {
        let mut left: Vec<String> = self.groups.keys().cloned().collect();
        while !left.is_empty() {
            let before = left.len();
            left.retain(|id| {
                let Some(base) = self.groups[id].extends.clone() else { return false };
                let base = self.groups.get(&base).unwrap_or_else(|| panic!("{id} extends {base}, which is not there"));
                if base.extends.is_some() {
                    return true;
                }
                let (refs, group) = (base.refs.clone(), self.groups.get_mut(id).unwrap());
                for (key, required) in refs {
                    group.refs.entry(key).or_insert(required);
                }
                group.extends = None;
                false
            });
            assert!(left.len() < before, "groups extend each other in a circle: {left:?}");
        }
    }

    /// The groups of a kind, by what they are about: the name of the span, the metric or the event.
    pub fn of(&self, kind: &str) -> BTreeMap<String, &Group> {
        let groups = self.groups.iter().filter(|(_, group)| group.kind == kind);
        groups.map(|(id, group)| (id.strip_prefix(&format!("{kind}.")).unwrap_or(id).to_owned(), group)).collect()
    }

    /// What is wrong with a span.
    pub fn span(&self, span: &Span) -> Vec<String> {
        let what = format!("span {}", span.name);
        let first = span.name.split(' ').next().unwrap_or_default();
        let name = if OF_CONTAINERS.contains(&first) { first } else { &span.name };
        let Some(group) = self.groups.get(&format!("span.{name}")) else {
            return vec![format!("{what} is not in the registry")];
        };
        let mut wrong = self.compare(&what, Some(group), &span.attributes);
        for link in &span.links {
            wrong.extend(self.compare(&format!("a link of {what}"), None, &link.attributes));
        }
        wrong
    }

    /// What is wrong with a log record.
    pub fn log(&self, log: &LogRecord) -> Vec<String> {
        let what = format!("event {}", log.event_name);
        match self.groups.get(&format!("event.{}", log.event_name)) {
            Some(group) => self.compare(&what, Some(group), &log.attributes),
            None => vec![format!("{what} is not in the registry")],
        }
    }

    /// What is wrong with a resource.
    pub fn resource(&self, resource: &Resource) -> Vec<String> {
        self.compare("the resource", Some(&self.groups["istio_cni.resource"]), &resource.attributes)
    }

    /// What is wrong with a metric.
    pub fn metric(&self, metric: &Metric) -> Vec<String> {
        let what = format!("metric {}", metric.name);
        let Some(group) = self.groups.get(&format!("metric.{}", metric.name)) else {
            return vec![format!("{what} is not in the registry")];
        };
        let (instrument, points): (_, Vec<&[KeyValue]>) = match metric.data.as_ref().unwrap() {
            Data::Gauge(gauge) => ("gauge", gauge.data_points.iter().map(|point| &point.attributes[..]).collect()),
            Data::Sum(sum) => ("counter", sum.data_points.iter().map(|point| &point.attributes[..]).collect()),
            Data::Histogram(of) => ("histogram", of.data_points.iter().map(|point| &point.attributes[..]).collect()),
            other => panic!("{other:?}"),
        };
        let mut wrong: Vec<String> =
            points.into_iter().flat_map(|attributes| self.compare(&what, Some(group), attributes)).collect();
        for (field, found) in [("instrument", instrument), ("unit", &metric.unit)] {
            if group.fields[field] != found {
                wrong.push(format!("{what}: {field} {found}, in the registry {}", group.fields[field]));
            }
        }
        if group.brief != metric.description {
            wrong.push(format!("{what} is described by {:?}", metric.description));
        }
        wrong
    }

    fn compare(&self, what: &str, group: Option<&Group>, attributes: &[KeyValue]) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut seen = BTreeSet::new();
        for kv in attributes {
            if !seen.insert(kv.key.as_str()) {
                wrong.push(format!("{what} has {} twice", kv.key));
            }
            if group.is_some_and(|group| !group.refs.contains_key(&kv.key)) {
                wrong.push(format!("{what} has {}, which the registry does not say", kv.key));
            }
            wrong.extend(self.value(&kv.key, kv.value.as_ref()).map(|problem| format!("{what}: {problem}")));
        }
        let required = group.into_iter().flat_map(|group| &group.refs).filter(|(_, required)| **required);
        wrong.extend(
            required.filter(|(key, _)| !seen.contains(key.as_str())).map(|(key, _)| format!("{what} has no {key}")),
        );
        wrong
    }

    fn value(&self, key: &str, value: Option<&AnyValue>) -> Option<String> {
        let defined = match self.attributes.get(key) {
            Some(defined) => (defined.kind.as_str(), Some(defined)),
            None if key.starts_with(&format!("{TEMPLATE}.")) => ("string", None),
            None if key.starts_with("istio_cni") => return Some(format!("{key} is not in the registry")),
            None if NUMBERS.contains(&key) => ("int", None),
            None => ("string", None),
        };
        match (value.and_then(|value| value.value.as_ref())?, defined) {
            (Value::StringValue(_), ("string", _)) => None,
            (Value::IntValue(_), ("int", _)) | (Value::BoolValue(_), ("boolean", _)) => None,
            (Value::StringValue(text), ("enum", Some(defined))) if defined.members.contains(text) => None,
            (value, (kind, _)) => Some(format!("{key} is {value:?}, which is no {kind} of the registry")),
        }
    }
}

fn definition(yaml: &Yaml) -> Attribute {
    match &yaml["type"] {
        Yaml::String(kind) => Attribute { kind: kind.clone(), members: BTreeSet::new() },
        of => {
            let members = of["members"].as_array().unwrap().iter();
            let members = members.map(|member| text(member, "value").unwrap()).collect();
            Attribute { kind: "enum".to_owned(), members }
        }
    }
}
