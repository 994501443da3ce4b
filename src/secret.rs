//! Secrets that never print themselves, and the hashes by which keys are looked up.

use std::fmt;

use aws_lc_rs::rand;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret value; wiped when dropped, absent from Debug output.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

/// The unkeyed BLAKE3 hash of a presented key's bytes; written `blake3:<64 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash(pub [u8; 32]);

impl Secret {
    /// Wraps a secret value.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// Returns the value itself, for the one header or file that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Compares in constant time for equal lengths.
    #[must_use]
    pub fn matches(&self, presented: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(presented).into()
    }
}

/// The system gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gave no random bytes")]
pub struct NoRandomBytes;

/// Returns a new key: `tct-` and 43 letters of base64url, 32 random bytes.
///
/// # Errors
/// Where the system has no random bytes to give.
pub fn new_key() -> Result<Secret, NoRandomBytes> {
    Ok(Secret::new(format!("tct-{}", base64url(&random::<32>()?))))
}

/// Returns an id for a key of `owner`: its name, a hyphen and six random hexadecimal digits.
///
/// # Errors
/// Where the system has no random bytes to give.
pub fn new_key_id(owner: &str) -> Result<String, NoRandomBytes> {
    let [first, second, third] = random::<3>()?;
    Ok(format!("{owner}-{first:02x}{second:02x}{third:02x}"))
}

/// Returns random bytes.
///
/// # Errors
/// Where the system has none to give.
pub fn random<const COUNT: usize>() -> Result<[u8; COUNT], NoRandomBytes> {
    let mut bytes = [0; COUNT];
    rand::fill(&mut bytes).map_err(|_| NoRandomBytes)?;
    Ok(bytes)
}

/// Base64 with the URL alphabet and no padding (RFC 4648, section 5).
fn base64url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            let index = usize::try_from(word >> (18 - 6 * place) & 63).unwrap_or(0);
            text.push(ALPHABET.get(index).copied().map_or('-', char::from));
        }
    }
    text
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

impl KeyHash {
    /// Hashes the bytes of a key as presented.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        Self(*blake3::hash(key).as_bytes())
    }

    /// Parses `blake3:<64 hex digits>`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("blake3:")?;
        blake3::Hash::from_hex(hex).ok().map(|hash| Self(*hash.as_bytes()))
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "blake3:{}", blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64url_is_that_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
            ("\u{3ff}", "z78"),
        ] {
            assert_eq!(base64url(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn keys_are_long_and_never_the_same() {
        let (one, other) = (new_key().unwrap(), new_key().unwrap());
        assert_eq!((one.expose().len(), one.expose().get(..4)), (47, Some("tct-")));
        assert_ne!(one.expose(), other.expose());
    }
}
