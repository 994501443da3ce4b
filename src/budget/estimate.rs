//! What a request may come to, from its size: a guess on the high side, corrected when it ends.
//!
//! * **Text**: bytes times what was learned of the model and the kind of content ([`super::Densities`]); until then a token
//!   is 3.5 bytes of JSON with the tokenizer of Opus 4.6 and older, 2.5 with the later one (about 30 % more tokens,
//!   rounded up). Where the conversation was counted before, that count and what was added since.
//! * **Pictures**: a token for each 28 by 28 pixels, after what is longer than 1,568 pixels has been made smaller, and at
//!   most 1,600; with the later models 2,576 pixels and 4,784 tokens. Pictures of unknown size count as the largest.
//! * **Documents**: 3,000 tokens a page, which is a page of dense text as text and picture; a page for each 36,000
//!   characters of base64, and one more; at most 600, which is what the API takes.
//! * **What cannot be counted** (a document by URL or file id, a thread, tools that the upstream runs): 50,000 tokens each
//!   usually, 200,000 at most, and no more than the model can read.
//!
//! At most a text is as dense as was learned or as the default, whichever is more. No prompt is longer than 1,000,000
//! tokens: upstream refuses those, and bills nothing.

use super::forecast::Expected;
use crate::money::NanoUsd;
use crate::usage::Usage;

/// Which tokenizer a model uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokenizer {
    /// Opus 4.6 and older, Haiku 4.5.
    Old,
    /// Opus 4.7 and later.
    New,
}

/// What is known of a prompt's size without counting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PromptSize<'a> {
    /// Bytes of the body, payload included.
    pub body_bytes: usize,
    /// Bytes of base64 payload in it.
    pub payload_bytes: usize,
    /// Those of them that are documents.
    pub document_bytes: usize,
    /// Widths and heights of pictures, where they are known.
    pub pictures: &'a [(u32, u32)],
    /// All `image` blocks.
    pub images: usize,
    /// `document` blocks.
    pub documents: usize,
    /// Parts whose size nobody knows beforehand.
    pub uncountable: usize,
}

/// What was counted of a conversation before, and what came since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Tokens of the prompt before, as the same model counted them.
    pub tokens: u64,
    /// Bytes of text that were added since: the answer, and what followed it.
    pub added_bytes: usize,
}

/// Tokens of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptTokens {
    /// Usually.
    pub usual: u64,
    /// At most; not less.
    pub most: u64,
}

/// As many usually as at most.
impl From<u64> for PromptTokens {
    fn from(tokens: u64) -> Self {
        Self { usual: tokens, most: tokens }
    }
}

/// What a request may come to, usually and at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// The whole prompt's tokens.
    pub prompt_tokens: u64,
    /// Its tokens at most.
    pub max_prompt_tokens: u64,
    /// Those of them that are expected not to be read from the prompt cache.
    pub input_tokens: u64,
    /// Tokens of a usual answer; at most `max_output_tokens`.
    pub output_tokens: u64,
    /// Tokens of the longest answer, `max_tokens`.
    pub max_output_tokens: u64,
    /// Cost of a usual answer.
    pub cost: NanoUsd,
    /// Cost of the longest answer.
    pub max_cost: NanoUsd,
}

impl Estimate {
    /// An answer that costs nothing: from the cache, or joined.
    pub const NOTHING: Self = Self {
        prompt_tokens: 0,
        max_prompt_tokens: 0,
        input_tokens: 0,
        output_tokens: 0,
        max_output_tokens: 0,
        cost: NanoUsd::ZERO,
        max_cost: NanoUsd::ZERO,
    };

    /// The least a request can come to; for an early look at whether anything is left.
    pub const LEAST: Self = Self {
        prompt_tokens: 1,
        max_prompt_tokens: 1,
        input_tokens: 1,
        output_tokens: 1,
        max_output_tokens: 1,
        cost: NanoUsd(1),
        max_cost: NanoUsd(1),
    };

    /// Prices a prompt with a usual and a longest answer; `caches` where the request writes to the prompt cache.
    ///
    /// At most nothing is read from the cache, and all of it is written for an hour where the request caches.
    #[must_use]
    pub fn new(
        prompt: impl Into<PromptTokens>,
        caches: bool,
        expected: Expected,
        max_output_tokens: u64,
        price: impl Fn(&Usage) -> NanoUsd,
    ) -> Self {
        let PromptTokens { usual: prompt_tokens, most: max_prompt_tokens } = prompt.into();
        let fresh = u128::from(prompt_tokens) * u128::from(expected.fresh_permille.min(1_000));
        let input_tokens = u64::try_from(fresh.div_ceil(1_000)).unwrap_or(u64::MAX);
        let cache_read_tokens = prompt_tokens - input_tokens;
        let output_tokens = expected.output_tokens.min(max_output_tokens);
        let usual = Usage { cache_read_tokens, output_tokens, ..Usage::default() };
        let longest = Usage { output_tokens: max_output_tokens, ..Usage::default() };
        let (usual, longest) = if caches {
            let written = Usage { cache_write_1h_tokens: max_prompt_tokens, ..longest };
            (Usage { cache_write_5m_tokens: input_tokens, ..usual }, written)
        } else {
            (Usage { input_tokens, ..usual }, Usage { input_tokens: max_prompt_tokens, ..longest })
        };
        let cost = price(&usual);
        let max_cost = price(&longest).max(cost);
        Self {
            prompt_tokens,
            max_prompt_tokens,
            input_tokens,
            output_tokens,
            max_output_tokens,
            cost,
            max_cost,
        }
    }

    /// Returns what two requests come to.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            prompt_tokens: self.prompt_tokens.saturating_add(other.prompt_tokens),
            max_prompt_tokens: self.max_prompt_tokens.saturating_add(other.max_prompt_tokens),
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            max_output_tokens: self.max_output_tokens.saturating_add(other.max_output_tokens),
            cost: self.cost + other.cost,
            max_cost: self.max_cost + other.max_cost,
        }
    }

    /// Returns what so many requests of this size come to.
    #[must_use]
    pub const fn times(self, count: u64) -> Self {
        let money = if count > i64::MAX as u64 { i64::MAX } else { count.cast_signed() };
        Self {
            prompt_tokens: self.prompt_tokens.saturating_mul(count),
            max_prompt_tokens: self.max_prompt_tokens.saturating_mul(count),
            input_tokens: self.input_tokens.saturating_mul(count),
            output_tokens: self.output_tokens.saturating_mul(count),
            max_output_tokens: self.max_output_tokens.saturating_mul(count),
            cost: NanoUsd(self.cost.0.saturating_mul(money)),
            max_cost: NanoUsd(self.max_cost.0.saturating_mul(money)),
        }
    }

    /// Returns prompt and usual answer together.
    #[must_use]
    pub const fn total_tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.output_tokens)
    }

    /// Returns prompt and longest answer together.
    #[must_use]
    pub const fn max_total_tokens(&self) -> u64 {
        self.max_prompt_tokens.saturating_add(self.max_output_tokens)
    }
}

/// Returns how many tokens a prompt of this size may have; each 1 to 1,000,000.
///
/// `density` is what was learned of such text, in tokens to a thousand bytes; `readable` is what the model can read.
#[must_use]
pub fn estimate_tokens(
    size: &PromptSize<'_>,
    tokenizer: Tokenizer,
    density: Option<u64>,
    counted: Option<Counted>,
    readable: u64,
) -> PromptTokens {
    let (default, picture_edge, picture_most) = match tokenizer {
        Tokenizer::Old => (OLD_DENSITY, OLD_EDGE, OLD_IMAGE_TOKENS),
        Tokenizer::New => (NEW_DENSITY, NEW_EDGE, NEW_IMAGE_TOKENS),
    };
    let text_bytes = wide(size.body_bytes.saturating_sub(size.payload_bytes));
    let text = |bytes: u64, density: u64| bytes.saturating_mul(density).div_ceil(DENSITY_UNIT);
    let usual_density = density.map_or(default, |learned| learned * DENSITY_BYTES);
    let known = size.pictures.iter().map(|picture| picture_tokens(*picture, picture_edge, picture_most));
    let unknown = wide(size.images.saturating_sub(size.pictures.len())).saturating_mul(picture_most);
    let pages = match size.documents {
        0 => 0,
        count => wide(count).saturating_add(wide(size.document_bytes) / PAGE_BYTES).min(PAGES_MAX),
    };
    let rest = known.sum::<u64>().saturating_add(unknown).saturating_add(pages * PAGE_TOKENS);
    let uncountable = |each: u64| wide(size.uncountable).saturating_mul(each);
    let sized =
        text(text_bytes, usual_density).saturating_add(rest).saturating_add(uncountable(UNCOUNTABLE_TOKENS));
    let usual = match counted {
        Some(Counted { tokens, added_bytes }) => {
            tokens.saturating_add(text(wide(added_bytes), usual_density))
        }
        None => sized,
    };
    let most = text(text_bytes, usual_density.max(default)).saturating_add(rest);
    let most = match uncountable(UNCOUNTABLE_TOKENS_MAX) {
        0 => most,
        beyond => most.saturating_add(beyond).min(readable),
    };
    let most = most.max(usual).clamp(1, PROMPT_TOKENS_MAX);
    PromptTokens { usual: usual.clamp(1, most), most }
}

/// A picture larger than `edge` is made smaller first; then a token for each patch begun, and `most` at most.
fn picture_tokens((width, height): (u32, u32), edge: u64, most: u64) -> u64 {
    let longest = u64::from(width.max(height)).max(1);
    let patches = |side: u32| {
        let side = u64::from(side);
        let side = if longest > edge { (side * edge).div_ceil(longest) } else { side };
        side.div_ceil(PATCH)
    };
    (patches(width) * patches(height)).clamp(1, most)
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Densities are in tokens to 7,000 bytes, so that both defaults are whole.
const DENSITY_UNIT: u64 = 7_000;
const DENSITY_BYTES: u64 = 7;
const OLD_DENSITY: u64 = 2_000;
const NEW_DENSITY: u64 = 2_800;
const PATCH: u64 = 28;
const OLD_EDGE: u64 = 1_568;
const NEW_EDGE: u64 = 2_576;
const OLD_IMAGE_TOKENS: u64 = 1_600;
const NEW_IMAGE_TOKENS: u64 = 4_784;
const PAGE_TOKENS: u64 = 3_000;
const PAGE_BYTES: u64 = 36_000;
const PAGES_MAX: u64 = 600;
const UNCOUNTABLE_TOKENS: u64 = 50_000;
const UNCOUNTABLE_TOKENS_MAX: u64 = 200_000;
const PROMPT_TOKENS_MAX: u64 = 1_000_000;
