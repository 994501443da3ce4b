//! Promises of what is kept: for how long, how much, whose.

use super::*;

fn identity(body: &str) -> Identity {
    Identity::of(&Parts {
        scope: &[b"acme"],
        upstream: "https://upstream",
        credential: b"credential",
        model: "claude-haiku-5-5",
        adaptation: "",
        query: "",
        headers: &HeaderMap::new(),
        body: &Bytes::from(body.to_owned()),
        left_out: &[0..0, 0..0],
    })
}

fn answer(body: &str, made_at: &str, payer: Payer) -> Arc<CachedAnswer> {
    let facts = Facts {
        billed: Vec::new(),
        answered_model: Some("claude-haiku-5-5".to_owned()),
        message_id: None,
        stop_reason: None,
        payer,
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body = Bytes::from(body.to_owned());
    Arc::new(CachedAnswer {
        headers,
        body,
        streamed: false,
        facts: Arc::new(facts),
        made_at: made_at.parse().unwrap(),
    })
}

const NOON: &str = "2026-11-20T12:00:00Z";
const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn an_answer_is_kept_for_its_own_time_and_a_later_one_for_its() {
    let cache = AnswerCache::new(1 << 20);
    let kept = |body: &str| cache.get(&identity(body)).map(|answer| answer.body.clone());
    for (request, times, found) in [
        ("one", vec![HOUR], true),
        ("none", vec![Duration::ZERO], false),
        ("longer", vec![Duration::from_millis(1), HOUR], true),
        ("ended", vec![HOUR, Duration::ZERO], false),
    ] {
        for ttl in times {
            cache.insert(&identity(request), answer("answer", NOON, Payer::default()), ttl);
        }
        assert_eq!(kept(request).is_some(), found, "{request}");
    }
    assert_eq!(kept("two"), None);
}

#[test]
fn all_that_is_kept_counts_and_no_more_is_kept_than_was_allowed() {
    let (request, whole) = ("q".repeat(1_000), "a".repeat(3_000));
    let (identity_bytes, answer) =
        (identity(&request).weight_bytes(), answer(&whole, NOON, Payer::default()));
    assert!((1_000..1_500).contains(&identity_bytes), "{identity_bytes}");
    assert_eq!(answer.weight_bytes(), 3_000 + "content-typeapplication/json".len());
    let each = (identity_bytes + answer.weight_bytes() + ENTRY_OVERHEAD_BYTES) as u64;
    let cache = AnswerCache::new(10 * each);
    for number in 0..100 {
        cache.insert(&identity(&format!("{number:04}{}", "q".repeat(996))), Arc::clone(&answer), HOUR);
    }
    cache.entries.run_pending_tasks();
    assert_eq!((cache.weight_bytes(), cache.entries.entry_count()), (10 * each, 10));
}

#[test]
fn an_operator_sees_what_is_kept_and_expires_what_is_chosen() {
    let cache = AnswerCache::new(1 << 20);
    for (request, tenant, made_at) in
        [("one", "acme", NOON), ("two", "acme", "2026-11-20T12:00:40Z"), ("three", "rival", NOON)]
    {
        cache.insert(&identity(request), answer(request, made_at, Payer::of(tenant, "ann", "key")), HOUR);
    }
    let now = "2026-11-20T12:01:00Z".parse().unwrap();
    let acme = Chosen::of(Some("acme"), None, None);
    let stock = cache.stock(&acme, now, false);
    assert_eq!((stock.entries, stock.ages_s), (2, Some((20, 60))));
    assert_eq!(stock.models.get("claude-haiku-5-5"), Some(&(2, stock.bytes)));
    assert_eq!(cache.stock(&acme, now, true), stock);
    assert!(cache.get(&identity("one")).is_none() && cache.get(&identity("three")).is_some());
    assert_eq!(cache.stock(&Chosen::default(), now, false).entries, 1);
}

#[test]
fn one_request_leads_and_the_same_ones_join_it_until_it_has_landed() {
    let cache = AnswerCache::new(1 << 20);
    let (one, other) = (identity("one"), identity("other"));
    let board = |identity: &Identity, may_join| match cache.board(identity, 1 << 10, may_join, Some) {
        Boarding::Found(Found::Kept(_)) => ("kept", None),
        Boarding::Found(Found::Join(_)) => ("joins", None),
        Boarding::Lead(flight) => ("leads", Some(flight)),
    };
    let find = |identity: &Identity| match cache.find(identity, Some) {
        None => "nothing",
        Some(Found::Kept(_)) => "kept",
        Some(Found::Join(_)) => "joins",
    };
    assert_eq!(find(&one), "nothing");
    let (is, flight) = board(&one, true);
    assert_eq!((is, board(&one, true).0, find(&one), find(&other)), ("leads", "joins", "joins", "nothing"));
    let (is, later) = board(&one, false);
    assert_eq!((is, board(&other, true).0), ("leads", "leads"));
    // The first no longer stands for the request.
    cache.retire(&one, &flight.unwrap());
    assert_eq!(find(&one), "joins");
    cache.retire(&one, &later.unwrap());
    assert_eq!(find(&one), "nothing");
    cache.insert(&one, answer("answer", NOON, Payer::default()), HOUR);
    assert_eq!((board(&one, false).0, find(&one)), ("kept", "kept"));
}

#[test]
fn an_answer_is_given_as_it_came_or_not_at_all_where_it_has_no_other_form() {
    let kept = answer("answer", NOON, Payer::default());
    let (headers, body) = kept.in_form(false).unwrap();
    assert_eq!((headers, body), (kept.headers.clone(), kept.body.clone()));
    assert!(kept.in_form(true).is_none(), "it is no message that has events");
}

#[test]
fn a_result_says_who_paid() {
    let all = [CacheResult::Hit, CacheResult::Joined, CacheResult::Miss, CacheResult::Bypass];
    assert_eq!(all.map(CacheResult::is_shared), [true, true, false, false]);
    assert_eq!(all.map(CacheResult::name), ["hit", "joined", "miss", "bypass"]);
}

#[test]
fn only_so_many_answers_are_shared_at_once() {
    let cache = AnswerCache::new(1 << 20);
    let mut places: Vec<_> = (0..SHARING_MAX).map(|_| cache.place_to_share().unwrap()).collect();
    assert!(cache.place_to_share().is_err());
    places.pop();
    assert!(cache.place_to_share().is_ok());
}

#[test]
fn an_answer_that_was_shared_is_kept_whole_once_what_it_came_to_is_known() {
    let flight = Flight::new(1 << 10);
    let kept = |kind| {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
        CachedAnswer::landed(&flight, headers, NOON.parse().unwrap())
    };
    flight.write(&Bytes::from_static(b"all "));
    flight.write(&Bytes::from_static(b"of it"));
    assert!(kept("application/json").is_none());
    flight.land(Arc::default());
    for (kind, streamed) in [("application/json", false), ("text/event-stream; charset=utf-8", true)] {
        let kept = kept(kind).unwrap();
        assert_eq!((&kept.body[..], kept.streamed, kept.headers.len()), (&b"all of it"[..], streamed, 1));
    }
}
