//! What an answer has said so far, read leniently: a field of an unexpected type is as good as absent, so that
//! a new shape in one place never hides the usage in another.

use crate::usage::{Billed, Terms, Usage};
use crate::wire::json::{Cursor, Kind, Malformed};

use super::Metered;

/// Gathers one answer.
#[derive(Debug, Default)]
pub(super) struct Account {
    metered: Metered,
    counts: Counts,
    iterations: Vec<Iteration>,
    speed: Option<String>,
    geo: Option<String>,
    web_searches: Option<u64>,
    /// A report of usage could not be read, or held what cannot be a count.
    is_unbelievable: bool,
}

#[derive(Debug, Default)]
struct Iteration {
    model: Option<String>,
    counts: Counts,
}

/// Counts as reported; each absent until given.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_5m: Option<u64>,
    cache_write_1h: Option<u64>,
}

type Read<T = ()> = Result<T, Malformed>;

impl Account {
    /// Reads a whole message; tells whether it is one.
    pub(super) fn read_message(&mut self, message: &[u8]) -> bool {
        let mut kind = None;
        let read = document(message, |cursor, name| match name {
            "type" => keep(cursor, &mut kind),
            "error" => self.error(cursor),
            _ => self.message_field(cursor, name),
        });
        read.is_ok() && kind.as_deref() == Some("message")
    }

    pub(super) fn read_message_start(&mut self, data: &[u8]) {
        let read = document(data, |cursor, name| match name {
            "message" => fields(cursor, |cursor, name| self.message_field(cursor, name)),
            _ => cursor.skip().map(drop),
        });
        self.is_unbelievable |= read.is_err();
    }

    pub(super) fn read_message_delta(&mut self, data: &[u8]) {
        let read = document(data, |cursor, name| match name {
            "delta" => fields(cursor, |cursor, name| self.message_field(cursor, name)),
            "usage" => self.usage(cursor),
            _ => cursor.skip().map(drop),
        });
        self.is_unbelievable |= read.is_err();
    }

    pub(super) fn read_block_start(&mut self, data: &[u8]) {
        // A block that cannot be read tells nothing of usage; the answer passes all the same.
        drop(document(data, |cursor, name| match name {
            "content_block" => self.block(cursor),
            _ => cursor.skip().map(drop),
        }));
    }

    pub(super) fn read_error(&mut self, data: &[u8]) {
        let read = document(data, |cursor, name| match name {
            "error" => self.error(cursor),
            _ => cursor.skip().map(drop),
        });
        if read.is_err() && self.metered.error_type.is_none() {
            self.metered.error_type = Some("error".to_owned());
        }
    }

    /// Returns what was read, with the bill worked out.
    pub(super) fn into_metered(mut self, complete: bool) -> Metered {
        self.metered.complete = complete;
        self.metered.billed = self.bill();
        let mut sum = Usage::default();
        self.metered.billed.iter().for_each(|billed| sum.add(&billed.usage));
        self.metered.usage = (!self.metered.billed.is_empty()).then_some(sum);
        self.metered
    }

    fn bill(&self) -> Vec<Billed> {
        if self.is_unbelievable {
            return Vec::new();
        }
        let mut terms = Terms {
            fast: self.speed.as_deref() == Some("fast"),
            batch: self.metered.service_tier.as_deref() == Some("batch"),
            us_only: self.geo.as_deref() == Some("us"),
            web_searches: self.web_searches.unwrap_or(0),
        };
        let answered = self.metered.answered_model.clone().unwrap_or_default();
        let mut billed = Vec::with_capacity(self.iterations.len().max(1));
        for iteration in &self.iterations {
            let model = iteration.model.clone().unwrap_or_else(|| answered.clone());
            let usage = iteration.counts.usage().unwrap_or_default();
            billed.push(Billed { model, usage, terms });
            terms.web_searches = 0;
        }
        if billed.is_empty() {
            billed.extend(self.counts.usage().map(|usage| Billed { model: answered, usage, terms }));
        }
        billed
    }

    fn message_field(&mut self, cursor: &mut Cursor<'_>, name: &str) -> Read {
        match name {
            "id" => keep(cursor, &mut self.metered.message_id),
            "model" => keep(cursor, &mut self.metered.answered_model),
            "stop_reason" => keep(cursor, &mut self.metered.stop_reason),
            "container" => fields(cursor, |cursor, name| match name {
                "id" => keep(cursor, &mut self.metered.container),
                _ => cursor.skip().map(drop),
            }),
            "content" => items(cursor, |cursor| self.block(cursor)),
            "usage" => self.usage(cursor),
            _ => cursor.skip().map(drop),
        }
    }

    fn block(&mut self, cursor: &mut Cursor<'_>) -> Read {
        let (mut kind, mut tool, mut files) = (None, None, Vec::new());
        fields(cursor, |cursor, name| match name {
            "type" => keep(cursor, &mut kind),
            "name" => keep(cursor, &mut tool),
            "file_id" | "content" => files_in(cursor, name == "file_id", &mut files),
            _ => cursor.skip().map(drop),
        })?;
        // Only what the upstream itself ran makes files; elsewhere an id may be anybody's words.
        if kind.as_deref().is_some_and(makes_files) {
            let room = MAX_FILES.saturating_sub(self.metered.file_ids.len());
            self.metered.file_ids.extend(files.into_iter().take(room));
        }
        let calls = &mut self.metered.tool_calls;
        match kind.as_deref() {
            Some("tool_use") if calls.len() < MAX_TOOL_CALLS => calls.push(tool.unwrap_or_default()),
            Some("thinking" | "redacted_thinking") => self.metered.has_thinking = true,
            _ => {}
        }
        Ok(())
    }

    fn error(&mut self, cursor: &mut Cursor<'_>) -> Read {
        fields(cursor, |cursor, name| match name {
            "type" => keep(cursor, &mut self.metered.error_type),
            _ => cursor.skip().map(drop),
        })
    }

    fn usage(&mut self, cursor: &mut Cursor<'_>) -> Read {
        if !matches!(cursor.kind()?, Kind::Object | Kind::Null) {
            self.is_unbelievable = true;
        }
        let mut unbelievable = false;
        fields(cursor, |cursor, name| match name {
            "speed" => keep(cursor, &mut self.speed),
            "inference_geo" => keep(cursor, &mut self.geo),
            "service_tier" => keep(cursor, &mut self.metered.service_tier),
            "server_tool_use" => fields(cursor, |cursor, name| match name {
                "web_search_requests" => count(cursor, &mut self.web_searches, &mut unbelievable),
                _ => cursor.skip().map(drop),
            }),
            "iterations" => {
                let listed = read_iterations(cursor, &mut unbelievable)?;
                if !listed.is_empty() {
                    self.iterations = listed;
                }
                Ok(())
            }
            _ => self.counts.read_field(cursor, name, &mut unbelievable),
        })?;
        self.is_unbelievable |= unbelievable;
        Ok(())
    }
}

fn read_iterations(cursor: &mut Cursor<'_>, unbelievable: &mut bool) -> Read<Vec<Iteration>> {
    let mut listed = Vec::new();
    items(cursor, |cursor| {
        let mut iteration = Iteration::default();
        if cursor.kind()? != Kind::Object || listed.len() >= MAX_ITERATIONS {
            *unbelievable = true;
            return cursor.skip().map(drop);
        }
        fields(cursor, |cursor, name| match name {
            "model" => keep(cursor, &mut iteration.model),
            _ => iteration.counts.read_field(cursor, name, unbelievable),
        })?;
        // What was billed for it is not known, which must not be read as nothing.
        *unbelievable |= iteration.counts.usage().is_none();
        listed.push(iteration);
        Ok(())
    })?;
    Ok(listed)
}

impl Counts {
    fn read_field(&mut self, cursor: &mut Cursor<'_>, name: &str, unbelievable: &mut bool) -> Read {
        let place = match name {
            "input_tokens" => &mut self.input,
            "output_tokens" => &mut self.output,
            "cache_read_input_tokens" => &mut self.cache_read,
            "cache_creation_input_tokens" => &mut self.cache_write,
            "cache_creation" => {
                return fields(cursor, |cursor, name| match name {
                    "ephemeral_5m_input_tokens" => count(cursor, &mut self.cache_write_5m, unbelievable),
                    "ephemeral_1h_input_tokens" => count(cursor, &mut self.cache_write_1h, unbelievable),
                    _ => cursor.skip().map(drop),
                });
            }
            _ => return cursor.skip().map(drop),
        };
        count(cursor, place, unbelievable)
    }

    /// Returns the counts by kind, the absent ones zero; `None` where none was given. Writes of which the split
    /// says nothing were for five minutes, which is the default.
    fn usage(&self) -> Option<Usage> {
        let given = [
            self.input,
            self.output,
            self.cache_read,
            self.cache_write,
            self.cache_write_5m,
            self.cache_write_1h,
        ];
        given.iter().any(Option::is_some).then(|| {
            let one_hour = self.cache_write_1h.unwrap_or(0);
            let split = self.cache_write_5m.unwrap_or(0).saturating_add(one_hour);
            let written = self.cache_write.unwrap_or(split);
            Usage {
                input_tokens: self.input.unwrap_or(0),
                cache_read_tokens: self.cache_read.unwrap_or(0),
                cache_write_5m_tokens: written.saturating_sub(one_hour),
                cache_write_1h_tokens: one_hour.min(written),
                output_tokens: self.output.unwrap_or(0),
            }
        })
    }
}

fn makes_files(kind: &str) -> bool {
    kind == "container_upload" || kind.ends_with("code_execution_tool_result")
}

/// Gathers every `file_id` of a value, the value itself where it `is_id`; the cursor bounds the depth.
fn files_in(cursor: &mut Cursor<'_>, is_id: bool, found: &mut Vec<String>) -> Read {
    match cursor.kind()? {
        Kind::String if is_id && found.len() < MAX_FILES => {
            let mut id = None;
            keep(cursor, &mut id)?;
            found.extend(id);
            Ok(())
        }
        Kind::Object => fields(cursor, |cursor, name| files_in(cursor, name == "file_id", found)),
        Kind::Array => items(cursor, |cursor| files_in(cursor, false, found)),
        _ => cursor.skip().map(drop),
    }
}

/// Reads one document that is an object.
fn document(data: &[u8], field: impl FnMut(&mut Cursor<'_>, &str) -> Read) -> Read {
    let mut cursor = Cursor::new(data)?;
    fields(&mut cursor, field)?;
    cursor.end()
}

/// Reads the fields of an object; passes over anything else.
fn fields(cursor: &mut Cursor<'_>, mut field: impl FnMut(&mut Cursor<'_>, &str) -> Read) -> Read {
    if cursor.kind()? != Kind::Object {
        return cursor.skip().map(drop);
    }
    cursor.each_field(|cursor, name| field(cursor, name.raw)).map(drop)
}

/// Reads the items of an array; passes over anything else.
fn items(cursor: &mut Cursor<'_>, item: impl FnMut(&mut Cursor<'_>) -> Read) -> Read {
    if cursor.kind()? != Kind::Array {
        return cursor.skip().map(drop);
    }
    cursor.each_item(item).map(drop)
}

/// Reads a short string into `place`; passes over anything else and leaves what was there.
fn keep(cursor: &mut Cursor<'_>, place: &mut Option<String>) -> Read {
    if cursor.kind()? != Kind::String {
        return cursor.skip().map(drop);
    }
    let text = cursor.string()?;
    if text.raw.len() <= MAX_NAME_BYTES
        && let Some(meaning) = text.unescape()
    {
        *place = Some(meaning.into_owned());
    }
    Ok(())
}

/// Reads a count into `place`; null leaves what was there, anything else cannot be believed.
fn count(cursor: &mut Cursor<'_>, place: &mut Option<u64>, unbelievable: &mut bool) -> Read {
    let kind = cursor.kind()?;
    let span = cursor.skip()?;
    let number = std::str::from_utf8(cursor.slice(span)).ok().and_then(|digits| digits.parse().ok());
    match number.filter(|number| *number <= MAX_COUNT) {
        Some(number) => *place = Some(number),
        None => *unbelievable |= kind != Kind::Null,
    }
    Ok(())
}

/// A million millions: far above any answer, far below what sums or prices could overflow on.
const MAX_COUNT: u64 = 1_000_000_000_000;
const MAX_ITERATIONS: usize = 1_000;
const MAX_TOOL_CALLS: usize = 64;
const MAX_FILES: usize = 64;
const MAX_NAME_BYTES: usize = 256;
