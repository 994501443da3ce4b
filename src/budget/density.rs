//! How many tokens a model makes of text, by what the upstream counted: learned for each model and kind of content.
//!
//! For each a histogram of tokens to a thousand bytes in steps of 25, halved at 512 prompts; nine in ten of the last few
//! hundred were no denser than what is told. It is told from 16 prompts on, and learned from prompts of 1,000 bytes and
//! more that hold text alone. Nothing is stored.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What a text is made of, judged from a few hundred bytes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Words in Latin letters.
    Words,
    /// Code and data: full of signs.
    Signs,
    /// Other scripts.
    Scripts,
}

/// What was learned, by model; at most `MODELS_MAX`, later ones share one.
#[derive(Debug, Default)]
pub struct Densities(Mutex<HashMap<Arc<str>, [Histogram; 3]>>);

#[derive(Clone, Copy, Debug)]
struct Histogram {
    counts: [u16; BINS],
    total: u16,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; BINS], total: 0 }
    }
}

impl Content {
    /// Judges a text from `WINDOWS` pieces of it, 32 bytes each.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        let stride = (text.len() / WINDOWS).max(WINDOW_BYTES);
        let pieces = (0..WINDOWS).filter_map(|place| text.get(place * stride..));
        let sampled = pieces.flat_map(|piece| piece.iter().take(WINDOW_BYTES));
        let (mut all, mut signs, mut scripts) = (0_usize, 0_usize, 0_usize);
        for byte in sampled {
            all += 1;
            match byte {
                0x80.. => scripts += 1,
                b'{'
                | b'}'
                | b'['
                | b']'
                | b'('
                | b')'
                | b'<'
                | b'>'
                | b';'
                | b'='
                | b'_'
                | b'\\'
                | b'/'
                | b'0'..=b'9' => {
                    signs += 1;
                }
                _ => {}
            }
        }
        if scripts * 4 > all {
            Self::Scripts
        } else if signs * 8 > all {
            Self::Signs
        } else {
            Self::Words
        }
    }
}

impl Densities {
    /// Learns from a prompt of text alone that the upstream counted.
    pub fn observe(&self, model: &Arc<str>, content: Content, text_bytes: u64, tokens: u64) {
        if text_bytes < LEAST_BYTES {
            return;
        }
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = held.contains_key(model) || held.len() < MODELS_MAX;
        let model = if known { Arc::clone(model) } else { Arc::from(OTHER) };
        let of_model = held.entry(model).or_default();
        of_model[content as usize].observe(tokens.saturating_mul(1_000) / text_bytes);
    }

    /// Returns tokens to a thousand bytes, 25 to 1,000; `None` while too little is known.
    #[must_use]
    pub fn of(&self, model: &str, content: Content) -> Option<u64> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(model).or_else(|| held.get(OTHER))?[content as usize].ninth_tenth()
    }
}

impl Histogram {
    fn observe(&mut self, density: u64) {
        let place = usize::try_from(density.saturating_sub(1) / STEP).unwrap_or(usize::MAX).min(BINS - 1);
        self.counts[place] += 1;
        self.total += 1;
        if self.total >= HALVED_AT {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().sum();
        }
    }

    fn ninth_tenth(&self) -> Option<u64> {
        let needed = (u32::from(self.total) * 9).div_ceil(10);
        let mut seen = 0;
        (self.total >= LEARNED_FROM).then_some(())?;
        self.counts.iter().zip(1_u64..).find_map(|(count, place)| {
            seen += u32::from(*count);
            (seen >= needed).then_some(place * STEP)
        })
    }
}

const WINDOWS: usize = 16;
const WINDOW_BYTES: usize = 32;
const STEP: u64 = 25;
/// Up to one token a byte.
const BINS: usize = 40;
const HALVED_AT: u16 = 512;
const LEARNED_FROM: u16 = 16;
/// In shorter prompts what the API adds of its own weighs too much.
const LEAST_BYTES: u64 = 1_000;
const MODELS_MAX: usize = 256;
const OTHER: &str = "_other";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_told_apart_by_a_few_bytes_of_it() {
        let words = "The quick brown fox jumps over the lazy dog, and nobody minds. ".repeat(50);
        let code =
            "fn at(&self, x: usize) -> Option<u8> { self.0.get(x + 1).copied() }; let y = [0, 1];".repeat(50);
        let greek = "Ουδέν κακόν αμιγές καλού. ".repeat(50);
        for (text, content) in [(words, Content::Words), (code, Content::Signs), (greek, Content::Scripts)] {
            assert_eq!(Content::of(text.as_bytes()), content, "{text:.20}");
            assert_eq!(Content::of(&text.as_bytes()[..100]), content, "{text:.20}");
        }
        assert_eq!(Content::of(b""), Content::Words);
    }

    #[test]
    fn the_whole_text_is_judged_and_a_few_signs_are_usual_in_words() {
        let (words, signs, greek) =
            ("fox dog ".repeat(100), "{[()]}; ".repeat(1_000), "κακόν ".repeat(1_000));
        assert_eq!(Content::of((words.clone() + &signs).as_bytes()), Content::Signs);
        assert_eq!(Content::of((words.clone() + &greek).as_bytes()), Content::Scripts);
        let few = "It was in 15 when it began and nobody knew; ".repeat(100);
        assert_eq!(Content::of(few.as_bytes()), Content::Words);
        // An eighth of signs and a quarter of another script are still words.
        assert_eq!(Content::of(b"sixabc;;"), Content::Signs);
        assert_eq!(Content::of(b"sevenab;"), Content::Words);
        assert_eq!(Content::of("sixabcé".as_bytes()), Content::Words);
        assert_eq!(Content::of("fiveéé".as_bytes()), Content::Scripts);
    }

    #[test]
    fn what_was_learned_is_not_lost_when_the_long_past_is_forgotten() {
        let (densities, model) = (Densities::default(), Arc::from("claude-opus-5-5"));
        for seen in 1..2_000 {
            densities.observe(&model, Content::Words, LEAST_BYTES, 240);
            assert_eq!(densities.of(&model, Content::Words), (seen >= 16).then_some(250), "{seen}");
        }
    }

    #[test]
    fn nine_in_ten_prompts_are_no_denser_than_told() {
        let (densities, model) = (Densities::default(), Arc::from("claude-opus-5-5"));
        let observe = |tokens| densities.observe(&model, Content::Words, 10_000, tokens);
        let told = || densities.of(&model, Content::Words);
        (0..15).for_each(|_| observe(2_400));
        assert_eq!(told(), None, "too little is known");
        (0..85).for_each(|number| observe(if number % 10 == 0 { 6_000 } else { 2_400 }));
        assert_eq!(told(), Some(250));
        (0..20).for_each(|_| observe(3_010));
        assert_eq!(told(), Some(325));
        (0..2_000).for_each(|_| observe(2_000));
        assert_eq!(told(), Some(200), "what is long past is forgotten");
        assert_eq!(densities.of(&model, Content::Signs), None, "kinds are learned apart");
    }

    #[test]
    fn absurd_counts_and_many_models_are_bounded() {
        let densities = Densities::default();
        for number in 0..MODELS_MAX + 50 {
            let model: Arc<str> = number.to_string().into();
            for tokens in [0, 1, u64::MAX].repeat(10) {
                densities.observe(&model, Content::Signs, 5_000, tokens);
                densities.observe(&model, Content::Words, 10, tokens);
            }
        }
        assert_eq!(densities.0.lock().unwrap().len(), MODELS_MAX + 1);
        assert_eq!(densities.of("unseen", Content::Signs), Some(1_000), "a token is a byte at least");
        assert_eq!(densities.of("0", Content::Words), None, "short prompts teach nothing");
    }
}
