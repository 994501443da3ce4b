//! What is learned along the traits of requests.

use proptest::prelude::*;

use super::*;

const ONE: i32 = 1 << 20;

/// Haiku does worse the farther a request lies along the first trait, opus always well.
fn sloping(each: i32) -> Trends {
    let mut trends = Trends::default();
    for at in 0..each {
        let traits = [at * ONE / each, (at % 7) * ONE / 7, 0, 0];
        trends.learn(0, f64::from(u8::from(at * 2 < each)), 1.0, &traits);
        trends.learn(2, 1.0, 1.0, &traits);
    }
    trends
}

#[test]
fn a_tier_that_fails_along_a_trait_is_expected_to() {
    let trend = sloping(200).trend();
    let (near, far) = (trend.shifts(&[0; 4]), trend.shifts(&[ONE, 0, 0, 0]));
    assert!(near[0] > 0.2 && far[0] < -0.2, "{near:?} {far:?}");
    assert!(near[2].abs() < 1e-9 && near[1].abs() < 1e-9, "{near:?}");
    let ((near, spread), (far, _)) =
        (trend.gap(Pair::HaikuOpus, &[0; 4]), trend.gap(Pair::HaikuOpus, &[ONE, 0, 0, 0]));
    assert!(near < 0.0 && far > 0.0 && spread > 0.1, "{near} {far} {spread}");
    let across = trend.shifts(&[ONE / 2, ONE, 0, 0])[0] - trend.shifts(&[ONE / 2, 0, 0, 0])[0];
    assert!(across.abs() < 0.1, "the other trait said nothing: {across}");
}

#[test]
fn few_outcomes_bend_nothing_and_more_bend_more() {
    assert_eq!(sloping(2).trend(), Trend::default());
    let steepness = |each: i32| sloping(each).trend().shifts(&[ONE * 2 / 5, ONE / 2, 0, 0])[0];
    assert!(steepness(6) < steepness(20) && steepness(20) < steepness(200));
}

#[test]
fn what_all_answers_share_is_no_trend_between_tiers() {
    let mut trends = Trends::default();
    for at in 0..100 {
        for tier in 0..3 {
            trends.learn(tier, f64::from(at % 2), 1.0, &[at % 2 * ONE, 0, 0, 0]);
        }
    }
    let trend = trends.trend();
    assert!(trend.shifts(&[ONE, 0, 0, 0])[0] > 0.2);
    let (gap, spread) = trend.gap(Pair::HaikuOpus, &[ONE, 0, 0, 0]);
    assert!(gap.abs() < 1e-9 && spread < 1e-9);
}

proptest! {
    #[test]
    fn any_outcomes_leave_sound_sums_and_bounded_shifts(
        outcomes in proptest::collection::vec(
            (0usize..4, 0.0f64..=1.0, 0.0f64..=1.0, proptest::array::uniform4(any::<i32>())), 0..200),
        asked in proptest::array::uniform4(any::<i32>()),
    ) {
        let mut trends = Trends::default();
        for (tier, score, weight, traits) in &outcomes {
            trends.learn(*tier, *score, *weight, traits);
        }
        prop_assert!(trends.is_sound(400.0));
        let trend = trends.trend();
        for shift in trend.shifts(&asked) {
            prop_assert!(shift.abs() <= SHIFT_MAX);
        }
        for pair in Pair::ALL {
            let (gap, spread) = trend.gap(pair, &asked);
            prop_assert!(gap.abs() <= SHIFT_MAX && spread.is_finite() && spread >= 0.0);
        }
    }
}
