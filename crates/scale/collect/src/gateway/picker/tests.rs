use super::*;
use crate::{Found, MetricsSource, TrackedModel};
use parking_lot::Mutex;
use units::{Signal, Source};
use wire::signals::PoolSignals;

/// A picker's metrics, served without a network.
#[derive(Clone, Debug, Default)]
struct Served {
    page: Arc<Mutex<String>>,
    /// The token that it asks for.
    asks_for: Option<&'static str>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Served {
    fn holds(&self, queued: u64, left: u64) {
        *self.page.lock() = format!(
            "llm_d_epp_flow_control_queue_size{{model_name=\"m\",target_model_name=\"m\"}} {queued}\n\
             llm_d_epp_flow_control_request_queue_duration_seconds_count{{target_model_name=\"m\"}} {left}\n\
             llm_d_epp_request_running{{model_name=\"m\",target_model_name=\"m\"}} 3\n"
        );
    }

    fn transport(&self) -> Transport {
        let served = self.clone();
        Transport::InProcess(Arc::new(move |request| {
            served.asked.lock().push(request.uri().to_string());
            let token = request
                .headers()
                .get("authorization")
                .and_then(|value| value.to_str().ok());
            let status = if token == served.asks_for { 200 } else { 401 };
            let answer = http::Response::builder().status(status);
            let answer = answer.body(served.page.lock().clone().into_bytes().into());
            Box::pin(std::future::ready(answer.map_err(|error| error.to_string())))
        }))
    }
}

struct Scene {
    served: Served,
    source: PickerSource,
    reader: GatewayReader,
    urgent: Arc<Notify>,
    clock: Clock,
}

impl Scene {
    /// A picker of the namespace `shop`.
    fn new(served: Served, token: PickerToken) -> Self {
        let pickers = Pickers {
            all: vec!["shop=http://epp:9090".parse().unwrap()],
            token,
            transport: served.transport(),
            find: true,
        };
        let (clock, urgent, stop) = (Clock::start(), Arc::default(), CancellationToken::new());
        let source = PickerSource::start(pickers, clock, &urgent, &stop).unwrap();
        Self {
            served,
            reader: source.reader().clone(),
            source,
            urgent,
            clock,
        }
    }

    fn demand(&self, namespace: &str) -> (Signal<super::super::ModelDemand>, Vec<String>) {
        self.reader.reading().demand(namespace, "m", self.clock.now())
    }

    fn source(&self, namespace: &str, model: &str) -> Option<Source> {
        self.reader.reading().source(namespace, model)
    }
}

/// That much of the paused clock passes, in steps that all tasks live through.
async fn seconds(seconds: u64) {
    for _ in 0..seconds * 10 {
        tokio::time::advance(Duration::from_millis(100)).await;
    }
}

fn refused(all: &[&str], token: PickerToken) -> String {
    let all = all.iter().map(|text| text.parse()).collect::<Result<Vec<Picker>, _>>();
    let error = match all {
        Err(error) => error,
        Ok(all) => {
            let pickers = Pickers {
                all,
                token,
                transport: Transport::Network,
                find: false,
            };
            let stop = CancellationToken::new();
            PickerSource::start(pickers, Clock::start(), &Arc::default(), &stop).unwrap_err()
        }
    };
    error.to_string()
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_held_is_known_within_a_fifth_of_a_second_and_wakes_the_decision() {
    let served = Served::default();
    served.holds(0, 40);
    let scene = Scene::new(served, PickerToken::default());
    seconds(6).await;
    scene.served.holds(1, 40);
    let woken = tokio::time::timeout(Duration::from_millis(200), scene.urgent.notified()).await;
    assert!(woken.is_ok(), "nobody was woken");
    let (demand, silent) = scene.demand("shop");
    let seen = demand.last().unwrap();
    assert_eq!((seen.source, silent), (Source::Picker, Vec::new()));
    assert_eq!(
        (seen.value.queued, seen.value.in_flight, seen.value.arrived),
        (1, 3, 41)
    );
    assert!(seen.value.arrival_rate.is_some_and(|rate| rate > 0.0), "{seen:?}");
    seconds(4).await;
    let (demand, _) = scene.demand("shop");
    let waits = demand.last().unwrap().value.oldest_wait.unwrap().as_secs();
    assert!((3..=4).contains(&waits), "waits {waits} s");
    assert_eq!(scene.served.asked.lock()[0], "http://epp:9090/metrics");
}

#[tokio::test(start_paused = true)]
async fn a_model_that_no_request_came_for_yet_is_nobodys_to_tell() {
    let served = Served::default();
    let scene = Scene::new(served, PickerToken::default());
    assert_eq!(
        scene.source("shop", "m"),
        Some(Source::Picker),
        "until it answers, it may"
    );
    seconds(2).await;
    assert_eq!(scene.source("shop", "m"), None, "not a queue of 0");
    let availability = scene.reader.availability(&TrackedModel {
        namespace: "shop".to_owned(),
        model: "m".to_owned(),
    });
    assert_eq!(availability.found, Found::MetricsMissing);
    assert!(
        availability.message.contains("is its flow control on?"),
        "{availability:?}"
    );
    scene.served.holds(1, 0);
    seconds(2).await;
    assert_eq!(scene.source("shop", "m"), Some(Source::Picker));
    assert_eq!(scene.source("office", "m"), None, "it picks for one namespace");
    let (demand, silent) = scene.demand("office");
    assert_eq!((demand.last(), silent), (None, Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn who_may_not_ask_is_told_what_to_set_and_the_token_is_shown_once_there() {
    let served = Served {
        asks_for: Some("Bearer s3cret"),
        ..Served::default()
    };
    served.holds(2, 0);
    let scene = Scene::new(served.clone(), PickerToken::default());
    seconds(2).await;
    let (demand, silent) = scene.demand("shop");
    assert_eq!(silent, ["http://epp:9090/metrics"]);
    let Signal::Missing { why, .. } = demand else {
        panic!("{demand:?}")
    };
    assert!(
        why.contains("401") && why.contains("EPP_METRIC_READER_BEARER_TOKEN"),
        "{why}"
    );
    assert_eq!(scene.reader.health().up, Some(false));

    let token = PickerToken {
        token: Some("s3cret".to_owned()),
        in_the_clear: true,
        ..PickerToken::default()
    };
    assert!(!format!("{token:?}").contains("s3cret"));
    let scene = Scene::new(served, token);
    seconds(2).await;
    assert_eq!(scene.demand("shop").0.last().map(|seen| seen.value.queued), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_picker_that_falls_silent_is_named_and_its_last_word_gets_old() {
    let served = Served::default();
    served.holds(2, 0);
    let scene = Scene::new(served, PickerToken::default());
    seconds(2).await;
    *scene.served.page.lock() = "<html>gone</html>".to_owned();
    seconds(10).await;
    let (demand, silent) = scene.demand("shop");
    assert_eq!(silent, ["http://epp:9090/metrics"]);
    let age = scene.clock.now().since(demand.last().unwrap().at).as_secs();
    assert!((9..=11).contains(&age), "{age} s old");
}

#[tokio::test(start_paused = true)]
async fn a_gateway_beside_pickers_counts_too() {
    let served = Served::default();
    served.holds(2, 0);
    let scene = Scene::new(served, PickerToken::default());
    seconds(2).await;
    let ask = || {
        let pool = PoolSignals {
            models: vec!["m".to_owned()],
            queued: 5,
            ..PoolSignals::default()
        };
        wire::signals::GatewaySignals {
            pools: [("shop/p".to_owned(), pool)].into(),
            ..Default::default()
        }
    };
    let source = GatewaySource::InProcess(Arc::new(ask));
    let gateway = GatewayReader::start(source, scene.clock, &Arc::default(), &CancellationToken::new());
    let both = gateway.read().and(scene.reader.reading());
    let (demand, silent) = both.demand("shop", "m", scene.clock.now());
    assert_eq!(
        (demand.last().map(|seen| seen.value.queued), silent),
        (Some(7), Vec::new())
    );
    assert_eq!(both.source("shop", "m"), Some(Source::Gateway));
    assert_eq!(both.source("office", "m"), Some(Source::Gateway), "it tells of all");
}

fn found(pickers: &[(&str, &str)]) -> BTreeSet<Picker> {
    let at = |(namespace, address): &(&str, &str)| Picker::at(namespace, address.parse().unwrap());
    pickers.iter().map(at).collect()
}

#[tokio::test(start_paused = true)]
async fn a_picker_that_was_found_counts_until_it_is_gone() {
    let served = Served::default();
    served.holds(2, 0);
    let mut scene = Scene::new(served, PickerToken::default());
    let office = |scene: &Scene| scene.demand("office").0.last().map(|seen| seen.value.queued);
    scene.source.follow(&found(&[("office", "10.0.0.1:9090")]));
    seconds(2).await;
    assert_eq!(office(&scene), Some(2));
    // It has a second Pod, then the first is gone.
    let both = found(&[("office", "10.0.0.1:9090"), ("office", "[fd00::2]:9090")]);
    scene.source.follow(&both);
    seconds(2).await;
    assert_eq!(office(&scene), Some(4));
    scene.source.follow(&found(&[("office", "[fd00::2]:9090")]));
    assert_eq!(office(&scene), Some(2), "at once");
    let asked = scene.served.asked.lock().clone();
    seconds(2).await;
    let since = scene.served.asked.lock()[asked.len()..].to_vec();
    assert!(!since.contains(&"http://10.0.0.1:9090/metrics".to_owned()), "{since:?}");
    assert!(since.contains(&"http://[fd00::2]:9090/metrics".to_owned()), "{since:?}");
    scene.source.follow(&BTreeSet::new());
    assert_eq!((office(&scene), scene.source("office", "m")), (None, None));
}

#[tokio::test(start_paused = true)]
async fn where_a_picker_is_named_none_is_found_or_its_requests_count_twice() {
    let served = Served::default();
    served.holds(2, 0);
    let mut scene = Scene::new(served, PickerToken::default());
    scene.source.follow(&found(&[("shop", "10.0.0.1:9090")]));
    seconds(2).await;
    assert_eq!(scene.demand("shop").0.last().map(|seen| seen.value.queued), Some(2));
    assert!(scene.source.names_those_of("shop") && !scene.source.names_those_of("office"));
}

#[tokio::test(start_paused = true)]
async fn one_that_was_found_and_does_not_tell_is_not_missed_and_gets_no_token_in_the_clear() {
    let served = Served {
        asks_for: Some("Bearer s3cret"),
        ..Served::default()
    };
    served.holds(2, 0);
    let pickers = |in_the_clear| Pickers {
        token: PickerToken {
            token: Some("s3cret".to_owned()),
            in_the_clear,
            ..PickerToken::default()
        },
        transport: served.transport(),
        find: true,
        ..Pickers::default()
    };
    let (clock, stop) = (Clock::start(), CancellationToken::new());
    for (in_the_clear, held) in [(false, None), (true, Some(2))] {
        let mut source = PickerSource::start(pickers(in_the_clear), clock, &Arc::default(), &stop).unwrap();
        source.follow(&found(&[("office", "10.0.0.1:9090")]));
        seconds(2).await;
        let reading = source.reader().reading();
        let (demand, silent) = reading.demand("office", "m", clock.now());
        assert_eq!(demand.last().map(|seen| seen.value.queued), held);
        assert!(silent.is_empty(), "{silent:?}");
        assert_eq!(reading.source("office", "m").is_some(), held.is_some());
        if let Signal::Missing { why, .. } = demand {
            assert!(
                why.contains("401") && why.contains("--picker-token-in-the-clear"),
                "{why}"
            );
        }
    }
}

#[tokio::test]
async fn what_cannot_be_used_is_named_with_the_remedy() {
    let secret = || PickerToken {
        token: Some("s3cret".to_owned()),
        ..PickerToken::default()
    };
    let none = PickerToken::default;
    for (pickers, token, says) in [
        (&["http://epp:9090"][..], none(), "write NAMESPACE=URL"),
        (&["Shop=http://epp:9090"], none(), "small letters"),
        (&["shop=epp:9090"], none(), "begins with http"),
        (&["shop=http://me:s3cret@epp"], none(), "a token says who asks"),
        (&["shop=http://epp", "shop=http://epp/metrics"], none(), "twice"),
        (&["shop=http://epp:9090"], secret(), "--picker-token-in-the-clear"),
        (
            &["shop=http://127.0.0.1:9090"],
            PickerToken {
                token: Some("s3cret\n".to_owned()),
                ..none()
            },
            "no header may have",
        ),
        (
            &["shop=https://epp"],
            PickerToken {
                authority: Some("/nowhere.pem".into()),
                ..none()
            },
            "--picker-ca-cert /nowhere.pem",
        ),
    ] {
        let error = refused(pickers, token);
        assert!(error.contains(says), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
    for good in [
        "shop=https://epp:9090",
        "shop=http://[::1]:9090",
        "shop=http://127.0.0.1/metrics",
    ] {
        let pickers = Pickers {
            all: vec![good.parse().unwrap()],
            token: secret(),
            transport: Served::default().transport(),
            find: false,
        };
        let stop = CancellationToken::new();
        let source = PickerSource::start(pickers, Clock::start(), &Arc::default(), &stop);
        assert!(source.is_ok(), "{good}: {source:?}");
    }
}
