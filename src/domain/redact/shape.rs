//! What is a credential by its looks, whatever stands before it.

use super::super::api_access::REDACTED;

/// What a JSON Web Token begins with: `{"` in base64.
const JWT: &str = "eyJ";
const SHORTEST_JWT: usize = 20;
/// What the tokens of well-known services begin with.
const PREFIXES: &[&str] =
    &["ghp_", "gho_", "ghs_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "sk-", "hvs.", "dckr_pat_", "npm_", "AIza"];
const SHORTEST_TOKEN: usize = 16;
/// What an access key of AWS begins with, and its length.
const AWS: [&str; 2] = ["AKIA", "ASIA"];
const AWS_LENGTH: usize = 20;
/// From so many characters on, what mixes all classes of them is no name.
const LONG: usize = 40;
const BEGIN: &str = "-----BEGIN";
const END: &str = "-----END";
const DASHES: &str = "-----";

/// Whether a word looks like a credential.
pub fn is_credential(word: &str) -> bool {
    let jwt = word.find(JWT).is_some_and(|at| word.len() - at >= SHORTEST_JWT);
    let known = PREFIXES.iter().any(|prefix| word.starts_with(prefix)) && word.len() >= SHORTEST_TOKEN;
    let aws = AWS.iter().any(|prefix| word.starts_with(prefix)) && word.len() == AWS_LENGTH;
    jwt || known || aws || is_bootstrap_token(word) || is_random(word)
}

/// Six and sixteen characters, as `kubeadm` makes them.
fn is_bootstrap_token(word: &str) -> bool {
    let small = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let digit = |text: &str| text.bytes().any(|byte| byte.is_ascii_digit());
    let parts = word.split_once('.');
    parts.is_some_and(|(id, key)| id.len() == 6 && key.len() == 16 && small(id) && small(key) && digit(key))
}

/// Long, and with all classes of characters in it, as base64 is. Hashes and trace ids are in small letters, and paths
/// begin with a slash.
fn is_random(word: &str) -> bool {
    let mixed = |part: &str| {
        let has = |class: fn(&u8) -> bool| part.as_bytes().iter().any(class);
        part.len() >= LONG && has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit)
    };
    !word.starts_with('/') && word.split(['.', '~']).any(mixed)
}

/// The text without blocks of PEM. One that does not end takes the lines that look like its own.
pub fn without_pem(text: &str) -> String {
    let (mut safe, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(BEGIN) {
        let (before, block) = rest.split_at(at);
        safe.push_str(before);
        safe.push_str(REDACTED);
        let end = block.find(END).map(|end| end + END.len());
        rest = match end {
            Some(end) => {
                let label = &block[end..];
                let line = label.find(['\n', '"']).unwrap_or(label.len());
                &label[label[..line].find(DASHES).map_or(line, |dashes| dashes + DASHES.len())..]
            }
            None => after_open_block(block),
        };
    }
    safe.push_str(rest);
    safe
}

fn after_open_block(block: &str) -> &str {
    let base64 = |line: &str| {
        let line = line.trim();
        !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
    };
    let mut lines = block.split_inclusive('\n');
    let mut taken = lines.next().map_or(0, str::len);
    taken += lines.take_while(|line| base64(line)).map(str::len).sum::<usize>();
    // The line's end stays.
    let line_end = usize::from(block[..taken].ends_with('\n'));
    &block[taken - line_end..]
}
