//! The decision in words for people: what is the case, with which file, and what to do about it where that is theirs.

use crate::domain::cni_files::Reason;

/// Why `file` is written.
pub fn why(why: Reason, file: &str, primary: &str, before: Option<&str>) -> String {
    let before = before.unwrap_or(file);
    match why {
        Reason::FirstInstallation => format!("istio-cni is not yet in the CNI configuration {file}"),
        Reason::EntryMissing => format!("somebody has taken istio-cni out of the CNI configuration {file}"),
        Reason::EntryDiffers => format!("the istio-cni entry in the CNI configuration {file} is not as configured"),
        Reason::EntryFirst => format!(
            "istio-cni is the first plugin in the CNI configuration {file}: it has to come after the one that makes the pod's network"
        ),
        Reason::PrimaryChanged => {
            format!("the primary network configuration {primary} has changed, and {file} has to follow it")
        }
        Reason::Preempted => format!(
            "the CNI configuration {file} now comes before {before}, in which istio-cni is: the container runtime uses the first one"
        ),
        Reason::FileVanished => {
            format!("the CNI configuration {before}, in which istio-cni was, is gone; it is put into {file}")
        }
        Reason::Damaged => format!("the CNI configuration {file} is damaged"),
        Reason::Interrupted => {
            format!("an earlier installation into the CNI configuration {file} did not come to its end")
        }
    }
}

/// An earlier file than the one named.
pub fn preempted(first: &str, file: &str) -> String {
    format!(
        "the CNI configuration {file}, which CNI_CONF_NAME names, is preempted by {first}: a container runtime that uses the first one does not call istio-cni; name that file, or none, or remove it"
    )
}

/// An earlier file with nothing but our plugin in it, as a standalone installation leaves it.
pub fn left_alone(alone: &str, file: &str) -> String {
    format!(
        "the CNI configuration {alone} has no plugin but istio-cni, and comes before {file}, to which istio-cni is chained: a container runtime that uses the first one gives pods no network; remove {alone}, which a standalone installation may have left"
    )
}

/// An earlier file of a kind that is not chained to.
pub fn json_first(json: &str, file: &str) -> String {
    format!(
        "the CNI configuration {json} comes before {file}, in which istio-cni is: a container runtime that reads *.json files uses it, and does not call istio-cni; rename it to end in .conf, or remove it"
    )
}

/// An earlier file than the one that has to be first.
pub fn owned_not_first(own: &str, first: &str) -> String {
    format!(
        "the Istio-owned CNI configuration {own} comes after {first}, so that the container runtime does not call istio-cni; choose a name for it that sorts before (ISTIO_OWNED_CNI_CONFIG_FILENAME)"
    )
}

/// A name that no runtime looks at.
pub fn no_list_name(own: &str) -> String {
    format!(
        "the Istio-owned CNI configuration {own} does not end in .conflist, so that no container runtime takes it for a list; choose a name that does (ISTIO_OWNED_CNI_CONFIG_FILENAME)"
    )
}

/// A list whose plugins stand elsewhere.
pub fn not_inline(file: &str, network: &str) -> String {
    format!(
        "the primary network configuration {file} has its plugins in the directory {network}, and they would run after istio-cni; move them into its list of plugins"
    )
}

/// Something that is not ours where ours would be written.
pub fn occupied(file: &str, what: &str) -> String {
    format!(
        "the CNI configuration {file}, which istio-cni is to have for itself, belongs to somebody else: {what}; remove it, or choose another name"
    )
}

/// An empty list where that of a `.conf` would be written.
pub fn begun_list(conf: &str, list: &str) -> String {
    format!(
        "the primary network configuration {conf} has to become the list {list} so that istio-cni can be chained to it, and {list} is empty, as a file is that somebody is writing: it is looked at again when it has changed; if nobody writes it, remove it"
    )
}

/// Another list where that of a `.conf` would be written.
pub fn occupied_by_list(conf: &str, list: &str) -> String {
    format!(
        "the primary network configuration {conf} has to become the list {list} so that istio-cni can be chained to it, and {list} is something else already; remove one of the two"
    )
}
