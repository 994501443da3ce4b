//! Input that wants to be obeyed: well-known phrases, and text that a person does not see.
//!
//! Neither proves anything, and nobody who means harm is bound to these phrases: they are worth a flag.

use std::ops::Range;
use std::sync::LazyLock;

use regex::{Match, Regex};

use super::{Form, Then, begins_word, each, form};

/// Phrases that want to take the place of instructions, and marks of other models' turns.
pub(super) fn injections(text: &str, add: &mut impl FnMut(Range<usize>)) {
    let alone = |hit: Match<'_>| begins_word(text, hit.start()).then(|| hit.range());
    each(&PHRASES, text, Then::Behind, alone, add);
    each(&MARKS, text, Then::Behind, |hit| Some(hit.range()), add);
}

/// Runs of tag characters (but those of flags), of characters without width, and changes of direction.
pub(super) fn hidden(text: &str, add: &mut impl FnMut(Range<usize>)) {
    let no_flag = |hit: Match<'_>| {
        let before = text.get(..hit.start()).and_then(|before| before.chars().next_back());
        let flag = before == Some(BLACK_FLAG) && hit.as_str().chars().count() <= FLAG_TAGS_MAX;
        (!flag).then(|| hit.range())
    };
    if !text.is_ascii() {
        each(&HIDDEN, text, Then::Behind, no_flag, add);
    }
}

static PHRASES: Form = form!(
    r"(?ix)
      (?: ignore | disregard | forget | override | bypass ) \s (?: [\w']+ \s ){0,4}? (?: previous | prior | above | earlier | preceding | foregoing | system | safety ) \s (?: [\w']+ \s ){0,2}? (?: instruction | prompt | rule | direction | guideline | polic | message | constraint )
    | (?: reveal | print | repeat | output | leak | show \s me ) \s (?: [\w']+ \s ){0,3}? (?: system | hidden | initial | secret ) \s prompt
    | you \s are \s (?: now \s )? (?: DAN | jailbroken | unrestricted | in \s (?: developer | god | debug ) \s mode )
    | do \s not \s (?: tell | inform | mention \s (?: this | it ) \s to ) \s the \s user"
);
static MARKS: Form = form!(r"<\|(?:im_start|im_end|endoftext|system|eot_id)\|>|\[/?INST\]|<</?SYS>>");
static HIDDEN: Form = form!(
    r"[\u{E0000}-\u{E007F}]{3,}|[\u{200B}-\u{200D}\u{2060}-\u{2064}\u{FEFF}]{8,}|[\u{202A}-\u{202E}\u{2066}-\u{2069}]+"
);

const BLACK_FLAG: char = '\u{1f3f4}';
/// Tags behind a flag: a region and the end.
const FLAG_TAGS_MAX: usize = 7;

#[cfg(test)]
pub(super) static FORMS: [&Form; 3] = [&PHRASES, &MARKS, &HIDDEN];
