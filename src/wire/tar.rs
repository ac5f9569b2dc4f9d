//! An archive of a few small files, in the pax format (POSIX, "pax Interchange Format"): a name of any length is whole, and
//! leads nowhere but below the directory in which it is unpacked.

use std::collections::HashSet;

const BLOCK: usize = 512;
/// A longer name stands in a header of its own.
const LONGEST_NAME: usize = 100;
/// File systems take no longer part of a name; some room is left for a number.
const LONGEST_PART: usize = 253;

/// The archive, until it is finished.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    names: HashSet<String>,
}

impl Archive {
    /// Puts a file in; `modified` is seconds since the epoch. What in its name could lead elsewhere becomes `_`, and a
    /// second one of the same name gets a number.
    pub fn file(&mut self, name: &str, content: &[u8], modified: u64) {
        let name = self.own_name(&safe_name(name));
        if name.len() > LONGEST_NAME {
            // Who does not know this header sees a short name of no importance.
            self.entry("pax_header", b'x', record("path", &name).as_bytes(), modified);
        }
        self.entry(name.get(..LONGEST_NAME.min(name.len())).unwrap_or_default(), b'0', content, modified);
    }

    /// All of it.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }

    fn own_name(&mut self, name: &str) -> String {
        let numbered = (2..).map(|n| format!("{name}.{n}"));
        let free = std::iter::once(name.to_owned()).chain(numbered).find(|name| !self.names.contains(name));
        let name = free.unwrap_or_default();
        self.names.insert(name.clone());
        name
    }

    fn entry(&mut self, name: &str, kind: u8, content: &[u8], modified: u64) {
        let mut header = [0; BLOCK];
        put(&mut header, 0, name.as_bytes());
        put(&mut header, 100, b"0000600\0");
        put(&mut header, 108, b"0000000\0");
        put(&mut header, 116, b"0000000\0");
        put(&mut header, 124, format!("{:011o}\0", content.len()).as_bytes());
        put(&mut header, 136, format!("{modified:011o}\0").as_bytes());
        put(&mut header, 148, b"        ");
        put(&mut header, 156, &[kind]);
        put(&mut header, 257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        put(&mut header, 148, format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
    }
}

/// Plain parts with slashes between them.
fn safe_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let part = |part: &str| match part {
        "." | ".." => "_".to_owned(),
        part => part.chars().map(plain).take(LONGEST_PART).collect(),
    };
    let parts: Vec<String> = name.split('/').filter(|part| !part.is_empty()).map(part).collect();
    parts.join("/")
}

/// A record of a pax header: its own length in decimal, a key and a value.
fn record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let with = |length: usize| length.to_string().len() + rest.len();
    // The length's own digits may make it longer by one.
    format!("{}{rest}", with(with(rest.len())))
}

fn put(header: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    for (place, byte) in header.iter_mut().skip(at).zip(bytes) {
        *place = *byte;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn names_of_any_length_are_whole_and_lead_nowhere_else() {
        let node = format!("{}.example", "n".repeat(245));
        let mut archive = Archive::default();
        let names = ["a.txt", "../../etc/x", "/root/y", "a//b/./c", "w e\u{1b}i\u{202e}rd", "a.txt"];
        let long = format!("nodes/{node}/metrics.txt");
        names.iter().copied().chain([long.as_str()]).for_each(|name| archive.file(name, name.as_bytes(), 7));
        archive.file(&"p".repeat(9000), b"", 7);
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a.tar"), archive.finish()).unwrap();
        let tar = Command::new("tar").args(["-tf", "a.tar"]).current_dir(directory.path()).output().unwrap();
        assert!(tar.status.success() && tar.stderr.is_empty(), "{tar:?}");
        let listed = String::from_utf8(tar.stdout).unwrap();
        let wanted = ["a.txt", "_/_/etc/x", "root/y", "a/b/_/c", "w_e_i_rd", "a.txt.2", &long, &"p".repeat(253)];
        assert_eq!(listed.lines().collect::<Vec<_>>(), wanted);
        let tar = Command::new("tar").args(["-xOf", "a.tar", &long]).current_dir(directory.path()).output().unwrap();
        assert_eq!(String::from_utf8(tar.stdout).unwrap(), long);
    }

    #[test]
    fn a_record_has_its_own_length() {
        for length in 1..1100 {
            let record = record("path", &"x".repeat(length));
            assert_eq!(record.split(' ').next(), Some(record.len().to_string().as_str()));
        }
    }
}
