//! Named cases of the decision. A scene is a directory in memory; installing writes into it what was decided.

mod chained;
mod owned;
mod properties;
mod recorded;
mod removal;
mod standalone;
mod validity;

use super::{PluginEntry, decide, remove};
use crate::domain::cni_files::{ConfFile, Decision, Obstacle, Placement, Reason, Removal, Verdict};
use std::collections::BTreeMap;

/// A network of one plugin.
pub const BRIDGE: &str = r#"{
  "cniVersion": "1.0.0",
  "name": "podnet",
  "type": "bridge",
  "bridge": "cni0",
  "mtu": 9007199254740993,
  "ipam": { "type": "host-local", "ranges": [[{"subnet": "10.22.0.0/16"}]] }
}
"#;

/// A network of two plugins.
pub const LIST: &str = r#"{
  "name": "dbnet",
  "cniVersion": "0.4.0",
  "plugins": [
    {
      "type": "bridge",
      "args": { "labels": { "appVersion": "1.0" } }
    },
    { "type": "tuning", "sysctl": { "net.core.somaxconn": "500" } }
  ],
  "x-vendor": ["<&>", 1e2]
}
"#;

/// A directory in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scene(pub BTreeMap<String, String>);

impl Scene {
    pub fn new(files: &[(&str, &str)]) -> Scene {
        Scene(files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
    }

    pub fn files(&self) -> Vec<ConfFile> {
        let file = |(name, text): (&String, &String)| ConfFile { name: name.clone(), content: Ok(text.clone().into()) };
        self.0.iter().map(file).collect()
    }

    pub fn decide(&self, placement: &Placement) -> Decision {
        decide(&self.files(), placement, &entry(), None)
    }

    /// Does what is decided, which must be to write, and expects it to be valid afterwards.
    pub fn install(&mut self, placement: &Placement) -> Reason {
        let Verdict::Write(write) = self.decide(placement).verdict else {
            panic!("nothing to write: {:?}", self.decide(placement));
        };
        self.0.insert(write.file.clone(), String::from_utf8(write.content).unwrap());
        if let Some(replaced) = write.replaces {
            assert!(self.0.remove(&replaced).is_some(), "{replaced} is not there");
        }
        assert_eq!(self.decide(placement).verdict, Verdict::Valid { file: write.file }, "twice is once");
        write.why
    }

    pub fn uninstall(&mut self, placement: &Placement) {
        for removal in remove(&self.files(), placement) {
            match removal {
                Removal::Rewrite { file, content } => {
                    self.0.insert(file, String::from_utf8(content).unwrap());
                }
                Removal::Delete { file } => assert!(self.0.remove(&file).is_some()),
            }
        }
    }

    pub fn waits_for(&self, placement: &Placement) -> (Obstacle, String) {
        match self.decide(placement).verdict {
            Verdict::Wait { why, sentence } => (why, sentence),
            other => panic!("{other:?}"),
        }
    }

    pub fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// The whole directory as one text.
    pub fn shown(&self) -> String {
        self.0.iter().map(|(name, text)| format!("== {name}\n{text}")).collect()
    }
}

pub fn entry() -> PluginEntry {
    PluginEntry {
        plugin_log_level: "info".to_owned(),
        cni_agent_run_dir: "/var/run/istio-cni".to_owned(),
        exclude_namespaces: vec!["kube-system".to_owned()],
        pod_namespace: "istio-system".to_owned(),
        ..PluginEntry::default()
    }
}

/// Our entry as it stands in a list.
pub fn ours() -> String {
    entry().in_list(4)
}

pub fn first_found() -> Placement {
    Placement::Chained { file: None }
}

pub fn named(file: &str) -> Placement {
    Placement::Chained { file: Some(file.to_owned()) }
}

pub fn owned_beside(primary: Option<&str>) -> Placement {
    Placement::Owned { file: "02-istio-conf.conflist".to_owned(), primary: primary.map(str::to_owned) }
}
