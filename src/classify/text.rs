//! Which part of a request's text is read: at most the first and last 4 KiB of the last user turn.

/// Returns the first and last 4 KiB of all pieces together, by piece; no byte twice.
pub(super) fn windows<'a>(pieces: &[&'a [u8]]) -> impl Iterator<Item = &'a [u8]> {
    let total: usize = pieces.iter().map(|piece| piece.len()).sum();
    let mut start = 0;
    pieces.iter().flat_map(move |piece| {
        let end = start + piece.len();
        let head = piece.get(..WINDOW_BYTES.saturating_sub(start).min(piece.len()));
        // The tail begins where the head ends, or 4 KiB before the end of all pieces, whichever is later.
        let from = total.saturating_sub(WINDOW_BYTES).max(WINDOW_BYTES).max(start);
        let tail = piece.get(from.min(end) - start..);
        start = end;
        [head, tail].into_iter().flatten()
    })
}

/// Returns whether `text` holds `phrase`, which is in lower case, whatever the case of the text.
pub(super) fn contains(text: &[u8], phrase: &[u8]) -> bool {
    let Some(first) = phrase.first() else { return true };
    memchr::memchr2_iter(*first, first.to_ascii_uppercase(), text)
        .any(|at| text.get(at..at + phrase.len()).is_some_and(|found| found.eq_ignore_ascii_case(phrase)))
}

const WINDOW_BYTES: usize = 4_096;
