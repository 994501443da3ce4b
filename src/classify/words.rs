//! Counting telling words in raw JSON text, in one pass and without copying it.
//!
//! Text comes as it stood between the quotes: `\n` is two bytes and must not become part of a word. At most
//! the first and last 4 KiB of all pieces together are read. Words are ASCII, up to 15 letters.

/// What the words of a text say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Words of proof and calculation, and LaTeX.
    pub(super) maths: u32,
    /// Words of programming, and marks of code.
    pub(super) code: u32,
    /// Words of work in several steps.
    pub(super) steps: u32,
    /// Words of plain tasks: translate, rephrase, list.
    pub(super) plain: u32,
}

impl Counts {
    /// Returns whether the text speaks of maths, code or work in steps; a form is not believed against that.
    pub(super) const fn hard(self) -> bool {
        self.maths + self.steps >= 2 || self.code >= 4
    }
}

/// Counts the telling words of `pieces`, first and last 4 KiB.
pub(super) fn count(pieces: &[&[u8]]) -> Counts {
    let total: usize = pieces.iter().map(|piece| piece.len()).sum();
    let mut counts = Counts::default();
    let mut start = 0;
    for piece in pieces {
        let end = start + piece.len();
        let head = piece.get(..WINDOW_BYTES.saturating_sub(start).min(piece.len()));
        // The tail begins where the head ends, or 4 KiB before the end of all pieces, whichever is later.
        let from = total.saturating_sub(WINDOW_BYTES).max(WINDOW_BYTES).max(start);
        let tail = piece.get(from.min(end) - start..);
        for part in [head, tail].into_iter().flatten() {
            count_part(part, &mut counts);
        }
        start = end;
    }
    counts
}

/// Returns whether `text` holds `phrase`, which is in lower case, whatever the case of the text.
pub(super) fn contains(text: &[u8], phrase: &[u8]) -> bool {
    let Some(first) = phrase.first() else { return true };
    memchr::memchr2_iter(*first, first.to_ascii_uppercase(), text)
        .any(|at| text.get(at..at + phrase.len()).is_some_and(|found| found.eq_ignore_ascii_case(phrase)))
}

fn count_part(part: &[u8], counts: &mut Counts) {
    let mut word = [0u8; WORD_BYTES];
    let mut length = 0;
    let mut at = 0;
    while let Some(&byte) = part.get(at) {
        if byte.is_ascii_alphabetic() {
            if let Some(slot) = word.get_mut(length) {
                *slot = byte.to_ascii_lowercase();
            }
            length += 1;
        } else {
            weigh(word.get(..length), counts);
            length = 0;
            match byte {
                b'\\' => at += escape(part.get(at + 1), counts),
                b'{' | b'}' | b';' | b'`' => counts.code += 1,
                _ => {}
            }
        }
        at += 1;
    }
    weigh(word.get(..length), counts);
}

/// Returns how many bytes after the backslash belong to the escape; a backslash itself begins LaTeX.
fn escape(next: Option<&u8>, counts: &mut Counts) -> usize {
    match next {
        Some(b'u') => 5,
        Some(b'\\') => {
            counts.maths += 1;
            1
        }
        Some(_) => 1,
        None => 0,
    }
}

/// A word longer than the buffer arrives as `None` and says nothing.
fn weigh(word: Option<&[u8]>, counts: &mut Counts) {
    let Some(word) = word.filter(|word| word.len() >= 3) else { return };
    match word {
        b"prove" | b"proof" | b"theorem" | b"lemma" | b"integral" | b"derivative" | b"equation"
        | b"equations" | b"polynomial" | b"probability" | b"modulo" | b"triangle" | b"matrix"
        | b"eigenvalue" | b"integer" | b"integers" | b"frac" | b"sqrt" | b"calculate" | b"compute"
        | b"solve" | b"derive" | b"deduce" | b"puzzle" | b"optimal" => counts.maths += 1,
        b"function" | b"class" | b"struct" | b"import" | b"return" | b"async" | b"compile" | b"compiler"
        | b"bug" | b"debug" | b"refactor" | b"implement" | b"algorithm" | b"traceback" | b"exception"
        | b"regex" | b"sql" | b"python" | b"rust" | b"javascript" | b"typescript" | b"api" | b"def"
        | b"concurrency" | b"deadlock" | b"kubernetes" | b"repository" => counts.code += 1,
        b"step" | b"steps" | b"then" | b"plan" | b"design" | b"architecture" | b"analyze" | b"analyse"
        | b"evaluate" | b"compare" | b"strategy" | b"tradeoffs" | b"investigate" | b"diagnose"
        | b"critique" | b"research" | b"comprehensive" | b"thorough" | b"detailed" | b"rigorous"
        | b"carefully" | b"migrate" | b"audit" => counts.steps += 1,
        b"translate" | b"rephrase" | b"reword" | b"summarize" | b"summarise" | b"spell" | b"spelling"
        | b"grammar" | b"capital" | b"synonym" | b"define" | b"convert" | b"list" | b"hello" | b"thanks"
        | b"thank" | b"classify" | b"sentiment" | b"extract" | b"format" | b"title" | b"shorten"
        | b"greeting" | b"label" => counts.plain += 1,
        _ => {}
    }
}

const WINDOW_BYTES: usize = 4_096;
const WORD_BYTES: usize = 15;
