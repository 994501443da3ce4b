//! `[tenants]` and its meaning: users, keys, and what may occur once only in the whole gateway.
//!
//! A tenant starts from the gateway's routing and cache and changes what it names. A user's own section
//! takes the place of the tenant's section for users, section by section.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;
use toml::Spanned;

use super::check::{Check, budget, limits, quota, routing};
use super::guards::{Around, Guard, guards};
use super::schema::{self, Reference};
use super::value::Section;
use super::{Cache, Ceilings, Routing};
use crate::secret::KeyHash;

/// `[tenants.NAME]`
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Ceilings of the tenant as a whole.
    pub ceilings: Ceilings,
    /// What each user gets who has nothing of their own.
    pub user_ceilings: Ceilings,
    /// Users with ceilings of their own; sections given there replace the tenant's user defaults.
    pub users: BTreeMap<String, Ceilings>,
    /// Keys of the tenant.
    pub keys: Vec<Key>,
    /// Whether its keys are refused; default false.
    pub disabled: bool,
    /// The gateway's routing with the tenant's changes.
    pub routing: Routing,
    /// The gateway's cache switch with the tenant's change (`[tenants.NAME.cache] enabled, ttl`).
    pub cache: Cache,
    /// Whether texts of its prompts and answers are kept (`[tenants.NAME.journal] content`); the gateway's, false.
    pub content: bool,
    /// Other `/v1/*` paths the tenant may use with our credential; a trailing `*` matches the rest.
    pub allow_paths: Vec<String>,
    /// `[[guards]]` and then `[[tenants.NAME.guards]]`, in order.
    pub guards: Arc<[Guard]>,
}

/// `[[tenants.NAME.keys]]`
#[derive(Clone, Debug)]
pub struct Key {
    /// Names the key in records; unique in the gateway.
    pub id: String,
    /// The user it stands for; the key's id where none is named.
    pub user: String,
    /// Hash of what a client presents.
    pub hash: KeyHash,
    /// Refused from then on.
    pub expires: Option<Timestamp>,
    /// What a client may present besides until it has the new key.
    pub previous: Option<Previous>,
    /// Whether `x-tercet-user` may name the user.
    pub allow_user_header: bool,
    /// Ceilings of the key.
    pub ceilings: Ceilings,
}

/// The key before a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Previous {
    /// Hash of what a client presents.
    pub hash: KeyHash,
    /// Refused from then on.
    pub expires: Timestamp,
}

type File = BTreeMap<Spanned<String>, Section<schema::Tenant>>;

/// Key ids and hashes seen so far, with the tenant that has them.
#[derive(Default)]
struct Taken {
    ids: HashMap<String, String>,
    hashes: HashMap<KeyHash, String>,
}

impl Taken {
    fn hash(&mut self, check: &mut Check<'_>, hash: KeyHash, span: &Range<usize>, tenant: &str) {
        if let Some(owner) = self.hashes.insert(hash, tenant.to_owned()) {
            check.report(span.clone(), &format!("the same key is given twice, first to tenant `{owner}`"));
        }
    }
}

/// What tenants start from.
pub(super) struct Base<'a> {
    pub(super) routing: &'a Routing,
    pub(super) cache: &'a Cache,
    pub(super) guards: &'a [Guard],
    /// Whether there is a key for placeholders.
    pub(super) has_key: bool,
    /// Whether texts are kept.
    pub(super) keeps_content: bool,
}

/// Gives all tenants their meaning.
pub(super) fn tenants(check: &mut Check<'_>, file: &File, base: &Base<'_>) -> BTreeMap<String, Tenant> {
    let mut taken = Taken::default();
    let mut tenants = BTreeMap::new();
    for (name, Section(section)) in file {
        if name.get_ref().starts_with('_') {
            check.report(
                name.span(),
                "a tenant's name must not begin with an underscore\nthose names are Tercet's own",
            );
        }
        let name = check.name(name);
        let user_ceilings = Ceilings {
            limits: limits(&section.user_limits.0),
            budget: budget(&section.user_budget.0),
            quota: quota(&section.user_quota.0),
        };
        let users = section
            .users
            .iter()
            .map(|(user, Section(own))| (check.name(user), ceilings_of_user(own, &user_ceilings)))
            .collect();
        let around = Around { has_key: base.has_key, allow_paths: &section.allow_paths };
        let tenant = Tenant {
            ceilings: Ceilings {
                limits: limits(&section.limits.0),
                budget: budget(&section.budget.0),
                quota: quota(&section.quota.0),
            },
            users,
            keys: section.keys.iter().filter_map(|given| key(check, given, &name, &mut taken)).collect(),
            disabled: section.disabled.unwrap_or(false),
            routing: routing(check, &section.routing.0, base.routing),
            cache: Cache {
                enabled: section.cache.0.enabled.unwrap_or(base.cache.enabled),
                ttl: check.positive(&section.cache.0.ttl, base.cache.ttl),
                ..base.cache.clone()
            },
            content: section.journal.0.content.unwrap_or(base.keeps_content),
            allow_paths: section.allow_paths.iter().map(|path| allowed_path(check, path)).collect(),
            guards: guards(check, &section.guards, base.guards, around),
            user_ceilings,
        };
        tenants.insert(name, tenant);
    }
    tenants
}

fn ceilings_of_user(own: &schema::User, all: &Ceilings) -> Ceilings {
    Ceilings {
        limits: own.limits.as_ref().map_or(all.limits, |section| limits(&section.0)),
        budget: own.budget.as_ref().map_or_else(|| all.budget.clone(), |section| budget(&section.0)),
        quota: own.quota.as_ref().map_or(all.quota, |section| quota(&section.0)),
    }
}

fn key(
    check: &mut Check<'_>,
    given: &Spanned<Section<schema::Key>>,
    tenant: &str,
    taken: &mut Taken,
) -> Option<Key> {
    let file = &given.get_ref().0;
    let id = match &file.id {
        Some(id) => {
            let name = check.name(id);
            if let Some(owner) = taken.ids.insert(name.clone(), tenant.to_owned()) {
                check
                    .report(id.span(), &format!("the key id `{name}` is taken already, by tenant `{owner}`"));
            }
            Some(name)
        }
        None => {
            check.absent(Some(given.span()), "a key needs an `id`");
            None
        }
    };
    let hash = match (&file.secret, &file.hash) {
        (Some(_), Some(hash)) => {
            check.report(hash.span(), "a key has either `secret` or `hash`, not both");
            None
        }
        (None, None) => {
            check.absent(
                Some(given.span()),
                "a key needs a `secret` or a `hash`\n`tercet keys create` makes a key and its hash",
            );
            None
        }
        (None, Some(hash)) => Some((hash.get_ref().0, hash.span())),
        (Some(secret), None) => hash_of(check, secret).map(|hash| (hash, secret.span())),
    };
    if let Some((hash, span)) = &hash {
        taken.hash(check, *hash, span, tenant);
    }
    let previous = file.previous.as_ref().and_then(|given| previous(check, given, tenant, taken));
    let user = file.user.as_ref().map(|user| check.name(user));
    let (id, (hash, _)) = (id?, hash?);
    Some(Key {
        user: user.unwrap_or_else(|| id.clone()),
        id,
        hash,
        expires: file.expires.map(|moment| moment.0),
        previous,
        allow_user_header: file.allow_user_header.unwrap_or(false),
        ceilings: Ceilings {
            limits: limits(&file.limits.0),
            budget: budget(&file.budget.0),
            quota: quota(&file.quota.0),
        },
    })
}

fn previous(
    check: &mut Check<'_>,
    given: &Spanned<Section<schema::Previous>>,
    tenant: &str,
    taken: &mut Taken,
) -> Option<Previous> {
    let file = &given.get_ref().0;
    if file.hash.is_none() || file.expires.is_none() {
        check.absent(Some(given.span()), "`previous` needs both `hash` and `expires`");
    }
    let (hash, expires) = (file.hash.as_ref()?, file.expires.as_ref()?);
    taken.hash(check, hash.get_ref().0, &hash.span(), tenant);
    Some(Previous { hash: hash.get_ref().0, expires: expires.0 })
}

fn hash_of(check: &mut Check<'_>, secret: &Spanned<Reference>) -> Option<KeyHash> {
    check.secret(secret).map(|secret| KeyHash::of(secret.expose().as_bytes()))
}

fn allowed_path(check: &mut Check<'_>, given: &Spanned<String>) -> String {
    let path = given.get_ref();
    let fixed = path.strip_suffix('*').unwrap_or(path);
    let plain = fixed.bytes().all(|byte| byte.is_ascii_graphic() && !b"*?#%\\".contains(&byte));
    if !fixed.starts_with("/v1/")
        || !plain
        || fixed.contains("//")
        || fixed.split('/').any(|part| part == "..")
    {
        check.report(
            given.span(),
            "not a path that can be allowed\nsuch as \"/v1/sessions/*\": below /v1/, a `*` at the end only",
        );
    } else if reaches_what_is_kept_apart(path) {
        check.report(
            given.span(),
            "this would allow messages, files, models or organizations without their checks\n\
             those paths are served already, each tenant its own; name narrower ones, such as \"/v1/sessions/*\"",
        );
    }
    path.clone()
}

/// Tells whether a path holds objects that tenants must not share, or the account itself: such a path is never
/// passed on unseen with our credential.
#[must_use]
pub fn is_kept_apart(path: &str) -> bool {
    KEPT_APART.iter().any(|root| {
        let head = path.get(..root.len()).filter(|head| head.eq_ignore_ascii_case(root));
        head.is_some() && matches!(path.as_bytes().get(root.len()), None | Some(b'/'))
    })
}

/// Tells whether a pattern lies below such a path or covers one.
fn reaches_what_is_kept_apart(pattern: &str) -> bool {
    let covers = |prefix: &str| {
        let prefix = prefix.to_ascii_lowercase();
        KEPT_APART.iter().any(|root| root.starts_with(&prefix)) || is_kept_apart(&prefix)
    };
    pattern.strip_suffix('*').map_or_else(|| is_kept_apart(pattern), covers)
}

/// Known paths: served with checks of their own, or never with our credential.
const KEPT_APART: [&str; 4] = ["/v1/messages", "/v1/files", "/v1/models", "/v1/organizations"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_pattern_reaches_an_object_past_its_check() {
        let kept = [
            "/v1/files",
            "/v1/files/f_1/versions",
            "/v1/Messages/x",
            "/v1/models/a/b",
            "/v1/organizations/me",
        ];
        for path in kept {
            assert!(is_kept_apart(path), "{path}");
        }
        for path in ["/v1/filesystem", "/v1/sessions/files", "/v1/file", "/v1/fi\u{e9}es/x"] {
            assert!(!is_kept_apart(path), "{path}");
        }
        for pattern in [
            "/v1/*",
            "/v1/f*",
            "/v1/Files*",
            "/v1/files/f_1*",
            "/v1/messages/batches/x",
            "/v1/organizations/*",
        ] {
            assert!(reaches_what_is_kept_apart(pattern), "{pattern}");
        }
        for pattern in ["/v1/sessions/*", "/v1/files-x/*", "/v1/skills", "/v1/s*"] {
            assert!(!reaches_what_is_kept_apart(pattern), "{pattern}");
        }
    }
}
