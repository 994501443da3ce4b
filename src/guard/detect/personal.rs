//! Personal data, each kind held against what its numbering plan or checksum allows.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::LazyLock;

use regex::{Match, Regex};

use super::{Form, Then, begins_word, each, form, stands_alone};

/// E-mail addresses, but those of documentation and of machines that take no mail.
pub(super) fn emails(text: &str, add: &mut impl FnMut(Range<usize>)) {
    let test = |hit: Match<'_>| {
        let (local, domain) = hit.as_str().split_once('@')?;
        let domain = domain.to_ascii_lowercase();
        let last = domain.rsplit('.').next()?;
        let reserved = EXAMPLE_DOMAINS
            .iter()
            .any(|end| domain.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')));
        let machine = matches!(local, "git" | "hg" | "svn" | "noreply" | "no-reply");
        let fits = !reserved && !machine && !local.ends_with('.') && !FILE_ENDINGS.contains(&last);
        let rest = text.get(hit.end()..).unwrap_or_default();
        let ends = !rest.starts_with(|next: char| next.is_alphanumeric() || "_-@:".contains(next));
        let ends = ends || rest.starts_with(": ") || rest.starts_with(":\n");
        (fits && ends && begins_word(text, hit.start())).then(|| hit.range())
    };
    if memchr::memchr(b'@', text.as_bytes()).is_some() {
        each(&EMAIL, text, Then::Within, test, add);
    }
}

/// IBANs of the right length for their country, whose check digits hold; as printed in groups of four, or without.
pub(super) fn ibans(text: &str, add: &mut impl FnMut(Range<usize>)) {
    let test = |hit: Match<'_>| {
        let country = hit.as_str().get(..2)?;
        let (_, length) = IBAN_LENGTHS.iter().find(|(code, _)| *code == country)?;
        let (mut letters, mut end) = (Vec::with_capacity(*length), hit.start());
        for (index, byte) in text.as_bytes().get(hit.start()..)?.iter().enumerate() {
            match byte {
                b' ' if letters.len() % 4 == 0 => continue,
                b'A'..=b'Z' | b'0'..=b'9' => letters.push(*byte),
                _ => break,
            }
            if letters.len() == *length {
                end = hit.start() + index + 1;
                break;
            }
        }
        let at = hit.start()..end;
        (letters.len() == *length && is_iban(&letters) && stands_alone(text, &at)).then_some(at)
    };
    each(&IBAN, text, Then::Within, test, add);
}

/// The number modulo 97 with its first four letters moved behind it (ISO 13616).
fn is_iban(letters: &[u8]) -> bool {
    let (head, tail) = letters.split_at(4.min(letters.len()));
    let rest = tail.iter().chain(head).fold(0_u32, |rest, letter| match letter {
        b'0'..=b'9' => (rest * 10 + u32::from(letter - b'0')) % 97,
        _ => (rest * 100 + u32::from(letter - b'A') + 10) % 97,
    });
    rest == 1
}

/// Numbers of payment cards: of a length and beginning that are given out, whose check digit holds.
pub(super) fn cards(text: &str, add: &mut impl FnMut(Range<usize>)) {
    let test = |hit: Match<'_>| {
        let digits: Vec<u8> =
            hit.as_str().bytes().filter(u8::is_ascii_digit).map(|digit| digit - b'0').collect();
        let number = digits.iter().take(6).fold(0_u32, |number, digit| number * 10 + u32::from(*digit));
        let given_out = CARDS
            .iter()
            .any(|(from, to, lengths)| (*from..=*to).contains(&number) && lengths.contains(&digits.len()));
        let mixed = hit.as_str().contains(' ') && hit.as_str().contains('-');
        let alone = stands_alone(text, &hit.range()) && !touches_number(text, &hit.range());
        (given_out && !mixed && luhn(&digits) && alone).then(|| hit.range())
    };
    each(&CARD, text, Then::Within, test, add);
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(*digit);
            if place % 2 == 0 { digit } else { digit * 2 / 10 + digit * 2 % 10 }
        })
        .sum();
    sum.is_multiple_of(10) && digits.iter().any(|digit| *digit != 0)
}

/// Telephone numbers: international ones with their plus, and those of North America in groups.
pub(super) fn phones(text: &str, add: &mut impl FnMut(Range<usize>)) {
    let test = |hit: Match<'_>| {
        let word = hit.as_str();
        let digits: Vec<u8> = word.bytes().filter(u8::is_ascii_digit).collect();
        let grouped = word.bytes().any(|byte| b" .-()".contains(&byte));
        let fits = if word.starts_with('+') {
            (if grouped { 8 } else { 10 }..=15).contains(&digits.len())
        } else {
            // 555-0100 to 555-0199 belong to nobody.
            !(digits.get(3..6) == Some(b"555") && digits.get(6..8) == Some(b"01"))
        };
        let alone = stands_alone(text, &hit.range()) && !touches_number(text, &hit.range());
        (fits && alone && !is_date(word)).then(|| hit.range())
    };
    each(&PHONE, text, Then::Within, test, add);
}

/// A date with a sign before its year, as far years are written.
fn is_date(word: &str) -> bool {
    let mut parts = word.trim_start_matches('+').split('-');
    let year =
        parts.next().is_some_and(|year| year.len() >= 4 && year.bytes().all(|byte| byte.is_ascii_digit()));
    let mut below = |most: u32| {
        let part = parts.next().and_then(|part| part.get(..2)?.parse::<u32>().ok());
        part.is_some_and(|part| (1..=most).contains(&part))
    };
    year && below(12) && below(31)
}

/// Social security numbers with their hyphens, but those never given out and those printed in advertisements.
pub(super) fn ssns(text: &str, add: &mut impl FnMut(Range<usize>)) {
    let test = |hit: Match<'_>| {
        let mut parts = hit.as_str().split('-').filter_map(|part| part.parse::<u32>().ok());
        let (area, group, serial) = (parts.next()?, parts.next()?, parts.next()?);
        let given_out = !matches!(area, 0 | 666 | 900..) && group != 0 && serial != 0;
        let printed = matches!((area, group, serial), (78, 5, 1120) | (219, 9, 9999) | (123, 45, 6789));
        let alone = stands_alone(text, &hit.range()) && !touches_number(text, &hit.range());
        (given_out && !printed && alone).then(|| hit.range())
    };
    each(&SSN, text, Then::Within, test, add);
}

/// Addresses of hosts that anybody can reach: none of private networks, documentation or the host itself.
pub(super) fn addresses(text: &str, add: &mut impl FnMut(Range<usize>)) {
    let four = |hit: Match<'_>| {
        let address: Ipv4Addr = hit.as_str().parse().ok()?;
        let [first, second, third, _] = address.octets();
        let shared = first == 100 && (64..128).contains(&second);
        let special = address.is_private()
            || address.is_loopback()
            || address.is_link_local()
            || address.is_documentation()
            || matches!(first, 0 | 224..)
            || shared
            // Written so are object identifiers as well.
            || (first == 1 && second < 4)
            || (first, second, third) == (192, 0, 0)
            || (first, second) == (198, 18);
        // A version has no zero or small first part only by accident; those of four parts are mostly small.
        let version = address.octets().iter().all(|part| *part < 20);
        let alone = stands_alone(text, &hit.range()) && !touches_number(text, &hit.range());
        (!special && !version && alone).then(|| hit.range())
    };
    each(&IPV4, text, Then::Within, four, add);
    let six = |hit: Match<'_>| {
        let address: Ipv6Addr = hit.as_str().parse().ok()?;
        let [first, second, ..] = address.segments();
        let public = (0x2000..0x4000).contains(&first) && (first, second) != (0x2001, 0x0db8);
        let rest = text.get(hit.end()..).unwrap_or_default();
        (public && stands_alone(text, &hit.range()) && !rest.starts_with(':')).then(|| hit.range())
    };
    each(&IPV6, text, Then::Behind, six, add);
}

/// Tells whether a number goes on behind a separator, as in a version, a range or a longer number in groups.
fn touches_number(text: &str, at: &Range<usize>) -> bool {
    let digit = |character: Option<char>| character.is_some_and(|character| character.is_ascii_digit());
    let mut before = text.get(..at.start).unwrap_or_default().chars();
    let mut after = text.get(at.end..).unwrap_or_default().chars();
    let joined = |character: Option<char>| matches!(character, Some('.' | '-' | '+' | ':' | '/'));
    (joined(before.next_back()) && digit(before.next_back()))
        || (matches!(after.next(), Some('.' | '-')) && digit(after.next()))
}

static EMAIL: Form = form!(
    r"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,6}[A-Za-z]{2,24}"
);
static IBAN: Form = form!(r"[A-Z]{2}[0-9]{2} ?[A-Z0-9]{4}");
static CARD: Form = form!(
    r"[0-9]{4}[ -][0-9]{4}[ -][0-9]{4}[ -][0-9]{4}(?:[ -][0-9]{3})?|[0-9]{4}[ -][0-9]{6}[ -][0-9]{4,5}|[0-9]{13,19}"
);
static PHONE: Form = form!(
    r"\+[1-9][0-9]{0,2}[ .-]?(?:\([0-9]{1,5}\)[ .-]?)?[0-9]{1,12}(?:[ .-][0-9]{1,6}){0,5}|(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}"
);
static SSN: Form = form!(r"[0-9]{3}-[0-9]{2}-[0-9]{4}");
static IPV4: Form = form!(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}");
static IPV6: Form = form!(r"[0-9A-Fa-f]{1,4}:[0-9A-Fa-f:]{2,35}[0-9A-Fa-f:]");

/// Domains of documentation (RFC 2606, RFC 6761).
const EXAMPLE_DOMAINS: [&str; 7] =
    ["example.com", "example.org", "example.net", "example", "invalid", "test", "localhost"];
/// Endings of files, which `name@2x.png` has for a domain.
const FILE_ENDINGS: [&str; 14] =
    ["png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "js", "ts", "css", "json", "html", "mjs", "tgz"];

/// Beginnings of card numbers from and to, by six digits, and their lengths.
const CARDS: [(u32, u32, &[usize]); 11] = [
    (400_000, 499_999, &[13, 16, 19]),
    (510_000, 559_999, &[16]),
    (222_100, 272_099, &[16]),
    (340_000, 349_999, &[15]),
    (370_000, 379_999, &[15]),
    (601_100, 601_199, &[16, 19]),
    (644_000, 659_999, &[16, 19]),
    (352_800, 358_999, &[16, 19]),
    (620_000, 629_999, &[16, 17, 18, 19]),
    (300_000, 305_999, &[14, 16]),
    (360_000, 369_999, &[14]),
];

/// Lengths of IBANs by country (the register of SWIFT).
const IBAN_LENGTHS: [(&str, usize); 78] = [
    ("AD", 24),
    ("AE", 23),
    ("AL", 28),
    ("AT", 20),
    ("AZ", 28),
    ("BA", 20),
    ("BE", 16),
    ("BG", 22),
    ("BH", 22),
    ("BR", 29),
    ("BY", 28),
    ("CH", 21),
    ("CR", 22),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DK", 18),
    ("DO", 28),
    ("EE", 20),
    ("EG", 29),
    ("ES", 24),
    ("FI", 18),
    ("FO", 18),
    ("FR", 27),
    ("GB", 22),
    ("GE", 22),
    ("GI", 23),
    ("GL", 18),
    ("GR", 27),
    ("GT", 28),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IQ", 23),
    ("IS", 26),
    ("IT", 27),
    ("JO", 30),
    ("KW", 30),
    ("KZ", 20),
    ("LB", 28),
    ("LC", 32),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("LY", 25),
    ("MC", 27),
    ("MD", 24),
    ("ME", 22),
    ("MK", 19),
    ("MR", 27),
    ("MT", 31),
    ("MU", 30),
    ("NL", 18),
    ("NO", 15),
    ("PK", 24),
    ("PL", 28),
    ("PS", 29),
    ("PT", 25),
    ("QA", 29),
    ("RO", 24),
    ("RS", 22),
    ("SA", 24),
    ("SC", 31),
    ("SD", 18),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("SM", 27),
    ("ST", 25),
    ("SV", 28),
    ("TL", 23),
    ("TN", 24),
    ("TR", 26),
    ("UA", 29),
    ("VA", 22),
    ("XK", 20),
];

#[cfg(test)]
pub(super) static FORMS: [&Form; 7] = [&EMAIL, &IBAN, &CARD, &PHONE, &SSN, &IPV4, &IPV6];
