//! The directory as the runtime sees it: which files are usable networks, and which of them is the primary.

use super::json;
use super::list::List;
use super::plugin::{Order, Plugin};
use crate::domain::cni_files::{ConfFile, Obstacle, Skipped};

/// A usable network.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub file: String,
    /// Its list; that of a single configuration is the one that it stands for.
    pub list: List,
}

impl Candidate {
    /// The name of the file that has our entry once it is in: a list's ending is `.conflist`.
    pub fn target(&self) -> String {
        if self.file.ends_with(".conf") { format!("{}list", self.file) } else { self.file.clone() }
    }
}

/// Why there is no primary, with a sentence for people.
pub type Missing = (Obstacle, String);

/// The files of the directory, read.
pub struct Directory<'a> {
    files: &'a [ConfFile],
    /// In the order in which a runtime tries them.
    pub candidates: Vec<Candidate>,
    pub skipped: Vec<Skipped>,
}

impl<'a> Directory<'a> {
    pub fn read(files: &'a [ConfFile]) -> Directory<'a> {
        let mut directory = Directory { files, candidates: Vec::new(), skipped: Vec::new() };
        let mut tried: Vec<&ConfFile> = files.iter().filter(|file| is_tried(&file.name)).collect();
        tried.sort_by(|one, other| one.name.cmp(&other.name));
        for file in tried {
            match directory.network(file) {
                Ok(list) => directory.candidates.push(Candidate { file: file.name.clone(), list }),
                Err(problem) => directory.skipped.push(Skipped { file: file.name.clone(), problem }),
            }
        }
        directory
    }

    /// The entry of this name.
    pub fn file(&self, name: &str) -> Option<&'a ConfFile> {
        self.files.iter().find(|file| file.name == name)
    }

    /// The network to which ours is chained: in the file named, or in the first usable one; never in `except`, and
    /// never one that is ours alone.
    pub fn primary(&self, named: Option<&str>, except: Option<&str>) -> Result<Candidate, Missing> {
        let Some(named) = named else {
            let mut others = self.candidates.iter().filter(|candidate| Some(candidate.file.as_str()) != except);
            return others.find(|candidate| !candidate.list.is_ours_alone()).cloned().ok_or_else(|| {
                let sentence = "no usable network configuration (*.conf, *.conflist) of a primary CNI plugin is there yet: ours is chained to it as soon as the primary plugin has written one";
                (Obstacle::NoPrimary, sentence.to_owned())
            });
        };
        let names = [Some(named.to_owned()), sibling(named)];
        let allowed = names.into_iter().flatten().filter(|name| Some(name.as_str()) != except);
        let Some(file) = allowed.filter_map(|name| self.file(&name)).next() else {
            let sentence = format!(
                "the primary network configuration {named}, which CNI_CONF_NAME names, is not there yet: the plugin is chained to it as soon as it is"
            );
            return Err((Obstacle::NamedMissing, sentence));
        };
        let invalid = |problem: String| {
            let sentence = format!(
                "the primary network configuration {}, which CNI_CONF_NAME names, cannot be used: {problem}; correct the file, or name another",
                file.name
            );
            (Obstacle::NamedInvalid, sentence)
        };
        let list = self.of_any_shape(file).map_err(invalid)?;
        if list.is_ours_alone() {
            return Err(invalid("it has no plugin but istio-cni".to_owned()));
        }
        Ok(Candidate { file: file.name.clone(), list })
    }

    /// A file whose name need not say whether it is a list.
    pub fn of_any_shape(&self, file: &ConfFile) -> Result<List, String> {
        let text = text_of(file)?;
        let list = || self.whole_list(&text, &file.name);
        if file.name.ends_with(".conf") {
            self.single(&text).or_else(|problem| list().map_err(|_| problem))
        } else {
            list().or_else(|problem| self.single(&text).map_err(|_| problem))
        }
    }

    /// The usable networks that a runtime finds before this file.
    pub fn earlier_than<'b>(&'b self, file: &'b str) -> impl Iterator<Item = &'b str> {
        self.candidates.iter().map(|candidate| candidate.file.as_str()).filter(move |name| *name < file)
    }

    /// Whether this file has no plugin but ours.
    pub fn is_ours_alone(&self, file: &str) -> bool {
        self.candidates.iter().any(|candidate| candidate.file == file && candidate.list.is_ours_alone())
    }

    /// The `.json` files that some runtimes would use before this file.
    pub fn earlier_json(&self, file: &str) -> Vec<&'a str> {
        let json = self.files.iter().filter(|other| other.name.ends_with(".json") && other.name.as_str() < file);
        json.filter(|other| text_of(other).and_then(|text| self.single(&text)).is_ok())
            .map(|other| &*other.name)
            .collect()
    }

    /// The list that a single configuration stands for.
    fn single(&self, text: &str) -> Result<List, String> {
        let text = text.trim_matches([' ', '\t', '\n', '\r']);
        let plugin = Plugin::parse(text, Order::File)?;
        json::check_limits(text)?;
        Plugin::parse(text, Order::Sorted)?;
        let list = List::of_single(&plugin, false);
        let has_more = self.files.iter().any(|other| adds_to(&other.name, &list.name));
        Ok(if has_more { List::of_single(&plugin, true) } else { list })
    }

    fn network(&self, file: &ConfFile) -> Result<List, String> {
        let text = text_of(file)?;
        if file.name.ends_with(".conf") { self.single(&text) } else { self.whole_list(&text, &file.name) }
    }

    /// A list, with what the directory named like its network adds.
    fn whole_list(&self, text: &str, file: &str) -> Result<List, String> {
        let list = List::parse(text)?;
        let mut added = 0;
        if !list.inlined_only {
            for plugin in self.files.iter().filter(|other| other.name != file && adds_to(&other.name, &list.name)) {
                let read = text_of(plugin).and_then(|text| Plugin::parse(&text, Order::File));
                read.map_err(|problem| format!("its plugin {}: {problem}", plugin.name))?;
                added += 1;
            }
        }
        if !list.is_inline() && added == 0 {
            return Err("it has no plugins".to_owned());
        }
        Ok(list)
    }
}

/// The name with the other of the two endings.
pub fn sibling(name: &str) -> Option<String> {
    match name.strip_suffix(".conflist") {
        Some(stem) => Some(format!("{stem}.conf")),
        None => name.ends_with(".conf").then(|| format!("{name}list")),
    }
}

/// Whether a runtime tries files of this name.
fn is_tried(name: &str) -> bool {
    !name.contains('/') && (name.ends_with(".conf") || name.ends_with(".conflist"))
}

/// Whether the library adds the plugin in this file to the network of that name.
fn adds_to(file: &str, network: &str) -> bool {
    let directory = file.rsplit_once('/').map_or("", |(directory, _)| directory);
    let network = if network == "." { "" } else { network };
    file.ends_with(".conf") && directory == network
}

fn text_of(file: &ConfFile) -> Result<String, String> {
    file.content.as_ref().map(|bytes| json::decoded(bytes).into_owned()).map_err(Clone::clone)
}
