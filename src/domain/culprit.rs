//! Who probably keeps rewriting the node's network configuration, and which setting of theirs stops
//! it: a guess from the names of files and plugins, for people.

/// A component that is known to write there.
struct Writer {
    /// Texts by which its plugins' types or its files' names are known, in lower case.
    signs: &'static [&'static str],
    name: &'static str,
    advice: &'static str,
}

const WRITERS: &[Writer] = &[
    Writer {
        signs: &["cilium"],
        name: "Cilium",
        advice: "set cni.exclusive=false in its Helm values, so that it leaves other plugins' configuration alone",
    },
    Writer {
        signs: &["multus"],
        name: "Multus",
        advice: "it generates its configuration anew; give it a fixed one with --multus-conf-file, or name the primary's file in cniConfFileName",
    },
    Writer {
        signs: &["calico"],
        name: "Calico",
        advice: "its install-cni container writes the file whenever it starts; look for a calico-node that restarts over and over, or set istioOwnedCNIConfig=true",
    },
    Writer {
        signs: &["flannel", "cbr0"],
        name: "Flannel",
        advice: "its init container copies the file whenever it starts; look for a kube-flannel that restarts over and over, or set istioOwnedCNIConfig=true",
    },
    Writer {
        signs: &["aws-cni", "aws-vpc", "10-aws"],
        name: "the Amazon VPC CNI",
        advice: "aws-node writes the file whenever it starts; look for one that restarts over and over, or set istioOwnedCNIConfig=true",
    },
    Writer {
        signs: &["azure"],
        name: "the Azure CNI",
        advice: "it writes the file on upgrades and when its agent starts; set istioOwnedCNIConfig=true to keep apart from it",
    },
    Writer {
        signs: &["antrea"],
        name: "Antrea",
        advice: "its install-cni container writes the file whenever it starts; look for an antrea-agent that restarts over and over, or set istioOwnedCNIConfig=true",
    },
    Writer {
        signs: &["kindnet"],
        name: "kindnet",
        advice: "it writes the file whenever the nodes' networks change; set istioOwnedCNIConfig=true to keep apart from it",
    },
    Writer {
        signs: &["ovn"],
        name: "OVN-Kubernetes",
        advice: "its node pod writes the file whenever it starts; set istioOwnedCNIConfig=true to keep apart from it",
    },
    Writer {
        signs: &["weave"],
        name: "Weave Net",
        advice: "it writes the file whenever it starts; look for a weave-net that restarts over and over, or set istioOwnedCNIConfig=true",
    },
];

/// What Cilium makes of the files that it puts out of the way: nobody else does.
const OF_CILIUM: &str = ".cilium_bak";

/// Who it probably is, and what stops it. `names` are types of plugins and names of files, what says most first: those
/// of the file that is rewritten.
pub fn likely(names: &[String]) -> String {
    let known = |name: &String| {
        let name = name.to_ascii_lowercase();
        WRITERS.iter().find(|writer| writer.signs.iter().any(|sign| name.contains(sign)))
    };
    let surely = names.iter().filter(|name| name.to_ascii_lowercase().ends_with(OF_CILIUM));
    match surely.chain(names).find_map(known) {
        Some(Writer { name, advice, .. }) => format!("this is probably {name}: {advice}"),
        None => "find out which component of the node's network writes this file, and stop it from doing so, or set \
                 istioOwnedCNIConfig=true, so that the plugin has a file of its own"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_is_known_by_its_plugins_and_its_files() {
        let advice = |names: &[&str]| likely(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert!(advice(&["cilium-cni"]).contains("cni.exclusive=false"));
        assert!(advice(&["bridge", "05-Cilium.conflist.cilium_bak"]).contains("Cilium"));
        assert!(advice(&["aws-cni", "portmap"]).contains("Amazon VPC CNI"));
        assert!(advice(&["ptp", "10-kindnet.conflist"]).contains("kindnet"));
        assert!(advice(&["ptp", "10-net.conflist"]).starts_with("find out"), "many networks are made by ptp");
        assert!(advice(&["bridge"]).starts_with("find out which component"));
    }

    #[test]
    fn what_says_most_comes_first_and_ciliums_renamed_files_before_all() {
        let advice = |names: &[&str]| likely(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert!(advice(&["antrea", "10-antrea.conflist", "05-cilium.conflist"]).contains("Antrea"));
        let renamed = ["aws-cni", "10-aws.conflist", "10-aws.conflist.cilium_bak"];
        assert!(advice(&renamed).contains("cni.exclusive=false"));
    }
}
