//! What makes two requests the same: everything that may change an answer or who may see it, and its name in 256 bits.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};

use crate::wire::headers;

/// Names an answer: BLAKE3 over length-prefixed parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CacheKey([u8; 32]);

/// Everything that may change an answer or who may see it.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// Who shares answers: tenant, tenant and user, or the hash of a credential.
    pub scope: &'a [&'a [u8]],
    /// Where the request goes.
    pub upstream: &'a str,
    /// The hash of the credential that goes upstream.
    pub credential: &'a [u8],
    /// The model that answers.
    pub model: &'a str,
    /// Text that an adaptation adds to the body, empty for none.
    pub adaptation: &'a str,
    /// The query string, empty for none.
    pub query: &'a str,
    /// The request's headers, of which the meaning-bearing ones count.
    pub headers: &'a HeaderMap,
    /// The body as the client sent it.
    pub body: &'a Bytes,
    /// Spans of the body that do not count, in order and apart.
    pub left_out: &'a [Range<usize>; 2],
}

/// The parts of one request, kept to be compared: equal exactly where every part is.
///
/// The body shares the bytes that were received.
#[derive(Clone, Debug)]
pub struct Identity {
    key: CacheKey,
    terms: Arc<[u8]>,
    body: Bytes,
    left_out: [Range<usize>; 2],
}

impl CacheKey {
    /// Returns the key as bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Identity {
    /// Gathers the parts and hashes them.
    #[must_use]
    pub fn of(parts: &Parts<'_>) -> Self {
        let mut terms = Vec::with_capacity(TERMS_BYTES);
        let mut add = |field: &[u8]| {
            terms.extend_from_slice(&(field.len() as u64).to_le_bytes());
            terms.extend_from_slice(field);
        };
        add(&(parts.scope.len() as u64).to_le_bytes());
        parts.scope.iter().for_each(|field| add(field));
        add(parts.upstream.as_bytes());
        add(parts.credential);
        add(parts.model.as_bytes());
        add(parts.adaptation.as_bytes());
        add(parts.query.as_bytes());
        for name in &MEANING_BEARING {
            let values = parts.headers.get_all(name);
            add(&(values.iter().count() as u64).to_le_bytes());
            values.iter().for_each(|value| add(value.as_bytes()));
        }
        let pieces = pieces(parts.body, parts.left_out);
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        terms.extend_from_slice(&(length as u64).to_le_bytes());
        let mut hasher = blake3::Hasher::new();
        hasher.update(&terms);
        for piece in pieces {
            hasher.update(piece);
        }
        Self {
            key: CacheKey(*hasher.finalize().as_bytes()),
            terms: terms.into(),
            body: parts.body.clone(),
            left_out: parts.left_out.clone(),
        }
    }

    /// Returns the name of it.
    #[must_use]
    pub const fn key(&self) -> CacheKey {
        self.key
    }

    /// Returns the same with a body of its own, which holds no read buffer.
    #[must_use]
    pub fn in_own_memory(&self) -> Self {
        self.with_body(Bytes::copy_from_slice(&self.body))
    }

    /// Returns the same of another body, which has to be proven the same.
    #[must_use]
    pub fn with_body(&self, body: Bytes) -> Self {
        Self { key: self.key, terms: Arc::clone(&self.terms), body, left_out: self.left_out.clone() }
    }

    /// Returns the spans of the body that do not count.
    #[must_use]
    pub const fn left_out(&self) -> &[Range<usize>; 2] {
        &self.left_out
    }

    /// Returns a digest that is no function of the key alone, for a holder that has no room for the parts.
    #[must_use]
    pub fn seal(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("tercet cache identity 1");
        hasher.update(&self.terms);
        for piece in pieces(&self.body, &self.left_out) {
            hasher.update(piece);
        }
        *hasher.finalize().as_bytes()
    }

    /// Returns the memory it takes.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        self.terms.len() + self.body.len()
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
            && self.terms == other.terms
            && same(pieces(&self.body, &self.left_out), pieces(&other.body, &other.left_out))
    }
}

impl Eq for Identity {}

/// Returns what counts of a body.
fn pieces<'b>(body: &'b [u8], [first, second]: &[Range<usize>; 2]) -> [&'b [u8]; 3] {
    let piece = |span: Range<usize>| body.get(span).unwrap_or_default();
    [piece(0..first.start), piece(first.end..second.start), piece(second.end..body.len())]
}

/// Tells whether two sequences of pieces hold the same bytes.
fn same(one: [&[u8]; 3], other: [&[u8]; 3]) -> bool {
    let (mut ones, mut others) = (one.into_iter(), other.into_iter());
    let (mut left, mut right): (&[u8], &[u8]) = (&[], &[]);
    loop {
        while left.is_empty() {
            let Some(next) = ones.next() else { break };
            left = next;
        }
        while right.is_empty() {
            let Some(next) = others.next() else { break };
            right = next;
        }
        let length = left.len().min(right.len());
        if length == 0 {
            return left.is_empty() && right.is_empty();
        }
        let (begun, rest) = left.split_at(length);
        let (begun_too, rest_too) = right.split_at(length);
        if begun != begun_too {
            return false;
        }
        (left, right) = (rest, rest_too);
    }
}

/// Headers that can change an answer or whose resources it uses.
static MEANING_BEARING: [HeaderName; 4] = [
    headers::API_VERSION,
    headers::BETA,
    HeaderName::from_static("anthropic-workspace-id"),
    HeaderName::from_static("anthropic-user-profile-id"),
];
/// Room for the terms of most requests.
const TERMS_BYTES: usize = 512;

#[cfg(test)]
mod tests;
