//! The fuzz targets without a fuzzer: every file of every corpus, and mutations of them drawn from
//! a fixed seed, so that a run is the same everywhere. `ISTIO_CNI_FUZZ_ROUNDS` makes it longer.

#![expect(clippy::unwrap_used, reason = "tests assert by panicking")]

#[path = "../fuzz/bodies.rs"]
mod bodies;

use std::panic::catch_unwind;
use std::path::PathBuf;

/// Mutations of each file of a corpus.
const ROUNDS: usize = 400;
/// Bytes on which readers often hinge.
const TOKENS: [&[u8]; 16] = [
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"=",
    b";",
    b"\0",
    b"\xff",
    b"null",
    b"-1",
    b"1e999",
    b"99999999999999999999",
    b"\\ud800",
];

/// A small generator of numbers (xorshift), good enough to pick places.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap()
    }

    /// One to four changes of the bytes; now and then a part of another file.
    fn mutate(&mut self, bytes: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 => bytes.truncate(at),
                2 => drop(bytes.splice(at..at, TOKENS[self.below(TOKENS.len())].iter().copied())),
                3 => drop(bytes.drain(at..(at + self.below(16)).min(bytes.len()))),
                4 => {
                    let other = &others[self.below(others.len())];
                    let from = self.below(other.len());
                    bytes.extend_from_slice(&other[from..]);
                }
                _ => {
                    let piece = bytes[at..(at + self.below(32)).min(bytes.len())].to_vec();
                    drop(bytes.splice(at..at, piece));
                }
            }
        }
        bytes
    }
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "the corpus of {target} is empty");
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

fn try_on(target: &str, body: bodies::Body, bytes: &[u8]) {
    assert!(catch_unwind(|| body(bytes)).is_ok(), "{target} fails on {:?}", String::from_utf8_lossy(bytes));
}

fn replay(target: &str) {
    let (_, body) = bodies::ALL.into_iter().find(|(name, _)| *name == target).unwrap();
    let rounds = std::env::var("ISTIO_CNI_FUZZ_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap());
    let files = corpus(target);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for file in &files {
        try_on(target, body, file);
        for _ in 0..rounds {
            try_on(target, body, &random.mutate(file, &files));
        }
    }
}

#[test]
fn configurations() {
    replay("configuration");
}

#[test]
fn arguments() {
    replay("args");
}

#[test]
fn annotations() {
    replay("annotations");
}

#[test]
fn protocol() {
    replay("protocol");
}

#[test]
fn spool() {
    replay("spool");
}

#[test]
fn conflist() {
    replay("conflist");
}

#[test]
fn termination() {
    replay("termination");
}

#[test]
fn every_target_is_replayed_and_has_a_binary() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz_replay.rs")).unwrap();
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/Cargo.toml")).unwrap();
    for (target, _) in bodies::ALL {
        assert!(text.contains(&format!("replay(\"{target}\")")), "{target} is not replayed");
        assert!(manifest.contains(&format!("name = \"{target}\"")), "{target} has no binary");
    }
}
