//! Our plugin's object in the network configuration: the keys of the reference in its order, then ours.

use super::PLUGIN_TYPE;
use super::json::{Member, quoted, same_meaning};
use serde_json::{Value, json};

/// The version that a configuration of our own speaks.
pub const VERSION: &str = "0.3.1";

/// What the agent tells the plugin through the network configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PluginEntry {
    pub plugin_log_level: String,
    pub cni_agent_run_dir: String,
    pub ambient_enabled: bool,
    pub enablement_selectors: Vec<Value>,
    /// None at all is written as `null`, as the reference does.
    pub exclude_namespaces: Vec<String>,
    pub pod_namespace: String,
    pub native_nftables: bool,
    pub enable_ambient_detection_retry: bool,
    /// `auto`, `nftables` or `iptables`; without one the key is not written, and `native_nftables` counts.
    pub redirect_backend: Option<String>,
    /// Whether `kubeconfig: none` is written: no credential on the node.
    pub without_kubeconfig: bool,
    /// Further keys of the plugin, in this order.
    pub extra: Vec<(String, Value)>,
}

impl PluginEntry {
    /// The object in a list, whose lines after the first are indented by `indent` blanks.
    pub fn in_list(&self, indent: usize) -> String {
        print(&self.members(), indent)
    }

    /// The object as a file of its own.
    pub fn standalone(&self) -> Vec<u8> {
        let mut members = vec![("cniVersion".to_owned(), json!(VERSION))];
        members.extend(self.members());
        let mut text = print(&members, 0);
        text.push('\n');
        text.into_bytes()
    }

    /// Whether the object in a list means the same.
    pub fn is_meant_by(&self, text: &str) -> bool {
        same_meaning(text, &self.in_list(0))
    }

    fn members(&self) -> Vec<(String, Value)> {
        let excluded = if self.exclude_namespaces.is_empty() { Value::Null } else { json!(self.exclude_namespaces) };
        let mut members = vec![
            ("name", json!(PLUGIN_TYPE)),
            ("type", json!(PLUGIN_TYPE)),
            ("ipam", json!({})),
            ("dns", json!({})),
            ("plugin_log_level", json!(self.plugin_log_level)),
            ("cni_agent_run_dir", json!(self.cni_agent_run_dir)),
            ("ambient_enabled", json!(self.ambient_enabled)),
            ("enablement_selectors", json!(self.enablement_selectors)),
            ("exclude_namespaces", excluded),
            ("pod_namespace", json!(self.pod_namespace)),
            ("native_nftables", json!(self.native_nftables)),
            ("enable_ambient_detection_retry", json!(self.enable_ambient_detection_retry)),
        ];
        members.extend(self.redirect_backend.as_ref().map(|backend| ("redirect_backend", json!(backend))));
        members.extend(self.without_kubeconfig.then(|| ("kubeconfig", json!("none"))));
        let own = members.into_iter().map(|(key, value)| (key.to_owned(), value));
        own.chain(self.extra.iter().cloned()).collect()
    }
}

/// An object of members that are passed on as they are, one on each line.
pub fn print_members(members: &[Member], indent: usize) -> String {
    let margin = " ".repeat(indent);
    let lines: Vec<String> =
        members.iter().map(|member| format!("{margin}  {}: {}", member.key, member.value)).collect();
    if lines.is_empty() { "{}".to_owned() } else { format!("{{\n{}\n{margin}}}", lines.join(",\n")) }
}

fn print(members: &[(String, Value)], indent: usize) -> String {
    let margin = " ".repeat(indent + 2);
    let value = |value: &Value| {
        let pretty = serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string());
        pretty.replace('\n', &format!("\n{margin}"))
    };
    let members: Vec<Member> =
        members.iter().map(|(key, given)| Member { key: quoted(key), value: value(given) }).collect();
    print_members(&members, indent)
}
