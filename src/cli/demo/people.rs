//! The demo's tenants: a platform team with budgets per user, a studio whose budget is nearly spent, and a
//! research group that shares cached answers. Keys are new at every start.

use crate::cli::ending::Failure;
use crate::secret;
use crate::secret::KeyHash;

/// Everyone who asks something in the demo.
#[derive(Clone, Debug)]
pub(super) struct People(Vec<Person>);

#[derive(Clone, Debug)]
struct Person {
    tenant: &'static str,
    user: &'static str,
    key: String,
}

impl People {
    /// Gives everyone a key.
    pub(super) fn invite() -> Result<Self, Failure> {
        let invited = EVERYONE.map(|(tenant, user)| {
            Ok(Person { tenant, user, key: secret::new_key().map_err(Failure::run)?.expose().to_owned() })
        });
        Ok(Self(invited.into_iter().collect::<Result<_, Failure>>()?))
    }

    /// Returns the key to show.
    pub(super) fn first_key(&self) -> &str {
        self.0.first().map_or("", |person| &person.key)
    }

    /// Returns a user's key.
    pub(super) fn key_of(&self, user: &str) -> &str {
        self.0.iter().find(|person| person.user == user).map_or("", |person| &person.key)
    }

    /// Returns the keys' lines of the configuration.
    pub(super) fn keys_as_toml(&self) -> String {
        let lines = self.0.iter().map(|Person { tenant, user, key }| {
            let hash = KeyHash::of(key.as_bytes());
            format!(
                "[[tenants.{tenant}.keys]]\nid = \"{tenant}-{user}\"\nuser = \"{user}\"\nhash = \"{hash}\"\n"
            )
        });
        lines.collect()
    }
}

const EVERYONE: [(&str, &str); 7] = [
    ("acme", "ann"),
    ("acme", "bob"),
    ("acme", "review-bot"),
    ("acme", "support-desk"),
    ("studio", "mia"),
    ("research", "lee"),
    ("research", "nightly"),
];

/// The tenants' part of the configuration, without keys.
pub(super) const TENANTS: &str = r#"
[tenants.acme.limits]
requests_per_minute = 600
[tenants.acme.budget]
daily = "20.00 USD"
monthly = "400.00 USD"
[tenants.acme.user_budget]
daily = "5.00 USD"

[tenants.studio.budget]
daily = "0.30 USD"
reserve = "max"

[tenants.research.budget]
weekly = "50.00 USD"
[tenants.research.cache]
enabled = true
ttl = "10m"
"#;
