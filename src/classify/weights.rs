//! The trained weights: boosted trees for each tier's quality and for how familiar a request is, and what its traits are
//! made of, read from a file that proves to be whole.
//!
//! The file is two lines of JSON: a head with the format and the SHA-256 of the second line, and the trees. It is made
//! by `scripts/classifier/train.py`. Everything is checked at load, so that reading a tree later cannot fail.
//!
//! Trees are not walked, as every step would wait for the one before it. Every split instead, feature by feature from
//! the lowest threshold, strikes out the leaves it leaves no way to; the first leaf of a tree that is still there is
//! the one a walk would reach (Lucchese et al., QuickScorer, SIGIR 2015).

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Deserialize;

use super::features::{FNV_SEED, Features, LEXICON_AT, NAMES, fnv};
use super::traits::Traits;
use crate::tier::Logits;

/// Trained weights; immutable.
#[derive(Clone, Debug)]
pub struct Weights {
    version: String,
    pub(super) lexicon: Lexicon,
    forest: Forest,
    traits: Traits,
}

/// Which words belong to which class, by hash.
#[derive(Clone, Debug)]
pub(super) struct Lexicon(Vec<Option<(u32, u8)>>);

/// The trees of all four answers: haiku's, sonnet's and opus's quality, and how familiar a request is.
#[derive(Clone, Debug)]
struct Forest {
    /// By feature, and from the lowest within it; above its threshold a split leads to the right.
    thresholds: Vec<i32>,
    /// What each of them strikes out.
    strikes: Vec<Strike>,
    /// Where each feature's splits end.
    ends: [usize; NAMES.len()],
    /// Each tree's leaves, from left to right.
    leaves: Vec<[i32; LEAVES_MAX]>,
    /// Where each answer's trees end.
    heads: [usize; HEADS],
}

/// Of a tree the leaves that a way to the right keeps.
#[derive(Clone, Copy, Debug)]
struct Strike {
    tree: u16,
    keeps: u16,
}

/// A split as it is put in order.
#[derive(Clone, Copy, Debug)]
struct Split {
    feature: u16,
    threshold: i32,
    strike: Strike,
}

/// Why weights cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not usable as weights: {0}; make them with scripts/classifier/train.py")]
pub struct WeightsProblem(String);

#[derive(Deserialize)]
struct FileHead {
    format: String,
    sha256: String,
}

#[derive(Deserialize)]
struct Payload {
    features: Vec<String>,
    lexicon: BTreeMap<String, Vec<String>>,
    heads: WrittenHeads,
    traits: Traits,
}

#[derive(Deserialize)]
struct WrittenHeads {
    haiku: Vec<WrittenTree>,
    sonnet: Vec<WrittenTree>,
    opus: Vec<WrittenTree>,
    familiar: Vec<WrittenTree>,
}

/// Nodes (feature, threshold, left, right) and leaves.
#[derive(Deserialize)]
struct WrittenTree(Vec<(u16, i32, i16, i16)>, Vec<i32>);

impl Weights {
    /// Reads the weights that come with the program.
    ///
    /// # Errors
    /// Where the file was damaged before it was built in.
    pub fn embedded() -> Result<Self, WeightsProblem> {
        Self::parse(include_str!("weights.json"))
    }

    /// Reads weights from a file's text.
    ///
    /// # Errors
    /// Text that is not whole, of another format, for other features, or whose trees lead nowhere.
    pub fn parse(text: &str) -> Result<Self, WeightsProblem> {
        let problem = |why: &str| WeightsProblem(why.to_owned());
        if text.len() > FILE_BYTES_MAX {
            return Err(problem("larger than 1 MiB"));
        }
        let (head, payload) = text.split_once('\n').ok_or_else(|| problem("two lines are expected"))?;
        let head: FileHead =
            serde_json::from_str(head).map_err(|error| WeightsProblem(format!("line 1: {error}")))?;
        if head.format != FORMAT {
            return Err(WeightsProblem(format!("format {:?}, this version reads {FORMAT:?}", head.format)));
        }
        let payload = payload.strip_suffix('\n').unwrap_or(payload);
        let digest = hex(payload.as_bytes());
        if digest != head.sha256 {
            return Err(problem("line 2 does not match its SHA-256: the file was cut or changed"));
        }
        let payload: Payload =
            serde_json::from_str(payload).map_err(|error| WeightsProblem(format!("line 2: {error}")))?;
        if payload.features != NAMES {
            return Err(problem("made for other features"));
        }
        if !payload.traits.are_sound() {
            return Err(problem("made for other traits"));
        }
        let heads = payload.heads;
        Ok(Self {
            version: digest.chars().take(VERSION_DIGITS).collect(),
            lexicon: Lexicon::of(&payload.lexicon)?,
            forest: Forest::of([&heads.haiku, &heads.sonnet, &heads.opus, &heads.familiar])?,
            traits: payload.traits,
        })
    }

    /// Returns what names these weights in records: 12 hex digits.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn logits(&self, features: &Features) -> Logits {
        let [haiku, sonnet, opus, familiar] = self.forest.sums(features);
        Logits { quality: [haiku, sonnet, opus], familiar, traits: self.traits.of(features) }
    }
}

impl Forest {
    fn of(heads: [&[WrittenTree]; HEADS]) -> Result<Self, WeightsProblem> {
        let mut splits = Vec::new();
        let mut forest = Self {
            thresholds: Vec::new(),
            strikes: Vec::new(),
            ends: [0; NAMES.len()],
            leaves: Vec::new(),
            heads: [0; HEADS],
        };
        for (end, trees) in forest.heads.iter_mut().zip(heads) {
            if trees.is_empty() || forest.leaves.len() + trees.len() > TREES_MAX {
                return Err(WeightsProblem(format!(
                    "{} trees; 1 to {TREES_MAX} in all are read",
                    trees.len()
                )));
            }
            for (number, WrittenTree(nodes, leaves)) in trees.iter().enumerate() {
                let tree = u16::try_from(forest.leaves.len()).ok();
                let placed = tree.filter(|_| leads_to_leaves(nodes, leaves)).and_then(|tree| {
                    let mut placing = Placing { nodes, leaves, tree, placed: [0; LEAVES_MAX], count: 0 };
                    placing.place(if nodes.is_empty() { !0 } else { 0 }, &mut splits)?;
                    (placing.count == leaves.len()).then_some(placing.placed)
                });
                let lost = || WeightsProblem(format!("tree {number} leads nowhere"));
                forest.leaves.push(placed.ok_or_else(lost)?);
            }
            *end = forest.leaves.len();
        }
        splits.sort_by_key(|split| (split.feature, split.threshold));
        (forest.thresholds, forest.strikes) =
            splits.iter().map(|split| (split.threshold, split.strike)).unzip();
        for (feature, end) in forest.ends.iter_mut().enumerate() {
            *end = splits.partition_point(|split| usize::from(split.feature) <= feature);
        }
        Ok(forest)
    }

    /// Sums, by answer, the leaf that each tree leads to.
    fn sums(&self, features: &Features) -> [i32; HEADS] {
        let mut left = [u16::MAX; TREES_MAX];
        let mut start = 0;
        for (feature, end) in self.ends.iter().enumerate() {
            let value = features.at(feature);
            let thresholds = self.thresholds.get(start..*end).unwrap_or_default();
            let below = thresholds.partition_point(|threshold| *threshold < value);
            for strike in self.strikes.get(start..start + below).unwrap_or_default() {
                // The remainder is the tree itself, and spares the check of a bound in the longest loop there is.
                left[usize::from(strike.tree) % TREES_MAX] &= strike.keeps;
            }
            start = *end;
        }
        let mut start = 0;
        self.heads.map(|end| {
            let trees = start..end;
            start = end;
            let leaves = self.leaves.get(trees.clone()).unwrap_or_default();
            // Leaves and trees are so bounded that no sum overflows; of each tree one leaf at least is left.
            let leaf = |(leaves, left): (&[i32; LEAVES_MAX], &u16)| {
                leaves[left.trailing_zeros() as usize % LEAVES_MAX]
            };
            leaves.iter().zip(left.get(trees).unwrap_or_default()).map(leaf).sum()
        })
    }
}

/// A tree as it is put in order.
struct Placing<'a> {
    nodes: &'a [(u16, i32, i16, i16)],
    leaves: &'a [i32],
    tree: u16,
    placed: [i32; LEAVES_MAX],
    count: usize,
}

impl Placing<'_> {
    /// Puts the leaves below a child in order from left to right; returns their bits. Children stand behind their
    /// parents, so this ends; `None` where there are more leaves than there may be.
    fn place(&mut self, child: i16, splits: &mut Vec<Split>) -> Option<u16> {
        let Ok(place) = usize::try_from(child) else {
            *self.placed.get_mut(self.count)? = *self.leaves.get(usize::try_from(!child).ok()?)?;
            self.count += 1;
            return Some(1 << (self.count - 1));
        };
        let &(feature, threshold, left, right) = self.nodes.get(place)?;
        let below_left = self.place(left, splits)?;
        let below_right = self.place(right, splits)?;
        splits.push(Split { feature, threshold, strike: Strike { tree: self.tree, keeps: !below_left } });
        Some(below_left | below_right)
    }
}

/// Every child is a node behind its parent or a leaf that exists, and leaves are of a size that sums cannot overflow.
fn leads_to_leaves(nodes: &[(u16, i32, i16, i16)], leaves: &[i32]) -> bool {
    let child = |parent: usize, child: i16| match usize::try_from(child) {
        Ok(node) => node > parent && node < nodes.len(),
        Err(_) => usize::try_from(!child).is_ok_and(|leaf| leaf < leaves.len()),
    };
    leaves.len() <= LEAVES_MAX
        && leaves.len() == nodes.len() + 1
        && leaves.iter().all(|leaf| leaf.unsigned_abs() <= LEAF_MAX)
        && nodes.iter().enumerate().all(|(place, &(feature, _, left, right))| {
            usize::from(feature) < NAMES.len() && child(place, left) && child(place, right)
        })
}

impl Lexicon {
    fn of(written: &BTreeMap<String, Vec<String>>) -> Result<Self, WeightsProblem> {
        let classes = NAMES.get(LEXICON_AT..).unwrap_or_default();
        if written.len() != classes.len() {
            return Err(WeightsProblem("another lexicon".to_owned()));
        }
        let mut slots = vec![None; LEXICON_SLOTS];
        let words = written.iter().flat_map(|(class, words)| words.iter().map(move |word| (class, word)));
        for (count, (class, word)) in words.enumerate() {
            let class = classes.iter().position(|name| name == class).and_then(|at| u8::try_from(at).ok());
            let class = class.filter(|_| count < LEXICON_WORDS_MAX);
            let class = class.ok_or_else(|| WeightsProblem("another lexicon".to_owned()))?;
            let hash = word.bytes().fold(FNV_SEED, fnv);
            let mut at = hash as usize % LEXICON_SLOTS;
            while slots.get(at).is_some_and(Option::is_some) {
                at = (at + 1) % LEXICON_SLOTS;
            }
            if let Some(slot) = slots.get_mut(at) {
                *slot = Some((hash, class));
            }
        }
        Ok(Self(slots))
    }

    /// Returns the class of the word with this hash.
    #[inline]
    pub(super) fn class(&self, hash: u32) -> Option<usize> {
        let mut at = hash as usize % LEXICON_SLOTS;
        // At most half of the slots are taken, so this ends.
        while let Some(Some((found, class))) = self.0.get(at) {
            if *found == hash {
                return Some(usize::from(*class));
            }
            at = (at + 1) % LEXICON_SLOTS;
        }
        None
    }
}

fn hex(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

const FORMAT: &str = "tercet-classifier-3";
const FILE_BYTES_MAX: usize = 1 << 20;
const VERSION_DIGITS: usize = 12;
const HEADS: usize = 4;
/// Of all answers together.
const TREES_MAX: usize = 1_024;
/// Of a tree; as many as a split has bits.
const LEAVES_MAX: usize = 16;
const LEAF_MAX: u32 = 1_000_000;
const LEXICON_SLOTS: usize = 1_024;
const LEXICON_WORDS_MAX: usize = LEXICON_SLOTS / 2;
