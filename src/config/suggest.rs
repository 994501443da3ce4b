//! Guesses what a misspelt name was meant to be.
//!
//! Compares by edits: an insertion, a deletion, a replacement or a swap of neighbours is one edit. Names
//! longer than 64 letters are not compared.

/// Returns the name nearest to `word`, if it is near enough to be meant: a third of its letters at most.
pub(super) fn closest<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    let near = |name: &&'a str| {
        let distance = edits(word, name);
        (distance <= (name.chars().count() / 3).max(1)).then_some((distance, *name))
    };
    names.iter().filter_map(near).min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// Lists names as a hint: "expected `a`", or "expected one of `a`, `b`".
pub(super) fn listed(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let lead = if names.len() == 1 { "expected" } else { "expected one of" };
    format!("{lead} {}", quoted.join(", "))
}

fn edits(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.to_lowercase().chars().collect();
    let right: Vec<char> = right.to_lowercase().chars().collect();
    if left.len() > LETTERS_MAX || right.len() > LETTERS_MAX {
        return usize::MAX;
    }
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (row, letter) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, other) in right.iter().enumerate() {
            let replaced = last[column] + usize::from(letter != other);
            let mut best = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0 && column > 0 && left[row - 1] == *other && right[column - 1] == *letter;
            if swapped {
                best = best.min(before_last[column - 1] + 1);
            }
            current.push(best);
        }
        before_last = last;
        last = current;
    }
    last.last().copied().unwrap_or_default()
}

const LETTERS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_keyboard_finds_its_name_and_a_stranger_does_not() {
        let names = ["requests_per_minute", "input_tokens_per_minute", "listen", "ttl"];
        for (word, expected) in [
            ("requets_per_minute", Some("requests_per_minute")),
            ("requests_per_min", Some("requests_per_minute")),
            ("lisetn", Some("listen")),
            ("Listen", Some("listen")),
            ("tll", Some("ttl")),
            ("banana", None),
            ("", None),
        ] {
            assert_eq!(closest(word, &names), expected, "{word}");
        }
    }
}
