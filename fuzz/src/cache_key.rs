//! The parts of two requests → their names in the cache: equal exactly where every part is.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use tercet::cache::{Identity, Parts};

/// Cuts the bytes into the parts of one request, and the same bytes a little elsewhere into those of another.
///
/// # Panics
/// Where requests that differ have one name, or equal ones two.
pub fn run(data: &[u8]) {
    let Some((cuts, rest)) = data.split_at_checked(8) else { return };
    let one = cut(&cuts[..7], rest);
    let mut others = cuts[..7].to_vec();
    let moved = usize::from(cuts[7] % 7);
    others[moved] = others[moved].wrapping_add(cuts[7] / 7 % 4);
    let other = cut(&others, rest);
    assert_eq!(name(&one) == name(&other), one == other, "{one:?} {other:?}");
    assert_eq!(name(&one), name(&one.clone()));
}

type Fields = [Vec<u8>; 8];

fn cut(cuts: &[u8], mut rest: &[u8]) -> Fields {
    let mut fields = Fields::default();
    for (field, size) in fields.iter_mut().zip(cuts) {
        let (now, later) = rest.split_at(usize::from(*size % 16).min(rest.len()));
        // Texts are texts, and a header's value is one.
        *field = now.iter().map(|byte| byte % 95 + 32).collect();
        rest = later;
    }
    fields[7] = rest.to_vec();
    fields
}

fn name(fields: &Fields) -> [u8; 32] {
    let [tenant, user, upstream, credential, model, query, beta, body] = fields;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("anthropic-beta", HeaderValue::from_bytes(beta).unwrap());
    let parts = Parts {
        scope: &[tenant, user],
        upstream: &text(upstream),
        credential,
        model: &text(model),
        adaptation: "",
        query: &text(query),
        headers: &headers,
        body: &Bytes::copy_from_slice(body),
        left_out: &[0..0, 0..0],
    };
    *Identity::of(&parts).key().as_bytes()
}
