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
    }
}

#[derive(Debug, PartialEq, Clone, Copy)]
enum Says {
    Up,
    Down,
    Nothing,
}
use Says::{Down, Nothing, Up};

/// Replicas as (KV, waiting), and what the predecessor says of them. Where ours
/// says other, `decide`'s own table tells what and why.
#[test]
fn models_are_judged_as_published() {
    let mixed = |hot: usize, cold: usize| [times(hot, 0.95, 9.0), times(cold, 0.10, 0.0)].concat();
    let cases: [(Vec<(f64, f64)>, Says); 14] = [
        (vec![(0.75, 2.0), (0.76, 2.0)], Up),
        (vec![(0.20, 1.0), (0.30, 1.0), (0.25, 1.0)], Down),
        (vec![(0.85, 2.0), (0.50, 6.0), (0.90, 7.0)], Up),
        (vec![(0.65, 0.0), (0.72, 0.0)], Nothing),
        (times(2, 0.35, 1.0), Down),
        (mixed(8, 2), Down),
        (mixed(9, 1), Nothing),
        (times(10, 0.95, 9.0), Up),
        (vec![(0.65, 0.0), (0.75, 0.0)], Nothing),
        (vec![(0.10, 2.5), (0.10, 2.5)], Up),
        (vec![(0.10, 0.0)], Nothing),
        (times(3, 0.0, 0.0), Down),
        (vec![(0.85, 0.0), (0.1, 0.0), (0.1, 0.0)], Down),
        (vec![], Nothing),
    ];
    for (figures, expected) in cases {
        let analysis = analyze(&Thresholds::default(), &replicas(&figures));
        let says = match (analysis.up, analysis.down_safe) {
            (true, _) => Up,
            (false, true) => Down,
            (false, false) => Nothing,
        };
        assert_eq!(says, expected, "{figures:?} {analysis:?}");
    }
    let analysis = analyze(&Thresholds::default(), &replicas(&[(0.75, 2.0), (0.76, 2.0)]));
    assert!((analysis.spare_kv - 0.045).abs() < 1e-9);
    assert_eq!(analysis.said, "KV spare low");
}

#[test]
fn what_is_missing_is_taken_for_nothing() {
    let mut seen = replicas(&times(3, 0.1, 0.0));
    seen[0].kv = None;
    seen[1].kv = Some(f64::NAN);
    assert!(analyze(&Thresholds::default(), &seen).down_safe);
}

#[test]
fn variants_are_asked_for_what_is_published() {
    struct Case {
        what: &'static str,
        figures: Vec<(&'static str, f64, f64)>,
        variants: Vec<Variant>,
        expected: Vec<u32>,
    }
    let of = |name: &'static str, kv: f64, waiting: f64, n: usize| vec![(name, kv, waiting); n];
    let wish = |desired: u32, current: u32| Variant {
        desired: Some(desired),
        ..variant("v", 5.0, current)
    };
    let cases = [
        Case {
            what: "the dearest goes first",
            figures: [of("cheap", 0.2, 0.0, 2), of("dear", 0.2, 0.0, 2)].concat(),
            variants: vec![variant("cheap", 5.0, 2), variant("dear", 20.0, 2)],
            expected: vec![2, 1],
        },
        Case {
            what: "the cheapest comes first",
            figures: [of("cheap", 0.75, 1.0, 2), of("dear", 0.75, 1.0, 2)].concat(),
            variants: vec![variant("cheap", 5.0, 2), variant("dear", 20.0, 2)],
            expected: vec![3, 2],
        },
        Case {
            what: "of equal cost the later name goes first",
            figures: [of("a", 0.2, 0.0, 2), of("b", 0.2, 0.0, 2)].concat(),
            variants: vec![variant("a", 5.0, 2), variant("b", 5.0, 2)],
            expected: vec![2, 1],
        },
        Case {
            what: "a wish that was clamped freezes under load",
            figures: of("v", 0.95, 9.0, 10),
            variants: vec![wish(12, 10)],
            expected: vec![12],
        },
        Case {
            what: "and when the load is gone",
            figures: of("v", 0.05, 0.0, 10),
            variants: vec![wish(12, 10)],
            expected: vec![12],
        },
        Case {
            what: "as does one below somebody else's minimum",
            figures: of("v", 0.95, 9.0, 2),
            variants: vec![wish(1, 2)],
            expected: vec![1],
        },
        Case {
            what: "one silent Pod stops the others",
            figures: of("v", 0.95, 9.0, 3),
            variants: vec![variant("v", 5.0, 4)],
            expected: vec![4],
        },
        Case {
            what: "what is on its way is waited for",
            figures: of("v", 0.75, 1.0, 2),
            variants: vec![Variant {
                pending: 1,
                ..variant("v", 5.0, 3)
            }],
            expected: vec![3],
        },
        Case {
            what: "one that told nothing has no answer",
            figures: of("v", 0.95, 9.0, 4),
            variants: vec![variant("v", 5.0, 4), variant("w", 9.0, 0)],
            expected: vec![5],
        },
    ];
    for case in cases {
        let replica = |&(variant, kv, waiting): &(&str, f64, f64)| Replica {
            variant: variant.to_owned(),
            kv: Some(kv),
            waiting: Some(waiting),
        };
        let seen: Vec<Replica> = case.figures.iter().map(replica).collect();
        let analysis = analyze(&Thresholds::default(), &seen);
        let targets = targets(&analysis, &case.variants, &seen);
        let got: Vec<u32> = targets.iter().map(|target| target.replicas).collect();
        assert_eq!(got, case.expected, "{} ({})", case.what, analysis.said);
    }
    let analysis = analyze(&Thresholds::default(), &[]);
    let kept = targets(&analysis, &[variant("v", 5.0, 3)], &[]);
    assert_eq!((kept[0].replicas, kept[0].why), (3, "no analysis"));
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
    fn it_moves_by_one_whatever_it_is_told(
        figures in prop::collection::vec((any_share(), any_share()), 0..12), pending in 0_u32..3,
    ) {
        let seen: Vec<Replica> = figures.iter().map(|&(kv, waiting)| Replica { variant: "v".into(), kv, waiting }).collect();
        let current = u32::try_from(seen.len()).unwrap();
        let variants = [Variant { pending, ..variant("v", 1.0, current) }];
        let got = targets(&analyze(&Thresholds::default(), &seen), &variants, &seen);
        prop_assert!(got[0].replicas.abs_diff(current) <= 1);
    }
}
