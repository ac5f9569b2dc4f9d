//! The framing of the spool: records, one behind the other, that the plugin appends when there is
//! no agent and that the agent reads back later.
//!
//! ```text
//! file   = magic "ICNISPL" version(1)  record*
//! record = length(u32, little endian)  crc32(u32, little endian, of the payload)  payload
//! ```
//!
//! A plugin that was killed in the middle of a write leaves a torn last record; disk trouble may
//! leave a damaged one. Reading yields every whole record and says where it stopped.

/// What a spool file begins with: the format's name and its version.
pub const MAGIC: [u8; 8] = *b"ICNISPL\x01";
/// The most bytes that a record's payload may have.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// The bytes in front of a payload.
pub const RECORD_HEADER: usize = 8;

/// A payload as a record, to be appended in one write. `None` when it is empty or too long.
pub fn record(payload: &[u8]) -> Option<Vec<u8>> {
    if payload.is_empty() || payload.len() > MAX_PAYLOAD {
        return None;
    }
    let length = u32::try_from(payload.len()).ok()?;
    let mut bytes = Vec::with_capacity(RECORD_HEADER + payload.len());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&crc32(payload).to_le_bytes());
    bytes.extend_from_slice(payload);
    Some(bytes)
}

/// What comes next in a spool.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A whole record's payload.
    Record(&'a [u8]),
    /// A record whose checksum is wrong; reading goes on behind it.
    Damaged {
        /// Where the record begins.
        offset: usize,
    },
    /// The rest of the file is no record: torn off, or not ours. Nothing comes behind it.
    Torn {
        /// Where the rest begins.
        offset: usize,
        /// How many bytes there are.
        bytes: usize,
    },
}

/// Reads the records of a spool's bytes. An empty file has none.
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
    ended: bool,
}

impl<'a> Reader<'a> {
    /// Begins to read; a file that does not begin with [`MAGIC`] is one torn rest.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        let offset = if bytes.starts_with(&MAGIC) { MAGIC.len() } else { 0 };
        Reader { bytes, offset, ended: bytes.is_empty() }
    }

    fn whole_record(&self) -> Option<(&'a [u8], u32)> {
        if self.offset == 0 {
            return None;
        }
        let rest = self.bytes.get(self.offset..)?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        if length == 0 || length > MAX_PAYLOAD {
            return None;
        }
        Some((rest.get(..length)?, u32::from_le_bytes(*crc)))
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        if self.ended || self.offset == self.bytes.len() {
            return None;
        }
        let offset = self.offset;
        let Some((payload, crc)) = self.whole_record() else {
            self.ended = true;
            return Some(Item::Torn { offset, bytes: self.bytes.len() - offset });
        };
        self.offset += RECORD_HEADER + payload.len();
        Some(if crc32(payload) == crc { Item::Record(payload) } else { Item::Damaged { offset } })
    }
}

/// CRC-32 as in IEEE 802.3.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(payloads: &[&[u8]]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for payload in payloads {
            bytes.extend(record(payload).unwrap());
        }
        bytes
    }

    #[test]
    fn records_read_back_in_order() {
        let bytes = file(&[b"one", b"two", b"three"]);
        let items: Vec<Item<'_>> = Reader::new(&bytes).collect();
        assert_eq!(items, [Item::Record(b"one"), Item::Record(b"two"), Item::Record(b"three")]);
    }

    #[test]
    fn a_spool_torn_at_any_byte_keeps_the_records_before() {
        let bytes = file(&[b"one", b"two"]);
        let second = MAGIC.len() + RECORD_HEADER + 3;
        for cut in second + 1..bytes.len() {
            let items: Vec<Item<'_>> = Reader::new(&bytes[..cut]).collect();
            assert_eq!(items, [Item::Record(b"one"), Item::Torn { offset: second, bytes: cut - second }]);
        }
        for cut in 1..MAGIC.len() {
            let items: Vec<Item<'_>> = Reader::new(&bytes[..cut]).collect();
            assert_eq!(items, [Item::Torn { offset: 0, bytes: cut }]);
        }
        assert_eq!(Reader::new(b"").count(), 0);
        assert_eq!(Reader::new(&MAGIC).count(), 0);
    }

    #[test]
    fn a_damaged_record_does_not_hide_the_next() {
        let mut bytes = file(&[b"one", b"two"]);
        bytes[MAGIC.len() + RECORD_HEADER] ^= 1;
        let items: Vec<Item<'_>> = Reader::new(&bytes).collect();
        assert_eq!(items, [Item::Damaged { offset: MAGIC.len() }, Item::Record(b"two")]);
    }

    #[test]
    fn payloads_out_of_bounds_make_no_record() {
        assert_eq!(record(b""), None);
        assert_eq!(record(&vec![0; MAX_PAYLOAD + 1]), None);
        assert!(record(&vec![0; MAX_PAYLOAD]).is_some());
    }

    #[test]
    fn the_checksum_is_the_common_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic_and_end(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            prop_assert!(Reader::new(&bytes).count() <= bytes.len());
            let with_magic = [&MAGIC[..], &bytes].concat();
            prop_assert!(Reader::new(&with_magic).count() <= bytes.len());
        }
    }
}
