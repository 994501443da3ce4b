//! What is counted of a request: integers over the last user turn's text and the tools, in one pass, on the stack.
//!
//! `scripts/classifier/features.py` counts exactly the same to train the weights; whoever changes one changes the
//! other. Nothing here depends on the system prompt, which names a workload and says nothing of difficulty.

use super::text::windows;
use super::weights::Lexicon;
use crate::wire::characters::{Characters, OTHER};
use crate::wire::envelope::Envelope;

macro_rules! slots {
    ($($slot:ident $name:literal,)*) => {
        /// Where each feature stands in the vector.
        #[derive(Clone, Copy, Debug)]
        pub(super) enum Slot { $($slot),* }

        /// The features' names, in the order of the vector.
        pub(super) const NAMES: &[&str] = &[$($name),*];

        const COUNT: usize = [$(Slot::$slot),*].len();
    };
}

slots! {
    TextBytes "text_bytes", Tools "tools", ToolBytes "tool_bytes", ToolFields "tool_fields",
    WordsInTools "words_in_tools", WordsBesideTools "words_beside_tools", ShareInTools "share_in_tools",
    Letters "letters", Upper "upper", Digits "digits", Numbers "numbers", LongNumbers "long_numbers",
    Lines "lines", BlankLines "blank_lines", OptionLines "option_lines", Others "others",
    Questions "questions", Backslashes "backslashes", Dollars "dollars", Equals "equals", Operators "operators",
    Braces "braces", Brackets "brackets", Parens "parens", Commas "commas", Stops "stops", Colons "colons",
    Semicolons "semicolons", Quotes "quotes", Ticks "ticks", Underscores "underscores", Hashes "hashes",
    Words "words", Longest "longest", Distinct "distinct", LongWords "long_words", ShortWords "short_words",
    Capitals "capitals", MeanWord "mean_word", DigitShare "digit_share", SymbolShare "symbol_share",
    DistinctShare "distinct_share", StopShare "stop_share",
    Maths "maths", Code "code", Steps "steps", Plain "plain", Ask "ask", Amount "amount", Negation "negation",
    Join "join", Every "every", If "if", Command "command", Answer "answer", Person "person",
}

/// Where the classes of the lexicon begin in the vector.
pub(super) const LEXICON_AT: usize = Slot::Maths as usize;

/// The feature vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Features([i32; COUNT]);

impl Features {
    /// Counts the features of a request.
    pub(super) fn of(envelope: &Envelope<'_>, lexicon: &Lexicon) -> Self {
        Self::count(&envelope.history.last_user_text, envelope.tools, envelope.tool_list.len(), lexicon)
    }

    pub(super) fn count(
        pieces: &[&[u8]],
        tools: Option<&[u8]>,
        tool_count: usize,
        lexicon: &Lexicon,
    ) -> Self {
        let mut features = Self([0; COUNT]);
        let tools = tools.filter(|_| tool_count > 0);
        features.set(Slot::TextBytes, pieces.iter().map(|piece| piece.len()).sum());
        features.set(Slot::Tools, tool_count);
        features.set(Slot::ToolBytes, tools.map_or(0, <[u8]>::len));
        let head = tools.map(|tools| tools.get(..TOOLS_BYTES).unwrap_or(tools));
        if let Some(head) = head {
            features.set(Slot::ToolFields, memchr::memmem::find_iter(head, br#""type""#).count());
        }
        let mut reading = Reading { features, known: head.map(stems), seen: [0; SEEN_WORDS], lexicon };
        for part in windows(pieces) {
            reading.part(part);
        }
        let distinct = reading.seen.iter().map(|bits| bits.count_ones() as usize).sum();
        let mut features = reading.features;
        features.set(Slot::Distinct, distinct);
        features.shares();
        features
    }

    #[inline]
    pub(super) fn get(&self, slot: Slot) -> i32 {
        self.0.get(slot as usize).copied().unwrap_or_default()
    }

    /// Returns the feature at a place of the vector; 0 beyond its end.
    #[inline]
    pub(super) fn at(&self, place: usize) -> i32 {
        self.0.get(place).copied().unwrap_or_default()
    }

    #[inline]
    fn add(&mut self, slot: Slot, more: bool) {
        self.add_at(slot as usize, i32::from(more));
    }

    /// Counts stay below 8 KiB, what is read at most.
    #[inline]
    fn add_at(&mut self, place: usize, more: i32) {
        if let Some(count) = self.0.get_mut(place) {
            *count += more;
        }
    }

    fn set(&mut self, slot: Slot, value: usize) {
        if let Some(count) = self.0.get_mut(slot as usize) {
            *count = i32::try_from(value).unwrap_or(i32::MAX);
        }
    }

    fn share(&mut self, slot: Slot, part: i32, whole: i32, times: i32) {
        if let (Some(count), true) = (self.0.get_mut(slot as usize), whole > 0) {
            *count = part * times / whole;
        }
    }

    fn shares(&mut self) {
        let sum = |slots: &[Slot]| slots.iter().map(|slot| self.get(*slot)).sum();
        let (symbols, stops) = (sum(&SYMBOLS), sum(&[Slot::Stops, Slot::Questions]));
        let compared = sum(&[Slot::WordsInTools, Slot::WordsBesideTools]);
        let read = self.get(Slot::TextBytes).min(READ_BYTES);
        let words = self.get(Slot::Words);
        self.share(Slot::MeanWord, self.get(Slot::Letters), words, 16);
        self.share(Slot::DigitShare, self.get(Slot::Digits), read, 1_000);
        self.share(Slot::SymbolShare, symbols, read, 1_000);
        self.share(Slot::DistinctShare, self.get(Slot::Distinct), words, 1_000);
        self.share(Slot::StopShare, stops, read, 1_000);
        self.share(Slot::ShareInTools, self.get(Slot::WordsInTools), compared, 1_000);
    }

    /// Returns whether the text speaks of maths, code or work in steps; a form is not believed against that.
    pub(super) fn is_hard(&self) -> bool {
        let sum = |slots: &[Slot]| -> i32 { slots.iter().map(|slot| self.get(*slot)).sum() };
        sum(&[Slot::Maths, Slot::Steps, Slot::Backslashes]) >= 2
            || sum(&[Slot::Code, Slot::Braces, Slot::Semicolons, Slot::Ticks]) >= 4
    }

    /// Returns whether nothing at all in the text speaks of maths, code or work in steps.
    pub(super) fn is_plain(&self) -> bool {
        [Slot::Maths, Slot::Steps, Slot::Code, Slot::Backslashes, Slot::Braces, Slot::Ticks]
            .into_iter()
            .all(|slot| self.get(slot) == 0)
    }
}

/// A word: FNV-1a of its letters, of the first five, how many there are, and how many of them capitals.
#[derive(Clone, Copy)]
struct Word {
    hash: u32,
    stem: u32,
    length: u32,
    upper: u32,
    capital: bool,
}

impl Word {
    /// Reads the word that begins with this letter, and the character behind it.
    #[inline]
    fn read(first: u8, characters: &mut Characters<'_>) -> (Self, Option<u8>) {
        let capital = first.is_ascii_uppercase();
        let mut word = Self { hash: FNV_SEED, stem: FNV_SEED, length: 0, upper: 0, capital };
        let mut letter = first;
        loop {
            word.hash = fnv(word.hash, letter | 0x20);
            word.upper += u32::from(letter.is_ascii_uppercase());
            word.length += 1;
            if word.length == STEM_LETTERS {
                word.stem = word.hash;
            }
            match characters.next() {
                Some(next) if next.is_ascii_alphabetic() => letter = next,
                after => {
                    if word.length < STEM_LETTERS {
                        word.stem = word.hash;
                    }
                    return (word, after);
                }
            }
        }
    }
}

struct Reading<'a> {
    features: Features,
    /// Stems of the tools' words, as a set of bits.
    known: Option<[u64; KNOWN_WORDS]>,
    /// Hashes of the words seen, as a set of bits.
    seen: [u64; SEEN_WORDS],
    lexicon: &'a Lexicon,
}

impl Reading<'_> {
    /// Reads one window; words, numbers and lines end with it.
    fn part(&mut self, part: &[u8]) {
        let (mut number, mut column, mut before) = (0u32, 0u32, b'\n');
        let mut characters = Characters::new(part);
        let mut next = characters.next();
        while let Some(character) = next {
            before = if character.is_ascii_alphabetic() {
                self.end_number(&mut number);
                let (word, after) = Word::read(character, &mut characters);
                self.word(&word);
                column += word.length;
                next = after;
                character
            } else {
                if character.is_ascii_digit() {
                    self.features.add(Slot::Digits, true);
                    number += 1;
                } else {
                    self.end_number(&mut number);
                    self.mark(character, before, column);
                }
                column = if character == b'\n' { 0 } else { column + 1 };
                next = characters.next();
                character
            };
        }
        self.end_number(&mut number);
    }

    fn mark(&mut self, character: u8, before: u8, column: u32) {
        let slot = match character {
            b'\n' => {
                self.features.add(Slot::BlankLines, before == b'\n');
                Slot::Lines
            }
            OTHER => Slot::Others,
            b'?' => Slot::Questions,
            b'\\' => Slot::Backslashes,
            b'$' => Slot::Dollars,
            b'=' => Slot::Equals,
            b'+' | b'-' | b'*' | b'/' | b'^' | b'<' | b'>' | b'%' | b'|' | b'&' | b'~' => Slot::Operators,
            b'{' | b'}' => Slot::Braces,
            b'[' | b']' => Slot::Brackets,
            b'(' | b')' => Slot::Parens,
            b',' => Slot::Commas,
            b'.' => Slot::Stops,
            b':' => Slot::Colons,
            b';' => Slot::Semicolons,
            b'"' | b'\'' => Slot::Quotes,
            b'`' => Slot::Ticks,
            b'_' => Slot::Underscores,
            b'#' => Slot::Hashes,
            _ => return,
        };
        self.features.add(slot, true);
        // A line that begins with one letter or digit and a stop, colon or bracket: an option to choose.
        let option = column == 1 && matches!(character, b'.' | b')' | b':') && before.is_ascii_alphanumeric();
        self.features.add(Slot::OptionLines, option);
    }

    #[inline]
    fn end_number(&mut self, number: &mut u32) {
        if *number > 0 {
            self.features.add(Slot::Numbers, true);
            self.features.add(Slot::LongNumbers, *number >= 3);
            *number = 0;
        }
    }

    #[inline]
    fn word(&mut self, word: &Word) {
        // A window is no longer than an i32.
        self.features.add_at(Slot::Letters as usize, word.length.cast_signed());
        self.features.add_at(Slot::Upper as usize, word.upper.cast_signed());
        self.features.add(Slot::Words, true);
        if word.length > self.features.get(Slot::Longest).unsigned_abs() {
            self.features.set(Slot::Longest, word.length as usize);
        }
        insert(&mut self.seen, word.hash);
        self.features.add(Slot::LongWords, word.length >= 8);
        self.features.add(Slot::ShortWords, word.length <= 3);
        self.features.add(Slot::Capitals, word.capital);
        if let Some(class) = self.lexicon.class(word.hash) {
            self.features.add_at(LEXICON_AT + class, 1);
        }
        if let (Some(known), true) = (&self.known, word.length >= STEM_WORD_LETTERS) {
            let slot = if holds(known, word.stem) { Slot::WordsInTools } else { Slot::WordsBesideTools };
            self.features.add(slot, true);
        }
    }
}

/// Returns the stems of the words of four letters and more, as a set of bits.
fn stems(text: &[u8]) -> [u64; KNOWN_WORDS] {
    let (mut known, mut characters) = ([0; KNOWN_WORDS], Characters::new(text));
    while let Some(character) = characters.next() {
        if character.is_ascii_alphabetic() {
            let (word, _) = Word::read(character, &mut characters);
            if word.length >= STEM_WORD_LETTERS {
                insert(&mut known, word.stem);
            }
        }
    }
    known
}

#[inline]
fn insert<const N: usize>(set: &mut [u64; N], hash: u32) {
    if let Some(bits) = set.get_mut(hash as usize / 64 % N) {
        *bits |= 1 << (hash % 64);
    }
}

#[inline]
fn holds<const N: usize>(set: &[u64; N], hash: u32) -> bool {
    set.get(hash as usize / 64 % N).is_some_and(|bits| bits >> (hash % 64) & 1 == 1)
}

/// One step of FNV-1a.
#[inline]
pub(super) const fn fnv(state: u32, byte: u8) -> u32 {
    (state ^ byte as u32).wrapping_mul(0x0100_0193)
}

pub(super) const FNV_SEED: u32 = 0x811c_9dc5;
const SYMBOLS: [Slot; 11] = [
    Slot::Equals,
    Slot::Operators,
    Slot::Braces,
    Slot::Brackets,
    Slot::Parens,
    Slot::Backslashes,
    Slot::Dollars,
    Slot::Semicolons,
    Slot::Ticks,
    Slot::Underscores,
    Slot::Hashes,
];
const STEM_LETTERS: u32 = 5;
const STEM_WORD_LETTERS: u32 = 4;
/// Sets of 1,024 and 4,096 bits.
const SEEN_WORDS: usize = 16;
const KNOWN_WORDS: usize = 64;
const TOOLS_BYTES: usize = 4_096;
const READ_BYTES: i32 = 8_192;
