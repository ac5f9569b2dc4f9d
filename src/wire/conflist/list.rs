//! A network configuration list: read as the CNI library reads it, printed with everybody's members as they were.

use super::entry::{PluginEntry, VERSION, print_members};
use super::json::{self, Member, shown};
use super::plugin::{Order, Plugin};
use crate::wire::cni::NEWEST_VERSION;

/// What a list made of a `.conf` without a name is called, as the reference calls it.
const NAMELESS: &str = "k8s-pod-network";

/// A list that the library takes, as far as its own file goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    members: Vec<Member>,
    /// Which member holds the plugins; without one they are in a directory.
    plugins_at: Option<usize>,
    pub plugins: Vec<Plugin>,
    /// The network's name.
    pub name: String,
    /// Whether the plugins in the directory named like the network are left out.
    pub inlined_only: bool,
}

impl List {
    /// Reads and checks a list; `Err` is a phrase.
    pub fn parse(text: &str) -> Result<List, String> {
        let members = json::object(text)?;
        json::check_limits(text)?;
        let name = get(&members, "name").map(|(_, value)| value).ok_or("it has no name")?;
        let name = is_text(name).ok_or_else(|| format!("its name is {}, and not text", shown(name)))?;
        check_versions(&members)?;
        let _ = (flag(&members, "disableCheck")?, flag(&members, "disableGC")?);
        let inlined_only = flag(&members, "loadOnlyInlinedPlugins")?;
        let mut list = List { name, inlined_only, plugins_at: None, plugins: Vec::new(), members };
        match get(&list.members, "plugins") {
            None if inlined_only => {
                return Err("loadOnlyInlinedPlugins is true, and there are no plugins in it".to_owned());
            }
            None => {}
            Some((at, text)) => {
                list.plugins = inlined(text)?;
                list.plugins_at = Some(at);
            }
        }
        Ok(list)
    }

    /// The list that a single plugin's configuration stands for. It keeps the network's name, under which addresses
    /// may have been given out, and its version where that can be chained. With `inlined_only` the library leaves out
    /// what stands in the directory of that name, as it does for the single configuration.
    pub fn of_single(single: &Plugin, inlined_only: bool) -> List {
        let members = json::object(&single.text).unwrap_or_default();
        let without: Vec<Member> = members.iter().filter(|member| member.name() != "cniVersion").cloned().collect();
        let text = if without.len() == members.len() { single.text.clone() } else { print_members(&without, 4) };
        let name = if single.name.is_empty() { NAMELESS } else { &single.name };
        let version = if can_be_chained(&single.version) { &single.version } else { VERSION };
        let mut members =
            vec![Member::new("cniVersion", json::quoted(version)), Member::new("name", json::quoted(name))];
        members.extend(inlined_only.then(|| Member::new("loadOnlyInlinedPlugins", "true".to_owned())));
        let plugins_at = Some(members.len());
        members.push(Member::new("plugins", String::new()));
        let plugins = vec![Plugin { text, ..single.clone() }];
        List { members, plugins_at, plugins, name: name.to_owned(), inlined_only }
    }

    /// Whether nothing stands in it but what [`List::of_single`] writes.
    pub fn is_like_converted(&self) -> bool {
        let mut keys: Vec<String> = self.members.iter().map(Member::name).collect();
        keys.retain(|key| key != "loadOnlyInlinedPlugins");
        keys == ["cniVersion", "name", "plugins"]
    }

    /// Whether the plugins stand in it, or at least some of them.
    pub fn is_inline(&self) -> bool {
        self.plugins_at.is_some()
    }

    /// The places of our entries.
    pub fn ours(&self) -> Vec<usize> {
        (0..self.plugins.len()).filter(|at| self.plugins[*at].is_ours()).collect()
    }

    /// Whether no plugin but ours stands in it.
    pub fn is_ours_alone(&self) -> bool {
        self.is_inline() && self.plugins.iter().all(Plugin::is_ours)
    }

    /// The same list without our entries.
    pub fn without_ours(&self) -> List {
        let plugins = self.plugins.iter().filter(|plugin| !plugin.is_ours()).cloned().collect();
        List { plugins, ..self.clone() }
    }

    /// The text of the list without our old entries and with this one at the end.
    pub fn with(&self, entry: &PluginEntry) -> String {
        let mut plugins = self.without_ours().texts();
        plugins.push(entry.in_list(4));
        self.print(&plugins)
    }

    /// The list as text.
    pub fn text(&self) -> String {
        self.print(&self.texts())
    }

    fn texts(&self) -> Vec<String> {
        self.plugins.iter().map(|plugin| plugin.text.clone()).collect()
    }

    fn print(&self, plugins: &[String]) -> String {
        super::edit::print_list(&self.members, self.plugins_at, plugins)
    }
}

/// The last member with exactly this name, as the library finds it, and its place.
pub fn get<'a>(members: &'a [Member], name: &str) -> Option<(usize, &'a str)> {
    let at = members.iter().rposition(|member| member.name() == name)?;
    Some((at, members[at].value.as_str()))
}

fn inlined(text: &str) -> Result<Vec<Plugin>, String> {
    if !text.starts_with('[') {
        return Err(format!("its plugins are {}, and not a list", shown(text)));
    }
    let items = json::list(text)?;
    if items.is_empty() {
        return Err("its list of plugins is empty".to_owned());
    }
    let plugin = |(at, text): (usize, &String)| {
        Plugin::parse(text, Order::Sorted).map_err(|problem| format!("plugin {at} of its list: {problem}"))
    };
    items.iter().enumerate().map(plugin).collect()
}

fn is_text(value: &str) -> Option<String> {
    value.starts_with('"').then(|| json::text(value))
}

/// A truth value, which may be written as text.
fn flag(members: &[Member], key: &str) -> Result<bool, String> {
    let Some((_, value)) = get(members, key) else { return Ok(false) };
    match is_text(value).unwrap_or_else(|| value.to_owned()).to_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("its {key} is {}, and neither true nor false", shown(value))),
    }
}

/// `cniVersion` is text; with `cniVersions`, a list of text, all of them are versions.
fn check_versions(members: &[Member]) -> Result<(), String> {
    let version = match get(members, "cniVersion") {
        None => String::new(),
        Some((_, value)) => {
            is_text(value).ok_or_else(|| format!("its cniVersion is {}, and not text", shown(value)))?
        }
    };
    let Some((_, versions)) = get(members, "cniVersions") else { return Ok(()) };
    let wrong = || format!("its cniVersions are {}, and not a list of text", shown(versions));
    let versions = if versions.starts_with('[') { json::list(versions)? } else { return Err(wrong()) };
    for given in versions.iter().map(|value| is_text(value)).chain([Some(Some(version))].into_iter().flatten()) {
        let given = given.ok_or_else(wrong)?;
        if numbers(&given).is_none() {
            return Err(format!("its cniVersions have {}, which is no version like {NEWEST_VERSION}", shown(&given)));
        }
    }
    Ok(())
}

/// A version's numbers; absent ones are 0, and no version at all is 0.1.0.
fn numbers(version: &str) -> Option<[i64; 3]> {
    if version.is_empty() {
        return Some([0, 1, 0]);
    }
    let mut numbers = [0; 3];
    for (at, part) in version.split('.').enumerate() {
        *numbers.get_mut(at)? = part.parse().ok()?;
    }
    Some(numbers)
}

/// Whether plugins of this version pass results on to each other.
fn can_be_chained(version: &str) -> bool {
    numbers(version).is_some_and(|numbers| !version.is_empty() && numbers >= [0, 3, 1])
}
