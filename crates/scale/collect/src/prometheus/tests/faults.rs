//! Servers and replicas that fail, lie or are apart.

use super::world::{A, B, START, Scene, Server, seconds};
use super::{key, signals_of};
use crate::{Found, MetricsSource};
use std::time::Duration;
use tokio::time::sleep;
use units::Signal;

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_is_told_at_once_while_its_last_answer_still_counts() {
    let scene = Scene::new(Server::of(&[A]), &["a"], |_| ());
    sleep(seconds(60)).await;
    scene.server.lock().fails = Some((503, "{\"status\":\"error\",\"error\":\"TSDB not ready\"}"));
    sleep(seconds(10)).await;
    let says = scene.says();
    assert!(says.starts_with("PrometheusError: "), "{says}");
    for part in ["503", "TSDB not ready", "look at its log", "last answer is"] {
        assert!(says.contains(part), "{part}: {says}");
    }
    assert!(scene.age("n/a").is_some(), "the last answer counts, with its age");
    sleep(seconds(35)).await;
    assert_eq!(scene.age("n/a"), None, "until it is too old");
    assert_eq!(
        (scene.found(), scene.source.health().up),
        (Found::PrometheusError, Some(false))
    );
    scene.server.lock().fails = None;
    sleep(seconds(16)).await;
    assert_eq!(
        (scene.found(), scene.source.health().up),
        (Found::MetricsFound, Some(true))
    );
}

#[tokio::test(start_paused = true)]
async fn every_refusal_has_its_remedy() {
    for (status, body, says) in [
        (301, "", "set PROMETHEUS_BASE_URL to where it really is"),
        (
            400,
            "{\"status\":\"error\",\"error\":\"parse error\"}",
            "400 Bad Request: parse error",
        ),
        (401, "", "PROMETHEUS_TOKEN_PATH"),
        (403, "", "PROMETHEUS_TOKEN_PATH"),
        (404, "page not found", "with its whole path?"),
        (
            422,
            "{\"status\":\"error\",\"error\":\"too many samples\"}",
            "too many samples",
        ),
        (
            500,
            "{\"error\":\"out of order\"}",
            "500 Internal Server Error: out of order",
        ),
        (502, "<html>", "502 Bad Gateway"),
        (503, "", "overloaded or starting"),
        (200, "{\"status\":\"error\",\"error\":\"execution\"}", "execution"),
        (200, "[]", "does not answer as Prometheus does"),
    ] {
        let server = Server {
            fails: Some((status, body)),
            ..Server::of(&[A])
        };
        let scene = Scene::new(server, &["a"], |_| ());
        sleep(seconds(1)).await;
        assert_eq!(scene.found(), Found::PrometheusError, "{status}");
        assert!(scene.says().contains(says), "{status}: {}", scene.says());
        assert_eq!(scene.kv("n/a").last(), None, "missing is not 0");
    }
}

#[tokio::test(start_paused = true)]
async fn ages_are_true_and_hold_still_wherever_the_servers_clock_is() {
    for ahead in [-30, -2, 0, 2, 30] {
        let server = Server {
            ahead,
            ..Server::of(&[A])
        };
        let scene = Scene::new(server, &["a"], |_| ());
        sleep(seconds(30)).await;
        let mut estimates = Vec::new();
        for second in 0..300_u64 {
            sleep(Duration::from_millis(997)).await;
            assert_eq!(scene.found(), Found::MetricsFound, "{ahead} s ahead, {second}");
            let signals = signals_of(&scene.source, "n/a").unwrap();
            let age = scene.clock.now().since(signals.kv.last().unwrap().at);
            assert!(age <= seconds(8), "{ahead} s ahead: {age:?} old");
            let rate = signals.token_rate.last().unwrap().value;
            assert!((rate - 100.0).abs() < 0.1, "{ahead} s ahead: {rate}");
            estimates.push(scene.source.health().clock_ahead_ms.unwrap());
        }
        estimates.dedup();
        assert!(estimates.len() <= 3, "{ahead} s ahead: {estimates:?}");
        let off = (estimates.last().unwrap() - ahead * 1000).abs();
        assert!(off <= 1_000, "{ahead} s ahead: {off} ms off");
    }
}

#[tokio::test(start_paused = true)]
async fn half_the_replicas_silent_is_no_half_of_the_arrivals() {
    let scene = Scene::new(Server::of(&[A, B]), &["a", "b", "c", "d"], |_| ());
    sleep(seconds(60)).await;
    assert_eq!(
        scene.says(),
        "MetricsFound: Prometheus has samples of 2 replicas and none of n/c, n/d"
    );
    let model = scene.source.model_metrics(&key());
    let arrivals = model.arrival_rate.last().unwrap().value;
    assert!((arrivals - 8.0).abs() < 1e-6, "{arrivals}");
    assert_eq!(model.silent, ["n/c", "n/d"]);
    assert!(matches!(scene.kv("n/c"), Signal::Missing { why, .. } if why.contains("is it scraped?")));
}

#[tokio::test(start_paused = true)]
async fn arrivals_outlive_a_restart_and_count_what_piles_up() {
    let mut server = Server::of(&[A, B]);
    // It restarts after 130 s, and ends 2 a second all the while.
    server.targets[0].series[4].1 = |second| {
        if second < 130.0 {
            2.0 * second
        } else {
            2.0 * (second - 130.0)
        }
    };
    // Five a second arrive, and two end.
    server.targets[1].series[1].1 = |second| 3.0 * second;
    let scene = Scene::new(server, &["a", "b"], |_| ());
    for at in [120, 135, 140, 300] {
        sleep(seconds(at) - scene.clock.wall().saturating_sub(seconds(START))).await;
        let of = |pod| {
            signals_of(&scene.source, pod)
                .unwrap()
                .arrival_rate
                .last()
                .unwrap()
                .value
        };
        assert!((of("n/b") - 5.0).abs() < 1e-6, "{at} s: {}", of("n/b"));
        // What was inside at the restart came anew, or not at all.
        assert!((1.7..=2.3).contains(&of("n/a")), "{at} s: {}", of("n/a"));
        let model = scene.source.model_metrics(&key());
        assert!(
            (6.7..=7.3).contains(&model.arrival_rate.last().unwrap().value),
            "{model:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn renamed_labels_are_found_and_then_asked_for_so() {
    let cases: [(&str, &str, &'static str); 3] = [
        (
            "the namespace's label is another",
            "namespace=",
            "\"model_name\":\"m\",\"kubernetes_namespace\":\"n\",\"pod_name\":\"a\"",
        ),
        (
            "the model is called otherwise",
            "model_name=",
            "\"served\":\"m\",\"namespace\":\"n\",\"pod\":\"a\"",
        ),
        (
            "only the address tells the Pod",
            "pod=",
            "\"model_name\":\"m\",\"namespace\":\"monitoring\",\"instance\":\"10.0.0.1:8000\"",
        ),
    ];
    for (name, blind_to, labels) in cases {
        let server = Server {
            blind_to: Some(blind_to),
            ..Server::of(&[labels])
        };
        let scene = Scene::new(server, &["a"], |_| ());
        sleep(seconds(20)).await;
        assert_eq!(scene.found(), Found::MetricsFound, "{name}: {}", scene.says());
        scene.questions.lock().clear();
        sleep(seconds(10)).await;
        let vain = scene
            .questions
            .lock()
            .iter()
            .filter(|question| question.contains(blind_to))
            .count();
        assert!(vain <= 4, "{name}: {vain} questions in vain");
    }
}

#[tokio::test(start_paused = true)]
async fn the_ports_of_a_pod_are_added_up() {
    let second = "\"model_name\":\"m\",\"namespace\":\"n\",\"pod\":\"a\",\"job\":\"j\",\"instance\":\"10.0.0.1:8001\"";
    let mut server = Server::of(&[A, second]);
    server.targets[1].series[0].1 = |_| 7.0;
    server.targets[1].series[2].1 = |_| 0.9;
    let scene = Scene::new(server, &["a"], |_| ());
    sleep(seconds(60)).await;
    let signals = signals_of(&scene.source, "n/a").unwrap();
    let value = |signal: &Signal<f64>| signal.last().map(|seen| (seen.value * 1e6).round() / 1e6);
    assert_eq!((value(&signals.running), value(&signals.kv)), (Some(10.0), Some(0.9)));
    assert_eq!(
        (value(&signals.token_rate), value(&signals.arrival_rate)),
        (Some(200.0), Some(4.0))
    );
}

#[tokio::test(start_paused = true)]
async fn absurd_numbers_are_missing_and_harm_nothing_else() {
    for absurd in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
        let mut server = Server::of(&[A, B]);
        server.targets[0].series[2].1 = match absurd {
            value if value.is_nan() => |_| f64::NAN,
            value if value.is_infinite() => |_| f64::INFINITY,
            value if value < 0.0 => |_| -1.0,
            _ => |_| 1e300,
        };
        let scene = Scene::new(server, &["a", "b"], |_| ());
        sleep(seconds(30)).await;
        assert!(matches!(scene.kv("n/a"), Signal::Missing { why, .. } if why.contains("kv_cache_usage_perc is")));
        assert!(scene.kv("n/b").last().is_some(), "{absurd}");
        assert_eq!(scene.found(), Found::MetricsFound);
    }
}
