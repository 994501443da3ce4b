//! What outcomes do to beliefs.

use proptest::prelude::*;

use super::*;

const LOGITS: Logits = of([0, 5_000, 10_000]);

/// Of a request that is familiar to the model.
const fn of(quality: [i32; 3]) -> Logits {
    Logits { quality, familiar: 50_000, traits: [0; 4] }
}

fn taught(outcomes: &[(usize, f64)]) -> Tally {
    let mut tally = Tally::default();
    for (tier, score) in outcomes {
        tally.learn(*tier, *score, 1.0, &LOGITS);
    }
    tally
}

fn rates(rates: [f64; 3], each: usize) -> Tally {
    let outcomes: Vec<(usize, f64)> =
        (0..3).flat_map(|tier| (0..each).map(move |_| tier)).map(|tier| (tier, rates[tier])).collect();
    taught(&outcomes)
}

#[test]
fn log_gamma_is_known_at_known_points() {
    for (value, known) in
        [(1.0, 0.0), (0.5, 0.572_364_942_924_700), (10.0, 12.801_827_480_081_47), (0.03, 3.489_971)]
    {
        assert!((log_gamma(value) - known).abs() < 1e-6, "{value}: {}", log_gamma(value));
    }
}

#[test]
fn a_model_that_foretells_outcomes_is_believed_and_one_that_does_not_is_not() {
    // The model expects 0.50, 0.62, 0.73.
    assert!(rates([0.5, 0.62, 0.73], 40).posterior(None).trust > 0.8);
    assert!(rates([0.97, 0.98, 1.0], 40).posterior(None).trust < 0.2);
}

#[test]
fn a_model_is_worth_few_outcomes_where_requests_are_strange_to_it() {
    // It expects 0.50, 0.62, 0.73; half of all is right.
    let taught = |familiar: i32| {
        let mut tally = Tally::default();
        for outcome in 0..60 {
            let score = f64::from(u8::from(outcome % 2 == 0));
            tally.learn(outcome % 3, score, 1.0, &Logits { familiar, ..LOGITS });
        }
        tally.posterior(None)
    };
    let (familiar, strange) = (taught(60_000), taught(-60_000));
    assert!(familiar.mean[2] > strange.mean[2] + 0.05, "{familiar:?} {strange:?}");
    assert!(strange.deviation[2] > familiar.deviation[2]);
    assert!(strange.trust <= STRANGE_SHARE);
}

#[test]
fn a_strange_workload_goes_down_whole_or_not_at_all() {
    let mut tally = Tally::default();
    for outcome in 0..200 {
        let quality = if outcome % 2 == 0 { [10_000, 15_000, 20_000] } else { [-10_000, 0, 10_000] };
        let logits = Logits { quality, familiar: -60_000, traits: [0; 4] };
        tally.learn(0, 0.6, 1.0, &logits);
        tally.learn(2, 0.9, 1.0, &logits);
    }
    let posterior = tally.posterior(None);
    let easiest = Logits { quality: [60_000, 60_000, 60_000], familiar: -60_000, traits: [0; 4] };
    assert!(posterior.sufficiency(Pair::HaikuOpus, &easiest).unwrap() < 0.9, "{posterior:?}");
}

#[test]
fn a_workload_that_small_models_master_goes_down_and_one_they_fail_stays() {
    let mastered = rates([1.0, 1.0, 1.0], 20).posterior(None);
    assert!(mastered.sufficiency(Pair::HaikuOpus, &LOGITS).unwrap() >= 0.95);
    let failed = rates([0.3, 0.5, 0.9], 20).posterior(None);
    assert!(failed.sufficiency(Pair::HaikuOpus, &LOGITS).unwrap() < 0.85);
}

#[test]
fn haiku_is_held_against_sonnet_where_that_is_the_measure() {
    let alike = rates([0.62, 0.62, 0.9], 600).posterior(None);
    assert!(alike.sufficiency(Pair::HaikuSonnet, &LOGITS).unwrap() >= 0.95, "{alike:?}");
    assert!(alike.sufficiency(Pair::HaikuOpus, &LOGITS).unwrap() < 0.8);
    let (sonnets, unlike) = (taught(&[(0, 1.0), (1, 1.0)].repeat(20)), rates([0.3, 0.9, 0.9], 60));
    let sonnets = sonnets.posterior(None);
    assert!(sonnets.sufficiency(Pair::HaikuSonnet, &LOGITS).unwrap() >= 0.95);
    assert_eq!(sonnets.sufficiency(Pair::SonnetOpus, &LOGITS), None, "nothing was seen of opus");
    assert!(unlike.posterior(None).sufficiency(Pair::HaikuSonnet, &LOGITS).unwrap() < 0.8);
}

#[test]
fn few_outcomes_say_nothing() {
    let posterior = rates([1.0, 1.0, 1.0], 4).posterior(None);
    assert_eq!(posterior.sufficiency(Pair::HaikuOpus, &LOGITS), None);
    let lopsided = taught(&[(2, 1.0); 40]).posterior(None);
    assert_eq!(lopsided.sufficiency(Pair::HaikuOpus, &LOGITS), None, "outcomes of opus say nothing of haiku");
    let lopsided = taught(&[(0, 1.0); 40]).posterior(None);
    assert_eq!(
        lopsided.sufficiency(Pair::HaikuOpus, &LOGITS),
        None,
        "nor haiku's of how it stands beside opus"
    );
}

#[test]
fn where_not_all_of_a_workload_can_go_the_easier_requests_go_first() {
    let mut tally = Tally::default();
    for outcome in 0..60 {
        let logits = of(if outcome % 2 == 0 { [10_000, 15_000, 20_000] } else { [-10_000, 0, 10_000] });
        tally.learn(0, f64::from(u8::from(outcome % 10 < 6)), 1.0, &logits);
        tally.learn(2, f64::from(u8::from(outcome % 10 < 8)), 1.0, &logits);
    }
    let posterior = tally.posterior(None);
    let (easy, hard) = (of([20_000, 22_000, 24_000]), of([-20_000, -5_000, 12_000]));
    assert!(posterior.sufficiency(Pair::HaikuOpus, &easy) > posterior.sufficiency(Pair::HaikuOpus, &hard));
}

#[test]
fn a_request_that_looks_easier_than_any_before_does_not_leave_a_workload_that_fails() {
    let posterior = rates([0.1, 0.2, 1.0], 20).posterior(None);
    assert!(posterior.sufficiency(Pair::HaikuOpus, &of([200_000, 200_000, 200_000])).unwrap() < 0.95);
}

#[test]
fn old_outcomes_fade() {
    let mut tally = rates([0.0, 0.0, 1.0], 700);
    assert!(tally.weight() <= WEIGHT_MAX);
    for _ in 0..1_500 {
        tally.learn(0, 1.0, 1.0, &LOGITS);
    }
    assert!(tally.weight() <= WEIGHT_MAX && tally.is_sound());
    assert!(tally.posterior(None).quality(&LOGITS)[0] > 0.6);
}

proptest! {
    #[test]
    fn any_outcomes_leave_sound_sums_and_shares(
        outcomes in proptest::collection::vec((0usize..3, 0.0f64..=1.0, 0.0f64..=1.0), 0..300),
        quality in proptest::array::uniform3(any::<i32>()),
        familiar in any::<i32>(),
        traits in proptest::array::uniform4(any::<i32>()),
    ) {
        let logits = Logits { quality, familiar, traits };
        let mut tally = Tally::default();
        for (tier, score, weight) in &outcomes {
            tally.learn(*tier, *score, *weight, &logits);
        }
        prop_assert!(tally.is_sound());
        let posterior = tally.with_trend(tally.posterior(None));
        prop_assert!((0.0..=1.0).contains(&posterior.trust));
        for quality in posterior.quality(&logits) {
            prop_assert!((0.0..=1.0).contains(&quality));
        }
        for pair in Pair::ALL {
            if let Some(share) = posterior.sufficiency(pair, &logits) {
                prop_assert!((0.0..=1.0).contains(&share), "{share}");
            }
        }
    }

    #[test]
    fn a_better_answer_never_lowers_what_is_believed_of_its_tier(good in 0usize..=20) {
        let with = |good: usize| {
            let outcomes: Vec<(usize, f64)> = (0..20).map(|at| (0, f64::from(u8::from(at < good)))).collect();
            let mut tally = taught(&outcomes);
            for _ in 0..20 {
                tally.learn(2, 1.0, 1.0, &LOGITS);
            }
            tally.posterior(None).mean[0]
        };
        prop_assert!(with((good + 1).min(20)) >= with(good) - 0.02);
    }
}
