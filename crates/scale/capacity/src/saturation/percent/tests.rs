use super::*;
use proptest::prelude::*;

fn replicas(figures: &[(f64, f64)]) -> Vec<Replica> {
    figures
        .iter()
        .map(|&(kv, waiting)| Replica {
            variant: "v".to_owned(),
            kv: Some(kv),
            waiting: Some(waiting),
        })
        .collect()
}

fn times(n: usize, kv: f64, waiting: f64) -> Vec<(f64, f64)> {
    vec![(kv, waiting); n]
}

fn variant(name: &str, cost: f64, current: u32) -> Variant {
    Variant {
        name: name.to_owned(),
        cost,
        current,
        pending: 0,
        desired: None,
        min: 0,
        max: 100,
    }
}

const MODES: [Mode; 2] = [Mode::AsPublished, Mode::Guarded];

#[derive(Debug, PartialEq, Clone, Copy)]
enum Says {
    Up,
    Down,
    Nothing,
}
use Says::{Down, Nothing, Up};

fn says(analysis: &Analysis) -> Says {
    match (analysis.up, analysis.down_safe) {
        (true, _) => Up,
        (false, true) => Down,
        (false, false) => Nothing,
    }
}

#[test]
fn models_are_judged_as_published_or_better() {
    // Replicas as (KV, waiting); what the predecessor says; what we say; why
    // the two differ.
    let mixed = |hot: usize, cold: usize| [times(hot, 0.95, 9.0), times(cold, 0.10, 0.0)].concat();
    type Case = (Vec<(f64, f64)>, Says, Says, &'static str);
    let cases: [Case; 14] = [
        (vec![(0.75, 2.0), (0.76, 2.0)], Up, Up, ""),
        (vec![(0.20, 1.0), (0.30, 1.0), (0.25, 1.0)], Down, Down, ""),
        (vec![(0.85, 2.0), (0.50, 6.0), (0.90, 7.0)], Up, Up, ""),
        (vec![(0.65, 0.0), (0.72, 0.0)], Nothing, Nothing, ""),
        (
            times(2, 0.35, 1.0),
            Down,
            Nothing,
            "one left would stand on both triggers and go up again",
        ),
        (mixed(8, 2), Down, Up, "a mean over the healthy hides the saturated"),
        (mixed(9, 1), Nothing, Up, "the same"),
        (times(10, 0.95, 9.0), Up, Up, ""),
        (vec![(0.65, 0.0), (0.75, 0.0)], Nothing, Up, "0.1 is not below 0.1"),
        (vec![(0.10, 2.5), (0.10, 2.5)], Up, Up, ""),
        (vec![(0.10, 0.0)], Nothing, Nothing, ""),
        (times(3, 0.0, 0.0), Down, Down, ""),
        (
            vec![(0.85, 0.0), (0.1, 0.0), (0.1, 0.0)],
            Down,
            Nothing,
            "nothing goes while one is saturated",
        ),
        (vec![], Nothing, Nothing, ""),
    ];
    for (figures, theirs, ours, why) in cases {
        assert!(
            (theirs == ours) == why.is_empty(),
            "{figures:?} needs a reason just where we differ"
        );
        for (mode, expected) in MODES.into_iter().zip([theirs, ours]) {
            let analysis = analyze(&Thresholds::default(), mode, &replicas(&figures), figures.len());
            let down_in_their_way = analysis.down_safe && !analysis.up;
            assert_eq!(
                says(&analysis),
                expected,
                "{mode:?} {figures:?} {down_in_their_way} {analysis:?}"
            );
        }
    }
    let analysis = analyze(
        &Thresholds::default(),
        Mode::AsPublished,
        &replicas(&[(0.75, 2.0), (0.76, 2.0)]),
        2,
    );
    assert!((analysis.spare_kv.unwrap() - 0.045).abs() < 1e-9);
    assert_eq!(analysis.said, "KV spare low");
}

#[test]
fn silence_is_not_health() {
    let mut seen = replicas(&times(3, 0.1, 0.0));
    let at = Thresholds::default();
    assert!(analyze(&at, Mode::Guarded, &seen, 3).down_safe);
    let four = analyze(&at, Mode::Guarded, &seen, 4);
    assert!(!four.down_safe && four.silent == 1, "{four:?}");
    assert!(four.said.contains("silent"), "{}", four.said);
    seen[0].kv = None;
    assert!(
        !analyze(&at, Mode::Guarded, &seen, 3).down_safe,
        "half known is not known"
    );
    assert!(
        analyze(&at, Mode::AsPublished, &seen, 3).down_safe,
        "a missing share is 0 there"
    );
    seen[0].kv = Some(f64::NAN);
    assert!(!analyze(&at, Mode::Guarded, &seen, 3).down_safe);
    // Saturation needs nobody's silence to end.
    let hot = replicas(&times(3, 0.95, 9.0));
    assert!(analyze(&at, Mode::Guarded, &hot, 4).up);
}

#[test]
fn variants_are_asked_for_what_they_need() {
    struct Case {
        what: &'static str,
        figures: Vec<(&'static str, f64, f64)>,
        variants: Vec<Variant>,
        theirs: Vec<u32>,
        ours: Vec<u32>,
    }
    let two = |name: &'static str, kv: f64, waiting: f64, n: usize| vec![(name, kv, waiting); n];
    let cases = [
        Case {
            what: "the dearest goes first",
            figures: [two("cheap", 0.2, 0.0, 2), two("dear", 0.2, 0.0, 2)].concat(),
            variants: vec![variant("cheap", 5.0, 2), variant("dear", 20.0, 2)],
            theirs: vec![2, 1],
            ours: vec![2, 1],
        },
        Case {
            what: "the cheapest comes first",
            figures: [two("cheap", 0.75, 1.0, 2), two("dear", 0.75, 1.0, 2)].concat(),
            variants: vec![variant("cheap", 5.0, 2), variant("dear", 20.0, 2)],
            theirs: vec![3, 2],
            ours: vec![3, 2],
        },
        Case {
            what: "of equal cost the later name goes first",
            figures: [two("a", 0.2, 0.0, 2), two("b", 0.2, 0.0, 2)].concat(),
            variants: vec![variant("a", 5.0, 2), variant("b", 5.0, 2)],
            theirs: vec![2, 1],
            ours: vec![2, 1],
        },
        Case {
            what: "a wish that was clamped does not freeze: they keep 12, we want what the load needs",
            figures: two("v", 0.95, 9.0, 10),
            variants: vec![Variant {
                desired: Some(12),
                ..variant("v", 5.0, 10)
            }],
            theirs: vec![12],
            ours: vec![14],
        },
        Case {
            what: "nor when the load is gone",
            figures: two("v", 0.05, 0.0, 10),
            variants: vec![Variant {
                desired: Some(12),
                ..variant("v", 5.0, 10)
            }],
            theirs: vec![12],
            ours: vec![9],
        },
        Case {
            what: "nor a wish below a foreign minimum",
            figures: two("v", 0.95, 9.0, 2),
            variants: vec![Variant {
                desired: Some(1),
                ..variant("v", 5.0, 2)
            }],
            theirs: vec![1],
            ours: vec![3],
        },
        Case {
            what: "one silent pod does not stop the others",
            figures: two("v", 0.95, 9.0, 3),
            variants: vec![variant("v", 5.0, 4)],
            theirs: vec![4],
            ours: vec![6],
        },
        Case {
            what: "what is on its way counts",
            figures: two("v", 0.75, 1.0, 2),
            variants: vec![Variant {
                pending: 1,
                ..variant("v", 5.0, 3)
            }],
            theirs: vec![3],
            ours: vec![3],
        },
        Case {
            what: "the maximum clamps, and the next cheapest takes the rest",
            figures: two("v", 0.95, 9.0, 4),
            variants: vec![
                Variant {
                    max: 4,
                    ..variant("v", 5.0, 4)
                },
                variant("w", 9.0, 0),
            ],
            theirs: vec![5],
            ours: vec![4, 2],
        },
        Case {
            what: "the minimum stays",
            figures: two("v", 0.05, 0.0, 2),
            variants: vec![Variant {
                min: 2,
                ..variant("v", 5.0, 2)
            }],
            theirs: vec![1],
            ours: vec![2],
        },
    ];
    for case in cases {
        let seen: Vec<Replica> = case
            .figures
            .iter()
            .map(|&(variant, kv, waiting)| Replica {
                variant: variant.to_owned(),
                kv: Some(kv),
                waiting: Some(waiting),
            })
            .collect();
        let ready: u32 = case.variants.iter().map(|v| v.current - v.pending).sum();
        for (mode, expected) in MODES.into_iter().zip([&case.theirs, &case.ours]) {
            let analysis = analyze(&Thresholds::default(), mode, &seen, ready as usize);
            let got: Vec<u32> = targets(&analysis, mode, &case.variants, &seen)
                .iter()
                .map(|t| t.replicas)
                .collect();
            assert_eq!(&got, expected, "{mode:?}: {} ({})", case.what, analysis.said);
        }
    }
    // Nothing reported: all stays.
    let idle = [variant("v", 5.0, 3)];
    for mode in MODES {
        let analysis = analyze(&Thresholds::default(), mode, &[], 3);
        assert_eq!(targets(&analysis, mode, &idle, &[])[0].replicas, 3);
    }
}

fn any_share() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        6 => (0.0..1.2f64).prop_map(Some),
        2 => (0.0..20.0f64).prop_map(Some),
        1 => Just(None),
        1 => Just(Some(f64::NAN)),
        1 => Just(Some(f64::INFINITY)),
        1 => Just(Some(-1.0)),
    ]
}

proptest! {
    #[test]
    fn bounds_hold_and_nothing_goes_while_anything_is_full_or_silent(
        figures in prop::collection::vec((any_share(), any_share()), 0..12),
        extra in 0usize..3, pending in 0u32..3, min in 0u32..4, room in 0u32..10,
    ) {
        let seen: Vec<Replica> = figures.iter().map(|&(kv, waiting)| Replica { variant: "v".into(), kv, waiting }).collect();
        let ready = seen.len() + extra;
        let current = u32::try_from(ready).unwrap() + pending;
        let variants = [Variant { pending, min, max: min + room, ..variant("v", 1.0, current) }];
        for mode in MODES {
            let analysis = analyze(&Thresholds::default(), mode, &seen, ready);
            let got = targets(&analysis, mode, &variants, &seen);
            if mode == Mode::Guarded {
                prop_assert!((min..=min + room).contains(&got[0].replicas));
                let held = current.clamp(min, min + room);
                if analysis.silent > 0 || analysis.saturated > 0 {
                    prop_assert!(got[0].replicas >= held);
                }
                prop_assert!(!(analysis.up && analysis.down_safe));
            }
        }
    }

    /// At constant load, taking one away never asks for it back.
    #[test]
    fn what_goes_is_not_asked_back(n in 2u32..40, kv in 0.0..1.0f64, waiting in 0.0..6.0f64) {
        let at = Thresholds::default();
        let load = |n: u32, total: (f64, f64)| replicas(&times(n as usize, total.0 / f64::from(n), total.1 / f64::from(n)));
        let total = (kv * f64::from(n), waiting * f64::from(n));
        if analyze(&at, Mode::Guarded, &load(n, total), n as usize).down_safe {
            let after = analyze(&at, Mode::Guarded, &load(n - 1, total), n as usize - 1);
            prop_assert!(!after.up, "{after:?}");
        }
    }
}
