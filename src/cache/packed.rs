//! A kept answer as it is shared between instances: the bytes of one value in Redis.
//!
//! Four letters and a version, then a BLAKE3 checksum of the rest, then the rest, deflated: the seal of the request it
//! answers, when it was made and until when it holds, what is known of it, its headers and its body. What is not exactly
//! that (cut, changed, of another request, written by somebody else, or grown beyond its bound) is no answer.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{CachedAnswer, Facts, Identity};

/// An answer from elsewhere and how long it still holds.
#[derive(Debug)]
pub struct Fetched {
    /// The answer.
    pub answer: Arc<CachedAnswer>,
    /// The rest of its time.
    pub ttl: Duration,
}

/// What stands before the body; JSON, its length in front.
#[derive(Serialize, Deserialize)]
struct Label {
    seal: [u8; 32],
    made_at_ms: i64,
    until_ms: i64,
    streamed: bool,
    facts: Facts,
    headers: Vec<(String, String)>,
}

/// Returns the name under which an answer is shared.
#[must_use]
pub fn shared_name(identity: &Identity) -> String {
    format!("tercet:answer:{}", blake3::Hash::from_bytes(*identity.key().as_bytes()).to_hex())
}

/// Returns the value that shares an answer; `None` where it is larger than [`SHARED_MAX_BYTES`].
#[must_use]
pub fn pack(identity: &Identity, answer: &CachedAnswer, ttl: Duration) -> Option<Vec<u8>> {
    let made_at_ms = answer.made_at.as_millisecond();
    let headers = answer.headers.iter();
    let label = Label {
        seal: identity.seal(),
        made_at_ms,
        until_ms: made_at_ms.saturating_add(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX)),
        streamed: answer.streamed,
        facts: (*answer.facts).clone(),
        headers: headers
            .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
            .collect(),
    };
    let label = serde_json::to_vec(&label).ok()?;
    let mut deflated = DeflateEncoder::new(Vec::new(), Compression::fast());
    deflated.write_all(&u32::try_from(label.len()).ok()?.to_le_bytes()).ok()?;
    deflated.write_all(&label).ok()?;
    deflated.write_all(&answer.body).ok()?;
    let packed = deflated.finish().ok()?;
    if packed.len() > SHARED_MAX_BYTES {
        return None;
    }
    Some([MARK, blake3::hash(&packed).as_bytes().as_slice(), &packed].concat())
}

/// Reads a shared value as the answer to a request; `None` where it is not that, or holds no longer.
#[must_use]
pub fn unpack(identity: &Identity, value: &[u8], now: Timestamp) -> Option<Fetched> {
    let rest = value.strip_prefix(MARK)?;
    let (checksum, packed) = rest.split_at_checked(blake3::OUT_LEN)?;
    if packed.len() > SHARED_MAX_BYTES || blake3::hash(packed).as_bytes() != checksum {
        return None;
    }
    let mut plain = Vec::new();
    DeflateDecoder::new(packed).take(PLAIN_MAX_BYTES + 1).read_to_end(&mut plain).ok()?;
    if plain.len() as u64 > PLAIN_MAX_BYTES {
        return None;
    }
    let (length, rest) = plain.split_first_chunk::<4>()?;
    let (label, body) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    let label: Label = serde_json::from_slice(label).ok()?;
    if label.seal != identity.seal() {
        return None;
    }
    let left_ms = label.until_ms.saturating_sub(now.as_millisecond());
    let ttl = Duration::from_millis(u64::try_from(left_ms).ok().filter(|left| *left > 0)?);
    let mut headers = HeaderMap::new();
    for (name, value) in &label.headers {
        headers.append(name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value).ok()?);
    }
    let answer = CachedAnswer {
        headers,
        body: Bytes::copy_from_slice(body),
        streamed: label.streamed,
        facts: Arc::new(label.facts),
        made_at: Timestamp::from_millisecond(label.made_at_ms).ok()?,
    };
    Some(Fetched { answer: Arc::new(answer), ttl })
}

const MARK: &[u8] = b"TCA\x01";
/// The largest value that is shared, deflated.
pub const SHARED_MAX_BYTES: usize = 4 << 20;
/// What one may grow to.
const PLAIN_MAX_BYTES: u64 = 17 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Parts;
    use super::*;

    fn identity(body: &str) -> Identity {
        Identity::of(&Parts {
            scope: &[b"acme"],
            upstream: "u",
            credential: &[],
            model: "m",
            adaptation: "",
            query: "",
            headers: &HeaderMap::new(),
            body: &Bytes::from(body.to_owned()),
            left_out: &[0..0, 0..0],
        })
    }

    fn answer(body: &[u8]) -> CachedAnswer {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("text/event-stream"));
        let facts = Facts { message_id: Some("msg_1".to_owned()), ..Facts::default() };
        CachedAnswer {
            headers,
            body: Bytes::copy_from_slice(body),
            streamed: true,
            facts: Arc::new(facts),
            made_at: now(),
        }
    }

    fn now() -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000).unwrap()
    }

    const TTL: Duration = Duration::from_secs(60);

    proptest! {
        #[test]
        fn what_is_shared_comes_back_and_nothing_else_does(
            body in proptest::collection::vec(any::<u8>(), 0..2_000), at in any::<prop::sample::Index>(), flip in 1u8..,
        ) {
            let (one, other) = (identity("one"), identity("other"));
            let value = pack(&one, &answer(&body), TTL).unwrap();
            let back = unpack(&one, &value, now()).unwrap();
            prop_assert_eq!((&back.answer.body[..], back.ttl, back.answer.made_at), (&body[..], TTL, now()));
            prop_assert_eq!(&back.answer.headers, &answer(&body).headers);
            prop_assert_eq!(&back.answer.facts.message_id, &Some("msg_1".to_owned()));
            prop_assert!(unpack(&other, &value, now()).is_none(), "another request's");
            let mut changed = value.clone();
            let place = at.index(changed.len());
            changed[place] ^= flip;
            prop_assert!(unpack(&one, &changed, now()).is_none(), "changed at {}", place);
            prop_assert!(unpack(&one, &value[..place], now()).is_none(), "cut at {}", place);
            prop_assert!(unpack(&one, &body, now()).is_none(), "anybody's bytes");
        }
    }

    #[test]
    fn what_holds_no_longer_is_none_and_what_remains_of_its_time_is_told() {
        let value = pack(&identity("one"), &answer(b"words"), TTL).unwrap();
        let later = |seconds: i64| now().checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
        assert_eq!(unpack(&identity("one"), &value, later(20)).unwrap().ttl, TTL * 2 / 3);
        assert!(unpack(&identity("one"), &value, later(60)).is_none());
    }

    #[test]
    fn values_are_bounded_packed_and_unpacked() {
        let noise: Vec<u8> = (0..SHARED_MAX_BYTES + 1_000)
            .scan(1u32, |state, _| {
                *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                Some(state.to_be_bytes()[0])
            })
            .collect();
        assert!(pack(&identity("one"), &answer(&noise), TTL).is_none());
        let bomb = pack(&identity("one"), &answer(&vec![0; 18 << 20]), TTL).unwrap();
        assert!(bomb.len() < 1 << 20 && unpack(&identity("one"), &bomb, now()).is_none());
    }
}
