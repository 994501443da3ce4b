//! The price table and the reading table, written out again by hand so that one slip cannot hide in both.

use super::*;
use crate::usage::{Terms, Usage};

fn catalog() -> Catalog {
    Catalog::embedded().unwrap()
}

fn day(text: &str) -> Timestamp {
    format!("{text}T12:00:00Z").parse().unwrap()
}

/// A million of each kind, split so that the prompt stays under every step when `scale` is small.
fn billed(model: &str, tokens: [u64; 5], terms: Terms) -> Billed {
    let [input, read, write_5m, write_1h, output] = tokens;
    let usage = Usage {
        input_tokens: input,
        cache_read_tokens: read,
        cache_write_5m_tokens: write_5m,
        cache_write_1h_tokens: write_1h,
        output_tokens: output,
    };
    Billed { model: model.to_owned(), usage, terms }
}

fn by_kind(model: &str, tokens: u64, on: &str, terms: Terms) -> [i64; 5] {
    let catalog = catalog();
    let priced = catalog.price(&billed(model, [tokens; 5], terms), day(on));
    assert!(priced.known, "{model}");
    assert_eq!(priced.cost, priced.by_kind.into_iter().sum::<NanoUsd>() + priced.searches);
    priced.by_kind.map(|amount| amount.0)
}

/// Model, input, read, write 5m, write 1h, output in millionths of a dollar per thousand tokens.
const LIST: [(&str, [i64; 5]); 20] = [
    ("claude-fable-5-2", [8_000, 200, 10_000, 16_000, 40_000]),
    ("claude-mythos-5-2", [8_000, 200, 10_000, 16_000, 40_000]),
    ("claude-fable-5-1", [10_000, 250, 12_500, 20_000, 50_000]),
    ("claude-mythos-5-1", [10_000, 250, 12_500, 20_000, 50_000]),
    ("claude-fable-5", [10_000, 1_000, 12_500, 20_000, 50_000]),
    ("claude-mythos-5", [10_000, 1_000, 12_500, 20_000, 50_000]),
    ("claude-opus-5-5", [4_000, 200, 5_000, 8_000, 20_000]),
    ("claude-opus-5", [5_000, 500, 6_250, 10_000, 25_000]),
    ("claude-opus-4-8", [5_000, 500, 6_250, 10_000, 25_000]),
    ("claude-opus-4-7", [5_000, 500, 6_250, 10_000, 25_000]),
    ("claude-opus-4-6", [5_000, 500, 6_250, 10_000, 25_000]),
    ("claude-opus-4-5", [5_000, 500, 6_250, 10_000, 25_000]),
    ("claude-opus-4-5-20251101", [5_000, 500, 6_250, 10_000, 25_000]),
    ("claude-sonnet-5-5", [2_000, 100, 2_500, 4_000, 10_000]),
    ("claude-sonnet-5", [2_000, 200, 2_500, 4_000, 10_000]),
    ("claude-sonnet-4-6", [3_000, 300, 3_750, 6_000, 15_000]),
    ("claude-sonnet-4-5", [3_000, 300, 3_750, 6_000, 15_000]),
    ("claude-sonnet-4-5-20250929", [3_000, 300, 3_750, 6_000, 15_000]),
    ("claude-haiku-5-5", [100, 10, 125, 200, 500]),
    ("claude-haiku-4-5-20251001", [1_000, 100, 1_250, 2_000, 5_000]),
];

#[test]
fn every_model_costs_what_the_list_says() {
    for (model, expected) in LIST {
        let expected = expected.map(|millionths| millionths * 1_000);
        assert_eq!(by_kind(model, 1_000, "2026-11-20", Terms::default()), expected, "{model}");
    }
}

#[test]
fn a_batch_costs_half_and_a_us_only_request_a_tenth_more() {
    for (model, expected) in LIST {
        let full = expected.map(|millionths| millionths * 1_000);
        let batch = Terms { batch: true, ..Terms::default() };
        assert_eq!(by_kind(model, 1_000, "2026-11-20", batch), full.map(|nanos| nanos / 2), "{model}");
        let us_only = Terms { us_only: true, ..Terms::default() };
        assert_eq!(
            by_kind(model, 1_000, "2026-11-20", us_only),
            full.map(|nanos| nanos * 11 / 10),
            "{model}"
        );
        let both = Terms { batch: true, us_only: true, ..Terms::default() };
        assert_eq!(by_kind(model, 1_000, "2026-11-20", both), full.map(|nanos| nanos * 11 / 20), "{model}");
    }
}

#[test]
fn fast_mode_doubles_every_kind_where_it_has_a_price() {
    let fast = Terms { fast: true, ..Terms::default() };
    for model in
        ["claude-fable-5-2", "claude-mythos-5-2", "claude-opus-5-5", "claude-opus-5", "claude-opus-4-8"]
    {
        let normal = by_kind(model, 1_000, "2026-11-20", Terms::default());
        assert_eq!(by_kind(model, 1_000, "2026-11-20", fast), normal.map(|nanos| nanos * 2), "{model}");
    }
    let catalog = catalog();
    let unpriced = catalog.price(&billed("claude-haiku-5-5", [1_000_000; 5], fast), day("2026-11-20"));
    assert!(!unpriced.known);
    assert_eq!(
        unpriced.by_kind.map(|amount| amount.0 / 10_000_000),
        [1_600, 100, 2_000, 3_200, 8_000],
        "the dearest rate of every kind"
    );
}

#[test]
fn fast_mode_has_a_price_of_its_own_where_the_list_gives_one() {
    let fast = Terms { fast: true, ..Terms::default() };
    for (model, input, output) in [
        ("claude-fable-5-2", 16, 80),
        ("claude-mythos-5-2", 16, 80),
        ("claude-opus-5-5", 8, 40),
        ("claude-opus-5", 10, 50),
        ("claude-opus-4-8", 10, 50),
    ] {
        let parts = by_kind(model, 1_000, "2026-11-20", fast);
        assert_eq!((parts[0], parts[4]), (input * 1_000_000, output * 1_000_000), "{model}");
    }
    let priced = catalog()
        .models()
        .iter()
        .filter(|model| model.prices.iter().any(|price| price.fast.is_some()))
        .count();
    assert_eq!(priced, 5, "no other model has one");
}

#[test]
fn the_step_of_haiku_5_5_is_above_a_hundred_thousand_prompt_tokens_of_any_kind() {
    let catalog = catalog();
    let at = day("2026-11-20");
    let cost = |tokens| catalog.price(&billed("claude-haiku-5-5", tokens, Terms::default()), at).cost.0;
    assert_eq!(cost([100_000, 0, 0, 0, 1_000]), 10_000_000 + 500_000);
    assert_eq!(cost([100_001, 0, 0, 0, 1_000]), 50_000_500 + 2_500_000);
    assert_eq!(cost([1, 100_000, 0, 0, 0]), 500 + 5_000_000, "cache reads count towards the step");
    assert_eq!(cost([0, 0, 50_000, 50_001, 0]), 31_250_000 + 50_001_000, "so do writes");
    assert_eq!(cost([100_000, 0, 0, 0, 900_000]), 10_000_000 + 450_000_000, "the answer does not");
}

#[test]
fn a_price_holds_from_its_date() {
    for (on, read) in [("2026-01-01", 200), ("2026-10-06", 200), ("2026-10-08", 100)] {
        assert_eq!(by_kind("claude-sonnet-5-5", 1_000, on, Terms::default())[1], read * 1_000, "{on}");
    }
    let catalog = catalog();
    let midnight: Timestamp = "2026-10-07T00:00:00Z".parse().unwrap();
    let read = billed("claude-sonnet-5-5", [0, 1_000_000, 0, 0, 0], Terms::default());
    assert_eq!(catalog.price(&read, midnight).cost.0, 100_000_000);
}

#[test]
fn an_unknown_model_costs_the_dearest_rate_of_every_kind() {
    let catalog = catalog();
    for model in ["claude-next", "", "claude-mythos-preview"] {
        let priced = catalog.price(&billed(model, [1_000_000; 5], Terms::default()), day("2026-11-20"));
        assert!(!priced.known);
        assert_eq!(priced.by_kind.map(|amount| amount.0 / 10_000_000), [1_000, 100, 1_250, 2_000, 5_000]);
    }
}

#[test]
fn a_search_costs_a_cent_whatever_the_terms() {
    let terms = Terms { batch: true, us_only: true, web_searches: 3, fast: false };
    let catalog = catalog();
    let priced = catalog.price(&billed("claude-opus-5-5", [0; 5], terms), day("2026-11-20"));
    assert_eq!((priced.cost.0, priced.searches.0), (30_000_000, 30_000_000));
    let endless = Terms { web_searches: u64::MAX, ..Terms::default() };
    assert!(catalog.price(&billed("x", [u64::MAX; 5], endless), day("2026-11-20")).cost.0 > 0);
}

#[test]
fn thinking_is_readable_upwards_only() {
    let catalog = catalog();
    let line = ["claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5", "claude-fable-5-2"];
    for (place, reader) in line.iter().enumerate() {
        for (other, writer) in line.iter().enumerate() {
            assert_eq!(catalog.reads(reader, writer), place >= other, "{reader} reads {writer}");
        }
    }
    for reader in ["claude-opus-5", "claude-opus-4-8", "claude-sonnet-5", "claude-haiku-4-5"] {
        for writer in ["claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5", "claude-fable-5-2"] {
            assert!(!catalog.reads(reader, writer), "{reader} reads {writer}");
        }
    }
    assert!(catalog.reads("claude-sonnet-5-5", "claude-sonnet-5"));
    assert!(!catalog.reads("claude-sonnet-5-5", "claude-opus-5"));
    assert!(catalog.reads("claude-opus-4-5-20251101", "claude-opus-4-5"), "an alias is the same model");
    assert!(!catalog.reads("claude-next", "claude-next"), "nothing is known of it");
}

#[test]
fn a_file_with_a_slip_is_refused_by_model_and_key() {
    let slips = [
        ("prefill = false", "prefil = false", "prefil"),
        ("tier = \"other\"", "tier = \"huge\"", "tier"),
        ("\"claude-opus-4-8\", \"claude-opus-5\"", "\"claude-opus-9\"", "claude-opus-9"),
        ("input = \"8\"", "input = \"8,00\"", "8,00"),
        ("input = \"8\"", "input = \"0\"", "prices.card"),
        ("from = \"2026-11-03\"", "from = \"2026-13-03\"", "prices.from"),
        ("fast = \"yes\"", "fast = \"no\"", "accepts.fast"),
        ("max_output_tokens = 128_000", "max_output_tokens = 0", "max_output_tokens"),
    ];
    for (right, wrong, named) in slips {
        let problem = Catalog::parse(&EMBEDDED.replacen(right, wrong, 1)).unwrap_err();
        assert_eq!(problem.model, "claude-fable-5-2", "{problem}");
        assert!(problem.to_string().contains(named), "{problem}");
    }
    let twice = EMBEDDED.replacen("id = \"claude-mythos-5-2\"", "id = \"claude-fable-5-2\"", 1);
    assert!(Catalog::parse(&twice).unwrap_err().to_string().contains("given twice"));
    assert!(Catalog::parse("[terms]\nodd = 1").is_err());
}

#[test]
fn an_added_price_holds_from_its_instant_and_leaves_the_rest_of_the_file() {
    let change = PriceChange {
        model: "claude-haiku-5-5".to_owned(),
        from: "2026-12-01T09:30:00Z".to_owned(),
        rates: [Some("0.20".to_owned()), None, None, None, None],
        source: "a \"quoted\" letter".to_owned(),
    };
    let edited = change.applied_to(EMBEDDED).unwrap();
    let catalog = Catalog::parse(&edited).unwrap();
    let input = |at: &str| {
        let work = billed("claude-haiku-5-5", [1_000_000, 0, 0, 0, 0], Terms::default());
        let work = Billed { usage: Usage { input_tokens: 100_000, ..work.usage }, ..work };
        catalog.price(&work, at.parse().unwrap()).cost.0
    };
    assert_eq!(input("2026-12-01T09:29:59Z"), 10_000_000);
    assert_eq!(input("2026-12-01T09:30:00Z"), 20_000_000);
    let long = billed("claude-haiku-5-5", [200_000, 0, 0, 0, 0], Terms::default());
    assert_eq!(
        catalog.price(&long, "2027-01-01T00:00:00Z".parse().unwrap()).cost.0,
        100_000_000,
        "the step stays"
    );
    let added: Vec<&str> = edited.lines().filter(|line| !EMBEDDED.contains(line)).collect();
    assert!(added.len() <= 5 && edited.len() > EMBEDDED.len(), "{added:?}");
    for line in EMBEDDED.lines() {
        assert!(edited.contains(line), "{line}");
    }
    let twice = change.applied_to(&edited).unwrap_err();
    assert!(twice.to_string().contains("dates must rise"), "{twice}");
    for model in ["claude-next", "claude-mythos-preview"] {
        let elsewhere = PriceChange { model: model.to_owned(), ..change.clone() };
        assert_eq!(elsewhere.applied_to(EMBEDDED).unwrap_err().model, model);
    }
}

#[test]
fn every_model_takes_a_new_price_with_all_it_had_before() {
    for model in catalog().models().iter().filter(|model| !model.prices.is_empty()) {
        let change = PriceChange {
            model: model.id.clone(),
            from: "2030-01-01".to_owned(),
            rates: Default::default(),
            source: "the same again".to_owned(),
        };
        let edited = Catalog::parse(&change.applied_to(EMBEDDED).unwrap()).unwrap();
        let prices = &edited.model(&model.id).unwrap().prices;
        let [.., before, after] = prices.as_slice() else { panic!("{}", model.id) };
        assert_eq!((before.card, before.long), (after.card, after.long), "{}", model.id);
        let fast = |price: &Price| price.fast.map(|fast| (fast.card, fast.until));
        assert_eq!(fast(before), fast(after), "{}", model.id);
    }
}

#[test]
fn the_version_names_the_text() {
    let catalog = catalog();
    assert_eq!(catalog.version().len(), 12);
    let other = Catalog::parse(&format!("{EMBEDDED}\n# changed")).unwrap();
    assert_ne!(catalog.version(), other.version());
}
