//! Requests that were sent before, by everything their client sent: one that is the same to the byte is answered, or
//! joins, without being read again.
//!
//! The name is a fast hash that proves nothing. What proves is the comparison: the head and what the identity leaves
//! out are compared here, the rest of the body with the kept request by [`AnswerCache`](super::AnswerCache).

use std::hash::{BuildHasher, Hasher};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::quality::RandomState;
use moka::sync::Cache;

use super::identity::Identity;

/// What is known of requests that were sent before; at most 4,096, the least used forgotten first.
pub struct Twins<T> {
    known: Cache<u64, Arc<Twin<T>>>,
    /// Seeded anew in each process, so that nobody can choose names to collide.
    hasher: RandomState,
}

/// A request as it was sent, body aside.
#[derive(Debug)]
pub struct Sent {
    name: u64,
    head: Vec<u8>,
}

struct Twin<T> {
    head: Box<[u8]>,
    identity: Identity,
    aside: Box<[u8]>,
    body_bytes: usize,
    known: T,
}

impl<T: Clone + Send + Sync + 'static> Twins<T> {
    /// Names a request by its head, everything besides the body that its client sent or is, and its body; `None` for a
    /// head over 8 KiB.
    #[must_use]
    pub fn name(&self, head: Vec<u8>, body: &[u8]) -> Option<Sent> {
        if head.len() > HEAD_BYTES_MAX {
            return None;
        }
        let mut hasher = self.hasher.build_hasher();
        hasher.write(&head);
        hasher.write(body);
        Some(Sent { name: hasher.finish(), head })
    }

    /// Returns the identity of a request and what was made known of it, where it was sent before.
    ///
    /// The body is compared only where the identity leaves it out: compare the rest with what is kept.
    #[must_use]
    pub fn find(&self, sent: &Sent, body: &Bytes) -> Option<(Identity, T)> {
        let twin = self.known.get(&sent.name)?;
        let same = *twin.head == *sent.head
            && twin.body_bytes == body.len()
            && aside(body, twin.identity.left_out()).eq(&*twin.aside);
        same.then(|| (twin.identity.with_body(body.clone()), twin.known.clone()))
    }

    /// Makes known what a request is, for those that are the same to the byte.
    pub fn remember(&self, sent: Sent, identity: &Identity, body: &Bytes, known: T) {
        let twin = Twin {
            head: sent.head.into(),
            // Its bytes are kept with its answer, if there is one.
            identity: identity.with_body(Bytes::new()),
            aside: aside(body, identity.left_out()).into(),
            body_bytes: body.len(),
            known,
        };
        self.known.insert(sent.name, Arc::new(twin));
    }
}

impl<T: Clone + Send + Sync + 'static> Default for Twins<T> {
    fn default() -> Self {
        Self { known: Cache::new(TWINS_MAX), hasher: RandomState::default() }
    }
}

/// Returns what an identity leaves out of a body.
fn aside(body: &[u8], left_out: &[Range<usize>; 2]) -> Vec<u8> {
    left_out.iter().filter_map(|span| body.get(span.clone())).collect::<Vec<_>>().concat()
}

const TWINS_MAX: u64 = 4_096;
const HEAD_BYTES_MAX: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use proptest::prelude::*;

    use super::super::identity::Parts;
    use super::*;

    fn identity(body: &Bytes, left_out: &[Range<usize>; 2]) -> Identity {
        Identity::of(&Parts {
            scope: &[b"tenant", b"acme"],
            upstream: "http://upstream",
            credential: b"account",
            model: "m",
            adaptation: "",
            query: "",
            headers: &HeaderMap::new(),
            body,
            left_out,
        })
    }

    proptest! {
        #[test]
        fn only_the_same_bytes_are_found_and_their_identity_is_the_same(
            head in prop::collection::vec(any::<u8>(), 0..64),
            body in prop::collection::vec(any::<u8>(), 1..200),
            cuts in prop::array::uniform4(0usize..200),
            at in 0usize..400,
            bit in 0u8..8,
        ) {
            let mut cuts = cuts.map(|cut| cut % (body.len() + 1));
            cuts.sort_unstable();
            let left_out = [cuts[0]..cuts[1], cuts[2]..cuts[3]];
            let twins = Twins::default();
            let whole = Bytes::from(body.clone());
            let identity = identity(&whole, &left_out);
            twins.remember(twins.name(head.clone(), &whole).unwrap(), &identity, &whole, 7);
            let same = twins.name(head.clone(), &whole).unwrap();
            let (found, known) = twins.find(&same, &whole).unwrap();
            prop_assert_eq!(known, 7);
            prop_assert!(found == identity);

            // One bit elsewhere, in the head or the body: by its own name it is not known, and under the name of the
            // first it is found out, here or by the comparison with what is kept.
            let (mut other_head, mut other_body) = (head.clone(), body.clone());
            match at.checked_sub(head.len()) {
                None => other_head[at] ^= 1 << bit,
                Some(at) => { let at = at % body.len(); other_body[at] ^= 1 << bit; }
            }
            let other = Bytes::from(other_body);
            prop_assert!(twins.find(&twins.name(other_head.clone(), &other).unwrap(), &other).is_none());
            let forged = Sent { name: same.name, head: other_head };
            let found = twins.find(&forged, &other);
            prop_assert!(found.is_none_or(|(found, _)| found != identity));
        }
    }

    #[test]
    fn a_head_without_bound_is_not_remembered() {
        let twins: Twins<()> = Twins::default();
        assert!(twins.name(vec![b'a'; HEAD_BYTES_MAX], b"").is_some());
        assert!(twins.name(vec![b'a'; HEAD_BYTES_MAX + 1], b"").is_none());
    }
}
