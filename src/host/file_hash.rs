//! The SHA-256 of a file, by which people compare what is on a node with what an image has.

use super::binaries::forget;
use ring::digest::{Context, SHA256};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// No plugin is larger.
const LARGEST: u64 = 512 << 20;
const PIECE: usize = 64 << 10;

/// The hash in hexadecimal.
pub fn sha256(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let hashed = hash(&file);
    forget(&file);
    hashed
}

fn hash(file: &File) -> io::Result<String> {
    let mut file = file.take(LARGEST);
    let (mut context, mut piece) = (Context::new(&SHA256), vec![0; PIECE]);
    loop {
        match file.read(&mut piece)? {
            0 => break,
            got => context.update(piece.get(..got).unwrap_or_default()),
        }
    }
    Ok(context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_one_that_others_compute() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc").unwrap();
        let wanted = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(file.path()).unwrap(), wanted);
    }
}
