use super::*;
use proptest::prelude::*;

fn candidate(accelerator: &str, replicas: u32, gpus: u32, cost: f64) -> Candidate {
    Candidate {
        accelerator: accelerator.to_owned(),
        replicas,
        gpus_per_replica: gpus,
        cost,
    }
}

fn server(name: &str, priority: u32, candidates: &[Candidate]) -> Server {
    Server {
        name: name.to_owned(),
        priority,
        keep_accelerator: false,
        current: None,
        candidates: candidates.to_vec(),
    }
}

fn on(server: Server, accelerator: &str, replicas: u32, cost: f64) -> Server {
    Server {
        current: Some(Current {
            accelerator: accelerator.to_owned(),
            replicas,
            cost,
        }),
        ..server
    }
}

fn gpus(of: &[(&str, u64)]) -> Gpus {
    Gpus::Limited(of.iter().map(|(name, gpus)| ((*name).to_owned(), *gpus)).collect())
}

fn shown(solution: &Solution) -> Vec<String> {
    solution
        .allotments
        .iter()
        .map(|a| match &a.accelerator {
            Some(accelerator) => format!("{} {accelerator}x{}", a.server, a.replicas),
            None => format!("{} -", a.server),
        })
        .collect()
}

const MODES: [Mode; 2] = [Mode::AsPublished, Mode::Guarded];

fn how(best_effort: BestEffort, delayed: bool, mode: Mode) -> How {
    How {
        best_effort,
        delayed,
        mode,
    }
}

/// A published example: two classes, two models, one server idle.
fn fleet() -> Vec<Server> {
    vec![
        server(
            "p8",
            1,
            &[candidate("A100", 6, 1, 240.0), candidate("H100", 2, 1, 200.0)],
        ),
        server(
            "p70",
            1,
            &[candidate("A100", 4, 4, 640.0), candidate("H100", 2, 2, 400.0)],
        ),
        server(
            "f8",
            10,
            &[candidate("A100", 4, 1, 160.0), candidate("H100", 2, 1, 200.0)],
        ),
        server(
            "f70",
            10,
            &[candidate("A100", 4, 4, 640.0), candidate("H100", 2, 2, 400.0)],
        ),
        server(
            "idle",
            10,
            &[candidate("G2", 1, 1, 23.0), candidate("A100", 1, 1, 40.0)],
        ),
    ]
}

#[test]
fn without_a_limit_everybody_gets_his_best() {
    let expected = ["p8 H100x2", "p70 H100x2", "f8 A100x4", "f70 H100x2", "idle G2x1"];
    for mode in MODES {
        let free = solve(&fleet(), &Gpus::Unlimited, how(BestEffort::None, false, mode));
        assert_eq!(
            (shown(&free), free.cost),
            (expected.map(str::to_owned).to_vec(), 1183.0)
        );
        let enough = gpus(&[("A100", 16), ("H100", 16), ("G2", 16)]);
        let limited = solve(&fleet(), &enough, how(BestEffort::None, false, mode));
        assert_eq!(shown(&limited), shown(&free), "enough is as good as no limit");
    }
}

#[test]
fn a_limit_is_met_by_priority_and_regret() {
    let few = gpus(&[("A100", 6), ("H100", 4), ("G2", 0)]);
    let theirs = solve(&fleet(), &few, how(BestEffort::None, false, Mode::AsPublished));
    // p70 regrets more, takes the H100s; p8 takes all A100s.
    assert_eq!(shown(&theirs), ["p8 A100x6", "p70 H100x2", "f8 -", "f70 -", "idle -"]);
    let ours = solve(&fleet(), &few, how(BestEffort::None, false, Mode::Guarded));
    assert_eq!(shown(&ours), shown(&theirs));
    assert!(
        ours.allotments[2].why.contains("no GPUs are left"),
        "{}",
        ours.allotments[2].why
    );
}

#[test]
fn what_is_left_goes_round() {
    let wish = |name, priority| server(name, priority, &[candidate("G", 4, 1, 40.0)]);
    let servers = [wish("a", 1), wish("b", 1), wish("c", 2)];
    let three = gpus(&[("G", 3)]);
    let cases = [
        (BestEffort::None, false, ["a -", "b -", "c -"]),
        (BestEffort::PriorityExhaustive, false, ["a Gx3", "b -", "c -"]),
        (BestEffort::PriorityRoundRobin, false, ["a Gx2", "b Gx1", "c -"]),
        (BestEffort::RoundRobin, true, ["a Gx1", "b Gx1", "c Gx1"]),
        (BestEffort::PriorityExhaustive, true, ["a Gx3", "b -", "c -"]),
    ];
    for (policy, delayed, expected) in cases {
        for mode in MODES {
            let got = solve(&servers, &three, how(policy, delayed, mode));
            assert_eq!(shown(&got), expected, "{policy:?} {delayed} {mode:?}");
        }
    }
    let part = solve(
        &servers,
        &three,
        how(BestEffort::PriorityExhaustive, false, Mode::Guarded),
    );
    assert_eq!((part.cost, part.allotments[0].whole), (30.0, false));
    // Delayed, whole wishes of lower priorities come before parts of higher ones.
    let small = [wish("a", 1), server("c", 2, &[candidate("G", 2, 1, 20.0)])];
    for (delayed, expected) in [(false, ["a Gx3", "c -"]), (true, ["a Gx1", "c Gx2"])] {
        let got = solve(
            &small,
            &three,
            how(BestEffort::PriorityExhaustive, delayed, Mode::Guarded),
        );
        assert_eq!(shown(&got), expected, "{delayed}");
    }
}

#[test]
fn a_published_fleet_on_few_gpus_gets_what_it_gets_there() {
    let few = gpus(&[("A100", 2), ("H100", 4), ("G2", 2)]);
    let cases = [
        (BestEffort::None, false, ["p8 -", "f8 -"], 423.0),
        (BestEffort::PriorityRoundRobin, false, ["p8 A100x2", "f8 -"], 503.0),
        (BestEffort::RoundRobin, true, ["p8 A100x1", "f8 A100x1"], 503.0),
        (BestEffort::RoundRobin, false, ["p8 A100x2", "f8 -"], 503.0),
    ];
    for (policy, delayed, [p8, f8], cost) in cases {
        for mode in MODES {
            let got = solve(&fleet(), &few, how(policy, delayed, mode));
            assert_eq!(
                shown(&got),
                [p8, "p70 H100x2", f8, "f70 -", "idle G2x1"],
                "{policy:?} {mode:?}"
            );
            assert!((got.cost - cost).abs() < 1e-9);
        }
    }
}

#[test]
fn a_move_must_be_worth_it() {
    let both = [candidate("A", 2, 1, 100.0), candidate("B", 1, 1, 90.0)];
    let kept = |cost| {
        let candidates = [both[0].clone(), candidate("B", 1, 1, cost)];
        let moved = on(server("s", 1, &candidates), "A", 2, 100.0);
        MODES.map(|mode| {
            shown(&solve(
                std::slice::from_ref(&moved),
                &Gpus::Unlimited,
                how(BestEffort::None, false, mode),
            ))[0]
                .clone()
        })
    };
    // Ten less do not pay for a tenth of both; thirty do.
    assert_eq!(kept(90.0), ["s Ax2", "s Ax2"]);
    assert_eq!(kept(70.0), ["s Bx1", "s Bx1"]);
    let held = Server {
        keep_accelerator: true,
        ..on(server("s", 1, &both), "A", 9, 450.0)
    };
    let got = solve(&[held], &Gpus::Unlimited, How::default());
    assert_eq!(shown(&got), ["s Ax2"]);
    assert_eq!(got.allotments[0].why, "from x9 to A x2 for 100.00 per hour, -350.00");
}

#[test]
fn what_cannot_be_met_says_so() {
    let got = solve(&[server("s", 1, &[])], &Gpus::Unlimited, How::default());
    assert_eq!(got.allotments[0].why, "nothing meets its targets");
    let zero = solve(
        &[server("s", 1, &[candidate("A", 0, 1, 0.0)])],
        &gpus(&[]),
        How::default(),
    );
    assert!(zero.allotments[0].whole && zero.allotments[0].accelerator.is_none());
    let nan = solve(
        &[server("s", 1, &[candidate("A", 1, 1, f64::NAN)])],
        &Gpus::Unlimited,
        How::default(),
    );
    assert_eq!(nan.allotments[0].candidate, None);
}

fn any_server(name: &'static str) -> impl Strategy<Value = Server> {
    let one = |accelerator: &'static str| {
        (prop::bool::ANY, 0u32..5, 1u32..3, 1u32..60).prop_map(move |(there, replicas, gpus, unit)| {
            there.then(|| candidate(accelerator, replicas, gpus, f64::from(replicas * unit)))
        })
    };
    let current = prop::option::of((0usize..3, 1u32..5, 1u32..60));
    (1u32..4, one("A"), one("B"), one("C"), current).prop_map(move |(priority, a, b, c, current)| Server {
        current: current.map(|(accelerator, replicas, unit)| Current {
            accelerator: ["A", "B", "C"][accelerator].to_owned(),
            replicas,
            cost: f64::from(replicas * unit),
        }),
        ..server(name, priority, &[a, b, c].into_iter().flatten().collect::<Vec<_>>())
    })
}

fn used(servers: &[Server], solution: &Solution) -> BTreeMap<String, u64> {
    let mut used = BTreeMap::new();
    for (server, got) in servers.iter().zip(&solution.allotments) {
        if let Some(at) = got.candidate {
            let candidate = &server.candidates[at];
            *used.entry(candidate.accelerator.clone()).or_default() +=
                u64::from(got.replicas) * u64::from(candidate.gpus_per_replica);
        }
    }
    used
}

/// Unserved servers by priority, then the sum of values: less is better.
fn score(servers: &[Server], picks: &[Option<usize>]) -> ([usize; 3], f64) {
    let mut unserved = [0; 3];
    let mut total = 0.0;
    for (server, pick) in servers.iter().zip(picks) {
        match pick {
            Some(at) => total += value(server, &server.candidates[*at], Mode::Guarded),
            None => unserved[server.priority as usize - 1] += 1,
        }
    }
    (unserved, total)
}

/// The best of all; of those that serve the same servers as `like`, if given.
fn brute_force(servers: &[Server], free: &BTreeMap<String, u64>, like: Option<&[Option<usize>]>) -> ([usize; 3], f64) {
    let mut best = ([usize::MAX; 3], f64::INFINITY);
    let radix: Vec<usize> = servers.iter().map(|server| server.candidates.len() + 1).collect();
    for code in 0..radix.iter().product::<usize>() {
        let mut rest = code;
        let picks: Vec<Option<usize>> = radix
            .iter()
            .map(|radix| {
                let digit = rest % radix;
                rest /= radix;
                digit.checked_sub(1)
            })
            .collect();
        let mut left = free.clone();
        let fits = servers.iter().zip(&picks).all(|(server, pick)| match pick {
            Some(at) => {
                let c = &server.candidates[*at];
                let needs = u64::from(c.replicas) * u64::from(c.gpus_per_replica);
                match left.get_mut(&c.accelerator) {
                    Some(left) if *left >= needs => {
                        *left -= needs;
                        true
                    }
                    _ => needs == 0,
                }
            }
            None => true,
        });
        let this = score(servers, &picks);
        let alike = like.is_none_or(|like| like.iter().zip(&picks).all(|(a, b)| a.is_some() == b.is_some()));
        if fits && alike && (this.0, this.1) < (best.0, best.1) {
            best = this;
        }
    }
    best
}

fn again(servers: &[Server], solution: &Solution) -> Vec<Server> {
    servers
        .iter()
        .zip(&solution.allotments)
        .map(|(server, got)| Server {
            current: got.accelerator.clone().map(|accelerator| Current {
                accelerator,
                replicas: got.replicas,
                cost: got.cost,
            }),
            ..server.clone()
        })
        .collect()
}

proptest! {
    #[test]
    fn without_a_limit_it_is_the_optimum(a in any_server("a"), b in any_server("b"), c in any_server("c")) {
        let servers = [a, b, c];
        let got = solve(&servers, &Gpus::Unlimited, How::default());
        let picks: Vec<Option<usize>> = got.allotments.iter().map(|x| x.candidate).collect();
        let plenty = ["A", "B", "C"].map(|name| (name.to_owned(), 1000)).into();
        let (ours, best) = (score(&servers, &picks), brute_force(&servers, &plenty, None));
        prop_assert_eq!(ours.0, best.0);
        prop_assert!((ours.1 - best.1).abs() < 1e-6);
    }

    #[test]
    fn of_two_servers_it_is_the_optimum(a in any_server("a"), b in any_server("b"), free in (0u64..9, 0u64..9, 0u64..9)) {
        let servers = [a, b];
        let free: BTreeMap<String, u64> = [("A", free.0), ("B", free.1), ("C", free.2)].map(|(n, g)| (n.to_owned(), g)).into();
        let got = solve(&servers, &Gpus::Limited(free.clone()), How::default());
        let picks: Vec<Option<usize>> = got.allotments.iter().map(|x| x.candidate).collect();
        let ours = score(&servers, &picks);
        prop_assert_eq!(ours.0, brute_force(&servers, &free, None).0, "{:?}", got);
        let best = brute_force(&servers, &free, Some(&picks));
        prop_assert!((ours.1 - best.1).abs() < 1e-6, "{:?} {} {}", got, ours.1, best.1);
    }

    /// Of four: what is free is never exceeded, nobody is better off alone,
    /// and the cost is within the spread of the candidates above the optimum.
    #[test]
    fn of_many_it_is_feasible_bounded_and_stays(
        a in any_server("a"), b in any_server("b"), c in any_server("c"), d in any_server("d"),
        free in (0u64..12, 0u64..12, 0u64..12), policy in 0usize..4, delayed: bool,
    ) {
        let servers = [a, b, c, d];
        let free: BTreeMap<String, u64> = [("A", free.0), ("B", free.1), ("C", free.2)].map(|(n, g)| (n.to_owned(), g)).into();
        let policy = [BestEffort::None, BestEffort::PriorityExhaustive, BestEffort::PriorityRoundRobin, BestEffort::RoundRobin][policy];
        for mode in MODES {
            let got = solve(&servers, &Gpus::Limited(free.clone()), how(policy, delayed, mode));
            for (name, gpus) in used(&servers, &got) {
                prop_assert!(gpus <= free[&name], "{} of {}: {:?}", gpus, name, got);
            }
            prop_assert_eq!(&got, &solve(&servers, &Gpus::Limited(free.clone()), how(policy, delayed, mode)));
        }
        let ours = solve(&servers, &Gpus::Limited(free.clone()), how(policy, delayed, Mode::Guarded));
        if policy == BestEffort::None {
            let picks: Vec<Option<usize>> = ours.allotments.iter().map(|x| x.candidate).collect();
            let have = score(&servers, &picks);
            prop_assert!(have.0 >= brute_force(&servers, &free, None).0);
            let spread: f64 = servers.iter().map(|s| {
                let values = || s.candidates.iter().map(|c| value(s, c, Mode::Guarded));
                let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
                if low.is_finite() { high - low } else { 0.0 }
            }).sum();
            prop_assert!(have.1 <= brute_force(&servers, &free, Some(&picks)).1 + spread + 1e-6);
        }
        let back = solve(&again(&servers, &ours), &Gpus::Limited(free), how(policy, delayed, Mode::Guarded));
        prop_assert_eq!(shown(&back), shown(&ours));
    }
}
