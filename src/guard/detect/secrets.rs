//! Secrets: keys, tokens and passwords in the forms that those who hand them out have documented.

use std::ops::Range;
use std::sync::LazyLock;

use regex::{Match, Regex};

use super::{Form, Then, each, form, stands_alone};
use crate::config::Detector;

/// Calls `add` with each secret of one kind.
pub(super) fn find(detector: Detector, text: &str, add: &mut impl FnMut(Range<usize>)) {
    let token = |hit: Match<'_>| {
        let random = is_random(hit.as_str());
        (random && stands_alone(text, &hit.range())).then(|| hit.range())
    };
    let form = match detector {
        Detector::PrivateKey => return private_keys(text, add),
        Detector::Jwt => return each(&JWT, text, Then::Behind, |hit| jwt(text, &hit), add),
        Detector::UrlPassword => return named(&URL_PASSWORD, text, is_password, add),
        Detector::AwsSecret => return named(&AWS_SECRET, text, is_random, add),
        Detector::AzureKey => return named(&AZURE, text, is_random, add),
        Detector::AwsKey => {
            let real = |hit: Match<'_>| token(hit).filter(|_| !hit.as_str().ends_with("EXAMPLE"));
            return each(&AWS, text, Then::Behind, real, add);
        }
        Detector::AnthropicKey => &ANTHROPIC,
        Detector::TercetKey => &TERCET,
        Detector::GoogleKey => &GOOGLE,
        Detector::GithubToken => &GITHUB,
        Detector::GitlabToken => &GITLAB,
        Detector::SlackToken => &SLACK,
        Detector::StripeKey => &STRIPE,
        Detector::OpenaiKey => &OPENAI,
        Detector::PackageToken => &PACKAGE,
        Detector::ServiceToken => &SERVICE,
        _ => return,
    };
    each(form, text, Then::Behind, token, add);
}

/// Calls `add` with the part of each match that is the secret, which its surroundings name as one.
fn named(form: &Form, text: &str, test: impl Fn(&str) -> bool, add: &mut impl FnMut(Range<usize>)) {
    let Some(form) = &**form else { return };
    for captures in form.captures_iter(text) {
        if let Some(secret) = captures.get(1).filter(|secret| test(secret.as_str())) {
            add(secret.range());
        }
    }
}

/// A block from its first line to its last; where that is missing, or further than 16 KiB away, up to the end of what
/// looks like base64.
fn private_keys(text: &str, add: &mut impl FnMut(Range<usize>)) {
    let Some(begin) = &*PEM_BEGIN else { return };
    // The next last line, looked for once only, however many first lines stand before it.
    let (mut at, mut next, mut searched) = (0, None::<Range<usize>>, 0);
    while let Some(first) = begin.find_at(text, at) {
        if searched <= first.end() && next.as_ref().is_none_or(|last| last.start < first.end()) {
            next = PEM_END.as_ref().and_then(|end| end.find_at(text, first.end())).map(|last| last.range());
            searched = next.as_ref().map_or(text.len() + 1, |last| last.start);
        }
        let mut until = text.len().min(first.end() + PEM_BYTES_MAX);
        while !text.is_char_boundary(until) {
            until -= 1;
        }
        let body = text.get(first.end()..until).unwrap_or_default();
        let last = next.clone().filter(|last| last.start >= first.end() && last.end <= until);
        let length = match last {
            Some(last) => last.end - first.end(),
            None => body.len() - body.trim_start_matches(in_pem).len(),
        };
        let letters =
            body.get(..length).unwrap_or_default().chars().filter(char::is_ascii_alphanumeric).count();
        at = first.end();
        if letters >= PEM_LETTERS_MIN {
            add(first.start()..first.end() + length);
            at = first.end() + length;
        }
    }
}

/// What stands between the first and last line, as it is or in a string with its lines escaped.
fn in_pem(character: char) -> bool {
    character.is_ascii_alphanumeric() || character.is_ascii_whitespace() || "+/=\\:,-".contains(character)
}

/// A token whose first part reads as a header that names an algorithm.
fn jwt(text: &str, hit: &Match<'_>) -> Option<Range<usize>> {
    let header = hit.as_str().split('.').next()?;
    let header = from_base64url(header)?;
    let named = memchr::memmem::find(&header, b"\"alg\"").is_some();
    (named && header.ends_with(b"}") && stands_alone(text, &hit.range())).then(|| hit.range())
}

fn from_base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let (mut word, mut bits) = (0_u32, 0_u32);
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        word = word << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits) as u8);
            word &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

/// Tells whether a secret may be one: those of documentation repeat a letter or two.
fn is_random(secret: &str) -> bool {
    // Behind the last separator of the prefix, which all secrets of a kind share.
    let tail = secret.get(secret.len() / 2..).unwrap_or(secret);
    let mut letters: Vec<u8> = tail.bytes().collect();
    letters.sort_unstable();
    letters.dedup();
    letters.len() >= LETTERS_MIN.min(tail.len())
}

/// Tells whether what stands in the place of a password is one, and no mark for one.
fn is_password(word: &str) -> bool {
    let marks = ["password", "passwd", "pass", "pwd", "secret", "token", "user", "username", "xxx"];
    let lower = word.to_ascii_lowercase();
    let marked = word.starts_with(['$', '{', '<', '%', '*', '[', '(']) || word.contains("REDACTED");
    !marked && !marks.contains(&&*lower) && word.bytes().any(|byte| byte != b'*' && byte != b'x')
}

static PEM_BEGIN: Form = form!(r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,2}PRIVATE KEY(?: BLOCK)?-----");
static PEM_END: Form = form!(r"-----END (?:[A-Z0-9]{1,12} ){0,2}PRIVATE KEY(?: BLOCK)?-----");
static JWT: Form = form!(r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{16,}");
static ANTHROPIC: Form = form!(r"sk-ant-[a-z0-9]{2,12}-[A-Za-z0-9_-]{24,200}");
static TERCET: Form = form!(r"tct-[A-Za-z0-9_-]{43}");
static AWS: Form = form!(r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}");
static AWS_SECRET: Form = form!(
    r#"(?i)(?:aws|secret)[a-z_ .-]{0,20}(?:secret|access)[a-z_ .-]{0,12}key["'\\]{0,2} {0,4}[:=]{1,2}>? {0,4}["'\\]{0,2}([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)"#
);
static GOOGLE: Form = form!(r"AIza[A-Za-z0-9_-]{35}|GOCSPX-[A-Za-z0-9_-]{28}|ya29\.[A-Za-z0-9_-]{40,400}");
static AZURE: Form = form!(r"(?:AccountKey|SharedAccessKey)=([A-Za-z0-9+/]{43}=|[A-Za-z0-9+/]{86}==)");
static GITHUB: Form = form!(r"gh[pousr]_[A-Za-z0-9]{36,251}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}");
static GITLAB: Form = form!(r"gl(?:pat|ptt|dt|rt|cbt|ft|soat)-[A-Za-z0-9_-]{20,60}");
static SLACK: Form = form!(
    r"xox[abeoprs]-[0-9]{6,14}-[0-9A-Za-z-]{10,200}|xapp-[0-9]-[A-Z0-9]{8,14}-[0-9]{8,16}-[0-9a-f]{20,80}|https://hooks\.slack\.com/services/T[A-Z0-9]{6,12}/B[A-Z0-9]{6,12}/[A-Za-z0-9]{20,28}"
);
static STRIPE: Form = form!(r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,247}|whsec_[A-Za-z0-9]{32,64}");
static OPENAI: Form =
    form!(r"sk-(?:(?:proj|svcacct|admin)-)?[A-Za-z0-9_-]{20,100}T3BlbkFJ[A-Za-z0-9_-]{20,100}");
static PACKAGE: Form = form!(
    r"npm_[A-Za-z0-9]{36}|pypi-AgE[A-Za-z0-9_-]{50,400}|rubygems_[a-f0-9]{48}|cio[A-Za-z0-9]{32}|dckr_pat_[A-Za-z0-9_-]{27}"
);
static SERVICE: Form = form!(
    r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}|hf_[A-Za-z]{34}|dop_v1_[a-f0-9]{64}|[0-9]{8,10}:AA[A-Za-z0-9_-]{33}|SK[0-9a-f]{32}|shp(?:at|ss|ca|pa)_[a-fA-F0-9]{32}|sq0(?:atp|csp)-[A-Za-z0-9_-]{22,43}|key-[0-9a-f]{32}|lin_api_[A-Za-z0-9]{40}|ntn_[A-Za-z0-9]{46}|glsa_[A-Za-z0-9]{32}_[a-f0-9]{8}|hvs\.[A-Za-z0-9_-]{24,120}"
);
static URL_PASSWORD: Form =
    form!(r#"[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/:@"'<>]{0,64}:([^\s/@"'<>]{3,128})@[A-Za-z0-9\[]"#);

/// Longest private key between its first and last line.
const PEM_BYTES_MAX: usize = 16 << 10;
const PEM_LETTERS_MIN: usize = 40;
/// Different letters in the second half of a secret, at least.
const LETTERS_MIN: usize = 6;

#[cfg(test)]
pub(super) static FORMS: [&Form; 17] = [
    &PEM_BEGIN,
    &PEM_END,
    &JWT,
    &ANTHROPIC,
    &TERCET,
    &AWS,
    &AWS_SECRET,
    &GOOGLE,
    &AZURE,
    &GITHUB,
    &GITLAB,
    &SLACK,
    &STRIPE,
    &OPENAI,
    &PACKAGE,
    &SERVICE,
    &URL_PASSWORD,
];
