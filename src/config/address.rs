//! An address as the file gives it: written out, or referred to like any secret, as one may hold a password.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::schema::Reference;

/// An address, or a reference to one.
#[derive(Clone, Debug)]
pub(super) enum Address {
    Written(String),
    Kept(Reference),
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AddressVisitor;
        impl<'de> Visitor<'de> for AddressVisitor {
            type Value = Address;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an address in quotes, { env = \"NAME\" } or { file = \"path\" }")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Address, E> {
                Ok(Address::Written(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Address, A::Error> {
                Reference::deserialize(MapAccessDeserializer::new(map)).map(Address::Kept)
            }
        }
        deserializer.deserialize_any(AddressVisitor)
    }
}
