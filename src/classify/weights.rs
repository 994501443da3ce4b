//! The trained weights: boosted trees for each tier, read from a file that proves to be whole.
//!
//! The file is two lines of JSON: a head with the format and the SHA-256 of the second line, and the trees. It is made
//! by `scripts/classifier/train.py`. Everything is checked at load, so that reading a tree later cannot fail.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Deserialize;

use super::features::{FNV_SEED, Features, LEXICON_AT, NAMES, fnv};

/// Trained weights; immutable.
#[derive(Clone, Debug)]
pub struct Weights {
    version: String,
    pub(super) lexicon: Lexicon,
    heads: [Head; 3],
}

/// Which words belong to which class, by hash.
#[derive(Clone, Debug)]
pub(super) struct Lexicon(Vec<Option<(u32, u8)>>);

/// The trees of one tier, one behind the other.
#[derive(Clone, Debug, Default)]
struct Head {
    nodes: Vec<Node>,
    leaves: Vec<i32>,
    trees: Vec<Tree>,
}

/// `left` where the feature is at most `threshold`; below zero `!child` is a leaf of the same tree.
#[derive(Clone, Copy, Debug)]
struct Node {
    threshold: i32,
    feature: u16,
    left: i16,
    right: i16,
}

/// Where a tree's nodes and leaves begin.
#[derive(Clone, Copy, Debug)]
struct Tree {
    nodes: usize,
    leaves: usize,
    alone: bool,
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
}

#[derive(Deserialize)]
struct WrittenHeads {
    haiku: Vec<WrittenTree>,
    sonnet: Vec<WrittenTree>,
    opus: Vec<WrittenTree>,
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
        let heads = payload.heads;
        Ok(Self {
            version: digest.chars().take(VERSION_DIGITS).collect(),
            lexicon: Lexicon::of(&payload.lexicon)?,
            heads: [Head::of(&heads.haiku)?, Head::of(&heads.sonnet)?, Head::of(&heads.opus)?],
        })
    }

    /// Returns what names these weights in records: 12 hex digits.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns the logit of each tier's quality, in ten-thousandths.
    pub(super) fn logits(&self, features: &Features) -> [i32; 3] {
        self.heads.each_ref().map(|head| head.sum(features))
    }
}

impl Head {
    fn of(trees: &[WrittenTree]) -> Result<Self, WeightsProblem> {
        let mut head = Self::default();
        if trees.is_empty() || trees.len() > TREES_MAX {
            return Err(WeightsProblem(format!("{} trees; 1 to {TREES_MAX} are read", trees.len())));
        }
        for (number, WrittenTree(nodes, leaves)) in trees.iter().enumerate() {
            if !leads_to_leaves(nodes, leaves) {
                return Err(WeightsProblem(format!("tree {number} leads nowhere")));
            }
            head.trees.push(Tree {
                nodes: head.nodes.len(),
                leaves: head.leaves.len(),
                alone: nodes.is_empty(),
            });
            let read = |&(feature, threshold, left, right): &_| Node { threshold, feature, left, right };
            head.nodes.extend(nodes.iter().map(read));
            head.leaves.extend(leaves);
        }
        Ok(head)
    }

    fn sum(&self, features: &Features) -> i32 {
        self.trees.iter().map(|tree| self.leaf(*tree, features)).fold(0, i32::saturating_add)
    }

    #[inline]
    fn leaf(&self, tree: Tree, features: &Features) -> i32 {
        let mut at: i16 = if tree.alone { !0 } else { 0 };
        // Children stand behind their parents, so this ends.
        while let Ok(place) = usize::try_from(at) {
            let Some(node) = self.nodes.get(tree.nodes + place) else { return 0 };
            at = if features.at(node.feature.into()) <= node.threshold { node.left } else { node.right };
        }
        let place = usize::try_from(!at).unwrap_or_default();
        self.leaves.get(tree.leaves + place).copied().unwrap_or_default()
    }
}

/// Every child is a node behind its parent or a leaf that exists, and leaves are of a size that sums cannot overflow.
fn leads_to_leaves(nodes: &[(u16, i32, i16, i16)], leaves: &[i32]) -> bool {
    let child = |parent: usize, child: i16| match usize::try_from(child) {
        Ok(node) => node > parent && node < nodes.len(),
        Err(_) => usize::try_from(!child).is_ok_and(|leaf| leaf < leaves.len()),
    };
    nodes.len() <= NODES_MAX
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

const FORMAT: &str = "tercet-classifier-1";
const FILE_BYTES_MAX: usize = 1 << 20;
const VERSION_DIGITS: usize = 12;
const TREES_MAX: usize = 1_024;
const NODES_MAX: usize = 255;
const LEAF_MAX: u32 = 1_000_000;
const LEXICON_SLOTS: usize = 1_024;
const LEXICON_WORDS_MAX: usize = LEXICON_SLOTS / 2;
