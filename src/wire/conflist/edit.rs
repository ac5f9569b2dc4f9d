//! A list's text put together again: two blanks of indentation for its members and its plugins, whose own texts are
//! passed on as they are.

use super::json::{self, Member};
use super::list::get;
use super::plugin::{Order, Plugin};

/// Prints an object, one of whose members is the list of these plugins.
pub fn print_list(members: &[Member], plugins_at: Option<usize>, plugins: &[String]) -> String {
    let mut lines = Vec::with_capacity(members.len());
    for (at, member) in members.iter().enumerate() {
        let value = if Some(at) == plugins_at { print_plugins(plugins) } else { member.value.clone() };
        lines.push(format!("  {}: {value}", member.key));
    }
    if lines.is_empty() { "{}\n".to_owned() } else { format!("{{\n{}\n}}\n", lines.join(",\n")) }
}

/// What is left of a text once our entries are out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// Our entries were not in it.
    Untouched,
    /// The list without them.
    Others(String),
    /// Nothing: it was ours alone.
    Nothing,
}

/// Takes our entries out of a list, or finds that a single configuration is ours. The rest need not be valid: what is
/// broken elsewhere is no reason to leave our entry in it.
pub fn without_ours(text: &str) -> Left {
    let Ok(members) = json::object(text) else { return Left::Untouched };
    let Some((at, plugins)) = get(&members, "plugins") else {
        let ours = Plugin::parse(text, Order::File).is_ok_and(|plugin| plugin.is_ours());
        return if ours { Left::Nothing } else { Left::Untouched };
    };
    let Ok(plugins) = json::list(plugins) else { return Left::Untouched };
    let is_ours = |text: &String| Plugin::parse(text, Order::Sorted).is_ok_and(|plugin| plugin.is_ours());
    let (ours, others): (Vec<String>, Vec<String>) = plugins.into_iter().partition(is_ours);
    match (ours.is_empty(), others.is_empty()) {
        (true, _) => Left::Untouched,
        (false, true) => Left::Nothing,
        (false, false) => Left::Others(print_list(&members, Some(at), &others)),
    }
}

fn print_plugins(plugins: &[String]) -> String {
    if plugins.is_empty() { "[]".to_owned() } else { format!("[\n    {}\n  ]", plugins.join(",\n    ")) }
}
