//! What trouble is held against a tier, and what is not.

use proptest::prelude::*;

use super::*;

fn troubles(sign: Sign, of_tier: [(u32, u32); 3]) -> Troubles {
    let mut troubles = Troubles::default();
    for (tier, (occasions, cases)) in of_tier.into_iter().enumerate() {
        for number in 0..occasions {
            troubles.note(sign, tier, number < cases);
        }
    }
    troubles
}

/// The share that haiku and sonnet lose in a workload whose client has no other.
fn lost(sign: Sign, of_tier: [(u32, u32); 3]) -> [f64; 2] {
    let troubles = troubles(sign, of_tier);
    troubles.lost(&troubles)
}

#[test]
fn what_is_usual_elsewhere_is_not_held_against_a_tier() {
    let quiet = (0, 0);
    for (sign, of_tier, least, most) in [
        (Sign::Ended, [(1, 1), quiet, quiet], 0.0, 0.04),
        (Sign::Ended, [(10, 10), quiet, quiet], 0.28, 0.32),
        (Sign::Ended, [(30, 10), quiet, quiet], 0.1, 0.2),
        (Sign::Ended, [(10, 10), quiet, (100, 0)], 0.3, 0.34),
        (Sign::Ended, [(10, 10), quiet, (100, 100)], 0.0, 0.0),
        (Sign::Ended, [(200, 4), quiet, quiet], 0.0, 0.0),
        (Sign::Ended, [quiet, quiet, (100, 100)], 0.0, 0.0),
        // What opus refuses as well, seen on the few requests that it was asked again.
        (Sign::Ended, [(400, 40), quiet, quiet], 0.05, 0.08),
        (Sign::Ended, [(400, 40), quiet, (60, 8)], 0.0, 0.02),
        (Sign::Tools, [(100, 40), quiet, (100, 40)], 0.0, 0.0),
        (Sign::Tools, [(100, 80), quiet, (100, 20)], 0.2, 0.25),
        (Sign::Tools, [(10, 10), quiet, quiet], 0.08, 0.12),
    ] {
        let [haiku, sonnet] = lost(sign, of_tier);
        assert!((least..=most).contains(&haiku), "{sign:?} {of_tier:?}: {haiku}");
        assert!(sonnet <= 0.0, "{sign:?} {of_tier:?}: {sonnet}");
    }
}

#[test]
fn a_client_whose_other_workloads_meet_as_much_trouble_is_told_from_a_tier_that_fails() {
    let narrow = troubles(Sign::Tools, [(20, 12), (0, 0), (0, 0)]);
    let lost = |of_opus| narrow.lost(&troubles(Sign::Tools, [(20, 12), (0, 0), of_opus]))[0];
    assert!(lost((400, 240)) <= 0.0);
    assert!(lost((400, 0)) > 0.1);
}

proptest! {
    #[test]
    fn a_tier_loses_more_with_each_case_less_with_each_clean_answer_and_opus_nothing(
        occasions in 1_u32..300, cases in 0_u32..300, others in 0_u32..300, of_others in 0_u32..300, tools: bool,
    ) {
        let (cases, of_others) = (cases.min(occasions), of_others.min(others));
        let sign = if tools { Sign::Tools } else { Sign::Ended };
        let of = |occasions, cases| lost(sign, [(occasions, cases), (0, 0), (others, of_others)])[0];
        let now = of(occasions, cases);
        prop_assert!((0.0..1.0).contains(&now));
        prop_assert!(cases == occasions || of(occasions, cases + 1) >= now);
        prop_assert!(of(occasions + 1, cases) <= now);
        prop_assert_eq!(lost(sign, [(0, 0), (0, 0), (occasions, cases)]), [0.0; 2]);
    }

    #[test]
    fn a_tier_with_no_more_trouble_than_the_others_loses_nothing(occasions in 1_u32..600, percent in 16_u32..90) {
        let all = [(occasions, occasions * percent / 100), (0, 0), (600, 600 * percent / 100)];
        prop_assert_eq!(lost(Sign::Tools, all), [0.0; 2]);
    }

    #[test]
    fn what_is_noted_is_sound_and_bounded(noted in prop::collection::vec((0_usize..4, any::<bool>()), 0..5_000)) {
        let mut troubles = Troubles::default();
        for (tier, troubled) in noted {
            troubles.note(Sign::Ended, tier, troubled);
            troubles.note(Sign::Tools, tier, !troubled);
        }
        prop_assert!(troubles.is_sound());
        prop_assert!(troubles.ended.occasions.iter().sum::<f64>() <= OCCASIONS_MAX);
    }
}
