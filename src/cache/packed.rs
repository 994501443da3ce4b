//! A kept answer as it is shared between instances: the bytes of one value in Redis.
//!
//! Four letters and a version, then a BLAKE3 checksum of the rest: a head by which it is found without being read whole
//! (who paid, when it was made, by which model), then, deflated, the seal of the request it answers, until when it holds,
//! what is known of it, its headers and its body. What is not exactly that (cut, changed, of another request, written by
//! somebody else, or grown beyond its bound) is no answer.

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

use super::stock::PAYER_BYTES;
use super::{CachedAnswer, Facts, Identity, Payer};

/// An answer from elsewhere and how long it still holds.
#[derive(Debug)]
pub struct Fetched {
    /// The answer.
    pub answer: Arc<CachedAnswer>,
    /// The rest of its time.
    pub ttl: Duration,
}

/// What is told of a shared answer without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// Who paid for it.
    pub payer: Payer,
    /// When it was complete.
    pub made_at: Timestamp,
    /// The model that answered, its first 64 bytes.
    pub model: &'a str,
}

/// What stands before the body; JSON, its length in front.
#[derive(Serialize, Deserialize)]
struct Label {
    seal: [u8; 32],
    until_ms: i64,
    streamed: bool,
    facts: Facts,
    headers: Vec<(String, String)>,
}

/// Returns the name under which an answer is shared.
#[must_use]
pub fn shared_name(identity: &Identity) -> String {
    format!("{SHARED_NAMES}{}", blake3::Hash::from_bytes(*identity.key().as_bytes()).to_hex())
}

/// Returns the value that shares an answer; `None` where it is larger than [`SHARED_MAX_BYTES`].
#[must_use]
pub fn pack(identity: &Identity, answer: &CachedAnswer, ttl: Duration) -> Option<Vec<u8>> {
    let made_at_ms = answer.made_at.as_millisecond();
    let headers = answer.headers.iter();
    let label = Label {
        seal: identity.seal(),
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
    let head = head(answer);
    let checksum = checksum(&head, &packed);
    Some([MARK, &checksum, &head, &packed].concat())
}

/// Reads who paid for a shared answer, when it was made and by which model, from its first [`SHARED_HEAD_MAX_BYTES`].
///
/// `None` where the value is none of ours. The checksum is not verified: it takes the whole.
#[must_use]
pub fn read_head(value: &[u8]) -> Option<Head<'_>> {
    Some(split_head(value.strip_prefix(MARK)?.get(blake3::OUT_LEN..)?)?.0)
}

fn head(answer: &CachedAnswer) -> Vec<u8> {
    let facts = &answer.facts;
    let model = facts.answered_model.as_deref().unwrap_or_default();
    let model = model.get(..model.floor_char_boundary(MODEL_MAX_BYTES)).unwrap_or_default();
    let mut head = facts.payer.to_bytes().to_vec();
    head.extend_from_slice(&answer.made_at.as_millisecond().to_le_bytes());
    head.push(u8::try_from(model.len()).unwrap_or_default());
    head.extend_from_slice(model.as_bytes());
    head
}

/// Reads the head, and returns what stands behind it.
fn split_head(bytes: &[u8]) -> Option<(Head<'_>, &[u8])> {
    let (payer, rest) = bytes.split_first_chunk::<PAYER_BYTES>()?;
    let (made_at_ms, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first()?;
    let (model, rest) = rest.split_at_checked(usize::from(*length))?;
    let head = Head {
        payer: Payer::from_bytes(payer),
        made_at: Timestamp::from_millisecond(i64::from_le_bytes(*made_at_ms)).ok()?,
        model: std::str::from_utf8(model).ok()?,
    };
    Some((head, rest))
}

fn checksum(head: &[u8], packed: &[u8]) -> [u8; blake3::OUT_LEN] {
    *blake3::Hasher::new().update(head).update(packed).finalize().as_bytes()
}

/// Reads a shared value as the answer to a request; `None` where it is not that, or holds no longer.
#[must_use]
pub fn unpack(identity: &Identity, value: &[u8], now: Timestamp) -> Option<Fetched> {
    let rest = value.strip_prefix(MARK)?;
    let (told, rest) = rest.split_first_chunk::<{ blake3::OUT_LEN }>()?;
    let (head, packed) = split_head(rest)?;
    let head_bytes = rest.get(..rest.len() - packed.len())?;
    if packed.len() > SHARED_MAX_BYTES || checksum(head_bytes, packed) != *told {
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
        facts: Arc::new(Facts { payer: head.payer, ..label.facts }),
        made_at: head.made_at,
    };
    Some(Fetched { answer: Arc::new(answer), ttl })
}

const MARK: &[u8] = b"TCA\x02";
/// What the names of all shared answers begin with.
pub const SHARED_NAMES: &str = "tercet:answer:";
/// The largest value that is shared, deflated.
pub const SHARED_MAX_BYTES: usize = 4 << 20;
/// What may stand before the deflated bytes: mark, checksum, payer, time, and the model with its length.
pub const SHARED_HEAD_MAX_BYTES: usize = 4 + blake3::OUT_LEN + PAYER_BYTES + 8 + 1 + MODEL_MAX_BYTES;
const MODEL_MAX_BYTES: usize = 64;
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
        let facts = Facts {
            message_id: Some("msg_1".to_owned()),
            answered_model: Some("claude-haiku-5-5".to_owned()),
            payer: Payer::of("acme", "ann", "acme-1"),
            ..Facts::default()
        };
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
            let head = Head { payer: Payer::of("acme", "ann", "acme-1"), made_at: now(), model: "claude-haiku-5-5" };
            prop_assert_eq!(back.answer.facts.payer, head.payer);
            prop_assert_eq!(read_head(&value[..value.len().min(SHARED_HEAD_MAX_BYTES)]), Some(head));
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
