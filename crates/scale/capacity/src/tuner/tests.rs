use super::anchor::ALIKE;
use super::*;
use proptest::prelude::*;

const TRUE: [f64; 3] = [8.0, 0.016, 0.0005];

/// What replicas with `parameters` show at so many requests per minute.
fn shown(tuner: &Tuner, parameters: [f64; 3], per_minute: f64) -> Observation {
    let mut seen = Observation {
        rate: per_minute / 60.0,
        input_tokens: 512.0,
        output_tokens: 128.0,
        max_batch: 64,
        ttft_ms: 1.0,
        itl_ms: 1.0,
    };
    [seen.ttft_ms, seen.itl_ms] = tuner.expect(&parameters, &seen).unwrap();
    seen
}

fn tuner(mode: Mode) -> Tuner {
    Tuner::new(TunerConfig {
        expected: (mode == Mode::AsPublished).then_some([20.0, 12.0]),
        mode,
        ..TunerConfig::from_start([6.0, 0.02, 0.0008])
    })
    .unwrap()
}

fn off(parameters: [f64; 3], truth: [f64; 3]) -> f64 {
    (0..3)
        .map(|j| (parameters[j] / truth[j] - 1.0).abs())
        .fold(0.0, f64::max)
}

/// How far what the parameters predict is off, at three rates.
fn misjudges(tuner: &Tuner, truth: [f64; 3]) -> f64 {
    [60.0, 300.0, 600.0]
        .into_iter()
        .map(|rate| {
            let seen = shown(tuner, truth, rate);
            let ours = tuner.expect(&tuner.state, &seen).unwrap();
            (ours[0] / seen.ttft_ms - 1.0)
                .abs()
                .max((ours[1] / seen.itl_ms - 1.0).abs())
        })
        .fold(0.0, f64::max)
}

#[test]
fn the_published_observations_come_out_in_the_published_mode() {
    let published = tuner(Mode::AsPublished);
    for (per_minute, ttft, itl) in [(300.0, 19.16048, 11.38673), (120.0, 17.36258, 9.58883)] {
        let seen = shown(&published, TRUE, per_minute);
        assert!((seen.ttft_ms / ttft - 1.0).abs() < 1e-6, "{seen:?}");
        assert!((seen.itl_ms / itl - 1.0).abs() < 1e-6, "{seen:?}");
    }
    // Ours counts the step that makes the first token, as the analysis does.
    let ours = shown(&tuner(Mode::Guarded), TRUE, 300.0);
    assert!(ours.ttft_ms > 30.0 && (ours.itl_ms - 11.38673).abs() < 0.05, "{ours:?}");
}

#[test]
fn the_parameters_are_found() {
    for mode in [Mode::AsPublished, Mode::Guarded] {
        let mut tuner = tuner(mode);
        for step in 0..60 {
            let seen = shown(&tuner, TRUE, [120.0, 300.0, 480.0, 60.0][step % 4]);
            let update = tuner.observe(&seen);
            assert_eq!(update.outcome, Outcome::Taken, "{mode:?} {step} {}", update.said);
        }
        assert!(off(tuner.state, TRUE) < 0.05, "{mode:?} {:?}", tuner.state);
        assert!(misjudges(&tuner, TRUE) < 0.01, "{mode:?}");
    }
}

#[test]
fn an_outlier_is_not_learnt_from() {
    let mut tuner = tuner(Mode::Guarded);
    for step in 0..40 {
        let seen = shown(&tuner, TRUE, [120.0, 300.0, 480.0][step % 3]);
        tuner.observe(&seen);
    }
    let before = tuner.state;
    let mut wrong = shown(&tuner, TRUE, 300.0);
    wrong.itl_ms *= 10.0;
    let update = tuner.observe(&wrong);
    assert_eq!((update.outcome, update.parameters), (Outcome::Gated, before));
    assert!(update.nis.unwrap() > NIS_GATE);
    let seen = shown(&tuner, TRUE, 300.0);
    assert_eq!(tuner.observe(&seen).outcome, Outcome::Taken);
    assert_eq!(tuner.rejected, 0);
}

#[test]
fn a_changed_world_is_learnt_anew() {
    let slow = TRUE.map(|value| value * 6.0);
    let mut ours = tuner(Mode::Guarded);
    let mut outcomes = Vec::new();
    for step in 0..100 {
        let truth = if step < 30 { TRUE } else { slow };
        let seen = shown(&ours, truth, [60.0, 90.0, 120.0][step % 3]);
        outcomes.push(ours.observe(&seen).outcome);
    }
    assert!(outcomes.contains(&Outcome::Gated), "{outcomes:?}");
    let seen = shown(&ours, slow, 90.0);
    let expected = ours.expect(&ours.state, &seen).unwrap();
    assert!((expected[1] / seen.itl_ms - 1.0).abs() < 0.03, "{expected:?} {seen:?}");
    assert_eq!(ours.observe(&seen).outcome, Outcome::Taken);
    // However tight the gate, it opens after five.
    let mut stubborn = tuner(Mode::Guarded);
    stubborn.config.drift = [1e-6; 3];
    stubborn.covariance = stubborn.noise_of_state();
    let seen = shown(&stubborn, slow, 60.0);
    let said: Vec<Outcome> = (0..5).map(|_| stubborn.observe(&seen).outcome).collect();
    assert_eq!(said[..4], [Outcome::Gated; 4]);
    assert_eq!(said[4], Outcome::Reset);
}

#[test]
fn a_rate_thought_impossible_and_served_makes_the_model_faster() {
    let fast = TRUE.map(|value| value / 4.0);
    let mut ours = tuner(Mode::Guarded);
    let seen = shown(&ours, fast, 2400.0);
    let update = ours.observe(&seen);
    assert_eq!(update.outcome, Outcome::Quickened, "{}", update.said);
    for step in 0..60 {
        let seen = shown(&ours, fast, [2400.0, 600.0, 1200.0][step % 3]);
        ours.observe(&seen);
    }
    assert!(misjudges(&ours, fast) < 0.05, "{:?}", ours.state);
    // The predecessor cannot, and here at least does not fall over.
    let mut published = tuner(Mode::AsPublished);
    assert_eq!(published.observe(&seen).outcome, Outcome::Unusable);
}

#[test]
fn requests_without_a_prompt_teach_too() {
    let mut ours = tuner(Mode::Guarded);
    let with = |tuner: &Tuner, per_minute| {
        let mut seen = shown(tuner, TRUE, per_minute);
        seen.input_tokens = 0.0;
        [seen.ttft_ms, seen.itl_ms] = tuner.expect(&TRUE, &seen).unwrap();
        seen
    };
    for step in 0..40 {
        let seen = with(&ours, [300.0, 900.0][step % 2]);
        assert_eq!(ours.observe(&seen).outcome, Outcome::Taken);
    }
    assert!((ours.state[0] / TRUE[0] - 1.0).abs() < 0.1, "{:?}", ours.state);
    let mut published = tuner(Mode::AsPublished);
    let seen = with(&published, 300.0);
    assert_eq!(published.observe(&seen).outcome, Outcome::Unusable);
}

#[test]
fn what_makes_no_sense_teaches_nothing() {
    let mut ours = tuner(Mode::Guarded);
    let good = shown(&ours, TRUE, 120.0);
    for (what, seen) in [
        ("requests", Observation { rate: 0.0, ..good }),
        (
            "answers",
            Observation {
                output_tokens: f64::NAN,
                ..good
            },
        ),
        (
            "prompts",
            Observation {
                input_tokens: -1.0,
                ..good
            },
        ),
        ("batch", Observation { max_batch: 0, ..good }),
        (
            "between",
            Observation {
                itl_ms: f64::INFINITY,
                ..good
            },
        ),
    ] {
        let update = ours.observe(&seen);
        assert_eq!(update.outcome, Outcome::Unusable);
        assert!(update.said.contains(what), "{}", update.said);
    }
    let wrong = TunerConfig::from_start([1.0, 0.0, 1.0]);
    let error = Tuner::new(wrong).unwrap_err();
    assert!(error.to_string().starts_with("tuner.start.betaMs is 0"), "{error}");
}

/// A stream of observations that differ by chance: of a load, of lengths, of
/// the clock that measured.
struct Chance(proptest::test_runner::TestRng);

impl Chance {
    fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self(proptest::test_runner::TestRng::from_seed(
            proptest::test_runner::RngAlgorithm::ChaCha,
            &bytes,
        ))
    }

    /// About `value`: up to `share` more or less.
    fn about(&mut self, value: f64, share: f64) -> f64 {
        let uniform = f64::from(proptest::prelude::Rng::next_u32(&mut self.0)) / f64::from(u32::MAX);
        value * (1.0 + share * (2.0 * uniform - 1.0))
    }

    /// What a replica with `truth` shows at about so many requests per minute.
    fn shown(&mut self, tuner: &Tuner, truth: [f64; 3], per_minute: f64) -> Observation {
        let mut seen = Observation {
            rate: self.about(per_minute, 0.05) / 60.0,
            input_tokens: self.about(512.0, 0.03),
            output_tokens: self.about(128.0, 0.03),
            max_batch: 16,
            ttft_ms: 1.0,
            itl_ms: 1.0,
        };
        let [ttft, itl] = tuner.expect(&truth, &seen).unwrap();
        // What is told is a mean over a while: the load was a little different then.
        seen.rate = self.about(seen.rate, 0.03);
        (seen.ttft_ms, seen.itl_ms) = (self.about(ttft, 0.04), self.about(itl, 0.03));
        seen
    }

    /// How far what the parameters predict is off at so many requests per minute.
    fn misjudges(tuner: &Tuner, truth: [f64; 3], per_minute: f64) -> f64 {
        let mut seen = shown(tuner, TRUE, 60.0);
        (seen.rate, seen.max_batch) = (per_minute / 60.0, 16);
        let truth = tuner.expect(&truth, &seen).unwrap();
        let ours = tuner.expect(&tuner.state, &seen).unwrap();
        (ours[0] / truth[0] - 1.0).abs().max((ours[1] / truth[1] - 1.0).abs())
    }
}

#[test]
fn a_day_of_one_load_moves_nothing_and_the_next_load_is_learnt_from() {
    for seed in 0..6 {
        let mut chance = Chance::new(seed);
        let mut tuner = tuner(Mode::Guarded);
        // Some loads to learn from, and then a day of one.
        for step in 0..90 {
            let seen = chance.shown(&tuner, TRUE, [120.0, 240.0, 360.0][step / 30]);
            tuner.observe(&seen);
        }
        let there = |tuner: &Tuner| [60.0, 120.0, 240.0, 300.0].map(|rate| Chance::misjudges(tuner, TRUE, rate));
        let (mut settled, mut knew) = (tuner.state, there(&tuner));
        for step in 0..8640 {
            let seen = chance.shown(&tuner, TRUE, 240.0);
            tuner.observe(&seen);
            if step == 100 {
                (settled, knew) = (tuner.state, there(&tuner));
            }
            // Each observation may be wrong by a few per cent.
            let [alpha, beta, gamma] = [0, 1, 2].map(|j| (tuner.state[j] / settled[j] - 1.0).abs());
            if step > 100 {
                assert!(
                    alpha < 0.04 && gamma < 0.04 && beta < 0.15,
                    "seed {seed}, observation {step}: {:?}, once {settled:?}",
                    tuner.state
                );
            }
        }
        let knows = there(&tuner);
        for (now, then) in knows.iter().zip(knew) {
            assert!(*now < then + 0.04, "seed {seed}: {knows:?} off, once {knew:?}");
        }
        // What a batch adds doubles, and other loads show it.
        let slow = [8.0, 0.032, 0.001];
        for step in 0..60 {
            let seen = chance.shown(&tuner, slow, [240.0, 200.0, 150.0, 100.0][step / 15]);
            tuner.observe(&seen);
        }
        for rate in [60.0, 120.0, 200.0] {
            let wrong = Chance::misjudges(&tuner, slow, rate);
            assert!(
                wrong < 0.06,
                "seed {seed}: {wrong} off at {rate} per minute: {:?}",
                tuner.state
            );
        }
    }
}

proptest! {
    /// Whatever comes, parameters stay above 0 and doubts within them.
    #[test]
    fn nothing_makes_it_lose_its_mind(
        seen in prop::collection::vec((
            prop_oneof![4 => 0.001..50.0f64, 1 => any::<f64>()],
            prop_oneof![4 => 0.0..4000.0f64, 1 => any::<f64>()],
            prop_oneof![4 => 1.0..1000.0f64, 1 => any::<f64>()],
            0u32..80,
            prop_oneof![4 => 0.1..5000.0f64, 1 => any::<f64>()],
            prop_oneof![4 => 0.1..500.0f64, 1 => any::<f64>()],
        ), 1..12),
    ) {
        for mode in [Mode::AsPublished, Mode::Guarded] {
            let mut tuner = tuner(mode);
            for &(rate, input_tokens, output_tokens, max_batch, ttft_ms, itl_ms) in &seen {
                let update = tuner.observe(&Observation { rate, input_tokens, output_tokens, max_batch, ttft_ms, itl_ms });
                prop_assert!(update.parameters.iter().all(|p| p.is_finite() && *p > 0.0), "{update:?}");
                if mode == Mode::Guarded {
                    for (doubt, value) in tuner.doubt().iter().zip(update.parameters) {
                        prop_assert!(doubt.is_finite() && *doubt <= value * (1.0 + 2.0 * ALIKE), "{update:?} {doubt}");
                    }
                    let c = &tuner.covariance;
                    for i in 0..3 { for j in 0..3 {
                        prop_assert!((c[i][j] - c[j][i]).abs() <= 1e-9 * (c[i][i] * c[j][j]).sqrt());
                        prop_assert!(c[i][j] * c[i][j] <= c[i][i] * c[j][j] * (1.0 + 1e-6) + 1e-300);
                    }}
                }
            }
        }
    }
}
