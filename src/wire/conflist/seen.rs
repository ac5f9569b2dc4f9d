//! The directory as it is, for those who look at it without being told what it should be: which file the runtime uses,
//! and where our entry stands.

use super::candidates::{Candidate, Directory};
use super::plugin::Plugin;
use crate::domain::cni_files::{ConfFile, Skipped};
use crate::wire::netconf::{Credentials, NetConf, Settings};
use serde_json::{Map, Value};

/// What is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The usable networks, in the order in which a runtime tries them: it uses the first.
    pub networks: Vec<Network>,
    /// Files that a runtime looks at, and that are no usable configuration.
    pub skipped: Vec<Skipped>,
    /// A `.json` file that some runtimes would use before the first one.
    pub json: Option<String>,
}

/// One usable network.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    pub file: String,
    /// The types of its plugins, in their order.
    pub kinds: Vec<String>,
    /// Our entry, if it is in it: the first one.
    pub ours: Option<Ours>,
}

/// Our entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Ours {
    /// Its place in the list, from 0.
    pub at: usize,
    /// How often it stands there.
    pub times: usize,
    /// What it tells the plugin, or why the plugin would refuse it.
    pub settings: Result<Box<Settings>, String>,
}

impl Ours {
    /// Whether it says that the plugin has no kubeconfig.
    pub fn without_kubeconfig(&self) -> bool {
        self.settings.as_ref().is_ok_and(|settings| settings.credentials == Credentials::None)
    }
}

impl Seen {
    /// The network in which our entry stands: the one that is used, if it is in that.
    pub fn ours(&self) -> Option<(&Network, &Ours)> {
        self.networks.iter().find_map(|network| Some((network, network.ours.as_ref()?)))
    }
}

/// Looks at the directory's files.
pub fn seen(files: &[ConfFile]) -> Seen {
    let directory = Directory::read(files);
    let json = directory.candidates.first().and_then(|first| directory.earlier_json(&first.file).into_iter().next());
    Seen {
        networks: directory.candidates.iter().map(network).collect(),
        json: json.map(str::to_owned),
        skipped: directory.skipped,
    }
}

fn network(candidate: &Candidate) -> Network {
    let Candidate { file, list } = candidate;
    let places = list.ours();
    let ours = places.first().map(|at| Ours {
        at: *at,
        times: places.len(),
        settings: settings(&list.plugins[*at], &list.name).map(Box::new),
    });
    Network { file: file.clone(), kinds: list.plugins.iter().map(|plugin| plugin.kind.clone()).collect(), ours }
}

/// What the plugin makes of its entry, once the runtime has added the network's name.
fn settings(plugin: &Plugin, network: &str) -> Result<Settings, String> {
    let mut entry: Map<String, Value> =
        serde_json::from_str(&plugin.text).map_err(|error| format!("it is no JSON object: {error}"))?;
    entry.insert("name".to_owned(), Value::from(network));
    let text = Value::Object(entry).to_string();
    let conf = NetConf::parse(text.as_bytes()).map_err(|error| error.to_string())?;
    conf.check_name().and_then(|()| conf.settings()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> ConfFile {
        ConfFile { name: name.to_owned(), content: Ok(text.as_bytes().to_vec()) }
    }

    fn list(plugins: &str) -> String {
        format!(r#"{{"cniVersion":"1.0.0","name":"net","plugins":[{plugins}]}}"#)
    }

    #[test]
    fn our_entry_is_found_with_its_place_and_what_it_says() {
        let ours = r#"{"type":"istio-cni","name":"istio-cni","cni_agent_run_dir":"/run/x","kubeconfig":"none"}"#;
        let files = [
            file("20-b.conflist", &list(&format!(r#"{{"type":"bridge"}},{ours}"#))),
            file("10-a.conflist", &list(r#"{"type":"ptp"}"#)),
            file("05-c.conf", "{"),
        ];
        let seen = seen(&files);
        assert_eq!(seen.skipped.len(), 1);
        assert_eq!(seen.networks[0].kinds, ["ptp"]);
        let (network, ours) = seen.ours().unwrap();
        assert_eq!((network.file.as_str(), ours.at, ours.times), ("20-b.conflist", 1, 1));
        assert_eq!(ours.settings.as_ref().unwrap().run_dir, std::path::Path::new("/run/x"));
        assert!(ours.without_kubeconfig());
    }

    #[test]
    fn an_entry_that_the_plugin_would_refuse_says_why() {
        let ours = r#"{"type":"istio-cni","redirect_backend":"ebpf"}"#;
        let seen = seen(&[file("10-a.conflist", &list(&format!(r#"{{"type":"ptp"}},{ours}"#)))]);
        let problem = seen.ours().unwrap().1.settings.as_ref().unwrap_err();
        assert!(problem.contains("redirect_backend") && problem.contains("ebpf"), "{problem}");
    }
}
