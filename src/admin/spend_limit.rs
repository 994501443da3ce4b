//! A budget in the shape of Anthropic's Admin API: whose, of which period, how many cents.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::reply::Problem;
use crate::money::NanoUsd;

/// Whose money is limited.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// The whole gateway's.
    Gateway,
    /// Each user's of a tenant.
    EachUser(String),
    /// One user's: the tenant, the user.
    User(String, String),
    /// A tenant's.
    Tenant(String),
}

/// A budget as the Admin API sees it.
#[derive(Clone, Debug)]
pub struct SpendLimit {
    /// Whose.
    pub scope: Scope,
    /// `daily`, `weekly` or `monthly`.
    pub period: &'static str,
    /// How much; `None` where there is explicitly no ceiling.
    pub amount: Option<NanoUsd>,
    /// When it was first set.
    pub created_at: Timestamp,
    /// When it was last set.
    pub updated_at: Timestamp,
}

/// A user and what limits them.
#[derive(Clone, Debug)]
pub struct Member {
    /// The tenant.
    pub tenant: String,
    /// The user.
    pub user: String,
    /// The limit of each period, with what was spent in it.
    pub limits: Vec<(SpendLimit, NanoUsd)>,
}

/// Which users to report.
#[derive(Clone, Debug)]
pub struct MemberQuery {
    /// Only these, as `TENANT/USER` or `USER`; all where empty.
    pub users: Vec<String>,
    /// Only those behind this one.
    pub after: Option<String>,
    /// At most so many.
    pub limit: usize,
}

impl Scope {
    /// Returns the scope as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Gateway => json!({"type": "organization"}),
            Self::EachUser(tenant) => json!({"type": "rbac_group", "rbac_group_id": tenant}),
            Self::User(tenant, user) => json!({"type": "user", "user_id": user_id(tenant, user)}),
            Self::Tenant(tenant) => json!({"type": "workspace", "workspace_id": tenant}),
        }
    }

    /// Returns the path of its budget in the configuration.
    #[must_use]
    pub fn path(&self) -> Vec<&str> {
        match self {
            Self::Gateway => vec!["budget"],
            Self::EachUser(tenant) => vec!["tenants", tenant, "user_budget"],
            Self::User(tenant, user) => vec!["tenants", tenant, "users", user, "budget"],
            Self::Tenant(tenant) => vec!["tenants", tenant, "budget"],
        }
    }

    /// Reads a scope; a user without a tenant is looked up with `user_named`.
    pub(super) fn read(
        given: &Value,
        user_named: impl Fn(&str) -> Result<Self, Problem>,
    ) -> Result<Self, Problem> {
        let text = |name: &str| given.get(name).and_then(Value::as_str);
        match (text("type"), text("workspace_id"), text("rbac_group_id"), text("user_id")) {
            (Some("organization"), ..) => Ok(Self::Gateway),
            (Some("workspace"), Some(tenant), ..) => Ok(Self::Tenant(tenant.to_owned())),
            (Some("rbac_group"), _, Some(tenant), _) => Ok(Self::EachUser(tenant.to_owned())),
            (Some("user"), .., Some(user)) => user_named(user),
            _ => Err(Problem::Invalid(
                "scope: give {\"type\": \"organization\"}, or \"workspace\" with `workspace_id` or \"rbac_group\" with \
                 `rbac_group_id` (a tenant's name), or \"user\" with `user_id`"
                    .to_owned(),
            )),
        }
    }
}

impl SpendLimit {
    /// Returns the limit's id, which says what it limits.
    #[must_use]
    pub fn id(&self) -> String {
        limit_id(&self.scope, self.period)
    }

    /// Returns the limit in the Admin API's shape.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "type": "spend_limit", "id": self.id(), "scope": self.scope.to_json(), "period": self.period,
            "amount": self.amount.map(cents), "currency": "USD", "is_enabled": true,
            "created_at": self.created_at.to_string(), "updated_at": self.updated_at.to_string(),
        })
    }
}

/// Returns the id of the limit of a scope and period.
#[must_use]
pub fn limit_id(scope: &Scope, period: &str) -> String {
    let parts = match scope {
        Scope::Gateway => vec!["organization"],
        Scope::EachUser(tenant) => vec!["rbac_group", tenant],
        Scope::User(tenant, user) => vec!["user", tenant, user],
        Scope::Tenant(tenant) => vec!["workspace", tenant],
    };
    let parts: Vec<String> = parts.into_iter().chain([period]).map(plain).collect();
    format!("{LIMIT_PREFIX}{}", parts.join("."))
}

/// Returns the id by which the Admin API knows a user.
#[must_use]
pub fn user_id(tenant: &str, user: &str) -> String {
    format!("{}/{user}", tenant.replace('~', "~7E").replace('/', "~2F"))
}

/// Reads the name of a period.
pub(super) fn period_named(name: &str) -> Result<&'static str, Problem> {
    let found = PERIODS.into_iter().find(|period| *period == name);
    found.ok_or_else(|| Problem::Invalid("period: expected daily, weekly or monthly".to_owned()))
}

/// Reads an amount in whole cents; `None` for an explicit `null`.
pub(super) fn read_amount(given: Option<&Value>) -> Result<Option<NanoUsd>, Problem> {
    let problem =
        || Problem::Invalid("amount: whole cents as text, such as \"50000\" for 500 USD, or null".to_owned());
    let text = match given {
        Some(Value::Null) => return Ok(None),
        given => given.and_then(Value::as_str).ok_or_else(problem)?,
    };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let cents: i64 = text.parse().ok().filter(|_| digits).ok_or_else(problem)?;
    let amount = cents.checked_mul(NANOUSD_PER_CENT).ok_or_else(problem)?;
    // No request fits into a billionth of a dollar; zero itself is no ceiling anywhere.
    Ok(Some(NanoUsd(amount.max(1))))
}

/// Writes whole cents, rounded down.
pub(super) fn cents(amount: NanoUsd) -> String {
    (amount.0 / NANOUSD_PER_CENT).to_string()
}

/// Writes cents with three decimals at most.
pub(super) fn fine_cents(amount: NanoUsd) -> String {
    let thousandths = amount.0.max(0) / (NANOUSD_PER_CENT / 1_000);
    let text = format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Writes a name with letters that no path changes.
fn plain(name: &str) -> String {
    let write = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => char::from(byte).to_string(),
        _ => format!("~{byte:02X}"),
    };
    name.bytes().map(write).collect()
}

/// The names of the periods, as in a budget.
pub const PERIODS: [&str; 3] = ["daily", "weekly", "monthly"];
/// What a limit's id begins with.
pub(super) const LIMIT_PREFIX: &str = "spl_";
const NANOUSD_PER_CENT: i64 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_whole_cents_and_spending_is_finer() {
        assert_eq!(read_amount(Some(&json!("50000"))).unwrap(), Some(NanoUsd::from_dollars(500)));
        assert_eq!(read_amount(Some(&json!("0"))).unwrap().map(cents), Some("0".to_owned()));
        assert_eq!(read_amount(Some(&Value::Null)).unwrap(), None);
        for wrong in
            [json!(500), json!("5.00"), json!("-1"), json!(""), json!("+5"), json!("99999999999999999999")]
        {
            assert!(read_amount(Some(&wrong)).is_err(), "{wrong}");
        }
        assert!(read_amount(None).is_err());
        let fine =
            [(120_505_000_000, "12050.5"), (0, "0"), (9_999, "0"), (10_000, "0.001"), (10_000_000, "1")];
        for (amount, text) in fine {
            assert_eq!(fine_cents(NanoUsd(amount)), text);
        }
    }

    #[test]
    fn ids_tell_scopes_apart_whatever_they_are_called() {
        let user = |tenant: &str, user: &str| Scope::User(tenant.to_owned(), user.to_owned());
        assert_eq!(limit_id(&user("acme", "ann"), "daily"), "spl_user.acme.ann.daily");
        assert_ne!(limit_id(&user("a.b", "c"), "daily"), limit_id(&user("a", "b.c"), "daily"));
        assert_ne!(user_id("a/b", "c"), user_id("a", "b/c"));
        assert_ne!(user_id("a/b", "c"), user_id("a~2Fb", "c"));
    }
}
