//! `shadow_sample` of a routing: how much of the traffic is asked again elsewhere, and what that may cost.

use toml::Spanned;

use super::check::{Check, share};
use super::schema;
use super::value::Section;
use crate::money::NanoUsd;

/// `[routing.shadow_sample]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShadowSample {
    /// Share of requests that are asked again, in parts per thousand; default 0.
    pub share_permille: u16,
    /// What that may cost a tenant in a day; nothing is asked without it.
    pub daily: Option<NanoUsd>,
    /// The model that compares answers which are not the same; the sonnet tier's where none is named.
    pub judge: Option<String>,
}

/// Lays the keys of a section over `base`.
pub(super) fn shadow_sample(
    check: &mut Check<'_>,
    file: Option<&Spanned<Section<schema::ShadowSample>>>,
    base: &ShadowSample,
) -> ShadowSample {
    let Some(given) = file else { return base.clone() };
    let Section(keys) = given.get_ref();
    let judge = keys.judge.as_ref().map(|judge| check.name(judge));
    let sample = ShadowSample {
        share_permille: share(keys.share, base.share_permille),
        daily: keys.daily.as_ref().map(|money| money.0).or(base.daily),
        judge: judge.or_else(|| base.judge.clone()),
    };
    if sample.share_permille > 0 && sample.daily.is_none() {
        check.absent(
            Some(given.span()),
            "a shadow sample needs a budget\nadd `daily`, such as `daily = \"1.00 USD\"`",
        );
    }
    sample
}
