//! What of a prompt the upstream's prompt cache may hold: noted when it is sent, written down when it has ended.

use super::exchange::Exchange;
use crate::journal::{Marks, PromptRecord};
use crate::usage::Usage;
use crate::wire::envelope::Envelope;
use crate::workload;

/// What is known of a prompt before its tokens are counted.
#[derive(Clone, Debug)]
pub struct Prompt {
    workload: Option<String>,
    head: Option<u64>,
    head_bytes: u64,
    text_bytes: u64,
    marks: Marks,
    before_tokens: u64,
    idle_s: Option<u64>,
}

/// Notes it, of a message about to be sent.
pub(super) fn note(exchange: &mut Exchange, envelope: &Envelope<'_>) {
    if !exchange.endpoint.is_message() {
        return;
    }
    let (tools, system) = (envelope.tools.unwrap_or_default(), envelope.system.unwrap_or_default());
    let text_bytes = envelope.body.len().saturating_sub(envelope.history.payload_bytes);
    let now_s = exchange.timestamp.as_second();
    let course = exchange.course.as_deref();
    let warm =
        course.and_then(|course| course.past.warm.iter().find(|warm| warm.model == exchange.sent_model()));
    let idle_s = warm.and_then(|warm| u64::try_from(now_s - (warm.until_s - warm.ttl_s)).ok());
    let marks = match (envelope.history.cache_control, envelope.history.cache_hour) {
        (false, _) => Marks::None,
        (true, false) => Marks::FiveMinutes,
        (true, true) => Marks::Hour,
    };
    exchange.prompt = Some(Prompt {
        workload: exchange.workload.as_ref().and_then(|belonging| belonging.fingerprints.name()),
        head: (tools.len() + system.len() > 0).then(|| head(tools, system)),
        head_bytes: (tools.len() + system.len()) as u64,
        text_bytes: text_bytes as u64,
        marks,
        before_tokens: course.map_or(0, |course| course.before_tokens),
        idle_s,
    });
}

impl Prompt {
    /// Returns what is written down of it, once its tokens are counted; `None` where they were not.
    #[must_use]
    pub fn record(&self, usage: &Usage) -> Option<PromptRecord> {
        let prompt_tokens = usage.prompt_tokens();
        if prompt_tokens == 0 {
            return None;
        }
        let by_share =
            u128::from(prompt_tokens) * u128::from(self.head_bytes) / u128::from(self.text_bytes.max(1));
        // Of a prompt of images the share of bytes says too much.
        let most = self.head_bytes / HEAD_BYTES_PER_TOKEN_MIN;
        Some(PromptRecord {
            workload: self.workload.clone(),
            head: self.head.map(workload::name),
            head_tokens: u64::try_from(by_share).unwrap_or(u64::MAX).min(most).min(prompt_tokens),
            marks: self.marks,
            before_tokens: self.before_tokens,
            idle_s: self.idle_s,
        })
    }
}

/// Hashes tools and system prompt as they stand: what the upstream's cache is looked up by first.
fn head(tools: &[u8], system: &[u8]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(tools.len() as u64).to_le_bytes()).update(tools).update(system);
    let hash = hasher.finalize();
    hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Fewer bytes than any token of prose or code takes on average.
const HEAD_BYTES_PER_TOKEN_MIN: u64 = 2;
