use super::*;
use proptest::prelude::*;

const OUTLOOK: Outlook = Outlook {
    horizon: Duration::from_secs(60),
    wait: Duration::from_secs(3),
    cover: 0.99,
    assumed: 1.25,
    most: 1.6,
};

fn at(second: u64) -> Instant {
    Instant::from_secs(1_000 + second)
}

/// Feeds `load(second)` for `seconds` and returns what is then expected.
fn after(seconds: u64, load: impl Fn(u64) -> f64) -> Expected {
    let mut forecast = Forecast::default();
    for second in 0..seconds {
        forecast.observe(load(second), &OUTLOOK, at(second));
    }
    forecast.expected(&OUTLOOK).unwrap()
}

#[test]
fn nothing_is_expected_before_anything_was_seen() {
    assert_eq!(Forecast::default().expected(&OUTLOOK), None);
}

#[test]
fn at_first_the_assumed_room_is_kept() {
    let expected = after(20, |_| 40.0);
    assert!((expected.mean - 40.0).abs() < 1e-9);
    assert!((1.24..1.27).contains(&expected.growth), "{expected:?}");
}

#[test]
fn a_steady_load_needs_little_room() {
    let expected = after(3600, |_| 40.0);
    assert!((40.0..42.0).contains(&expected.load), "{expected:?}");
}

#[test]
fn a_load_that_climbs_is_met_where_it_will_be() {
    // One slot per ten seconds: six more by the time a replica serves.
    let expected = after(3600, |second| 300.0 + second as f64 / 10.0);
    let then = 300.0 + 3660.0 / 10.0;
    let near = then * 0.98..then * 1.08;
    assert!(near.contains(&expected.load), "{then}: {expected:?}");
}

#[test]
fn short_bursts_that_waiting_absorbs_make_no_room() {
    // Two seconds in twenty at twice the load: nobody waits three seconds for it.
    let expected = after(3600, |second| if second % 20 < 2 { 80.0 } else { 40.0 });
    assert!(expected.load < 48.0, "{expected:?}");
    // Twenty seconds in a hundred cannot be waited out.
    let expected = after(3600, |second| if second % 100 < 20 { 80.0 } else { 40.0 });
    assert!(expected.load > 60.0, "{expected:?}");
}

#[test]
fn a_load_that_comes_and_goes_is_followed_slowly() {
    let expected = after(7200, |second| 40.0 + 15.0 * (second as f64 / 20.0).sin());
    assert!(expected.over >= Duration::from_secs(300), "{expected:?}");
}

#[test]
fn growth_beyond_the_limit_is_not_provided_for() {
    let expected = after(
        7200,
        |second| if (second / 300).is_multiple_of(2) { 10.0 } else { 100.0 },
    );
    assert!(expected.growth <= OUTLOOK.most, "{expected:?}");
}

#[test]
fn after_a_gap_the_level_is_new_and_the_learnt_growth_stays() {
    let mut forecast = Forecast::default();
    for second in 0..3600 {
        forecast.observe(40.0, &OUTLOOK, at(second));
    }
    forecast.observe(10.0, &OUTLOOK, at(4000));
    let expected = forecast.expected(&OUTLOOK).unwrap();
    assert_eq!(expected.mean, 10.0);
    assert!(expected.growth < 1.05, "{expected:?}");
}

proptest! {
    #[test]
    fn whatever_is_fed_the_expectation_is_a_number_within_its_limits(
        samples in prop::collection::vec((any::<f64>(), 0_u64..30), 1..300),
    ) {
        let mut forecast = Forecast::default();
        let mut second = 0;
        for (load, gap) in samples {
            second += gap;
            forecast.observe(load, &OUTLOOK, at(second));
            if let Some(expected) = forecast.expected(&OUTLOOK) {
                prop_assert!(expected.load >= 0.0 && !expected.load.is_nan());
                prop_assert!(expected.growth <= OUTLOOK.most);
            }
        }
    }

    #[test]
    fn how_often_it_is_asked_within_a_second_changes_nothing(loads in prop::collection::vec(1.0_f64..100.0, 2..200)) {
        let (mut once, mut often) = (Forecast::default(), Forecast::default());
        for (second, load) in loads.iter().enumerate() {
            let now = at(second as u64);
            once.observe(*load, &OUTLOOK, now);
            for part in 0..3 {
                often.observe(*load, &OUTLOOK, now + Duration::from_millis(300 * part));
            }
        }
        prop_assert_eq!(once, often);
    }
}
