//! An answer's bytes → what it used: the same wherever the reads end.

use tercet::wire::meter::{Meter, Progress};

/// Meters what follows the first two bytes whole, and in pieces as long as those say.
///
/// # Panics
/// Where the two differ, or where a count cannot be one.
pub fn run(data: &[u8]) {
    let Some((plan, answer)) = data.split_at_checked(2) else { return };
    let make = if plan[0].is_multiple_of(2) { Meter::stream } else { Meter::message };
    let (mut whole, mut pieces) = (make(), make());
    let (mut said, mut said_in_pieces) = (whole.feed(answer), Progress::default());
    let size = usize::from(plan[1]).max(1);
    answer.chunks(size).for_each(|piece| said_in_pieces.add(pieces.feed(piece)));
    if answer.is_empty() {
        (said, said_in_pieces) = (Progress::default(), Progress::default());
    }
    assert_eq!(said, said_in_pieces);
    let (whole, pieces) = (whole.finish(), pieces.finish());
    assert_eq!(whole, pieces);
    if let Some(usage) = whole.usage {
        assert!(usage.input_tokens <= 1_000_000_000_000_000 && usage.output_tokens <= 1_000_000_000_000_000);
        assert!(!whole.billed.is_empty());
    }
    assert!(whole.tool_calls.len() <= 64 && whole.file_ids.len() <= 64);
}
