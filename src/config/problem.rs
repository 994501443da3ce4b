//! What is wrong with a file, where, and what would mend it.
//!
//! Rendered in the manner of a compiler: message, place, source line, carets, hint. The source line is shown
//! through `excerpt`, which hides every string that is not itself the matter, so that no secret is printed.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::excerpt::{Excerpt, Secrecy};

/// One problem of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The file; `None` where the text came from elsewhere.
    pub path: Option<PathBuf>,
    /// Where in the file; `None` where the file as a whole is the matter.
    pub place: Option<Place>,
    /// The key in question with its sections, such as `server.listen`; empty where there is none.
    pub key: String,
    /// What is wrong, in lower case and without a full stop.
    pub what: String,
    /// What would mend it.
    pub hint: Option<String>,
    /// The source line with secrets hidden.
    pub(super) excerpt: Option<Excerpt>,
}

/// A place in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// In bytes of the whole text.
    pub span: Range<usize>,
}

/// The finding of a check, before it is put in its place.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) span: Option<Range<usize>>,
    pub(super) what: String,
    pub(super) hint: Option<String>,
    pub(super) secrecy: Secrecy,
}

impl ConfigProblem {
    /// Makes a problem of the file as a whole.
    pub(super) fn of_file(path: &Path, what: String) -> Self {
        Self { path: Some(path.to_owned()), place: None, key: String::new(), what, hint: None, excerpt: None }
    }

    /// Puts a finding in its place in `text`.
    pub(super) fn of_finding(finding: Finding, path: Option<&Path>, text: &str, key: String) -> Self {
        let span = finding.span.filter(|span| text.get(span.clone()).is_some());
        let excerpt = span.as_ref().and_then(|span| Excerpt::of(text, span, finding.secrecy));
        Self {
            path: path.map(Path::to_owned),
            place: span.map(|span| Place::of(text, span)),
            key,
            what: finding.what,
            hint: finding.hint,
            excerpt,
        }
    }

    /// Returns the problem as JSON with the stable keys file, line, column, key, message and hint.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "file": self.path.as_ref().map(|path| path.display().to_string()),
            "line": self.place.as_ref().map(|place| place.line),
            "column": self.place.as_ref().map(|place| place.column),
            "key": self.key,
            "message": self.what,
            "hint": self.hint,
        })
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "error: {}", self.what)?;
        let file =
            self.path.as_ref().map_or_else(|| "configuration".to_owned(), |path| path.display().to_string());
        match &self.place {
            Some(place) => write!(formatter, "\n --> {file}:{}:{}", place.line, place.column)?,
            None => write!(formatter, "\n --> {file}")?,
        }
        if let (Some(place), Some(excerpt)) = (&self.place, &self.excerpt) {
            let number = place.line.to_string();
            let gutter = " ".repeat(number.len());
            let carets = format!("{}{}", " ".repeat(excerpt.caret_column), "^".repeat(excerpt.caret_width));
            write!(formatter, "\n{gutter} |\n{number} | {}\n{gutter} | {carets}", excerpt.line)?;
        }
        match &self.hint {
            Some(hint) => write!(formatter, "\nhelp: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConfigProblem {}

impl Place {
    fn of(text: &str, span: Range<usize>) -> Self {
        let before = text.get(..span.start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        Self { line, column, span }
    }
}

impl Finding {
    /// Makes a finding; a line break in `what` parts it from the hint.
    pub(super) fn new(span: Option<Range<usize>>, what: &str) -> Self {
        let (what, hint) =
            what.split_once('\n').map_or((what, None), |(what, hint)| (what, Some(hint.to_owned())));
        let what = what.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        Self { span, what, hint, secrecy: Secrecy::Plain }
    }
}
