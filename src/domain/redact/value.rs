//! Where, behind a name, its value begins and ends.

/// What may follow a quote that ends a value.
const AFTER_QUOTE: &[char] = &[',', ';', ':', '}', ']', ')', '>', '\\'];

/// The length of what separates a name from its value: `=`, `: `, `": "`, `%3D`; 0 where nothing of it is there.
pub fn separator(after: &str) -> usize {
    let is_quote = |c: char| matches!(c, '"' | '\'' | '\\' | '`');
    let closed = after.trim_start_matches(is_quote).trim_start_matches([']', ')']).trim_start_matches([' ', '\t']);
    let encoded = ["%3D", "%3d", "%3A", "%3a"].iter().find_map(|sign| closed.strip_prefix(sign));
    if let Some(value) = encoded {
        return after.len() - value.len();
    }
    match closed.starts_with(['=', ':']) {
        true => after.len() - closed.trim_start_matches(['=', ':', '>', '~']).trim_start_matches([' ', '\t']).len(),
        false => 0,
    }
}

/// Of a value in quotes, which may be escaped themselves: the length of its opening, and that of its content. What is
/// not closed goes to the end.
pub fn quoted(text: &str) -> Option<(usize, usize)> {
    let escapes = text.bytes().take_while(|byte| *byte == b'\\').count();
    let quote = *text.as_bytes().get(escapes)?;
    if !matches!(quote, b'"' | b'\'' | b'`') {
        return None;
    }
    let open = escapes + 1;
    let (mut before, content) = (0, &text.as_bytes()[open..]);
    let mut at = 0;
    while let Some(byte) = content.get(at) {
        if *byte == quote {
            let doubled = quote == b'\'' && content.get(at + 1) == Some(&quote) && at > 0;
            let closes = if escapes == 0 { before % 2 == 0 } else { before == escapes };
            match (closes, doubled) {
                (true, true) => at += 1,
                (true, false) => return Some((open, at - if escapes == 0 { 0 } else { before })),
                (false, _) => {}
            }
        }
        before = if *byte == b'\\' { before + 1 } else { 0 };
        at += 1;
    }
    Some((open, content.len()))
}

/// The length of a value without quotes: it ends with a blank, or with a quote that something else begins with.
pub fn unquoted(text: &str) -> usize {
    let ends = |(at, c): (usize, char)| match c {
        c if c.is_whitespace() => Some(at),
        '"' | '\'' | '`' => {
            let next = text[at + 1..].chars().next();
            let ends = next.is_none_or(|next| next.is_whitespace() || AFTER_QUOTE.contains(&next));
            ends.then(|| text[..at].trim_end_matches('\\').len())
        }
        _ => None,
    };
    text.char_indices().find_map(ends).unwrap_or(text.len())
}

/// The value that begins here.
pub fn peek(text: &str) -> &str {
    match quoted(text) {
        Some((open, content)) => &text[open..open + content],
        None => text[..unquoted(text)].trim_end_matches([',', ';']),
    }
}

/// Where, behind a scheme or a user's name, that ends which says who somebody is: at the `@` of `://user:password@` or
/// `:password@`; at the end of all of it where the `@` may as well belong to something else that is a secret.
pub fn userinfo(after: &str) -> Option<usize> {
    let rest = after.strip_prefix(':').filter(|rest| !rest.starts_with(char::is_whitespace))?;
    let run = &rest[..unquoted(rest)];
    let at = run.rfind('@').filter(|at| *at > 0)?;
    // An image's digest is nobody's.
    let digest = run[at + 1..].starts_with("sha256:") && !run.starts_with("//");
    let end = if run[..at].contains('=') { run.len() } else { at };
    (!digest).then_some(end + 1)
}
