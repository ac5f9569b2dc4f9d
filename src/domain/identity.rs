//! Trace identity: a pod's UID without its dashes is its trace id, and its last eight bytes are
//! the id of the root span, so that every process that knows the pod writes into one trace.

/// A W3C trace id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

/// A W3C span id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(pub [u8; 8]);

impl TraceId {
    /// The trace of the pod with this UID. A UID that is not 32 hex digits (dashes removed), or
    /// all zeros, is hashed to an id.
    pub fn of_pod(uid: &str) -> TraceId {
        let digits: String = uid.chars().filter(|c| *c != '-').collect();
        match TraceId::from_hex(&digits) {
            Some(id) => id,
            None => TraceId::hashed(uid),
        }
    }

    /// Parses exactly 32 hex digits; all zeros is no id.
    pub fn from_hex(text: &str) -> Option<TraceId> {
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let value = u128::from_str_radix(text, 16).ok()?;
        (value != 0).then(|| TraceId(value.to_be_bytes()))
    }

    /// The id of the root span of a pod's trace: the UID's last eight bytes.
    pub fn root_span(self) -> SpanId {
        let [.., a, b, c, d, e, f, g, h] = self.0;
        let id = [a, b, c, d, e, f, g, h];
        if id == [0; 8] { SpanId([0, 0, 0, 0, 0, 0, 0, 1]) } else { SpanId(id) }
    }

    /// 32 lower-case hex digits.
    pub fn to_hex(self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }

    /// FNV-1a, 128 bits: stable between versions and processes, which is all that is asked of it.
    fn hashed(text: &str) -> TraceId {
        let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        for byte in text.bytes() {
            hash ^= u128::from(byte);
            hash = hash.wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
        TraceId(hash.max(1).to_be_bytes())
    }
}

impl SpanId {
    /// Parses exactly 16 hex digits; all zeros is no id.
    pub fn from_hex(text: &str) -> Option<SpanId> {
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let value = u64::from_str_radix(text, 16).ok()?;
        (value != 0).then(|| SpanId(value.to_be_bytes()))
    }

    /// The id that these parts always give: stable between versions and processes. What is between
    /// the parts counts too.
    pub fn derived(parts: &[&str]) -> SpanId {
        let TraceId(hash) = TraceId::hashed(&parts.join("\0"));
        let id = u128::from_be_bytes(hash);
        SpanId((((id >> 64) ^ id) as u64).max(1).to_be_bytes())
    }

    /// 16 lower-case hex digits.
    pub fn to_hex(self) -> String {
        format!("{:016x}", u64::from_be_bytes(self.0))
    }
}

/// A link to a span of somebody else's trace (the runtime's, or the one a pod annotation names).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceLink {
    /// The other trace.
    pub trace_id: TraceId,
    /// The span in it.
    pub span_id: SpanId,
    /// W3C trace flags.
    pub flags: u8,
    /// W3C `tracestate`, may be empty.
    pub state: String,
    /// Where the link was found: `environment` or `annotation`.
    pub source: &'static str,
    /// W3C baggage that came with it, decoded, in its order.
    pub baggage: Vec<(String, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_without_dashes_is_the_trace() {
        let id = TraceId::of_pod("11111111-2222-4333-8444-555555555555");
        assert_eq!(id.to_hex(), "11111111222243338444555555555555");
        assert_eq!(id.root_span().to_hex(), "8444555555555555");
    }

    #[test]
    fn other_uids_are_hashed_to_a_stable_valid_id() {
        let id = TraceId::of_pod("not-a-uid");
        assert_eq!(id, TraceId::of_pod("not-a-uid"));
        assert_ne!(id, TraceId::of_pod("another"));
        assert_ne!(id.0, [0; 16]);
        assert_ne!(TraceId::of_pod("00000000-0000-0000-0000-000000000000").0, [0; 16]);
        assert_ne!(TraceId::of_pod("").0, [0; 16]);
    }
}
