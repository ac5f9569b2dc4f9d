//! Address ranges as Go's `netip.ParsePrefix` reads them: which spellings pass, and with which
//! words the others fail. Stricter than most: no zones, no leading zeros, no missing length; an
//! IPv4 address inside an IPv6 one stays IPv6.

use super::gotext::quote;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Parses `ADDRESS/LENGTH`. Host bits are kept. The error is Go's text.
pub fn parse(text: &str) -> Result<IpNet, String> {
    let problem = |what: &str| format!("netip.ParsePrefix({}): {what}", quote(text));
    let (address, length) = text.rsplit_once('/').ok_or_else(|| problem("no '/'"))?;
    let (address, zone) = parse_address(address).map_err(|what| problem(&what))?;
    if zone {
        return Err(problem("IPv6 zones cannot be present in a prefix"));
    }
    let bad_length = || problem(&format!("bad bits after slash: {}", quote(length)));
    let plain = length.bytes().all(|byte| byte.is_ascii_digit()) && (length.len() == 1 || !length.starts_with('0'));
    // Go's integers have 64 bits; what does not fit is no number to it.
    let bits: i64 = if plain { length.parse().map_err(|_| bad_length())? } else { return Err(bad_length()) };
    let out_of_range = || problem("prefix length out of range");
    let bits = u8::try_from(bits).map_err(|_| out_of_range())?;
    match address {
        IpAddr::V4(v4) => Ipv4Net::new(v4, bits).map(IpNet::V4),
        IpAddr::V6(v6) => Ipv6Net::new(v6, bits).map(IpNet::V6),
    }
    .map_err(|_| out_of_range())
}

/// Whether a range's address, host bits included, is a loopback address.
pub fn is_loopback(net: &IpNet) -> bool {
    match net.addr() {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback()),
    }
}

/// What is wrong with an address, and from where on when that helps.
struct Flaw<'a> {
    what: &'static str,
    at: &'a str,
}

/// An address, and whether it has a zone.
fn parse_address(text: &str) -> Result<(IpAddr, bool), String> {
    let parsed = match text.find(['.', ':', '%']).map(|at| &text[at..=at]) {
        Some(".") => parse_v4(text).map(|v4| (IpAddr::V4(v4), false)),
        Some(":") => parse_v6(text).map(|(v6, zone)| (IpAddr::V6(v6), zone)),
        Some(_) => Err(Flaw { what: "missing IPv6 address", at: "" }),
        None => Err(Flaw { what: "unable to parse IP", at: "" }),
    };
    parsed.map_err(|Flaw { what, at }| {
        let place = if at.is_empty() { String::new() } else { format!(" (at {})", quote(at)) };
        format!("ParseAddr({}): {what}{place}", quote(text))
    })
}

fn parse_v4(text: &str) -> Result<Ipv4Addr, Flaw<'_>> {
    let (mut octets, mut filled) = ([0u8; 4], 0);
    let (mut value, mut digits) = (0u16, 0);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'0'..=b'9' => {
                if digits == 1 && value == 0 {
                    return Err(Flaw { what: "IPv4 field has octet with leading zero", at: "" });
                }
                value = value * 10 + u16::from(byte - b'0');
                digits += 1;
                octets[filled] = u8::try_from(value).map_err(|_| Flaw { what: "IPv4 field has value >255", at: "" })?;
            }
            b'.' if digits == 0 || at + 1 == text.len() => {
                return Err(Flaw { what: "IPv4 field must have at least one digit", at: &text[at..] });
            }
            b'.' if filled == 3 => return Err(Flaw { what: "IPv4 address too long", at: "" }),
            b'.' => (filled, value, digits) = (filled + 1, 0, 0),
            _ => return Err(Flaw { what: "unexpected character", at: &text[at..] }),
        }
    }
    if filled < 3 {
        return Err(Flaw { what: "IPv4 address too short", at: "" });
    }
    Ok(Ipv4Addr::from(octets))
}

fn parse_v6(text: &str) -> Result<(Ipv6Addr, bool), Flaw<'_>> {
    let (text, zone) = match text.split_once('%') {
        Some((_, "")) => return Err(Flaw { what: "zone must be a non-empty string", at: "" }),
        Some((address, _)) => (address, true),
        None => (text, false),
    };
    let mut groups: Vec<u16> = Vec::with_capacity(8);
    let (mut rest, mut gap) = match text.strip_prefix("::") {
        Some(rest) => (rest, Some(0)),
        None => (text, None),
    };
    while !(groups.len() >= 8 || rest.is_empty() && gap.is_some()) {
        let (group, after) = parse_group(rest)?;
        if after.starts_with('.') {
            groups.extend(parse_embedded_v4(rest, groups.len(), gap.is_some())?);
            rest = "";
            break;
        }
        groups.push(group);
        rest = after;
        if rest.is_empty() {
            break;
        }
        rest = rest.strip_prefix(':').ok_or(Flaw { what: "unexpected character, want colon", at: rest })?;
        if rest.is_empty() {
            return Err(Flaw { what: "colon must be followed by more characters", at: ":" });
        }
        if let Some(after) = rest.strip_prefix(':') {
            if gap.replace(groups.len()).is_some() {
                return Err(Flaw { what: "multiple :: in address", at: rest });
            }
            rest = after;
        }
    }
    if !rest.is_empty() {
        return Err(Flaw { what: "trailing garbage after address", at: rest });
    }
    let missing = 8 - groups.len();
    match gap {
        None if missing > 0 => return Err(Flaw { what: "address string too short", at: "" }),
        Some(_) if missing == 0 => {
            return Err(Flaw { what: "the :: must expand to at least one field of zeros", at: "" });
        }
        None => {}
        Some(gap) => drop(groups.splice(gap..gap, std::iter::repeat_n(0, missing))),
    }
    let mut segments = [0u16; 8];
    segments.copy_from_slice(&groups);
    Ok((Ipv6Addr::from(segments), zone))
}

/// One group of up to four hexadecimal digits, and what follows it.
fn parse_group(text: &str) -> Result<(u16, &str), Flaw<'_>> {
    let digits = text.bytes().take_while(u8::is_ascii_hexdigit).count();
    match digits {
        0 => Err(Flaw { what: "each colon-separated field must have at least one digit", at: text }),
        1..=4 => {
            let (group, after) = text.split_at(digits);
            Ok((u16::from_str_radix(group, 16).unwrap_or_default(), after))
        }
        _ => Err(Flaw { what: "each group must have 4 or less digits", at: text }),
    }
}

/// The IPv4 address that ends an IPv6 address, as two groups.
fn parse_embedded_v4(text: &str, groups_before: usize, has_gap: bool) -> Result<[u16; 2], Flaw<'_>> {
    if !has_gap && groups_before != 6 {
        return Err(Flaw { what: "embedded IPv4 address must replace the final 2 fields of the address", at: text });
    }
    if groups_before > 6 {
        return Err(Flaw { what: "too many hex fields to fit an embedded IPv4 at the end of the address", at: text });
    }
    let [a, b, c, d] = parse_v4(text)?.octets();
    Ok([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])])
}

#[cfg(test)]
#[path = "cidr_tests.rs"]
mod tests;
