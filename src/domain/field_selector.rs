//! A selector of a pod's fields in the API's own text form, `status.phase!=Running,metadata.namespace=shop`.
//! The fields are those that the API server selects pods by, as far as the agent keeps them.

use super::pod::PodFacts;
use std::fmt;

/// What a text of this kind may be, for people.
pub const ALLOWED: &str = "a field selector: FIELD=VALUE, FIELD==VALUE or FIELD!=VALUE, joined by commas, with the \
                           fields metadata.name, metadata.namespace, spec.nodeName, spec.restartPolicy, \
                           spec.hostNetwork, status.phase and status.podIP";

/// Comparisons that must all hold; without any it holds for every pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<Comparison>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Comparison {
    field: Field,
    equal: bool,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Name,
    Namespace,
    NodeName,
    RestartPolicy,
    HostNetwork,
    Phase,
    PodIp,
}

const FIELDS: [(&str, Field); 7] = [
    ("metadata.name", Field::Name),
    ("metadata.namespace", Field::Namespace),
    ("spec.nodeName", Field::NodeName),
    ("spec.restartPolicy", Field::RestartPolicy),
    ("spec.hostNetwork", Field::HostNetwork),
    ("status.phase", Field::Phase),
    ("status.podIP", Field::PodIp),
];

/// The text is no selector, or one of fields that are not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectorError {
    NoComparison { term: String },
    Field { field: String },
    Value { value: String },
}

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SelectorError::NoComparison { term } => write!(f, "{term:?} is no comparison with =, == or !="),
            SelectorError::Field { field } => write!(f, "there is no field {field:?} to select pods by"),
            SelectorError::Value { value } => {
                write!(f, "the value {value:?} has '=' in it, or a backslash before something else than , = and \\")
            }
        }
    }
}

impl std::error::Error for SelectorError {}

impl FieldSelector {
    /// Reads a selector; an empty text holds for every pod. `\,`, `\=` and `\\` stand for the sign alone.
    pub fn parse(text: &str) -> Result<FieldSelector, SelectorError> {
        let terms = terms(text).into_iter().filter(|term| !term.is_empty());
        terms.map(Comparison::parse).collect::<Result<Vec<_>, _>>().map(FieldSelector)
    }

    /// Whether this pod of this node is selected.
    pub fn selects(&self, pod: &PodFacts, node: &str) -> bool {
        self.0.iter().all(|comparison| comparison.holds(pod, node))
    }
}

/// The parts between commas that no backslash stands before.
fn terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.extend(text.get(start..index));
                start = index + 1;
            }
            _ => {}
        }
    }
    terms.extend(text.get(start..));
    terms
}

impl Comparison {
    fn parse(term: &str) -> Result<Comparison, SelectorError> {
        let no_comparison = || SelectorError::NoComparison { term: term.to_owned() };
        let at = term.find(['=', '!']).ok_or_else(no_comparison)?;
        let (field, rest) = term.split_at(at);
        let signs = [("!=", false), ("==", true), ("=", true)];
        let found = signs.into_iter().find_map(|(sign, equal)| Some((equal, rest.strip_prefix(sign)?)));
        let (equal, value) = found.ok_or_else(no_comparison)?;
        let known = FIELDS.into_iter().find(|(name, _)| *name == field);
        let (_, field) = known.ok_or_else(|| SelectorError::Field { field: field.to_owned() })?;
        let value = unescaped(value).ok_or_else(|| SelectorError::Value { value: value.to_owned() })?;
        Ok(Comparison { field, equal, value })
    }

    fn holds(&self, pod: &PodFacts, node: &str) -> bool {
        let status = &pod.status;
        let value = self.value.as_str();
        let is = match self.field {
            Field::Name => pod.name == value,
            Field::Namespace => pod.namespace == value,
            Field::NodeName => node == value,
            Field::RestartPolicy => status.restart_policy == value,
            Field::HostNetwork => status.host_network.to_string() == value,
            Field::Phase => status.phase == value,
            Field::PodIp => status.addresses.first().map(ToString::to_string).unwrap_or_default() == value,
        };
        is == self.equal
    }
}

fn unescaped(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => chars.next().filter(|next| matches!(next, '\\' | ',' | '='))?,
            '=' => return None,
            c => c,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pod_status::PodStatus;
    use proptest::prelude::*;

    fn pod() -> PodFacts {
        let status = PodStatus {
            restart_policy: "Always".into(),
            phase: "Pending".into(),
            addresses: vec!["10.1.0.5".parse().unwrap(), "fd00::5".parse().unwrap()],
            ..PodStatus::default()
        };
        PodFacts { namespace: "shop".into(), name: "web-0".into(), status, ..PodFacts::default() }
    }

    #[test]
    fn each_field_is_compared_as_the_api_server_does() {
        for (text, selected) in [
            ("", true),
            (",", true),
            ("metadata.name=web-0", true),
            ("metadata.name==web-0,", true),
            ("metadata.name!=web-0", false),
            ("metadata.namespace=shop,metadata.name=web-0", true),
            ("metadata.namespace=shop,metadata.name=web-1", false),
            ("spec.nodeName=node-a", true),
            ("spec.nodeName=", false),
            ("spec.restartPolicy=Always", true),
            ("spec.hostNetwork=false", true),
            ("spec.hostNetwork!=true", true),
            ("status.phase!=Running", true),
            ("status.phase= Pending", false),
            ("status.podIP=10.1.0.5", true),
            ("status.podIP=fd00::5", false),
            (r"metadata.name=web\,0", false),
            (r"metadata.name!=a\=b\\", true),
        ] {
            let selector = FieldSelector::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
            assert_eq!(selector.selects(&pod(), "node-a"), selected, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused_with_what_is_wrong() {
        for (text, problem) in [
            ("metadata.name", r#""metadata.name" is no comparison with =, == or !="#),
            ("a!b=c", r#""a!b=c" is no comparison with =, == or !="#),
            ("spec.serviceAccountName=a", r#"there is no field "spec.serviceAccountName" to select pods by"#),
            (" metadata.name=a", r#"there is no field " metadata.name" to select pods by"#),
        ] {
            assert_eq!(FieldSelector::parse(text).unwrap_err().to_string(), problem, "{text:?}");
        }
        for text in ["metadata.name=a=b", r"metadata.name=a\b", r"metadata.name=a\"] {
            assert!(matches!(FieldSelector::parse(text), Err(SelectorError::Value { .. })), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z=!,.\\\\]{0,40}|\\PC{0,40}") {
            if let Ok(selector) = FieldSelector::parse(&text) {
                selector.selects(&pod(), "node-a");
            }
        }

        #[test]
        fn any_name_can_be_escaped_and_is_found_again(name in "[a-z,=\\\\!]{0,12}") {
            let escaped: String =
                name.chars().flat_map(|c| matches!(c, ',' | '=' | '\\').then_some('\\').into_iter().chain([c])).collect();
            let pod = PodFacts { name, ..PodFacts::default() };
            for (sign, selected) in [("=", true), ("==", true), ("!=", false)] {
                let selector = FieldSelector::parse(&format!("metadata.name{sign}{escaped}")).unwrap();
                prop_assert_eq!(selector.selects(&pod, ""), selected);
            }
        }
    }
}
