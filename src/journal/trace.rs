//! Where an exchange stands in a trace: what its client named, or a trace of its own.

use super::chain::from_hex;
use super::record::ExchangeRecord;

/// A span's ids; made from the record, so they are the same whenever they are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The trace: the client's, or the exchange's own.
    pub trace_id: [u8; 16],
    /// The exchange itself.
    pub span_id: [u8; 8],
    /// What the client named; `None` where it named nothing.
    pub parent: Option<[u8; 8]>,
}

impl ExchangeRecord {
    /// Returns where the exchange stands in a trace; `None` where its client does not want it sampled.
    #[must_use]
    pub fn trace(&self) -> Option<Trace> {
        let own = *blake3::hash(self.request_id.as_str().as_bytes()).as_bytes();
        let span_id = array(own.get(16..24)?)?;
        let Some(given) = &self.traceparent else {
            return Some(Trace { trace_id: array(own.get(..16)?)?, span_id, parent: None });
        };
        let mut parts = given.split('-').skip(1);
        let (trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?);
        let is_sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        let read =
            Trace { trace_id: array(&from_hex(trace)?)?, span_id, parent: Some(array(&from_hex(parent)?)?) };
        is_sampled.then_some(read)
    }
}

fn array<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::id::RequestId;

    fn traced(traceparent: Option<&str>) -> Option<Trace> {
        let id = RequestId::generate();
        let mut record = ExchangeRecord::begin(id, Timestamp::UNIX_EPOCH, String::new(), String::new());
        record.traceparent = traceparent.map(str::to_owned);
        let trace = record.trace();
        assert_eq!(trace, record.trace(), "the same whenever it is asked for");
        trace
    }

    #[test]
    fn a_client_names_its_trace_or_none_and_may_want_none() {
        let given = traced(Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")).unwrap();
        assert_eq!(given.trace_id[..4], [0x0a, 0xf7, 0x65, 0x19]);
        assert_eq!(given.parent, Some([0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]));
        assert_eq!(traced(Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")), None);
        let (one, other) = (traced(None).unwrap(), traced(None).unwrap());
        assert_eq!(one.parent, None);
        assert!(one.trace_id != other.trace_id && one.span_id != other.span_id);
    }
}
