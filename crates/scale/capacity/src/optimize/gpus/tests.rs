use super::super::inventory::Stock;
use super::*;
use proptest::prelude::*;

const MODES: [Mode; 2] = [Mode::AsPublished, Mode::Guarded];

fn claim(variant: &str, accelerator: &str, gpus: u32, current: u32, target: u32) -> Claim {
    Claim {
        namespace: "ns".to_owned(),
        variant: variant.to_owned(),
        accelerator: Some(accelerator.to_owned()),
        gpus_per_replica: gpus,
        gpus_per_pod: 0,
        current,
        target,
        min: 0,
        priority: 1,
        weight: 1.0,
        spare: 0.1,
        cost: 1.0,
    }
}

/// So many GPUs, of which our replicas hold theirs and others hold `foreign`.
fn stock(claims: &[Claim], name: &str, limit: u64, foreign: u64) -> Inventory {
    let ours: u64 = claims
        .iter()
        .filter(|claim| claim.accelerator.as_deref() == Some(name))
        .map(|claim| u64::from(claim.current) * size(claim))
        .sum();
    Inventory::Known([(name.to_owned(), Stock::pool(limit, ours + foreign))].into())
}

fn grants(claims: &[Claim], inventory: &Inventory, quotas: &Quotas, mode: Mode) -> Vec<u32> {
    limit(claims, inventory, quotas, Fail::Open, mode)
        .iter()
        .map(|grant| grant.replicas)
        .collect()
}

#[test]
fn free_gpus_bound_what_grows() {
    struct Case {
        what: &'static str,
        claims: Vec<Claim>,
        limit: u64,
        foreign: u64,
        theirs: Vec<u32>,
        ours: Vec<u32>,
    }
    let spare = |claim: Claim, spare| Claim { spare, ..claim };
    let cases = [
        Case {
            what: "six GPUs, four held: one more of two",
            claims: vec![claim("a", "G", 2, 2, 5)],
            limit: 6,
            foreign: 0,
            theirs: vec![3],
            ours: vec![3],
        },
        Case {
            what: "no GPUs named: one",
            claims: vec![claim("a", "G", 0, 1, 2)],
            limit: 2,
            foreign: 0,
            theirs: vec![2],
            ours: vec![2],
        },
        Case {
            what: "the GPU left over from pairs is not stranded",
            claims: vec![spare(claim("big", "G", 2, 3, 5), 0.0), claim("small", "G", 1, 0, 1)],
            limit: 9,
            foreign: 0,
            theirs: vec![4, 0],
            ours: vec![4, 1],
        },
        Case {
            what: "more held than there is",
            claims: vec![claim("a", "G", 4, 3, 4)],
            limit: 8,
            foreign: 0,
            theirs: vec![3],
            ours: vec![3],
        },
        Case {
            what: "what others hold is not free",
            claims: vec![claim("a", "G", 1, 1, 5)],
            limit: 8,
            foreign: 6,
            theirs: vec![5],
            ours: vec![2],
        },
        Case {
            what: "what goes down in the same pass is free",
            claims: vec![claim("down", "G", 1, 4, 1), claim("up", "G", 1, 4, 7)],
            limit: 8,
            foreign: 0,
            theirs: vec![1, 4],
            ours: vec![1, 7],
        },
        Case {
            what: "the least spare takes all there, ours shares",
            claims: vec![
                spare(claim("calm", "G", 1, 0, 4), 0.5),
                spare(claim("hot", "G", 1, 0, 4), 0.0),
            ],
            limit: 4,
            foreign: 0,
            theirs: vec![0, 4],
            ours: vec![2, 2],
        },
        Case {
            what: "of an odd one the least spare",
            claims: vec![
                spare(claim("calm", "G", 1, 0, 4), 0.5),
                spare(claim("hot", "G", 1, 0, 4), 0.0),
            ],
            limit: 5,
            foreign: 0,
            theirs: vec![1, 4],
            ours: vec![2, 3],
        },
        Case {
            what: "another accelerator does not help",
            claims: vec![claim("a", "H", 1, 0, 1)],
            limit: 4,
            foreign: 0,
            theirs: vec![0],
            ours: vec![0],
        },
    ];
    for case in cases {
        let inventory = stock(&case.claims, "G", case.limit, case.foreign);
        for (mode, expected) in MODES.into_iter().zip([&case.theirs, &case.ours]) {
            let got = grants(&case.claims, &inventory, &Quotas::default(), mode);
            assert_eq!(&got, expected, "{mode:?}: {}", case.what);
        }
    }
}

#[test]
fn a_grant_says_why() {
    let claims = [
        claim("a", "G", 2, 2, 5),
        claim("b", "H", 1, 0, 1),
        Claim {
            accelerator: None,
            ..claim("c", "", 1, 0, 1)
        },
        claim("d", "G", 1, 1, 1),
    ];
    let got = limit(
        &claims,
        &stock(&claims, "G", 8, 0),
        &Quotas::default(),
        Fail::Open,
        Mode::Guarded,
    );
    let said: Vec<&str> = got.iter().map(|grant| grant.why.as_str()).collect();
    assert_eq!(
        said,
        [
            "2 GPUs for 1 more of 3 wished for: 1 G left, one replica takes 2",
            "none more of 1 wished for: no node has H",
            "the accelerator is not known, so no GPU can be counted for it",
            "asks for no more GPUs",
        ]
    );
    assert!(got[0].limited && !got[3].limited);
}

#[test]
fn priorities_and_minimums_come_first() {
    let first = claim("first", "G", 1, 0, 4);
    let second = Claim {
        priority: 2,
        ..claim("second", "G", 1, 0, 4)
    };
    let claims = [second.clone(), first.clone()];
    let six = stock(&claims, "G", 6, 0);
    assert_eq!(grants(&claims, &six, &Quotas::default(), Mode::Guarded), [2, 4]);
    let held = [Claim { min: 3, ..second }, first];
    assert_eq!(grants(&held, &six, &Quotas::default(), Mode::Guarded), [3, 3]);
    // A weight of nothing still gets what nobody else wants.
    let weak = Claim {
        weight: 0.0,
        ..claim("weak", "G", 1, 0, 4)
    };
    let claims = [weak, claim("strong", "G", 1, 0, 4)];
    let got = |limit| {
        grants(
            &claims,
            &stock(&claims, "G", limit, 0),
            &Quotas::default(),
            Mode::Guarded,
        )
    };
    assert_eq!((got(4), got(6)), (vec![0, 4], vec![2, 4]));
}

fn quota(of: &[(&str, i64)], default: Option<i64>) -> Quota {
    Quota {
        accelerators: of.iter().map(|(name, gpus)| ((*name).to_owned(), *gpus)).collect(),
        default,
    }
}

#[test]
fn quotas_bind_namespaces_and_the_cluster() {
    let of = |namespace: &str, target| Claim {
        namespace: namespace.to_owned(),
        ..claim(namespace, "G", 1, 0, target)
    };
    let claims = [of("a", 9), of("b", 9), of("c", 9)];
    let eight = stock(&claims, "G", 8, 0);
    let named = |gpus: [i64; 3]| -> BTreeMap<String, Quota> {
        ["a", "b", "c"]
            .into_iter()
            .zip(gpus)
            .map(|(name, gpus)| (name.to_owned(), quota(&[("G", gpus)], None)))
            .collect()
    };
    let base = Quotas::default();
    let cases: [(&str, Quotas, [u32; 3]); 8] = [
        ("no quota", base.clone(), [3, 3, 2]),
        (
            "eight under 2, 4, 4",
            Quotas {
                namespaces: named([2, 4, 4]),
                ..base.clone()
            },
            [2, 3, 3],
        ),
        (
            "without limit",
            Quotas {
                namespaces: named([-1, 1, 0]),
                ..base.clone()
            },
            [7, 1, 0],
        ),
        (
            "a cluster",
            Quotas {
                cluster: Some(quota(&[("G", 3)], None)),
                ..base.clone()
            },
            [1, 1, 1],
        ),
        (
            "not on the list",
            Quotas {
                cluster: Some(quota(&[("H", 3)], None)),
                ..base.clone()
            },
            [0, 0, 0],
        ),
        (
            "a default",
            Quotas {
                default: Some(quota(&[], Some(2))),
                ..base.clone()
            },
            [2, 2, 2],
        ),
        (
            "a namespace not named where others are",
            Quotas {
                namespaces: [("a".to_owned(), quota(&[], Some(-1)))].into(),
                ..base.clone()
            },
            [8, 0, 0],
        ),
        (
            "an excluded namespace",
            Quotas {
                cluster: Some(quota(&[("G", 2)], None)),
                excluded: ["c".to_owned()].into(),
                ..base
            },
            [1, 1, 6],
        ),
    ];
    for (what, quotas, expected) in cases {
        assert_eq!(quotas.validate(), Ok(()));
        assert_eq!(grants(&claims, &eight, &quotas, Mode::Guarded), expected, "{what}");
    }
    let wrong = Quotas {
        namespaces: [("a".to_owned(), quota(&[("G", -2)], None))].into(),
        ..Quotas::default()
    };
    let error = wrong.validate().unwrap_err();
    assert!(error.to_string().starts_with("quotas.namespaces.a.G is -2"), "{error}");
}

#[test]
fn free_gpus_in_pieces_too_small_make_no_replica() {
    let nodes = |free: &[u64]| {
        let mut stock = Stock::default();
        free.iter().for_each(|free| stock.add_node(8, 8 - free));
        Inventory::Known([("H100".to_owned(), stock)].into())
    };
    let big = |pod| Claim {
        gpus_per_pod: pod,
        ..claim("big", "H100", 8, 0, 2)
    };
    let small = claim("small", "H100", 2, 0, 2);
    // Free on each node, claims, what they get.
    let cases: [(&[u64], &[Claim], &[u32]); 5] = [
        (&[4, 4, 4, 4], &[big(0)], &[0]),
        (&[4, 8, 4, 8], &[big(0)], &[2]),
        (&[4, 4, 8], &[small.clone(), big(0)], &[2, 1]),
        (&[8, 1, 2], &[small, big(0)], &[1, 1]),
        // Two Pods of four each.
        (&[4, 4, 4, 4], &[big(4)], &[2]),
    ];
    for (free, claims, expected) in cases {
        let got = grants(claims, &nodes(free), &Quotas::default(), Mode::Guarded);
        assert_eq!(got, expected, "{free:?}");
    }
    let got = limit(
        &[big(0)],
        &nodes(&[4; 4]),
        &Quotas::default(),
        Fail::Open,
        Mode::Guarded,
    );
    assert_eq!(
        got[0].why,
        "none more of 2 wished for: 16 H100 left, in pieces of 4, one replica takes 8"
    );
}

#[test]
fn what_is_not_known_fails_open_or_closed() {
    let claims = [claim("a", "G", 1, 1, 5), claim("b", "G", 1, 5, 2)];
    let unknown = Inventory::Unknown {
        why: "nodes cannot be listed".to_owned(),
    };
    let with = |fail, quotas: &Quotas| limit(&claims, &unknown, quotas, fail, Mode::Guarded);
    let replicas = |grants: &[Grant]| grants.iter().map(|grant| grant.replicas).collect::<Vec<_>>();
    assert_eq!(replicas(&with(Fail::Open, &Quotas::default())), [5, 2]);
    let bound = Quotas {
        cluster: Some(quota(&[("G", 5)], None)),
        ..Quotas::default()
    };
    assert_eq!(replicas(&with(Fail::Open, &bound)), [3, 2], "quotas still bind");
    let closed = with(Fail::Closed, &Quotas::default());
    assert_eq!(replicas(&closed), [1, 2]);
    assert!(closed[0].why.contains("nodes cannot be listed"), "{}", closed[0].why);
}

fn any_claim() -> impl Strategy<Value = Claim> {
    (
        0usize..3,
        0usize..3,
        0u32..5,
        0u32..6,
        0u32..9,
        0u32..4,
        1u32..3,
        -1.0..3.0f64,
    )
        .prop_map(
            |(namespace, accelerator, gpus, current, target, min, priority, weight)| Claim {
                namespace: ["x", "y", "z"][namespace].to_owned(),
                accelerator: [Some("G".to_owned()), Some("H".to_owned()), None][accelerator].clone(),
                min,
                priority,
                weight,
                ..claim("v", "", gpus, current, target)
            },
        )
}

proptest! {
    #[test]
    fn nothing_grows_beyond_what_is_free_and_allowed(
        mut claims in prop::collection::vec(any_claim(), 0..7), g in 0u64..20, h in 0u64..20,
        cluster in -1i64..20, x in -1i64..10,
    ) {
        for (at, claim) in claims.iter_mut().enumerate() { claim.variant = format!("v{at}"); }
        let stocks: BTreeMap<String, Stock> = [("G", g), ("H", h)].map(|(name, free)| (name.to_owned(), Stock::pool(free, 0))).into();
        let inventory = Inventory::Known(stocks.clone());
        let quotas = Quotas {
            cluster: Some(quota(&[("G", cluster)], Some(-1))),
            namespaces: [("x".to_owned(), quota(&[], Some(x)))].into(),
            default: Some(quota(&[], Some(-1))),
            ..Quotas::default()
        };
        let (got, left) = settle(&claims, &inventory, &quotas, Fail::Open, Mode::Guarded);
        let held = |of: &dyn Fn(&Claim) -> bool, replicas: &dyn Fn(usize) -> u32| -> u64 {
            claims.iter().enumerate().filter(|(_, c)| of(c)).map(|(at, c)| u64::from(replicas(at)) * size(c)).sum()
        };
        let (before, after) = (|at: usize| claims[at].current, |at: usize| got[at].replicas);
        for (claim, grant) in claims.iter().zip(&got) {
            prop_assert!(grant.replicas <= claim.target && grant.replicas >= claim.current.min(claim.target));
            prop_assert_eq!(grant.limited, grant.replicas < claim.target);
        }
        for (name, stock) in &stocks {
            let on = |c: &Claim| c.accelerator.as_deref() == Some(name);
            prop_assert!(held(&on, &after) <= held(&on, &before) + stock.free());
        }
        let on_g = |c: &Claim| c.accelerator.as_deref() == Some("G");
        if cluster >= 0 {
            let kept = |at: usize| claims[at].current.min(claims[at].target);
            prop_assert!(held(&on_g, &after) <= (cluster as u64).max(held(&on_g, &kept)));
        }
        // Nobody is refused a replica that still fits.
        let mut books = Books::open(&claims, &inventory, &quotas, Fail::Open, Mode::Guarded);
        for (at, claim) in claims.iter().enumerate() {
            let kept = claim.current.min(claim.target);
            books.take(claim, at, got[at].replicas - kept);
        }
        for (at, claim) in claims.iter().enumerate() {
            let fits = claim.accelerator.as_ref().is_some_and(|name| !lacks(&left[name], claim));
            prop_assert!(!got[at].limited || !fits || books.available(claim) < size(claim));
        }
        // Fed back with the same wishes, nothing moves.
        let mut again = claims.clone();
        for (claim, grant) in again.iter_mut().zip(&got) { claim.current = grant.replicas; }
        let left: BTreeMap<String, Stock> =
            left.into_iter().map(|(name, pieces)| (name, Stock { pieces, ..Stock::default() })).collect();
        let second = limit(&again, &Inventory::Known(left), &quotas, Fail::Open, Mode::Guarded);
        prop_assert_eq!(second.iter().map(|s| s.replicas).collect::<Vec<_>>(), got.iter().map(|s| s.replicas).collect::<Vec<_>>());
    }

    #[test]
    fn whoever_gets_a_replica_has_a_node_for_it(
        nodes in prop::collection::vec(0u64..9, 0..5),
        wishes in prop::collection::vec((1u32..9, 0u32..4, 1u32..3, 0usize..3), 0..5),
    ) {
        let claims: Vec<Claim> = wishes.iter().enumerate().map(|(at, &(gpus, target, priority, namespace))| Claim {
            namespace: ["x", "y", "z"][namespace].to_owned(),
            priority,
            ..claim(&format!("v{at}"), "G", gpus, 0, target)
        }).collect();
        let mut stock = Stock::default();
        nodes.iter().for_each(|gpus| stock.add_node(*gpus, 0));
        let inventory = Inventory::Known([("G".to_owned(), stock)].into());
        let got = grants(&claims, &inventory, &Quotas::default(), Mode::Guarded);
        let mut sizes: Vec<u64> =
            claims.iter().zip(&got).flat_map(|(claim, replicas)| (0..*replicas).map(|_| size(claim))).collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        prop_assert!(packs(&mut nodes.clone(), &sizes), "{sizes:?} on {nodes:?}");
        // One size alone is packed as well as can be.
        if claims.iter().all(|claim| size(claim) == size(&claims[0])) && !claims.is_empty() {
            let wished: u64 = claims.iter().map(|claim| u64::from(claim.target)).sum();
            let fits: u64 = nodes.iter().map(|gpus| gpus / size(&claims[0])).sum();
            prop_assert_eq!(got.iter().map(|replicas| u64::from(*replicas)).sum::<u64>(), wished.min(fits));
        }
        prop_assert_eq!(grants(&claims, &inventory, &Quotas::default(), Mode::Guarded), got, "the same again");
    }
}

/// Whether Pods of these sizes, largest first, can be put onto these nodes: by
/// trying everything.
pub(crate) fn packs(nodes: &mut [u64], sizes: &[u64]) -> bool {
    let Some((first, rest)) = sizes.split_first() else {
        return true;
    };
    (0..nodes.len()).any(|at| {
        // Of equal nodes one is as good as the other.
        if nodes[at] < *first || nodes[..at].contains(&nodes[at]) {
            return false;
        }
        nodes[at] -= first;
        let fits = packs(nodes, rest);
        nodes[at] += first;
        fits
    })
}
