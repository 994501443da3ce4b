//! What an operator can ask to be changed while the gateway runs, and what comes of it.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::spend_limit::Scope;
use crate::money::NanoUsd;
use crate::secret::KeyHash;

/// A change, asked for by somebody.
#[derive(Clone, Debug)]
pub struct Change {
    /// Who asks, as it is written down.
    pub who: String,
    /// What is asked.
    pub asked: Asked,
    /// Whether only to say what would change.
    pub dry_run: bool,
}

/// The changes there are; settings have the names and values of the configuration file, `null` removes one.
#[derive(Clone, Debug)]
pub enum Asked {
    /// The ceilings of the whole gateway: `limits`, `budget`, `quota`.
    Gateway {
        /// What to lay over them.
        settings: Map<String, Value>,
    },
    /// A new tenant.
    TenantCreate {
        /// Its name.
        name: String,
        /// Its sections.
        settings: Map<String, Value>,
    },
    /// Settings of a tenant, all but its keys.
    TenantChange {
        /// Its name.
        name: String,
        /// What to lay over them.
        settings: Map<String, Value>,
    },
    /// A new key, known by its hash.
    KeyCreate {
        /// The tenant it belongs to.
        tenant: String,
        /// Names it in records.
        id: String,
        /// Of what its user presents.
        hash: KeyHash,
        /// `user`, `expires`, `allow_user_header`, ceilings.
        settings: Map<String, Value>,
    },
    /// Settings of a key.
    KeyChange {
        /// Which.
        id: String,
        /// What to lay over them.
        settings: Map<String, Value>,
    },
    /// A new secret for a key; the one before holds for a while.
    KeyRotate {
        /// Which.
        id: String,
        /// Of what its user presents from now on.
        hash: KeyHash,
        /// How long the secret before is still taken.
        overlap: Duration,
    },
    /// The end of a key.
    KeyRevoke {
        /// Which.
        id: String,
    },
    /// A budget, as a spend limit.
    LimitSet {
        /// Whose.
        scope: Scope,
        /// `daily`, `weekly` or `monthly`.
        period: &'static str,
        /// How much; `None` is no ceiling.
        amount: Option<NanoUsd>,
    },
    /// The end of a spend limit: what was set here is taken back, or what the file has is taken away.
    LimitDelete {
        /// Whose.
        scope: Scope,
        /// Of which period.
        period: &'static str,
    },
}

/// Which changes to list, newest first.
#[derive(Clone, Debug)]
pub struct ChangeQuery {
    /// Only those before this number.
    pub before: Option<u64>,
    /// Only those of this subject, such as `tenant:acme`.
    pub subject: Option<String>,
    /// Only those whose subject begins so.
    pub kind: Option<&'static str>,
    /// At most so many.
    pub limit: usize,
}

/// What came of a change.
#[derive(Clone, Debug)]
pub struct Changed {
    /// What was changed, such as `tenant:acme`.
    pub subject: String,
    /// The settings that differ, as they were.
    pub before: Value,
    /// The same as they are, or would be.
    pub after: Value,
    /// The policy in force then.
    pub policy_version: String,
    /// Whether it is in force; not after a dry run, nor where everything was so already.
    pub is_applied: bool,
}

impl Changed {
    /// Returns `{"subject", "before", "after", "applied", "policy_version"}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "subject": self.subject, "before": self.before, "after": self.after,
            "applied": self.is_applied, "policy_version": self.policy_version,
        })
    }
}
