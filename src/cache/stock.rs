//! What is kept, looked at by an operator: whose answers, how many, how large, how old, of which models.
//!
//! An answer knows who paid for it by the hashes of three names, so that it can be found by them, here and in Redis,
//! without a name being kept with it. Two names with one hash would be expired together, which costs a miss.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

/// The hash of a name.
type Tag = [u8; 8];

/// Who paid for an answer: hashes of the tenant's, the user's and the key's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Payer([Tag; 3]);

/// Which answers are meant: those of the names that are given; all where none is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chosen([Option<Tag>; 3]);

/// Answers that were looked at, summed; serialised as the admin API shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stock {
    /// How many.
    pub entries: u64,
    /// The memory they take, their requests included where those are kept with them.
    pub bytes: u64,
    /// Ages of the newest and the oldest, seconds.
    pub ages_s: Option<(u64, u64)>,
    /// Entries and bytes by the model that answered; at most 64, further ones under `_other`.
    pub models: BTreeMap<String, (u64, u64)>,
}

impl Payer {
    /// Returns the payer of these names, empty where there is none.
    #[must_use]
    pub fn of(tenant: &str, user: &str, key: &str) -> Self {
        Self([tenant, user, key].map(tag))
    }

    /// Returns it as 24 bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; PAYER_BYTES] {
        let mut bytes = [0; PAYER_BYTES];
        for (place, byte) in bytes.iter_mut().zip(self.0.iter().flatten()) {
            *place = *byte;
        }
        bytes
    }

    /// Reads it back.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; PAYER_BYTES]) -> Self {
        let mut tags = [Tag::default(); 3];
        for (place, byte) in tags.iter_mut().flatten().zip(bytes) {
            *place = *byte;
        }
        Self(tags)
    }
}

impl Chosen {
    /// Returns the choice of those that are of every name given.
    #[must_use]
    pub fn of(tenant: Option<&str>, user: Option<&str>, key: Option<&str>) -> Self {
        Self([tenant, user, key].map(|name| name.map(tag)))
    }

    /// Tells whether an answer that somebody paid for is meant.
    #[must_use]
    pub fn takes(&self, payer: &Payer) -> bool {
        self.0.iter().zip(&payer.0).all(|(wanted, tag)| wanted.is_none_or(|wanted| wanted == *tag))
    }

    /// Tells whether every answer is meant.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}

impl Stock {
    /// Counts one answer.
    pub fn count(&mut self, model: &str, bytes: u64, age: Duration) {
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        let age_s = age.as_secs();
        let (newest, oldest) = self.ages_s.unwrap_or((age_s, age_s));
        self.ages_s = Some((newest.min(age_s), oldest.max(age_s)));
        let has_room = self.models.len() < MODELS_MAX || self.models.contains_key(model);
        let name = if has_room { model } else { "_other" };
        let (entries, sum) = self.models.entry(name.to_owned()).or_default();
        *entries += 1;
        *sum = sum.saturating_add(bytes);
    }
}

impl Serialize for Stock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let model = |(name, (entries, bytes)): (&String, &(u64, u64))| serde_json::json!({ "model": name, "entries": entries, "bytes": bytes });
        let mut fields = serializer.serialize_struct("Stock", 5)?;
        fields.serialize_field("entries", &self.entries)?;
        fields.serialize_field("bytes", &self.bytes)?;
        fields.serialize_field("newest_s", &self.ages_s.map(|(newest, _)| newest))?;
        fields.serialize_field("oldest_s", &self.ages_s.map(|(_, oldest)| oldest))?;
        fields.serialize_field("models", &self.models.iter().map(model).collect::<Vec<_>>())?;
        fields.end()
    }
}

fn tag(name: &str) -> Tag {
    let hash = blake3::hash(name.as_bytes());
    hash.as_bytes().first_chunk().copied().unwrap_or_default()
}

/// What a payer takes as bytes.
pub(super) const PAYER_BYTES: usize = 24;
const MODELS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_by_any_of_its_names_and_by_no_other() {
        let payer = Payer::of("acme", "ann", "acme-1");
        assert_eq!(Payer::from_bytes(&payer.to_bytes()), payer);
        let (acme, ann, key) = (Some("acme"), Some("ann"), Some("acme-1"));
        for chosen in [(None, None, None), (acme, None, None), (None, ann, key), (acme, ann, key)] {
            assert!(Chosen::of(chosen.0, chosen.1, chosen.2).takes(&payer), "{chosen:?}");
        }
        for other in [(ann, None, None), (acme, key, None), (acme, ann, ann), (Some(""), None, None)] {
            assert!(!Chosen::of(other.0, other.1, other.2).takes(&payer), "{other:?}");
        }
        assert!(Chosen::default().is_all() && !Chosen::of(acme, None, None).is_all());
    }

    #[test]
    fn a_stock_is_summed_by_model_and_bounded() {
        let mut stock = Stock::default();
        for number in 0..100u64 {
            stock.count(&format!("model-{number}"), 10, Duration::from_secs(number));
        }
        assert_eq!((stock.entries, stock.bytes, stock.ages_s), (100, 1_000, Some((0, 99))));
        assert_eq!((stock.models.len(), stock.models.get("_other")), (65, Some(&(36, 360))));
        let shown = serde_json::to_value(&stock).unwrap();
        assert_eq!((&shown["oldest_s"], &shown["models"][0]["entries"]), (&99.into(), &36.into()));
        assert_eq!(serde_json::to_value(Stock::default()).unwrap()["newest_s"], serde_json::Value::Null);
    }
}
