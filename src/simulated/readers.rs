//! Who reads whose thinking blocks: for each reader, the models whose blocks it makes use of.
//!
//! Where the documentation is silent (Fable 5.1 on the 5.5 models other than Opus) the block counts as unreadable, so
//! that a test which relies on it fails here rather than in production.

pub(super) const HAIKU_4_5: &str = "claude-haiku-4-5-20251001";
pub(super) const SONNET_4_5: &str = "claude-sonnet-4-5-20250929";
pub(super) const OPUS_4_5: &str = "claude-opus-4-5-20251101";

pub(super) const EVERYTHING: &[&str] = &[
    "claude-fable-5-2",
    "claude-mythos-5-2",
    "claude-fable-5-1",
    "claude-mythos-5-1",
    "claude-fable-5",
    "claude-mythos-5",
    "claude-opus-5-5",
    "claude-opus-5",
    "claude-opus-4-8",
    "claude-opus-4-7",
    "claude-opus-4-6",
    OPUS_4_5,
    "claude-sonnet-5-5",
    "claude-sonnet-5",
    "claude-sonnet-4-6",
    SONNET_4_5,
    "claude-haiku-5-5",
    HAIKU_4_5,
];
pub(super) const FABLE_5_1_READS: &[&str] = &[
    "claude-fable-5-1",
    "claude-mythos-5-1",
    "claude-opus-5-5",
    "claude-opus-5",
    "claude-fable-5",
    "claude-mythos-5",
    "claude-opus-4-8",
    "claude-opus-4-7",
    "claude-opus-4-6",
    OPUS_4_5,
    "claude-sonnet-5",
    "claude-sonnet-4-6",
    SONNET_4_5,
    HAIKU_4_5,
];
pub(super) const OPUS_5_5_READS: &[&str] = &[
    "claude-opus-5-5",
    "claude-opus-5",
    "claude-opus-4-8",
    "claude-opus-4-7",
    "claude-opus-4-6",
    OPUS_4_5,
    "claude-sonnet-5-5",
    "claude-sonnet-5",
    "claude-sonnet-4-6",
    SONNET_4_5,
    "claude-haiku-5-5",
    HAIKU_4_5,
];
pub(super) const SONNET_5_5_READS: &[&str] = &[
    "claude-sonnet-5-5",
    "claude-haiku-5-5",
    "claude-sonnet-5",
    "claude-sonnet-4-6",
    SONNET_4_5,
    "claude-opus-4-8",
    "claude-opus-4-7",
    "claude-opus-4-6",
    OPUS_4_5,
    HAIKU_4_5,
];
pub(super) const HAIKU_5_5_READS: &[&str] = &[
    "claude-haiku-5-5",
    "claude-sonnet-5",
    "claude-sonnet-4-6",
    SONNET_4_5,
    "claude-opus-4-8",
    "claude-opus-4-7",
    "claude-opus-4-6",
    OPUS_4_5,
    HAIKU_4_5,
];
pub(super) const OLDER_READ: &[&str] = &[
    "claude-fable-5",
    "claude-mythos-5",
    "claude-opus-5",
    "claude-opus-4-8",
    "claude-opus-4-7",
    "claude-opus-4-6",
    OPUS_4_5,
    "claude-sonnet-5",
    "claude-sonnet-4-6",
    SONNET_4_5,
    HAIKU_4_5,
];
