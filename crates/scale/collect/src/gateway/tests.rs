use super::*;
use crate::{Found, MetricsSource, TrackedModel, by_model};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use units::Signal;
use wire::signals::{EndpointSignals, PoolSignals};

fn pool(arrived: u64, queued: u64) -> PoolSignals {
    PoolSignals {
        models: vec!["m".to_owned()],
        arrived,
        queued,
        oldest_wait_ms: (queued > 0).then_some(queued * 10),
        in_flight: 2,
        ..PoolSignals::default()
    }
}

fn signals(started: u64, pools: &[(&str, PoolSignals)]) -> GatewaySignals {
    let pools = pools
        .iter()
        .map(|(name, pool)| ((*name).to_owned(), pool.clone()))
        .collect();
    GatewaySignals {
        started_unix_ms: started,
        pools,
        ..GatewaySignals::default()
    }
}

fn instance(name: &str, seen: &[(u64, GatewaySignals)]) -> Instance {
    let mut instance = Instance::new(0, name.to_owned(), None);
    for (second, signals) in seen {
        instance.take_in(signals.clone(), Instant::from_secs(*second));
    }
    instance
}

fn reading(instances: Vec<Instance>) -> GatewayReading {
    GatewayReading {
        parts: vec![(Kind::Gateway, Arc::new(Mutex::new(instances)))],
    }
}

const NOW: Instant = Instant::from_secs(110);

#[test]
fn gateways_add_up_and_the_oldest_answer_tells_the_age() {
    let one = instance(
        "a",
        &[
            (100, signals(1, &[("n/p", pool(10, 3))])),
            (104, signals(1, &[("n/p", pool(50, 3))])),
        ],
    );
    let other = instance("b", &[(102, signals(1, &[("n/p", pool(0, 5)), ("n/q", pool(7, 0))]))]);
    let (demand, silent) = reading(vec![one, other]).demand("n", "m", NOW);
    let seen = demand.last().unwrap();
    assert_eq!((seen.at, seen.source), (Instant::from_secs(102), Source::Gateway));
    assert_eq!(
        (seen.value.queued, seen.value.in_flight, seen.value.arrived),
        (8, 6, 57)
    );
    assert_eq!(seen.value.oldest_wait, Some(Duration::from_millis(50)));
    assert_eq!(seen.value.arrival_rate, Some(10.0));
    assert!(silent.is_empty());
}

#[test]
fn a_gateway_that_does_not_answer_is_named_and_never_counted_as_empty() {
    let heard = || instance("a", &[(109, signals(1, &[("n/p", pool(1, 0))]))]);
    let mut broken = heard();
    broken.name = "b".to_owned();
    broken.error = Some((NOW, "connection refused".to_owned()));
    let (demand, silent) = reading(vec![heard(), broken]).demand("n", "m", NOW);
    assert!(demand.last().is_some());
    assert_eq!(silent, ["b"]);

    let mut never = instance("c", &[]);
    never.error = Some((NOW, "connection refused".to_owned()));
    let (demand, silent) = reading(vec![never]).demand("n", "m", NOW);
    assert_eq!(demand, Signal::missing(NOW, "connection refused"));
    assert_eq!(silent, ["c"]);
}

/// Reads the demand at the moment that it is woken.
struct ReadsWhenWoken {
    reader: GatewayReader,
    read: Mutex<Option<u64>>,
}

impl std::task::Wake for ReadsWhenWoken {
    fn wake(self: Arc<Self>) {
        let (demand, _) = self.reader.reading().demand("n", "m", NOW);
        *self.read.lock() = demand.last().map(|seen| seen.value.queued);
    }
}

#[test]
fn who_is_woken_by_an_answer_reads_that_answer() {
    let instances = vec![instance("a", &[(100, signals(1, &[("n/p", pool(0, 0))]))])];
    let reader = GatewayReader::over(Kind::Gateway, GatewaySource::None, instances, Clock::start());
    let controller = Arc::new(ReadsWhenWoken {
        reader: reader.clone(),
        read: Mutex::default(),
    });
    let urgent = Notify::new();
    let mut notified = std::pin::pin!(urgent.notified());
    let waker = controller.clone().into();
    let mut context = std::task::Context::from_waker(&waker);
    assert!(notified.as_mut().poll(&mut context).is_pending());
    let held = signals(1, &[("n/p", pool(3, 3))]);
    reader.heard(0, Ok((held, 100)), (NOW, NOW), Some(&urgent));
    assert_eq!(*controller.read.lock(), Some(3), "and not what was known before");
}

#[test]
fn a_model_no_pool_serves_is_missing_and_not_idle() {
    let heard = || instance("a", &[(109, signals(1, &[("n/p", pool(1, 0))]))]);
    for (namespace, model) in [("n", "other"), ("elsewhere", "m")] {
        let (demand, _) = reading(vec![heard()]).demand(namespace, model, NOW);
        let Signal::Missing { why, .. } = demand else {
            panic!("{demand:?}")
        };
        assert!(why.contains("does an InferencePool name it?"), "{why}");
    }
}

#[test]
fn a_restarted_gateway_starts_its_rates_anew() {
    let seen = [
        (100, signals(1, &[("n/p", pool(1000, 0))])),
        (104, signals(2, &[("n/p", pool(5, 0))])),
    ];
    let (demand, _) = reading(vec![instance("a", &seen)]).demand("n", "m", NOW);
    assert_eq!(demand.last().unwrap().value.arrival_rate, None);
}

#[test]
fn what_was_refused_never_left_an_endpoint() {
    let with = |completed: u64, queue_full: u64, upstream_error: u64| PoolSignals {
        completed,
        failed: [
            ("queue_full".to_owned(), queue_full),
            ("upstream_error".to_owned(), upstream_error),
        ]
        .into(),
        ..pool(0, 0)
    };
    let seen = [
        (100, signals(1, &[("n/p", with(0, 0, 0))])),
        (104, signals(1, &[("n/p", with(8, 100, 4))])),
    ];
    let (demand, _) = reading(vec![instance("a", &seen)]).demand("n", "m", NOW);
    assert_eq!(demand.last().unwrap().value.completion_rate, Some(3.0));
}

#[test]
fn latencies_are_of_the_last_seconds_only() {
    let mut before = pool(0, 0);
    (0..100).for_each(|_| before.ttft_ms.record(5000.0));
    let mut after = before.clone();
    (0..10).for_each(|_| after.ttft_ms.record(50.0));
    let seen = [
        (100, signals(1, &[("n/p", before)])),
        (104, signals(1, &[("n/p", after)])),
    ];
    let (demand, _) = reading(vec![instance("a", &seen)]).demand("n", "m", NOW);
    let (median, p99) = demand.last().unwrap().value.ttft_ms.unwrap();
    assert!(median < 60.0 && p99 < 60.0, "{median} {p99}");
    assert_eq!(demand.last().unwrap().value.itl_ms, None);
}

#[test]
fn endpoints_of_two_gateways_share_the_replica() {
    let with = |in_flight: u64, slots: u64| {
        let endpoint = EndpointSignals {
            pod: "p-1".to_owned(),
            in_flight,
            slots,
            ..EndpointSignals::default()
        };
        PoolSignals {
            endpoints: [("10.0.0.1:8000".to_owned(), endpoint)].into(),
            ..pool(0, 0)
        }
    };
    let one = instance("a", &[(109, signals(1, &[("n/p", with(3, 16))]))]);
    let other = instance("b", &[(109, signals(1, &[("n/p", with(4, 16))]))]);
    let (demand, _) = reading(vec![one, other]).demand("n", "m", NOW);
    let expected = EndpointLedger {
        pod: "p-1".to_owned(),
        in_flight: 7,
        slots: 16,
    };
    assert_eq!(demand.last().unwrap().value.endpoints["10.0.0.1:8000"], expected);
}

#[tokio::test]
async fn a_gateway_in_process_is_asked_at_every_reading() {
    let asked = Arc::new(AtomicU64::new(0));
    let counter = asked.clone();
    let ask = move || signals(1, &[("n/p", pool(counter.fetch_add(1, SeqCst), 2))]);
    let clock = Clock::start();
    let stop = CancellationToken::new();
    let reader = GatewayReader::start(GatewaySource::InProcess(Arc::new(ask)), clock, &Arc::default(), &stop);
    for turn in 1..=3 {
        let reading = reader.read();
        assert_eq!(reading.source("n", "m"), Some(Source::Gateway));
        assert_eq!(reading.demand("n", "m", clock.now()).0.last().unwrap().value.queued, 2);
        assert_eq!(asked.load(SeqCst), turn);
    }
    let none = GatewayReader::start(GatewaySource::None, clock, &Arc::default(), &stop);
    assert_eq!(none.read().source("n", "m"), None);
}

fn key(model: &str) -> TrackedModel {
    TrackedModel {
        namespace: "n".to_owned(),
        model: model.to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn as_a_source_it_tells_arrivals_lengths_and_its_ledger() {
    let clock = Clock::start_at(Duration::from_secs(5_000_000));
    let ask = move || {
        let second = clock.wall().as_secs() % 1_000_000;
        let endpoint = |pod: &str, slots| EndpointSignals {
            pod: pod.to_owned(),
            in_flight: 3,
            slots,
            ..EndpointSignals::default()
        };
        let mut pool = PoolSignals {
            completed: 2 * second,
            prompt_tokens: 200 * second,
            output_tokens: 40 * second,
            endpoints: [
                ("10.0.0.1:8000".to_owned(), endpoint("elsewhere", 16)),
                ("[fd00::2]:8000".to_owned(), endpoint("elsewhere", 0)),
                ("10.0.0.9:8000".to_owned(), endpoint("c", 8)),
                ("10.0.0.5:8000".to_owned(), endpoint("e", 8)),
                ("10.0.0.5:8001".to_owned(), endpoint("e", 8)),
                ("10.0.0.55:8001".to_owned(), endpoint("f", 8)),
            ]
            .into(),
            ..pool(5 * second, 0)
        };
        pool.ttft_ms.record(50.0);
        signals(1, &[("n/p", pool)])
    };
    let stop = CancellationToken::new();
    let reader = GatewayReader::start(GatewaySource::InProcess(Arc::new(ask)), clock, &Arc::default(), &stop);
    let endpoint = |pod: &str, address: &str| crate::Endpoint {
        pod: format!("n/{pod}"),
        address: address.to_owned(),
        port: 8000,
        path: None,
        more_ports: std::sync::Arc::default(),
        model: Some("m".to_owned()),
    };
    reader.track(&by_model([
        endpoint("a", "10.0.0.1"),
        endpoint("b", "fd00::2"),
        endpoint("c", "10.0.0.3"),
        endpoint("d", "10.0.0.4"),
        endpoint("e", "10.0.0.5"),
    ]));
    assert_eq!(
        reader.availability(&key("m")).found,
        Found::MetricsMissing,
        "not asked yet"
    );
    for _ in 0..4 {
        reader.refresh().await;
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert_eq!(reader.availability(&key("m")).found, Found::MetricsFound);
    let model = reader.model_metrics(&key("m"));
    let values = [&model.arrival_rate, &model.prompt_tokens, &model.answer_tokens];
    assert_eq!(
        values.map(|signal| signal.last().map(|seen| seen.value)),
        [Some(5.0), Some(100.0), Some(20.0)]
    );
    let replicas = reader.replica_metrics(&key("m"));
    let of = |pod: &str| {
        let value = |signal: &Signal<f64>| signal.last().map(|seen| seen.value);
        (value(&replicas[pod].in_flight), value(&replicas[pod].slots))
    };
    assert_eq!(of("n/a"), (Some(3.0), Some(16.0)), "by its address");
    assert_eq!(of("n/b"), (Some(3.0), None), "slots of nobody are no slots");
    assert_eq!(of("n/c"), (Some(3.0), Some(8.0)), "by its name");
    assert_eq!(of("n/d"), (None, None));
    assert_eq!(of("n/e"), (Some(6.0), Some(16.0)), "two ranks");
    assert_eq!(replicas["n/a"].kv.last(), None);
    assert!(reader.replica_metrics(&key("other")).is_empty());
    let said = reader.availability(&key("other"));
    assert!(said.message.contains("does an InferencePool name it?"), "{said:?}");
    tokio::time::advance(Duration::from_secs(6)).await;
    let said = reader.availability(&key("m"));
    assert_eq!(said.found, Found::MetricsStale, "{said:?}");
    assert!(said.message.contains("is it running and reachable?"), "{said:?}");
    assert_eq!((reader.health().asked, reader.health().up), (4, Some(true)));
}

#[test]
fn means_are_of_what_was_seen_lately() {
    let with = |completed: u64, tokens: u64| {
        let mut pool = PoolSignals {
            completed,
            prompt_tokens: 100 * tokens,
            output_tokens: 20 * tokens,
            ..pool(completed, 0)
        };
        (0..completed).for_each(|_| pool.ttft_ms.record(50.0));
        pool
    };
    let seen = [
        (100, signals(1, &[("n/p", with(10, 10))])),
        (104, signals(1, &[("n/p", with(18, 26))])),
    ];
    let (demand, _) = reading(vec![instance("a", &seen)]).demand("n", "m", NOW);
    let demand = &demand.last().unwrap().value;
    assert_eq!(demand.mean_tokens, Some((200.0, 40.0)));
    assert_eq!((demand.mean_ttft_ms, demand.mean_itl_ms), (Some(50.0), None));
}
