//! What stands in place of what was redacted: `REDACTED_`, the kind, and twelve letters of a keyed hash.
//!
//! One word of plain letters, as that is what a model repeats unchanged in prose, code, JSON and addresses, and what no
//! detector of ours finds. The hash is keyed by the operator and by who owns the text, so that it is the same in every
//! request and at every instance, tells nothing of the text, and does not tell two tenants that theirs is the same.

use crate::secret::Secret;

/// Makes the placeholders of one tenant.
pub(super) struct Maker([u8; 32]);

impl Maker {
    pub(super) fn new(key: &Secret, scope: &str) -> Self {
        let key = blake3::derive_key("tercet 2026 redaction placeholder", key.expose().as_bytes());
        Self(*blake3::keyed_hash(&key, scope.as_bytes()).as_bytes())
    }

    /// Returns the placeholder of a text of a kind.
    pub(super) fn make(&self, kind: &str, text: &str) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        // A length in front, so that no kind runs over into its text.
        hasher.update(&(kind.len() as u64).to_le_bytes());
        hasher.update(kind.as_bytes());
        hasher.update(text.as_bytes());
        let hash = hasher.finalize();
        let label = kind.to_ascii_uppercase().replace('-', "_");
        let letters = hash.as_bytes().iter().take(LETTERS).map(|byte| {
            let letter = ALPHABET.get(usize::from(byte & 31)).copied();
            char::from(letter.unwrap_or(b'0'))
        });
        format!("{PREFIX}{label}_{}", letters.collect::<String>())
    }
}

/// What every placeholder begins with.
pub(super) const PREFIX: &str = "REDACTED_";
/// 60 bits: among 10,000 texts of one request, two share a placeholder once in 20 billion requests.
const LETTERS: usize = 12;
/// Digits and small letters that are not taken for one another.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Detector;

    #[test]
    fn a_placeholder_is_the_same_for_the_same_and_another_for_anything_else() {
        let key = |text: &str| Secret::new(text.to_owned());
        let make = |secret: &str, scope, kind, text| Maker::new(&key(secret), scope).make(kind, text);
        let one = make("0123456789abcdef", "acme", "aws-key", "x");
        assert_eq!(one, make("0123456789abcdef", "acme", "aws-key", "x"));
        assert!(one.starts_with("REDACTED_AWS_KEY_"), "{one}");
        assert_eq!(one.len(), "REDACTED_AWS_KEY_".len() + 12);
        for other in [
            make("0123456789abcdeg", "acme", "aws-key", "x"),
            make("0123456789abcdef", "rival", "aws-key", "x"),
            make("0123456789abcdef", "acme", "aws-key", "y"),
            make("0123456789abcdef", "acme", "aws-ke", "yx"),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn no_detector_finds_a_placeholder() {
        let maker = Maker::new(&Secret::new("0123456789abcdef".to_owned()), "acme");
        let all = crate::config::Guard {
            detect: Detector::ALL.to_vec(),
            ..crate::guard::tests::guard(crate::config::Action::Flag)
        };
        for number in 0..12 {
            for detector in Detector::ALL {
                let text = format!("see {} ok", maker.make(detector.name(), &number.to_string()));
                assert_eq!(crate::guard::detect::find(&all, &text), [], "{text}");
            }
        }
    }
}
