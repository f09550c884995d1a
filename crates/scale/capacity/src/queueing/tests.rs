mod published;

use super::*;
use proptest::prelude::*;

fn iteration(batch: u32, queue: u32, abg: [f64; 3], io: [f64; 2], averaging: Averaging) -> QueueModel {
    QueueModel::new(Replica {
        max_batch: batch,
        max_queue: queue,
        service: ServiceTime::Iteration {
            alpha_ms: abg[0],
            beta_ms: abg[1],
            gamma_ms: abg[2],
        },
        load: Workload {
            input_tokens: io[0],
            output_tokens: io[1],
        },
        averaging,
    })
    .unwrap()
}

fn prefill_decode(batch: u32, abgd: [f64; 4], io: [f64; 2], averaging: Averaging) -> Result<QueueModel, QueueError> {
    QueueModel::new(Replica {
        max_batch: batch,
        max_queue: 10 * batch,
        service: ServiceTime::PrefillDecode {
            alpha_ms: abgd[0],
            beta_ms: abgd[1],
            gamma_ms: abgd[2],
            delta_ms: abgd[3],
        },
        load: Workload {
            input_tokens: io[0],
            output_tokens: io[1],
        },
        averaging,
    })
}

fn small(averaging: Averaging) -> QueueModel {
    iteration(8, 16, [1.0, 0.01, 0.001], [100.0, 10.0], averaging)
}

fn middling(averaging: Averaging) -> QueueModel {
    iteration(64, 640, [8.0, 0.016, 0.0005], [512.0, 128.0], averaging)
}

fn promptless(averaging: Averaging) -> QueueModel {
    iteration(32, 320, [12.0, 0.05, 0.0002], [0.0, 64.0], averaging)
}

fn close(what: &str, ours: f64, theirs: f64, relative: f64) {
    let off = (ours - theirs).abs();
    assert!(
        off <= relative * theirs.abs().max(1e-9) || off < 1e-8,
        "{what}: {ours} is not {theirs}"
    );
}

/// Computed apart, by summing the chain state by state.
#[test]
fn the_older_service_times_follow_their_formulas() {
    let model = prefill_decode(4, [20.0, 0.5, 5.0, 0.01], [100.0, 64.0], Averaging::AsPublished).unwrap();
    let rates: Vec<f64> = (1..=4)
        .map(|n| {
            let n = f64::from(n);
            n / (5.0 + n + 63.0 * (20.0 + 0.5 * n))
        })
        .collect();
    close("highest rate", model.max_rate(), 0.999e3 * rates[3], 1e-9);
    let arrivals = 0.8 * model.max_rate() / 1e3;
    let mut weights = vec![1.0];
    for n in 0..44 {
        weights.push(weights[n] * arrivals / rates[n.min(3)]);
    }
    let total: f64 = weights.iter().sum();
    let mean = |most: usize| {
        weights
            .iter()
            .enumerate()
            .map(|(n, w)| n.min(most) as f64 * w)
            .sum::<f64>()
            / total
    };
    let served = arrivals * (1.0 - weights[44] / total);
    let seen = model.at(arrivals * 1e3).unwrap();
    close("throughput", seen.throughput, served * 1e3, 1e-9);
    close("wait", seen.wait_ms, (mean(44) - mean(4)) / served, 1e-9);
    close("rho", seen.rho, mean(4) / 4.0, 1e-9);
    let n = (mean(4) / served - (5.0 + 20.0 * 63.0)) / (1.0 + 0.5 * 63.0);
    close("prefill", seen.prefill_ms, 5.0 + n, 1e-9);
    close("ITL", seen.itl_ms, 20.0 + 0.5 * n, 1e-9);
    close("TTFT", seen.ttft_ms, seen.wait_ms + seen.prefill_ms, 1e-9);
}

#[test]
fn a_generous_target_on_a_flat_or_falling_curve_is_the_top_of_the_range() {
    // The predecessor answers "target is below the bounded region" to both.
    let flat = iteration(1, 10, [20.0, 0.1, 0.001], [200.0, 50.0], Averaging::AsPublished);
    let generous = Targets {
        itl: Some(Target::mean(50.0)),
        ..Targets::default()
    };
    let sizing = flat.size(&generous).unwrap();
    assert_eq!(sizing.rate, flat.max_rate());
    assert_eq!(sizing.binding, Binding::Capacity);

    for averaging in [Averaging::AsPublished, Averaging::Busy] {
        let single = prefill_decode(4, [20.0, 0.5, 5.0, 0.01], [0.0, 1.0], averaging).unwrap();
        assert_eq!(single.size(&generous).unwrap().rate, single.max_rate());
    }
}

#[test]
fn a_target_nobody_meets_says_what_can_be_had() {
    let error = middling(Averaging::Busy)
        .size(&Targets {
            itl: Some(Target::mean(1.0)),
            ..Targets::default()
        })
        .unwrap_err();
    assert!(
        matches!(
            error,
            QueueError::Unreachable {
                field: "targets.itl",
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("faster accelerator"), "{error}");
}

#[test]
fn an_idle_replica_costs_what_one_request_alone_costs() {
    for model in [
        middling(Averaging::Busy),
        prefill_decode(16, [20.0, 0.5, 5.0, 0.01], [100.0, 64.0], Averaging::Busy).unwrap(),
    ] {
        let seen = model.at(model.min_rate() * 1e-3).unwrap();
        let (service, load) = (model.replica().service, model.replica().load);
        close("prefill", seen.prefill_ms, service.prefill_ms(1.0, load), 1e-4);
        close("ITL", seen.itl_ms, service.decode_ms(1.0, load), 1e-4);
    }
    let published = middling(Averaging::AsPublished);
    let low = published.at(published.min_rate()).unwrap();
    assert!(
        low.prefill_ms < middling(Averaging::Busy).at(published.min_rate()).unwrap().prefill_ms,
        "the published mean is too low here"
    );
}

#[test]
fn one_server_with_one_place_in_the_batch_is_m_m_1_k() {
    // Prefill 0, one step of 10 ms: mu = 0.1 per ms.
    let model = QueueModel::new(Replica {
        max_batch: 1,
        max_queue: 9,
        service: ServiceTime::PrefillDecode {
            alpha_ms: 10.0,
            beta_ms: 0.0,
            gamma_ms: 0.0,
            delta_ms: 0.0,
        },
        load: Workload {
            input_tokens: 0.0,
            output_tokens: 2.0,
        },
        averaging: Averaging::Busy,
    })
    .unwrap();
    for rho in [0.1f64, 0.5, 0.9, 0.999, 1.0, 1.5, 5.0] {
        let seen = model.at(rho * 100.0).unwrap();
        let k = 10;
        let total: f64 = (0..=k).map(|n| rho.powi(n)).sum();
        close("loss", seen.loss, rho.powi(k) / total, 1e-9);
        let queue: f64 = (1..=k).map(|n| f64::from(n - 1) * rho.powi(n)).sum::<f64>() / total;
        close("waiting", seen.waiting, queue, 1e-6);
        // P(W > t) by hand: who finds n waits for n exponential services.
        let t = 25.0;
        let due: f64 = 0.1 * t;
        let mut by_hand = 0.0;
        for found in 1..k {
            let (mut pmf, mut at_most) = ((-due).exp(), 0.0);
            for i in 0..found {
                at_most += pmf;
                pmf *= due / f64::from(i + 1);
            }
            by_hand += rho.powi(found) / total / (1.0 - seen.loss) * at_most;
        }
        close("tail", model.wait_beyond(rho * 100.0, t).unwrap(), by_hand, 1e-9);
    }
}

#[test]
fn a_percentile_is_stricter_than_a_mean() {
    let model = middling(Averaging::Busy);
    let rate = |target| {
        model
            .size(&Targets {
                ttft: Some(target),
                ..Targets::default()
            })
            .unwrap()
            .rate
    };
    let (mean, p95, p99) = (
        rate(Target::mean(60.0)),
        rate(Target::percentile(0.95, 60.0)),
        rate(Target::percentile(0.99, 60.0)),
    );
    assert!(p99 < p95 && p95 < mean, "{p99} < {p95} < {mean}");
    let sizing = model
        .size(&Targets {
            ttft: Some(Target::percentile(0.95, 60.0)),
            ..Targets::default()
        })
        .unwrap();
    assert!(model.ttft_beyond(sizing.rate, 60.0).unwrap() <= 0.05 + 1e-9);
    assert!(model.ttft_beyond(sizing.rate * 1.05, 60.0).unwrap() > 0.05);
    assert!(sizing.sentence().contains("first token"), "{}", sizing.sentence());
    // Where hardly anybody waits, the 95th percentile of the wait is none.
    assert_eq!(model.wait_percentile(model.min_rate(), 0.95).unwrap(), 0.0);
    let full = model.wait_percentile(model.max_rate(), 0.95).unwrap();
    close("tail", model.wait_beyond(model.max_rate(), full).unwrap(), 0.05, 1e-6);
    // Percentiles and the shares beyond them say the same.
    let top = sizing.rate;
    close("TTFT", model.ttft_percentile(top, 0.95).unwrap(), 60.0, 1e-3);
    let (itl, mean) = (model.itl_percentile(top, 0.95).unwrap(), model.at(top).unwrap().itl_ms);
    assert!(itl > mean && model.itl_beyond(top, itl * 1.0001).unwrap() <= 0.05);
    assert!(model.ttft_percentile(top, 1.0).is_err() && model.wait_percentile(top, f64::NAN).is_err());
    assert!(model.itl_beyond(rate(Target::mean(60.0)), 0.0).unwrap() > 0.999);
}

#[test]
fn no_size_overflows() {
    let model = iteration(
        65_536,
        1_048_576,
        [8.0, 1e-6, 1e-9],
        [100_000.0, 100_000.0],
        Averaging::Busy,
    );
    for share in [1e-6, 0.5, 1.0, 2.0, 100.0] {
        let seen = model.at(share * model.max_rate()).unwrap();
        assert!(
            seen.throughput.is_finite() && seen.ttft_ms.is_finite() && (0.0..=1.0).contains(&seen.loss),
            "{seen:?}"
        );
    }
}

#[test]
fn what_makes_no_sense_is_named() {
    let good = middling(Averaging::Busy).replica;
    type Spoil = fn(&mut Replica);
    let cases: [(&str, Spoil); 5] = [
        ("maxBatch", |r| r.max_batch = 0),
        ("maxQueue", |r| r.max_queue = u32::MAX),
        ("load.inputTokens", |r| r.load.input_tokens = -1.0),
        ("load.outputTokens", |r| r.load.output_tokens = 0.0),
        ("service.betaMs", |r| {
            r.service = ServiceTime::Iteration {
                alpha_ms: 1.0,
                beta_ms: f64::NAN,
                gamma_ms: 0.0,
            };
        }),
    ];
    for (path, spoil) in cases {
        let mut replica = good;
        spoil(&mut replica);
        let error = QueueModel::new(replica).unwrap_err();
        assert!(error.to_string().starts_with(path), "{error}");
    }
    let model = middling(Averaging::Busy);
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(model.at(rate).is_err());
    }
}

fn any_float() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => 0.0..1000.0f64,
        2 => 1e-9..1e-3f64,
        1 => Just(0.0),
        1 => Just(-1.0),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(1e300),
    ]
}

proptest! {
    #[test]
    fn nothing_panics_and_a_chain_is_a_chain(
        batch in 0u32..40, queue in 0u32..100,
        a in any_float(), b in any_float(), g in any_float(), d in any_float(),
        i in any_float(), o in any_float(), rate in any_float(), target in any_float(), older: bool, busy: bool,
    ) {
        let service = if older {
            ServiceTime::PrefillDecode { alpha_ms: a, beta_ms: b, gamma_ms: g, delta_ms: d }
        } else {
            ServiceTime::Iteration { alpha_ms: a, beta_ms: b, gamma_ms: g }
        };
        let averaging = if busy { Averaging::Busy } else { Averaging::AsPublished };
        let load = Workload { input_tokens: i, output_tokens: o };
        let Ok(model) = QueueModel::new(Replica { max_batch: batch, max_queue: queue, service, load, averaging }) else {
            return Ok(());
        };
        if let Ok(seen) = model.at(rate) {
            prop_assert!(seen.throughput <= rate * (1.0 + 1e-9));
            prop_assert!((0.0..=1.0).contains(&seen.loss));
            prop_assert!(seen.wait_ms >= 0.0 && seen.in_service <= f64::from(batch) * (1.0 + 1e-9));
            let (near, far) = (model.wait_beyond(rate, 1.0).unwrap(), model.wait_beyond(rate, 100.0).unwrap());
            prop_assert!((0.0..=1.0).contains(&near) && far <= near + 1e-9);
        }
        let targets = Targets { ttft: Some(Target::mean(target)), itl: Some(Target::percentile(0.9, target)), throughput: busy };
        if let Ok(sizing) = model.size(&targets) {
            prop_assert!(sizing.rate >= model.min_rate() * 0.9 && sizing.rate <= model.max_rate());
            if !(busy && sizing.binding == Binding::Throughput) {
                prop_assert!(sizing.there.ttft_ms <= target * (1.0 + 1e-6), "{sizing:?}");
            }
        }
    }
}
