//! What is kept of prompts and answers, and for how long: `content*` of `[journal]`.

use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;

use super::Journal;
use super::check::Check;
use super::schema;

/// The store of texts.
#[derive(Clone, Debug)]
pub struct Content {
    /// Whether texts are kept where a tenant says nothing; default false.
    pub enabled: bool,
    /// Its folder; `None` for `content` in the journal's.
    pub path: Option<PathBuf>,
    /// How long they are kept, an hour at least; default 7 days.
    pub retention: Duration,
    /// Most they may take on disk together, then the oldest go; 64 MiB at least, default 1 GiB.
    pub max_bytes: u64,
}

impl Default for Content {
    fn default() -> Self {
        let retention = Duration::from_secs(7 * 86_400);
        Self { enabled: false, path: None, retention, max_bytes: 1 << 30 }
    }
}

impl Journal {
    /// Returns the folder of the store of texts.
    #[must_use]
    pub fn content_path(&self) -> PathBuf {
        self.content.path.clone().unwrap_or_else(|| self.path.join("content"))
    }
}

/// Gives the keys their meaning.
pub(super) fn content(check: &mut Check<'_>, file: &schema::Journal) -> Content {
    let default = Content::default();
    let path = file.content_path.as_ref().map(|path| check.surroundings.resolve(path.get_ref()));
    let retention = check.positive(&file.content_retention, default.retention);
    if let Some(given) = file.content_retention.as_ref().filter(|_| retention < RETENTION_MIN) {
        check.report(given.span(), "too short a time to keep texts\nat least \"1h\"");
    }
    let max_bytes = file.content_max_size.as_ref().map_or(default.max_bytes, |size| size.get_ref().0.0);
    if let Some(span) = file.content_max_size.as_ref().map(Spanned::span).filter(|_| max_bytes < BYTES_MIN) {
        check.report(
            span,
            "too little room for texts\nat least \"64 MiB\", some files of 4 MiB of each tenant",
        );
    }
    Content { enabled: file.content.unwrap_or(default.enabled), path, retention, max_bytes }
}

const RETENTION_MIN: Duration = Duration::from_secs(3_600);
const BYTES_MIN: u64 = 64 << 20;
