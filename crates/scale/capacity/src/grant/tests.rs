use super::*;
use crate::optimize::gpus::Quota;
use crate::{Explanation, Metrics, MetricsWord, VariantDecision};
use proptest::prelude::*;

/// A model with its variants: name, accelerator, GPUs of a replica, from, to.
type Given<'a> = &'a [(&'a str, &'a str, u32, u32, u32)];

fn decision(model: &str, namespace: &str, variants: Given<'_>) -> (Decision, Vec<Terms>) {
    let (from, to): (u32, u32) = variants
        .iter()
        .fold((0, 0), |sum, variant| (sum.0 + variant.3, sum.1 + variant.4));
    let sentence = if from == to {
        format!("{model} stays at {from}: all is well")
    } else {
        format!("{model} {from} -> {to}: KV 95 % on all replicas; +1 something")
    };
    let decided = |(name, _, _, from, to): &(&str, &str, u32, u32, u32)| VariantDecision {
        name: (*name).to_owned(),
        from: *from,
        to: *to,
        reason: match (*from, *to) {
            (0, to) if to > 0 && variants.iter().all(|v| v.3 == 0) => Reason::ScaleFromZero,
            (from, to) if to > from => Reason::Saturated,
            _ => Reason::CoversDemand,
        },
        sentence: sentence.clone(),
        metrics: Metrics {
            word: MetricsWord::Found,
            says: String::new(),
        },
        too_slow: false,
    };
    let terms = |(at, (_, accelerator, gpus, from, _)): (usize, &(&str, &str, u32, u32, u32))| Terms {
        accelerator: (!accelerator.is_empty()).then(|| (*accelerator).to_owned()),
        gpus_per_replica: *gpus,
        gpus_per_pod: 0,
        held: *from,
        min: 0,
        max: 20,
        cost: 1.0 + at as f64,
        slots: None,
    };
    let decision = Decision {
        model: model.to_owned(),
        namespace: namespace.to_owned(),
        variants: variants.iter().map(decided).collect(),
        sentence: sentence.clone(),
        explanation: Explanation::default(),
    };
    (decision, variants.iter().enumerate().map(terms).collect())
}

/// Free GPUs, on top of what the models hold.
fn free(stocks: &[(&str, u64)]) -> Inventory {
    let of = |(name, free): &(&str, u64)| {
        let stock = Stock::pool(free + 100, 100);
        ((*name).to_owned(), stock)
    };
    Inventory::Known(stocks.iter().map(of).collect())
}

fn supply<'a>(inventory: &'a Inventory, quotas: &'a Quotas) -> Supply<'a> {
    Supply {
        inventory,
        quotas,
        fail: Fail::Open,
        step_up: None,
    }
}

fn wishes<'a>(models: &'a mut [(Decision, Vec<Terms>)], priorities: &[i64]) -> Vec<Wish<'a>> {
    let wish = |(at, (decision, terms)): (usize, &'a mut (Decision, Vec<Terms>))| Wish {
        decision,
        terms: terms.clone(),
        priority: priorities.get(at).copied().unwrap_or(1),
        by_gpus: true,
    };
    models.iter_mut().enumerate().map(wish).collect()
}

fn targets(models: &[(Decision, Vec<Terms>)]) -> Vec<Vec<u32>> {
    let of = |(decision, _): &(Decision, Vec<Terms>)| decision.variants.iter().map(|variant| variant.to).collect();
    models.iter().map(of).collect()
}

fn quotas(namespace: &str, accelerator: &str, gpus: i64) -> Quotas {
    let quota = Quota {
        accelerators: [(accelerator.to_owned(), gpus)].into(),
        default: None,
    };
    Quotas {
        namespaces: [(namespace.to_owned(), quota)].into(),
        ..Quotas::default()
    }
}

#[test]
fn wishes_are_cut_to_what_is_free() {
    struct Case<'a> {
        what: &'a str,
        models: &'a [Given<'a>],
        priorities: &'a [i64],
        free: &'a [(&'a str, u64)],
        expected: &'a [&'a [u32]],
    }
    let cases = [
        Case {
            what: "enough for all",
            models: &[&[("a", "L4", 1, 1, 4)], &[("b", "L4", 2, 0, 1)]],
            priorities: &[],
            free: &[("L4", 5)],
            expected: &[&[4], &[1]],
        },
        Case {
            what: "the higher priority first",
            models: &[&[("a", "L4", 1, 1, 4)], &[("b", "L4", 1, 1, 4)]],
            priorities: &[10, 1],
            free: &[("L4", 4)],
            expected: &[&[2], &[4]],
        },
        Case {
            what: "equals share",
            models: &[&[("a", "L4", 1, 1, 5)], &[("b", "L4", 1, 1, 5)]],
            priorities: &[],
            free: &[("L4", 4)],
            expected: &[&[3], &[3]],
        },
        Case {
            what: "the first replica of a model that sleeps is before all priorities",
            models: &[&[("a", "L4", 1, 2, 6)], &[("b", "L4", 1, 0, 1)]],
            priorities: &[1, 10],
            free: &[("L4", 2)],
            expected: &[&[3], &[1]],
        },
        Case {
            what: "a GPU left over from pairs goes to whom it serves",
            models: &[&[("big", "H100", 2, 3, 5)], &[("small", "H100", 1, 0, 1)]],
            priorities: &[],
            free: &[("H100", 3)],
            expected: &[&[4], &[1]],
        },
        Case {
            what: "what goes down holds its GPUs until its Pods are gone",
            models: &[&[("a", "L4", 1, 4, 1)], &[("b", "L4", 1, 1, 4)]],
            priorities: &[],
            free: &[("L4", 1)],
            expected: &[&[1], &[2]],
        },
        Case {
            what: "the next cheapest variant takes what the first cannot have",
            models: &[&[
                ("l4", "L4", 1, 1, 4),
                ("a100", "A100", 1, 0, 0),
                ("h100", "H100", 1, 0, 0),
            ]],
            priorities: &[],
            free: &[("L4", 1), ("A100", 1), ("H100", 9)],
            expected: &[&[2, 1, 1]],
        },
        Case {
            what: "who has a choice leaves it to whom has none",
            models: &[
                &[("a", "L4", 1, 1, 3)],
                &[("l4", "L4", 1, 1, 3), ("h100", "H100", 1, 0, 0)],
            ],
            priorities: &[],
            free: &[("L4", 2), ("H100", 2)],
            expected: &[&[3], &[1, 2]],
        },
        Case {
            what: "and takes what is left of it",
            models: &[
                &[("a", "L4", 1, 1, 3)],
                &[("l4", "L4", 1, 1, 3), ("h100", "H100", 1, 0, 0)],
            ],
            priorities: &[],
            free: &[("L4", 3), ("H100", 2)],
            expected: &[&[3], &[2, 1]],
        },
        Case {
            what: "but not to a lower priority",
            models: &[
                &[("a", "L4", 1, 1, 3)],
                &[("l4", "L4", 1, 1, 3), ("h100", "H100", 1, 0, 0)],
            ],
            priorities: &[2, 1],
            free: &[("L4", 2), ("H100", 2)],
            expected: &[&[1], &[3, 0]],
        },
        Case {
            what: "of two with a choice the one to whom it costs more stays",
            models: &[
                &[("l4", "L4", 1, 1, 2), ("t4", "T4", 1, 0, 0), ("h100", "H100", 1, 0, 0)],
                &[("l4", "L4", 1, 1, 2), ("h100", "H100", 1, 0, 0)],
            ],
            priorities: &[],
            free: &[("L4", 1), ("T4", 0), ("H100", 2)],
            expected: &[&[2, 0, 0], &[1, 1]],
        },
        Case {
            what: "a model wakes on the variant that has a GPU, once",
            models: &[&[("l4", "L4", 1, 0, 1), ("h100", "H100", 1, 0, 0)]],
            priorities: &[],
            free: &[("L4", 0), ("H100", 4)],
            expected: &[&[0, 1]],
        },
        Case {
            what: "of another accelerator there may be any number",
            models: &[&[("a", "H100", 1, 1, 2)]],
            priorities: &[],
            free: &[("L4", 8)],
            expected: &[&[1]],
        },
        Case {
            what: "who takes no GPUs is not limited",
            models: &[&[("cpu", "L4", 0, 1, 9)]],
            priorities: &[],
            free: &[("L4", 0)],
            expected: &[&[9]],
        },
    ];
    for case in cases {
        let mut models: Vec<_> = case
            .models
            .iter()
            .enumerate()
            .map(|(at, variants)| decision(&format!("m{at}"), "shop", variants))
            .collect();
        let (inventory, quotas) = (free(case.free), Quotas::default());
        let _ = grant(&mut wishes(&mut models, case.priorities), &supply(&inventory, &quotas));
        assert_eq!(targets(&models), case.expected, "{}", case.what);
    }
}

#[test]
fn what_was_cut_is_said() {
    let mut models = [
        decision("llama", "team-a", &[("llama-l4", "L4", 1, 1, 4)]),
        decision(
            "qwen",
            "team-b",
            &[("qwen-l4", "L4", 1, 3, 5), ("qwen-h100", "H100", 2, 0, 0)],
        ),
    ];
    let quotas = Quotas {
        default: Some(Quota {
            accelerators: BTreeMap::new(),
            default: Some(-1),
        }),
        ..quotas("team-a", "L4", 3)
    };
    let inventory = free(&[("L4", 3), ("H100", 2)]);
    let granted = grant(&mut wishes(&mut models, &[1, 2]), &supply(&inventory, &quotas));
    assert_eq!(targets(&models), [vec![3], vec![4, 1]]);
    let [(llama, _), (qwen, _)] = &models;
    assert_eq!(
        llama.sentence,
        "llama 1 -> 3: KV 95 % on all replicas; \
         limited: l4 wants 3 more, gets 2: 3 L4 free, 1 of them granted to others (quota team-a 3); +2 l4"
    );
    assert_eq!(
        llama.variants[0].reason,
        Reason::LimitedByGpus,
        "the last was taken by others"
    );
    assert_eq!(llama.variants[0].sentence, llama.sentence);
    assert_eq!(
        qwen.sentence,
        "qwen 3 -> 5: KV 95 % on all replicas; limited: l4 wants 2 more, gets 1: \
         3 L4 free, 2 of them granted to others; 1 of h100 instead; +1 l4, +1 h100"
    );
    let reasons: Vec<_> = qwen.variants.iter().map(|variant| variant.reason).collect();
    assert_eq!(reasons, [Reason::LimitedByGpus, Reason::Saturated]);
    let cut: Vec<_> = granted
        .cuts
        .iter()
        .map(|cut| (cut.variant.as_str(), cut.wished, cut.granted))
        .collect();
    assert_eq!(cut, [("llama-l4", 4, 3), ("qwen-l4", 5, 4)]);
    assert_eq!(granted.left, [("L4".to_owned(), 0), ("H100".to_owned(), 0)].into());
}

#[test]
fn pieces_that_are_too_small_are_told() {
    let mut models = [decision("llama", "team-a", &[("llama-h100", "H100", 8, 1, 3)])];
    let mut stock = Stock::default();
    (0..4).for_each(|_| stock.add_node(8, 4));
    // A Pod of somebody takes one of the pieces as soon as the scheduler looks.
    stock.add_node(8, 6);
    assert!(stock.wait(2) && !stock.wait(5));
    let (inventory, quotas) = (Inventory::Known([("H100".to_owned(), stock)].into()), Quotas::default());
    let _ = grant(&mut wishes(&mut models, &[]), &supply(&inventory, &quotas));
    let decided = &models[0].0.variants[0];
    assert_eq!((decided.to, decided.reason), (1, Reason::LimitedByGpus));
    assert!(
        decided.sentence.ends_with(
            "limited: h100 wants 2 more, gets none: 16 H100 free, in pieces of 4, \
             beside 2 that other Pods wait for, one replica takes 8"
        ),
        "{}",
        decided.sentence
    );
}

#[test]
fn a_quota_says_its_name() {
    let mut models = [decision("llama", "team-a", &[("llama-l4", "L4", 1, 4, 7)])];
    let (inventory, quotas) = (free(&[("L4", 9)]), quotas("team-a", "L4", 4));
    let _ = grant(&mut wishes(&mut models, &[]), &supply(&inventory, &quotas));
    let decided = &models[0].0.variants[0];
    assert_eq!((decided.to, decided.reason), (4, Reason::LimitedByQuota));
    assert_eq!(
        decided.sentence,
        "llama stays at 4: KV 95 % on all replicas; limited: l4 wants 3 more, gets none: 9 L4 free (quota team-a 4)"
    );
}

#[test]
fn quotas_bind_also_whom_free_gpus_do_not() {
    let mut models = [decision("llama", "team-a", &[("llama-l4", "L4", 1, 1, 7)])];
    let (inventory, quotas) = (free(&[("L4", 0)]), quotas("team-a", "L4", 4));
    let mut wishes = wishes(&mut models, &[]);
    wishes[0].by_gpus = false;
    let _ = grant(&mut wishes, &supply(&inventory, &quotas));
    assert_eq!(targets(&models), [[4]]);
    assert_eq!(models[0].0.variants[0].reason, Reason::LimitedByQuota);
}

#[test]
fn replicas_that_are_asked_for_and_not_there_yet_are_promised() {
    let mut models = [
        decision("a", "shop", &[("a", "L4", 1, 3, 3)]),
        decision("b", "shop", &[("b", "L4", 1, 1, 4)]),
    ];
    models[0].1[0].held = 1;
    let (inventory, quotas) = (free(&[("L4", 3)]), Quotas::default());
    let granted = grant(&mut wishes(&mut models, &[]), &supply(&inventory, &quotas));
    assert_eq!(targets(&models), [[3], [2]]);
    assert_eq!(granted.left["L4"], 0);
}

#[test]
fn who_cannot_see_grows_or_does_not_and_says_so() {
    let unknown = Inventory::Unknown {
        why: "nodes is forbidden".to_owned(),
    };
    let none = Quotas::default();
    for (fail, to, says) in [
        (
            Fail::Open,
            4,
            "free GPUs are not known (nodes is forbidden) and limit nothing",
        ),
        (
            Fail::Closed,
            1,
            "free GPUs are not known (nodes is forbidden) and nothing grows",
        ),
    ] {
        let mut models = [decision("a", "shop", &[("a", "L4", 1, 1, 4)])];
        for _ in 0..2 {
            let supply = Supply {
                fail,
                ..supply(&unknown, &none)
            };
            let _ = grant(&mut wishes(&mut models, &[]), &supply);
        }
        let decided = &models[0].0.variants[0];
        assert_eq!(decided.to, to);
        assert_eq!(decided.sentence.matches(says).count(), 1, "{}", decided.sentence);
    }
}

#[test]
fn an_accelerator_nobody_knows_is_open_or_closed() {
    let (inventory, none) = (free(&[("L4", 2), ("H100", 2)]), Quotas::default());
    for (fail, to) in [(Fail::Open, 4), (Fail::Closed, 1)] {
        let mut models = [decision("a", "shop", &[("a", "", 1, 1, 4)])];
        let supply = Supply {
            fail,
            ..supply(&inventory, &none)
        };
        let _ = grant(&mut wishes(&mut models, &[]), &supply);
        assert_eq!(targets(&models), [[to]], "{fail:?}");
    }
}

#[test]
fn a_step_is_no_obstacle() {
    let mut models = [decision("a", "shop", &[("a", "L4", 1, 1, 9)])];
    let (inventory, none) = (free(&[("L4", 20)]), Quotas::default());
    let supply = Supply {
        step_up: Some(2),
        ..supply(&inventory, &none)
    };
    let _ = grant(&mut wishes(&mut models, &[]), &supply);
    let decided = &models[0].0.variants[0];
    assert_eq!((decided.to, decided.reason), (3, Reason::Saturated));
    assert!(
        decided.sentence.contains("gets 2: at most 2 at once (maxStepUp)"),
        "{}",
        decided.sentence
    );
}

/// Up to four models of up to three variants, on three accelerators.
fn scene() -> impl Strategy<Value = (Vec<(Decision, Vec<Terms>)>, Vec<i64>)> {
    let variant = (
        0usize..3,
        0u32..4,
        0u32..6,
        0u32..9,
        0u32..6,
        0u32..4,
        0.0..9.0f64,
        0.5..3.0f64,
    );
    let model = (prop::collection::vec(variant, 1..4), 0i64..3, 0usize..2);
    prop::collection::vec(model, 1..5).prop_map(|models| {
        let mut priorities = Vec::new();
        let mut built = Vec::new();
        for (at, (variants, priority, namespace)) in models.into_iter().enumerate() {
            let names: Vec<String> = (0..variants.len()).map(|variant| format!("m{at}-{variant}")).collect();
            let given: Vec<_> = variants
                .iter()
                .zip(&names)
                .map(|(v, name)| (name.as_str(), ["L4", "A100", "H100"][v.0], v.1, v.2, v.3))
                .collect();
            let (decision, mut terms) = decision(&format!("m{at}"), ["x", "y"][namespace], &given);
            for (terms, v) in terms.iter_mut().zip(&variants) {
                (terms.held, terms.min, terms.cost, terms.slots) = (v.4.min(v.2), v.5, v.6, Some(v.7));
            }
            built.push((decision, terms));
            priorities.push(priority);
        }
        (built, priorities)
    })
}

proptest! {
    #[test]
    fn nobody_gets_what_is_not_there_and_nothing_is_left_that_somebody_needs(
        (before, priorities) in scene(),
        stocks in prop::collection::vec(0u64..12, 3),
        quota in prop::option::of(0i64..12),
        step in prop::option::of(1u32..4),
    ) {
        let names = ["L4", "A100", "H100"];
        let inventory = free(&names.into_iter().zip(stocks).collect::<Vec<_>>());
        let quotas = Quotas {
            default: quota.map(|gpus| Quota { accelerators: BTreeMap::new(), default: Some(gpus) }),
            ..Quotas::default()
        };
        let supply = Supply { step_up: step, ..supply(&inventory, &quotas) };
        let mut models = before.clone();
        let granted = grant(&mut wishes(&mut models, &priorities), &supply);

        let held = |models: &[(Decision, Vec<Terms>)], name: &str, of: &dyn Fn(&VariantDecision, &Terms) -> u32| -> u64 {
            models.iter().flat_map(|(decision, terms)| decision.variants.iter().zip(terms))
                .filter(|(_, terms)| terms.accelerator.as_deref() == Some(name))
                .map(|(decided, terms)| u64::from(of(decided, terms)) * u64::from(terms.gpus_per_replica))
                .sum()
        };
        let Inventory::Known(stocks) = &inventory else { unreachable!() };
        for name in names {
            let more = held(&models, name, &|decided, _| decided.to.saturating_sub(decided.from));
            prop_assert!(more <= stocks[name].free(), "{name}");
            for namespace in ["x", "y"] {
                let of: Vec<_> = models.iter().filter(|(d, _)| d.namespace == namespace).cloned().collect();
                let (was, is) = (held(&of, name, &|d, _| d.from), held(&of, name, &|d, _| d.from.max(d.to)));
                let bound = quota.map_or(u64::MAX, |quota| quota.unsigned_abs());
                prop_assert!(is <= bound.max(was), "{name} in {namespace}");
            }
        }
        for ((decision, terms), (was, _)) in models.iter().zip(&before) {
            for ((decided, terms), was) in decision.variants.iter().zip(terms).zip(&was.variants) {
                prop_assert!(decided.to <= terms.max.max(was.to));
                prop_assert!(decided.to >= was.from.min(was.to), "nothing that runs is taken away");
                prop_assert!(step.is_none_or(|step| decided.to <= was.from + step));
                let cut = granted.cuts.iter().any(|cut| cut.variant == decided.name);
                prop_assert_eq!(decided.to < was.to, cut);
                if cut && step.is_none() {
                    let accelerator = terms.accelerator.as_deref().unwrap();
                    let size = u64::from(terms.gpus_per_replica);
                    let of: Vec<_> = models.iter().filter(|(d, _)| d.namespace == decision.namespace).cloned().collect();
                    let used = held(&of, accelerator, &|d, _| d.from.max(d.to));
                    let room = quota.map_or(u64::MAX, |quota| quota.unsigned_abs().saturating_sub(used));
                    prop_assert!(granted.left[accelerator].min(room) < size, "{decided:?}: {} left", granted.left[accelerator]);
                }
            }
        }

        let mut again = before;
        prop_assert_eq!(grant(&mut wishes(&mut again, &priorities), &supply), granted, "the same again");
        prop_assert_eq!(&again, &models);
        let mut twice = models.clone();
        prop_assert!(grant(&mut wishes(&mut twice, &priorities), &supply).cuts.is_empty());
        prop_assert_eq!(twice, models, "granted once is granted");
    }

    #[test]
    fn whatever_is_granted_has_a_node(
        (models, priorities) in scene(), nodes in prop::collection::vec(0u64..6, 0..4), by_pods in any::<bool>(),
    ) {
        let mut models = models;
        for terms in models.iter_mut().flat_map(|(_, terms)| terms) {
            // All Pods are there, so that no promise takes a node first.
            (terms.accelerator, terms.held) = (Some("L4".to_owned()), u32::MAX);
            terms.gpus_per_pod = if by_pods { 1 } else { 0 };
        }
        let mut stock = Stock::default();
        nodes.iter().for_each(|gpus| stock.add_node(*gpus, 0));
        let (inventory, quotas) = (Inventory::Known([("L4".to_owned(), stock)].into()), Quotas::default());
        let before = models.clone();
        let granted = grant(&mut wishes(&mut models, &priorities), &supply(&inventory, &quotas));
        let mut pods: Vec<u64> = Vec::new();
        for (decision, terms) in &models {
            for (decided, terms) in decision.variants.iter().zip(terms) {
                let gpus = u64::from(terms.gpus_per_replica);
                let more = u64::from(decided.to.saturating_sub(decided.from));
                let (size, count) = if by_pods { (1, more * gpus) } else { (gpus, more) };
                pods.extend((0..count).filter(|_| gpus > 0).map(|_| size));
            }
        }
        pods.sort_unstable_by(|a, b| b.cmp(a));
        prop_assert!(crate::optimize::gpus::tests::packs(&mut nodes.clone(), &pods), "{pods:?} on {nodes:?}");
        prop_assert_eq!(granted.left["L4"], nodes.iter().sum::<u64>() - pods.iter().sum::<u64>());
        let mut again = before;
        prop_assert_eq!(grant(&mut wishes(&mut again, &priorities), &supply(&inventory, &quotas)), granted, "the same again");
        prop_assert_eq!(again, models);
    }

    #[test]
    fn no_figure_panics(
        (mut models, priorities) in scene(),
        figures in prop::collection::vec((any::<f64>(), prop::option::of(any::<f64>()), any::<u32>(), any::<u32>(), any::<u32>()), 12),
        limit: u64, used: u64, step in prop::option::of(any::<u32>()),
    ) {
        let mut figures = figures.into_iter().cycle();
        for (decision, terms) in &mut models {
            for (terms, decided) in terms.iter_mut().zip(&mut decision.variants) {
                let (cost, slots, gpus, to, held) = figures.next().unwrap();
                (terms.cost, terms.slots, terms.gpus_per_replica, terms.held, decided.to) = (cost, slots, gpus, held, to);
            }
        }
        let inventory = Inventory::Known([("L4".to_owned(), Stock::pool(limit, used))].into());
        let quotas = Quotas::default();
        let supply = Supply { step_up: step, ..supply(&inventory, &quotas) };
        let _ = grant(&mut wishes(&mut models, &priorities), &supply);
    }
}
