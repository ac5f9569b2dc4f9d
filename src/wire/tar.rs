//! An archive of a few small files, in the ustar format (POSIX pax, "ustar Interchange Format").

const BLOCK: usize = 512;
const LONGEST_NAME: usize = 100;

/// The archive, until it is finished.
#[derive(Default)]
pub struct Archive(Vec<u8>);

impl Archive {
    /// Puts a file in; `modified` is seconds since the epoch. A name that is too long is cut at its beginning.
    pub fn file(&mut self, name: &str, content: &[u8], modified: u64) {
        let from = name.ceil_char_boundary(name.len().saturating_sub(LONGEST_NAME));
        let mut header = [0; BLOCK];
        put(&mut header, 0, &name.as_bytes()[from..]);
        put(&mut header, 100, b"0000600\0");
        put(&mut header, 108, b"0000000\0");
        put(&mut header, 116, b"0000000\0");
        put(&mut header, 124, format!("{:011o}\0", content.len()).as_bytes());
        put(&mut header, 136, format!("{modified:011o}\0").as_bytes());
        put(&mut header, 148, b"        ");
        put(&mut header, 156, b"0");
        put(&mut header, 257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        put(&mut header, 148, format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
    }

    /// All of it.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }
}

fn put(header: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    for (place, byte) in header.iter_mut().skip(at).zip(bytes) {
        *place = *byte;
    }
}
