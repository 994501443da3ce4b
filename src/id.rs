//! Request ids: sortable by time, unique across instances.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Identifies one exchange; `tct_` and a version-7 UUID (RFC 9562) without hyphens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(String);

impl RequestId {
    /// Returns a new id.
    #[must_use]
    pub fn generate() -> Self {
        Self(format!("tct_{}", uuid::Uuid::now_v7().simple()))
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
