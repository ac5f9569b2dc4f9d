//! Whether a pod template may be placed on a node, as Kubernetes' scheduler and its DaemonSet
//! controller decide it: the node selector, and the required part of the node affinity.

use std::collections::BTreeMap;

/// The label of nodes that `matchFields` means.
const NAME_FIELD: &str = "metadata.name";

/// Where the pods of a template may be placed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// `nodeSelector`: labels that the node must have with these values.
    pub selector: BTreeMap<String, String>,
    /// The terms of `requiredDuringSchedulingIgnoredDuringExecution`, of which one must hold.
    /// `None` asks for nothing; no terms at all hold for no node.
    pub required: Option<Vec<Term>>,
}

/// Requirements that must all hold. A term without any holds for no node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Term {
    /// `matchExpressions`, of labels.
    pub expressions: Vec<Requirement>,
    /// `matchFields`, of which only `metadata.name` exists.
    pub fields: Vec<Requirement>,
}

/// One requirement, as it stands in the object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt` or `Lt`.
    pub operator: String,
    pub values: Vec<String>,
}

/// A node, as far as placement looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    pub name: &'a str,
    pub labels: &'a BTreeMap<String, String>,
}

/// Whether a pod may be placed on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fit {
    Yes,
    No,
    /// A requirement is of a kind that is not understood; it says which.
    Unclear(String),
}

impl Placement {
    /// Whether every node will do.
    pub fn is_anywhere(&self) -> bool {
        self.selector.is_empty() && self.required.is_none()
    }

    /// Whether this node will do. A term that is not understood leaves the answer open, unless
    /// another one holds.
    pub fn fits(&self, node: Node<'_>) -> Fit {
        if self.selector.iter().any(|(key, value)| node.labels.get(key) != Some(value)) {
            return Fit::No;
        }
        let Some(terms) = &self.required else { return Fit::Yes };
        let mut unclear = None;
        for term in terms {
            match term.holds(node) {
                Ok(true) => return Fit::Yes,
                Ok(false) => {}
                Err(problem) => unclear = unclear.or(Some(problem)),
            }
        }
        unclear.map_or(Fit::No, Fit::Unclear)
    }
}

impl Term {
    fn holds(&self, node: Node<'_>) -> Result<bool, String> {
        // All are looked at: one that is not understood spoils the term, wherever it stands.
        let labels = self.expressions.iter().map(|requirement| requirement.of_label(node));
        let fields = self.fields.iter().map(|requirement| requirement.of_field(node));
        let held = labels.chain(fields).collect::<Result<Vec<bool>, String>>()?;
        Ok(!held.is_empty() && held.iter().all(|held| *held))
    }
}

impl Requirement {
    fn of_label(&self, node: Node<'_>) -> Result<bool, String> {
        let label = node.labels.get(&self.key);
        match (self.operator.as_str(), &self.values[..]) {
            ("In", [_, ..]) => Ok(label.is_some_and(|label| self.values.contains(label))),
            ("NotIn", [_, ..]) => Ok(label.is_none_or(|label| !self.values.contains(label))),
            ("Exists", []) => Ok(label.is_some()),
            ("DoesNotExist", []) => Ok(label.is_none()),
            ("Gt", [bound]) => Ok(label.and_then(|label| number(label)) > Some(self.bound(bound)?)),
            ("Lt", [bound]) => {
                let bound = self.bound(bound)?;
                Ok(label.and_then(|label| number(label)).is_some_and(|label| label < bound))
            }
            _ => Err(self.not_understood()),
        }
    }

    fn of_field(&self, node: Node<'_>) -> Result<bool, String> {
        match (self.key.as_str(), self.operator.as_str(), &self.values[..]) {
            (NAME_FIELD, "In", [name]) => Ok(name == node.name),
            (NAME_FIELD, "NotIn", [name]) => Ok(name != node.name),
            _ => Err(self.not_understood()),
        }
    }

    fn bound(&self, text: &str) -> Result<i64, String> {
        number(text).ok_or_else(|| self.not_understood())
    }

    fn not_understood(&self) -> String {
        format!("{:?} {} {:?}", self.key, self.operator, self.values)
    }
}

fn number(text: &str) -> Option<i64> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(text: &str) -> Requirement {
        let mut words = text.split(' ').map(str::to_owned);
        let (key, operator) = (words.next().unwrap(), words.next().unwrap());
        Requirement { key, operator, values: words.collect() }
    }

    fn labels() -> BTreeMap<String, String> {
        [("os", "linux"), ("cores", "8"), ("size", "big"), ("empty", "")].map(|(k, v)| (k.into(), v.into())).into()
    }

    fn fit(required: Option<Vec<Term>>) -> Fit {
        Placement { required, ..Placement::default() }.fits(Node { name: "node-a", labels: &labels() })
    }

    fn term(expressions: &[&str], fields: &[&str]) -> Term {
        let all = |texts: &[&str]| texts.iter().map(|text| requirement(text)).collect();
        Term { expressions: all(expressions), fields: all(fields) }
    }

    #[track_caller]
    fn assert_fit(expected: &Fit, expressions: &[&str]) {
        for text in expressions {
            assert_eq!(&fit(Some(vec![term(&[text], &[])])), expected, "{text}");
        }
    }

    #[test]
    fn every_operator_holds_and_fails() {
        let yes = ["os In linux windows", "os NotIn windows", "none NotIn x", "os Exists", "empty Exists"];
        assert_fit(&Fit::Yes, &yes);
        assert_fit(&Fit::Yes, &["none DoesNotExist", "cores Gt 7", "cores Lt 9", "cores Gt -1"]);
        let no = ["os In windows", "none In x", "os NotIn linux", "none Exists", "os DoesNotExist"];
        assert_fit(&Fit::No, &no);
        assert_fit(&Fit::No, &["cores Gt 8", "cores Lt 8", "none Gt 1", "none Lt 1", "size Gt 1", "size Lt 1"]);
    }

    #[test]
    fn what_kubernetes_itself_refuses_is_no_answer() {
        for text in [
            "os In",
            "os NotIn",
            "os Exists x",
            "os DoesNotExist x",
            "cores Gt",
            "cores Gt 1 2",
            "none Gt x",
            "os Near x",
        ] {
            assert!(matches!(fit(Some(vec![term(&[text], &[])])), Fit::Unclear(_)), "{text}");
        }
        for text in ["metadata.name In a b", "metadata.name Exists", "metadata.uid In node-a", "metadata.name In"] {
            assert!(matches!(fit(Some(vec![term(&[], &[text])])), Fit::Unclear(_)), "{text}");
        }
        let unclear = term(&["os Near x"], &[]);
        assert_eq!(fit(Some(vec![unclear.clone(), term(&["os Exists"], &[])])), Fit::Yes);
        assert_eq!(fit(Some(vec![unclear, term(&["os In windows"], &[])])), Fit::Unclear(r#""os" Near ["x"]"#.into()));
        let spoilt = term(&["os In windows", "os Near x"], &[]);
        assert!(matches!(fit(Some(vec![spoilt])), Fit::Unclear(_)));
    }

    #[test]
    fn one_term_is_enough_and_all_of_a_term_must_hold() {
        assert_eq!(fit(None), Fit::Yes);
        assert_eq!(fit(Some(vec![term(&["os In windows"], &[]), term(&["os In linux"], &[])])), Fit::Yes);
        assert_eq!(fit(Some(vec![term(&["os In linux", "size In small"], &[])])), Fit::No);
        assert_eq!(fit(Some(vec![term(&["os In linux"], &["metadata.name In node-b"])])), Fit::No);
        assert_eq!(fit(Some(vec![term(&["os In linux"], &["metadata.name In node-a"])])), Fit::Yes);
        assert_eq!(fit(Some(vec![term(&[], &["metadata.name NotIn node-a"])])), Fit::No);
    }

    #[test]
    fn no_terms_and_empty_terms_hold_for_no_node() {
        assert_eq!(fit(Some(Vec::new())), Fit::No);
        assert_eq!(fit(Some(vec![Term::default()])), Fit::No);
        assert_eq!(fit(Some(vec![Term::default(), term(&["os Exists"], &[])])), Fit::Yes);
    }

    #[test]
    fn the_selector_and_the_affinity_must_both_hold() {
        let labels = labels();
        let node = Node { name: "node-a", labels: &labels };
        let selecting = |pairs: &[(&str, &str)], required| Placement {
            selector: pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            required,
        };
        assert_eq!(selecting(&[("os", "linux"), ("empty", "")], None).fits(node), Fit::Yes);
        for pairs in [[("os", "windows")], [("none", "")]] {
            assert_eq!(selecting(&pairs, None).fits(node), Fit::No);
        }
        assert_eq!(selecting(&[("os", "linux")], Some(vec![term(&["size In small"], &[])])).fits(node), Fit::No);
        assert!(selecting(&[], None).is_anywhere() && !selecting(&[("os", "linux")], None).is_anywhere());
        assert!(!selecting(&[], Some(Vec::new())).is_anywhere());
    }
}
