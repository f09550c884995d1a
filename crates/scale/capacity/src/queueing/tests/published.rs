//! Published figures of the predecessor, which the published mode gives too.

use super::*;

#[test]
fn the_published_figures_come_out_in_the_published_mode() {
    let mode = Averaging::AsPublished;
    // Highest rate; share of it; throughput, wait, in service, prefill, ITL, TTFT.
    let cases = [
        (
            small(mode),
            255.41707,
            0.5,
            [127.7085, 0.19383, 2.77097, 2.66805, 1.90295, 4.7648],
        ),
        (
            middling(mode),
            15.546944,
            0.5,
            [7.773472, 0.0, 13.86761, 21.5427, 13.7689, 35.3116],
        ),
        (
            promptless(mode),
            36.099949,
            0.8,
            [28.87996, 19.345, 24.93650, 0.0, 13.4915, 32.8363],
        ),
    ];
    for (model, top, share, figures) in cases {
        close("highest rate", model.max_rate(), top, 1e-4);
        let seen = model.at(share * model.max_rate()).unwrap();
        let ours = [
            seen.throughput,
            seen.wait_ms,
            seen.in_service,
            seen.prefill_ms,
            seen.itl_ms,
            seen.ttft_ms,
        ];
        for (word, (ours, theirs)) in ["throughput", "wait", "in service", "prefill", "ITL", "TTFT"]
            .into_iter()
            .zip(ours.into_iter().zip(figures))
        {
            close(word, ours, theirs, 1e-4);
        }
    }
    close("lowest rate", small(mode).min_rate(), 0.064495, 1e-4);
}

#[test]
fn the_published_sizings_come_out_in_the_published_mode() {
    let model = middling(Averaging::AsPublished);
    let itl = Targets {
        itl: Some(Target::mean(12.0)),
        ..Targets::default()
    };
    close("rate for ITL", model.size(&itl).unwrap().rate_itl, 5.818725, 1e-4);

    let model = small(Averaging::AsPublished);
    let all = Targets {
        ttft: Some(Target::mean(50.0)),
        itl: Some(Target::mean(5.0)),
        throughput: true,
    };
    let sizing = model.size(&all).unwrap();
    assert_eq!(
        (sizing.rate_ttft, sizing.rate_itl),
        (model.max_rate(), model.max_rate())
    );
    close("rate for throughput", sizing.rate_throughput, 229.87537, 1e-4);
    close("throughput there", sizing.there.throughput, 226.95076, 1e-4);
    assert_eq!(sizing.binding, Binding::Throughput);
}

#[test]
fn the_published_figures_of_the_older_service_times_come_out() {
    let model = prefill_decode(4, [20.58, 0.41, 20.58, 0.041], [100.0, 128.0], Averaging::AsPublished).unwrap();
    let seen = model.at(0.8 * model.max_rate()).unwrap();
    close("throughput", seen.throughput, 1.118168, 1e-4);
    close("wait", seen.wait_ms, 2090.97, 1e-4);
    close("prefill", seen.prefill_ms, 35.2681, 1e-4);
    close("ITL", seen.itl_ms, 22.0488, 1e-4);
    close("rho", seen.rho, 0.79263, 1e-4);
}

/// A replica whose parameters were fitted to two measured batches.
#[test]
fn the_published_figures_of_a_fitted_replica_come_out() {
    let fitted = |gamma, delta| {
        let service = [6.973, 0.027, gamma, delta];
        prefill_decode(64, service, [128.0, 128.0], Averaging::AsPublished).unwrap()
    };
    let model = fitted(5.0, 0.02);
    let seen = model.at(20.0).unwrap();
    let figures = [
        ("highest rate", model.max_rate(), 50.1905),
        ("throughput", seen.throughput, 20.0),
        (
            "response",
            seen.wait_ms + seen.prefill_ms + 127.0 * seen.itl_ms,
            1018.56,
        ),
        ("wait", seen.wait_ms, 0.0),
        ("in service", seen.in_service, 20.371),
        ("ITL", seen.itl_ms, 7.550),
        ("TTFT", seen.ttft_ms, 59.71),
    ];
    for (word, ours, published) in figures {
        close(word, ours, published, 1e-4);
    }

    // Which target, in ms, and the highest rate at which it holds.
    let ttft = |ms| Targets {
        ttft: Some(Target::mean(ms)),
        ..Targets::default()
    };
    let itl = Targets {
        itl: Some(Target::mean(8.0)),
        ..Targets::default()
    };
    let model = fitted(14.825, 0.001_364);
    let cases = [
        ("TTFT 500", ttft(500.0), 55.03859),
        ("TTFT 100", ttft(100.0), 51.90086),
        ("ITL 8", itl, 35.69948),
    ];
    for (word, targets, published) in cases {
        close(word, model.size(&targets).unwrap().rate, published, 1e-5);
    }
}

/// A server sized and spread over replicas, as published: two models on two
/// accelerators. There TTFT counts wait and prefill only.
#[test]
fn the_published_allocations_come_out_in_the_published_mode() {
    struct Case {
        batch: u32,
        service: [f64; 3],
        load: [f64; 2],
        targets: [f64; 2],
        per_minute: f64,
        cost: f64,
        // Replicas, cost, ITL, TTFT, share of the batch, most per minute.
        published: (u32, f64, f64, f64, f64, f64),
    }
    let cases = [
        Case {
            batch: 128,
            service: [14.0, 0.03, 0.001],
            load: [512.0, 128.0],
            targets: [500.0, 24.0],
            per_minute: 1200.0,
            cost: 40.0,
            published: (6, 240.0, 22.3321, 36.8676, 0.075400, 230.552),
        },
        Case {
            batch: 32,
            service: [30.0, 0.12, 0.002],
            load: [512.0, 256.0],
            targets: [1000.0, 80.0],
            per_minute: 240.0,
            cost: 160.0,
            published: (4, 640.0, 57.2443, 122.699, 0.461601, 76.4492),
        },
        Case {
            batch: 64,
            service: [20.0, 0.08, 0.0012],
            load: [512.0, 256.0],
            targets: [1000.0, 80.0],
            per_minute: 240.0,
            cost: 200.0,
            published: (2, 400.0, 45.4819, 85.2031, 0.366517, 161.300),
        },
    ];
    for case in cases {
        let model = iteration(
            case.batch,
            10 * case.batch,
            case.service,
            case.load,
            Averaging::AsPublished,
        );
        let sizing = model
            .size(&Targets {
                ttft: Some(Target::mean(case.targets[0])),
                itl: Some(Target::mean(case.targets[1])),
                throughput: false,
            })
            .unwrap();
        let rate = case.per_minute / 60.0;
        let needed = (rate / sizing.there.throughput).ceil();
        let (replicas, cost, itl, ttft, rho, most) = case.published;
        assert_eq!((needed as u32, needed * case.cost), (replicas, cost));
        let each = model.at(rate / needed).unwrap();
        close("ITL", each.itl_ms, itl, 1e-4);
        close("TTFT", each.wait_ms + each.prefill_ms, ttft, 1e-4);
        close("rho", each.rho, rho, 1e-4);
        close("most", sizing.there.throughput * 60.0, most, 1e-4);
    }
}
