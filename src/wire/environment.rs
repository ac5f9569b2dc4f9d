//! The `CNI_*` variables of a call, checked in the order and with the words of the framework that
//! the reference uses.

use super::cni::{CODE_ENVIRONMENT, CniError, NAME_TAKEN, is_name};
use crate::domain::gotext::quote;
use crate::domain::request::Command;
use crate::domain::step::ErrorType;
use std::ffi::OsString;

/// The longest name that the kernel allows an interface.
const MAX_IFNAME: usize = 15;
/// How much of a value a message repeats.
const SHOWN: usize = 200;

/// What the plugin was started for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// By hand: there is no `CNI_COMMAND`.
    About,
    /// `VERSION`, which needs nothing else.
    Version,
    /// Anything that comes with a configuration on standard input.
    Call(Call),
}

/// The variables of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub verb: Verb,
    /// `CNI_CONTAINERID`; empty where the command does not need it.
    pub container_id: String,
    /// `CNI_NETNS`; may be empty for DEL.
    pub netns: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// `CNI_ARGS`, not parsed yet.
    pub args: String,
    /// `CNI_NETNS_OVERRIDE` is `1` or `true`: the plugin's own namespace is meant.
    pub own_netns_allowed: bool,
}

/// The word of `CNI_COMMAND`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    Known(Command),
    /// Not a command; refused once the configuration has been looked at, as the framework does.
    Unknown(String),
}

impl Verb {
    fn from_word(word: &str) -> Verb {
        let known = Command::ALL.into_iter().find(|command| command.name().eq_ignore_ascii_case(word));
        match known {
            Some(command) if !word.bytes().any(|byte| byte.is_ascii_lowercase()) => Verb::Known(command),
            _ => Verb::Unknown(word.to_owned()),
        }
    }

    fn needs(&self, variable: Variable) -> bool {
        use Command::{Add, Check, Del, Gc, Status};
        match (self, variable) {
            (Verb::Known(Add | Check), _) => true,
            (Verb::Known(Del), variable) => variable != Variable::Netns,
            (Verb::Known(Gc | Status), variable) => variable == Variable::Path,
            (Verb::Unknown(_), _) => false,
        }
    }
}

/// The variables that a command may need, in the order in which they are checked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Variable {
    ContainerId,
    Netns,
    Ifname,
    Path,
}

impl Variable {
    const ALL: [Variable; 4] = [Variable::ContainerId, Variable::Netns, Variable::Ifname, Variable::Path];

    const fn name(self) -> &'static str {
        match self {
            Variable::ContainerId => "CNI_CONTAINERID",
            Variable::Netns => "CNI_NETNS",
            Variable::Ifname => "CNI_IFNAME",
            Variable::Path => "CNI_PATH",
        }
    }

    fn check(self, value: &str) -> Result<(), CniError> {
        match self {
            Variable::ContainerId if !is_name(value) => {
                let error = refused("invalid characters in containerID").with_details(shown(value));
                Err(error.with_details(format!("CNI_CONTAINERID takes {NAME_TAKEN}")))
            }
            Variable::Ifname => check_ifname(value),
            _ => Ok(()),
        }
    }
}

/// Reads and checks the variables. `get` gives the value of one; empty counts as absent.
pub fn read(get: impl Fn(&str) -> Option<OsString>) -> Result<Invocation, CniError> {
    let text = |name: &str| get(name).map(|value| value.to_string_lossy().into_owned()).unwrap_or_default();
    let word = text("CNI_COMMAND");
    if word.is_empty() {
        return Ok(Invocation::About);
    }
    if word == "VERSION" {
        return Ok(Invocation::Version);
    }
    let verb = Verb::from_word(&word);
    let values = Variable::ALL.map(|variable| (variable, text(variable.name())));
    let mut missing = Vec::new();
    for (variable, value) in values.iter().filter(|(variable, _)| verb.needs(*variable)) {
        if value.is_empty() {
            missing.push(variable.name());
        } else {
            variable.check(value)?;
        }
    }
    if !missing.is_empty() {
        let error = refused(format!("required env variables [{}] missing", missing.join(",")));
        return Err(error.with_details("the container runtime must set each of them to a text that is not empty"));
    }
    let [(_, container_id), (_, netns), (_, ifname), _] = values;
    let own_netns_allowed = matches!(text("CNI_NETNS_OVERRIDE").to_ascii_lowercase().as_str(), "1" | "true");
    Ok(Invocation::Call(Call { verb, container_id, netns, ifname, args: text("CNI_ARGS"), own_netns_allowed }))
}

/// The error for a `CNI_COMMAND` that is none.
pub fn unknown_command(word: &str) -> CniError {
    let known = Command::ALL.map(|command| command.name().to_ascii_uppercase()).join(", ");
    refused(format!("unknown CNI_COMMAND: {}", shown(word)))
        .with_details(format!("the container runtime must call one of {known} or VERSION"))
}

fn check_ifname(name: &str) -> Result<(), CniError> {
    let error = if name.len() > MAX_IFNAME {
        let allowed = format!("interface name should be less than {} characters", MAX_IFNAME + 1);
        refused("interface name is too long").with_details(allowed)
    } else if name == "." || name == ".." {
        refused("interface name is . or ..")
    } else if name.chars().any(|c| c == '/' || c == ':' || c.is_whitespace()) {
        refused("interface name contains / or : or whitespace characters")
    } else {
        return Ok(());
    };
    let given = quote(&shown(name));
    let allowed = "the container runtime must give the name of the pod's interface, such as eth0";
    Err(error.with_details(format!("CNI_IFNAME is {given}: {allowed}")))
}

/// The beginning of a value, for a message.
fn shown(value: &str) -> String {
    value.chars().take(SHOWN).collect()
}

fn refused(msg: impl Into<String>) -> CniError {
    CniError::new(CODE_ENVIRONMENT, ErrorType::EnvironmentInvalid, msg)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: [(&str, &str); 5] = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "cafe"),
        ("CNI_NETNS", "/run/netns/a"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/opt/cni/bin"),
    ];

    /// The full environment with some variables changed; an empty value takes one away.
    fn with(changes: &[(&str, &str)]) -> Result<Invocation, CniError> {
        read(|name| {
            let pairs = changes.iter().chain(&FULL);
            pairs.clone().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    }

    fn message(changes: &[(&str, &str)]) -> String {
        let error = with(changes).unwrap_err();
        assert_eq!((error.code, error.error_type), (4, ErrorType::EnvironmentInvalid));
        error.to_string()
    }

    fn assert_starts(text: &str, expected: &str) {
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn a_whole_environment_is_a_call() {
        let Ok(Invocation::Call(call)) = with(&[("CNI_ARGS", "A=b"), ("CNI_NETNS_OVERRIDE", "True")]) else {
            panic!("no call");
        };
        assert_eq!(call.verb, Verb::Known(Command::Add));
        assert_eq!((call.container_id.as_str(), call.netns.as_str()), ("cafe", "/run/netns/a"));
        assert_eq!((call.ifname.as_str(), call.args.as_str(), call.own_netns_allowed), ("eth0", "A=b", true));
    }

    #[test]
    fn version_needs_nothing_else_and_no_command_is_a_person_asking() {
        assert_eq!(read(|name| (name == "CNI_COMMAND").then(|| "VERSION".into())), Ok(Invocation::Version));
        assert_eq!(read(|_| None), Ok(Invocation::About));
        assert_eq!(with(&[("CNI_COMMAND", "")]), Ok(Invocation::About));
    }

    #[test]
    fn all_missing_variables_are_named_together() {
        let none = [("CNI_CONTAINERID", ""), ("CNI_NETNS", ""), ("CNI_IFNAME", ""), ("CNI_PATH", "")];
        let all = message(&none);
        assert_eq!(
            all,
            "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH] missing; the container runtime must set each of them to a text that is not empty"
        );
        let del = [none.as_slice(), &[("CNI_COMMAND", "DEL")]].concat();
        assert_starts(&message(&del), "required env variables [CNI_CONTAINERID,CNI_IFNAME,CNI_PATH] missing");
        let status = [none.as_slice(), &[("CNI_COMMAND", "STATUS")]].concat();
        assert_starts(&message(&status), "required env variables [CNI_PATH] missing");
    }

    #[test]
    fn a_malformed_value_is_reported_before_what_is_missing() {
        let cases = [
            ("CNI_CONTAINERID", "a/b", "invalid characters in containerID; a/b; CNI_CONTAINERID takes letters"),
            (
                "CNI_IFNAME",
                "a234567890123456",
                "interface name is too long; interface name should be less than 16 characters; CNI_IFNAME is \"a234567890123456\": ",
            ),
            ("CNI_IFNAME", "..", "interface name is . or ..; CNI_IFNAME is \"..\": "),
            ("CNI_IFNAME", "a:b", "interface name contains / or : or whitespace characters; CNI_IFNAME is \"a:b\": "),
            ("CNI_IFNAME", "a\u{a0}b", "interface name contains / or : or whitespace characters"),
        ];
        for (key, value, expected) in cases {
            assert_starts(&message(&[(key, value), ("CNI_NETNS", ""), ("CNI_PATH", "")]), expected);
        }
    }

    #[test]
    fn what_a_command_does_not_need_is_not_looked_at() {
        let gc = with(&[("CNI_COMMAND", "GC"), ("CNI_CONTAINERID", "///"), ("CNI_IFNAME", "..")]);
        assert!(matches!(gc, Ok(Invocation::Call(Call { verb: Verb::Known(Command::Gc), .. }))));
    }

    #[test]
    fn an_unknown_command_is_left_for_later() {
        for word in ["FLY", "add", "Add"] {
            let Ok(Invocation::Call(call)) = with(&[("CNI_COMMAND", word), ("CNI_PATH", "")]) else { panic!() };
            assert_eq!(call.verb, Verb::Unknown(word.to_owned()));
        }
        let expected =
            "unknown CNI_COMMAND: FLY; the container runtime must call one of ADD, CHECK, DEL, GC, STATUS or VERSION";
        assert_eq!(unknown_command("FLY").to_string(), expected);
    }
}
