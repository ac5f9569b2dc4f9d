//! By which names secrets go: those of settings, headers, flags, fields of kubeconfigs, annotations and variables.

/// Names with this in them, without what separates words.
const WITH: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "apikey",
    "privatekey",
    "accesskey",
    "clientkey",
    "keydata",
    "certificatedata",
    "credential",
    "authorization",
    "cookie",
    "dockerconfig",
    "dockercfg",
    "connectionstring",
];
/// Names that end like this, digits aside.
const ENDING: &[&str] = &[
    "token",
    "tokens",
    "auth",
    "headers",
    "signature",
    "jwt",
    "tlskey",
    "signingkey",
    "encryptionkey",
    "sshkey",
    "masterkey",
    "authkey",
    "sharedkey",
    "sessionkey",
    "accountkey",
];
/// Names that are one of these.
const WHOLE: &[&str] = &["pass", "sig", "sas", "psk"];
/// Names whose value has blanks and quotes in it, and ends with the line.
const LINES: &[&str] = &["authorization", "headers", "cookie"];

/// Whether what goes by this name is nobody's business.
pub fn names_secret(name: &str) -> bool {
    // A path may lead to a secret, but what follows it is what is said of it.
    if name.starts_with('/') || name.matches('/').count() > 1 {
        return false;
    }
    let name = plain(name);
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let password = stem.ends_with("pwd") && !["pwd", "oldpwd"].contains(&stem);
    password
        || WITH.iter().any(|word| stem.contains(word))
        || ENDING.iter().any(|word| stem.ends_with(word))
        || WHOLE.contains(&stem)
        || name
            .split_once("pass")
            .is_some_and(|(before, after)| after.is_empty() && ["db", "user"].iter().any(|word| before.ends_with(word)))
}

/// Whether it is a flag whose next argument is a secret.
pub fn names_flag(word: &str) -> bool {
    word.starts_with('-') && names_secret(word)
}

/// Whether its value ends with the line alone.
pub(super) fn is_whole_line(name: &str) -> bool {
    let name = plain(name);
    LINES.iter().any(|word| name.ends_with(word))
}

/// Whether it is the name by which objects, such as variables and attributes, call what their value is of.
pub fn is_pair_name(word: &str) -> bool {
    ["name", "key"].iter().any(|name| word.eq_ignore_ascii_case(name))
}

/// Whether it is that value's.
pub fn is_pair_value(word: &str) -> bool {
    ["value", "stringvalue", "string_value"].iter().any(|name| word.eq_ignore_ascii_case(name))
}

fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}
