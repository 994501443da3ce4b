//! The identity of a request, as 256 bits.

use http::HeaderMap;

/// Names an answer: BLAKE3 over length-prefixed parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CacheKey([u8; 32]);

/// Everything that may change an answer or who may see it.
#[derive(Clone, Copy, Debug)]
pub struct KeyParts<'a> {
    /// Who shares answers: tenant, tenant and user, or the hash of a credential.
    pub scope: &'a [&'a [u8]],
    /// Where the request goes.
    pub upstream: &'a str,
    /// The hash of our credential, empty where the caller's own goes upstream.
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
    pub body: &'a [u8],
}

impl CacheKey {
    /// Hashes the parts; equal only where all of them are.
    #[must_use]
    pub fn of(parts: &KeyParts<'_>) -> Self {
        let mut hasher = blake3::Hasher::new();
        let mut add = |field: &[u8]| {
            hasher.update(&(field.len() as u64).to_le_bytes());
            hasher.update(field);
        };
        add(&(parts.scope.len() as u64).to_le_bytes());
        parts.scope.iter().for_each(|field| add(field));
        add(parts.upstream.as_bytes());
        add(parts.credential);
        add(parts.model.as_bytes());
        add(parts.adaptation.as_bytes());
        add(parts.query.as_bytes());
        for name in MEANING_BEARING {
            let values = parts.headers.get_all(name);
            add(&(values.iter().count() as u64).to_le_bytes());
            values.iter().for_each(|value| add(value.as_bytes()));
        }
        add(parts.body);
        Self(*hasher.finalize().as_bytes())
    }
}

/// Headers that can change an answer or whose resources it uses.
const MEANING_BEARING: [&str; 4] =
    ["anthropic-version", "anthropic-beta", "anthropic-workspace-id", "anthropic-user-profile-id"];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Owned {
        scope: Vec<Vec<u8>>,
        upstream: String,
        credential: Vec<u8>,
        model: String,
        query: String,
        betas: Vec<String>,
        body: Vec<u8>,
    }

    fn key(owned: &Owned) -> CacheKey {
        let mut headers = HeaderMap::new();
        for beta in &owned.betas {
            headers.append("anthropic-beta", beta.parse().unwrap());
        }
        let scope: Vec<&[u8]> = owned.scope.iter().map(Vec::as_slice).collect();
        CacheKey::of(&KeyParts {
            scope: &scope,
            upstream: &owned.upstream,
            credential: &owned.credential,
            model: &owned.model,
            adaptation: "",
            query: &owned.query,
            headers: &headers,
            body: &owned.body,
        })
    }

    fn owned() -> impl Strategy<Value = Owned> {
        let short = || proptest::collection::vec(0u8..3, 0..3);
        (
            proptest::collection::vec(short(), 0..3),
            "[ab]{0,2}",
            short(),
            "[ab]{0,2}",
            "[ab]{0,2}",
            proptest::collection::vec("[ab]{0,2}", 0..3),
            short(),
        )
            .prop_map(|(scope, upstream, credential, model, query, betas, body)| Owned {
                scope,
                upstream,
                credential,
                model,
                query,
                betas,
                body,
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]
        #[test]
        fn keys_are_equal_exactly_when_every_part_is(left in owned(), right in owned()) {
            prop_assert_eq!(key(&left) == key(&right), left == right);
        }
    }
}
