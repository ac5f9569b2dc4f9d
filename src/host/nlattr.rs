//! Netlink messages and attributes, written into and read from byte buffers (man 7 netlink).

use super::netlink::HEADER;

const NLA_F_NESTED: u16 = 0x8000;
const NLA_TYPE_MASK: u16 = 0x3fff;

/// Writes netlink messages one after the other into one buffer.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// A writer with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Writer {
        Writer { bytes: Vec::with_capacity(capacity) }
    }

    /// The bytes written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Writes one message: header, fixed part, then what `attributes` writes. Returns where it starts.
    pub fn message(
        &mut self,
        kind: u16,
        flags: u16,
        seq: u32,
        fixed: &[u8],
        attributes: impl FnOnce(&mut Writer),
    ) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&seq.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(fixed);
        self.pad();
        attributes(self);
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        debug_assert!(length as usize >= HEADER);
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        start
    }

    /// Adds flags to the message that starts at `message`.
    pub fn add_flags(&mut self, message: usize, flags: u16) {
        if let Some(old) = self.bytes.get_mut(message + 6..message + 8) {
            let old_flags = u16::from_ne_bytes([old[0], old[1]]);
            old.copy_from_slice(&(old_flags | flags).to_ne_bytes());
        }
    }

    /// Writes an attribute.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.attribute(kind, |writer| writer.bytes.extend_from_slice(value));
    }

    /// Writes a text attribute with its terminating zero.
    pub fn text(&mut self, kind: u16, value: &str) {
        self.attribute(kind, |writer| {
            writer.bytes.extend_from_slice(value.as_bytes());
            writer.bytes.push(0);
        });
    }

    /// Writes a number in network order, as nf_tables has them.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// Writes an attribute that holds attributes.
    pub fn nested(&mut self, kind: u16, attributes: impl FnOnce(&mut Writer)) {
        self.attribute(kind | NLA_F_NESTED, attributes);
    }

    fn attribute(&mut self, kind: u16, value: impl FnOnce(&mut Writer)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        value(self);
        // A rule's expressions are the largest attribute, and far from this limit.
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The attributes in `bytes`, as type (without flags) and value; a malformed rest is left out.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.first_chunk::<4>()?;
        let length = u16::from_ne_bytes([header[0], header[1]]) as usize;
        let kind = u16::from_ne_bytes([header[2], header[3]]) & NLA_TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of this type.
pub fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// A number in network order.
pub fn be32(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

/// A text without its terminating zero.
pub fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value.strip_suffix(&[0]).unwrap_or(value)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut writer = Writer::default();
        writer.nested(4, |inner| {
            inner.text(1, "lo");
            inner.be32(2, 7);
        });
        writer.bytes(5, &[1, 2, 3]);
        let bytes = writer.into_bytes();

        let inner = find(&bytes, 4).unwrap();
        assert_eq!(find(inner, 1).and_then(text), Some("lo"));
        assert_eq!(find(inner, 2).and_then(be32), Some(7));
        assert_eq!(find(&bytes, 5), Some([1, 2, 3].as_slice()));
    }

    #[test]
    fn a_truncated_attribute_is_left_out() {
        assert_eq!(attributes(&[8, 0, 1, 0, 9, 9]).count(), 0);
        assert_eq!(attributes(&[2, 0, 1, 0]).count(), 0, "a length shorter than the header must not loop");
    }
}
