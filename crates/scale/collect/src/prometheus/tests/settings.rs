//! What each setting of the source does.

use super::world::{A, B, Scene, Server, seconds};
use super::{endpoints, key, signals_of};
use crate::{Found, MetricsSource, TrackedModel, TrackedModels, by_model};
use std::fmt::Write;
use std::time::Duration;
use tokio::time::sleep;
use units::Signal;

#[tokio::test(start_paused = true)]
async fn an_answer_is_used_no_longer_than_its_time_to_live() {
    for ttl in [10, 40] {
        let scene = Scene::new(Server::of(&[A]), &["a"], |config| {
            config.cache_ttl = seconds(ttl);
            config.fetch_interval = Duration::ZERO;
            config.fresh = seconds(100);
        });
        sleep(seconds(20)).await;
        assert_eq!(scene.asked(), 0, "nobody asks in the background");
        scene.source.refresh().await;
        sleep(seconds(ttl)).await;
        scene.source.refresh().await;
        assert_eq!(
            (scene.found(), scene.asked()),
            (Found::MetricsFound, 1),
            "kept for {ttl} s"
        );
        sleep(seconds(1)).await;
        let says = scene.says();
        assert_eq!(
            says,
            format!(
                "MetricsStale: Prometheus' last answer is {} s old, and none is used for longer than {ttl}s: raise \
                 PROMETHEUS_METRICS_CACHE_TTL if it may be older",
                ttl + 1
            )
        );
        assert_eq!(scene.age("n/a"), None, "and what it said is not handed out");
        scene.source.refresh().await;
        assert_eq!((scene.found(), scene.asked()), (Found::MetricsFound, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_cache_every_pass_asks_and_waits_no_longer_than_its_deadline() {
    let scene = Scene::new(Server::of(&[A]), &["a"], |config| {
        config.cache_enabled = false;
        config.deadline = seconds(3);
    });
    sleep(seconds(30)).await;
    assert_eq!(scene.asked(), 0);
    assert_eq!(scene.says(), "MetricsMissing: Prometheus has not been asked yet");
    for pass in 1..=3 {
        scene.source.refresh().await;
        assert_eq!((scene.found(), scene.asked()), (Found::MetricsFound, pass));
        assert!(scene.kv("n/a").last().is_some());
    }
    assert_eq!(scene.source.health().cache, None);
    scene.server.lock().hangs = true;
    let before = scene.clock.now();
    scene.source.refresh().await;
    assert!(scene.clock.now().since(before) <= seconds(3) + Duration::from_millis(10));
    assert_eq!(scene.found(), Found::PrometheusError);
    assert_eq!(scene.kv("n/a").last(), None, "what it said before is of another pass");
    scene.server.lock().hangs = false;
    scene.source.refresh().await;
    assert_eq!(scene.found(), Found::MetricsFound);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_is_not_asked_by_every_pass() {
    let scene = Scene::new(Server::of(&[A]), &["a"], |config| {
        config.fetch_interval = Duration::ZERO;
    });
    scene.server.lock().fails = Some((500, ""));
    for _ in 0..120 {
        scene.source.refresh().await;
        sleep(Duration::from_millis(500)).await;
    }
    let asked = scene.asked();
    assert!((5..=15).contains(&asked), "{asked} questions within a minute");
    assert_eq!(scene.found(), Found::PrometheusError);
    scene.server.lock().fails = None;
    sleep(seconds(15)).await;
    scene.source.refresh().await;
    assert_eq!(scene.found(), Found::MetricsFound);
}

#[tokio::test(start_paused = true)]
async fn many_models_are_asked_for_within_one_deadline() {
    let scene = Scene::new(Server::of(&[A]), &["a"], |config| {
        config.cache_enabled = false;
        config.deadline = seconds(3);
    });
    let mut many = endpoints(&["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"]);
    for (number, endpoint) in many.iter_mut().enumerate() {
        endpoint.model = Some(format!("m{number}"));
    }
    scene.source.track(&by_model(many));
    scene.server.lock().hangs = true;
    let before = scene.clock.now();
    scene.source.refresh().await;
    assert!(scene.clock.now().since(before) <= seconds(3) + Duration::from_millis(10));
    for number in 0..12 {
        let model = TrackedModel {
            model: format!("m{number}"),
            ..key()
        };
        assert_eq!(
            scene.source.availability(&model).found,
            Found::PrometheusError,
            "m{number}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_fetch_interval_is_the_longest_pause_and_a_scrape_the_usual_one() {
    // Scraped and fetched so often; questions within 10 minutes.
    for (scrape, fetch, expected) in [
        (5, 15, 115..=125),
        (60, 15, 38..=80),
        (60, 5, 115..=135),
        (5, 60, 115..=125),
    ] {
        let server = Server {
            scrape_every: scrape,
            ..Server::of(&[A])
        };
        let scene = Scene::new(server, &["a"], |config| config.fetch_interval = seconds(fetch));
        sleep(seconds(600)).await;
        let asked = scene.asked();
        assert!(
            expected.contains(&asked),
            "scraped every {scrape} s, fetched every {fetch} s: {asked}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_of_the_load_is_seen_within_a_scrape_and_a_second() {
    let mut server = Server::of(&[A]);
    server.targets[0].series[0].1 = |second| if second > 200.0 { 9.0 } else { 3.0 };
    let scene = Scene::new(server, &["a"], |_| ());
    sleep(seconds(200)).await;
    let running = || {
        signals_of(&scene.source, "n/a")
            .unwrap()
            .running
            .last()
            .map(|seen| seen.value)
    };
    assert_eq!(running(), Some(3.0));
    sleep(seconds(6)).await;
    assert_eq!(running(), Some(9.0));
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_cleaned_up_in_time() {
    for cleanup in [20, 200] {
        let scene = Scene::new(Server::of(&[A]), &["a"], |config| {
            config.fetch_interval = Duration::ZERO;
            config.cleanup_interval = seconds(cleanup);
        });
        scene.source.refresh().await;
        assert_eq!(scene.cache().entries, 1);
        sleep(seconds(45)).await;
        let left = u64::from(cleanup > 45);
        assert_eq!(
            (scene.cache().entries, scene.cache().expired),
            (left, 1 - left),
            "every {cleanup} s"
        );
        assert!(scene.says().starts_with("MetricsStale"), "either way: {}", scene.says());
        sleep(seconds(200)).await;
        assert_eq!(scene.cache().entries, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn each_threshold_acts_at_its_age() {
    let server = Server {
        scraped_until: 100,
        ..Server::of(&[A])
    };
    let scene = Scene::new(server, &["a"], |config| {
        config.window = seconds(60);
        config.fresh = seconds(20);
        config.stale = seconds(35);
        config.unavailable = seconds(50);
    });
    // At this age, what is said and whether the value is handed out.
    let mut now = 0;
    for (age, found, told) in [
        (10, Found::MetricsFound, true),
        (25, Found::MetricsStale, true),
        (40, Found::MetricsStale, false),
        (55, Found::MetricsMissing, false),
    ] {
        sleep(seconds(100 + age - now)).await;
        now = 100 + age;
        assert_eq!(
            (scene.found(), scene.age("n/a")),
            (found, told.then_some(age)),
            "{age} s old"
        );
    }
    assert!(matches!(scene.kv("n/a"), Signal::Missing { why, .. } if why.contains("STALE_THRESHOLD")));
    scene.server.lock().scraped_until = u64::MAX;
    sleep(seconds(60)).await;
    assert_eq!(scene.found(), Found::MetricsFound, "and back, without a restart");
}

#[tokio::test(start_paused = true)]
async fn what_goes_takes_its_answers_with_it() {
    let scene = Scene::new(Server::of(&[A, B]), &["a", "b"], |_| ());
    sleep(seconds(30)).await;
    assert!(scene.age("n/a").is_some() && scene.cache().entries == 1);
    // The same name at another address is another Pod.
    let mut moved = endpoints(&["a", "b"]);
    moved[0].address = "10.9.9.9".to_owned();
    scene.source.track(&by_model(moved));
    assert!(scene.age("n/a").is_none() && scene.age("n/b").is_some());
    let mut other = endpoints(&["b"]);
    other[0].model = Some("other".to_owned());
    scene.source.track(&by_model(other));
    assert_eq!(scene.cache().entries, 0, "its model is gone");
    sleep(seconds(10)).await;
    assert_eq!(scene.cache().entries, 1);
    scene.source.track(&TrackedModels::new());
    assert_eq!(
        (scene.cache().entries, scene.cache().evicted),
        (0, 0),
        "its namespace is gone"
    );
    let asked = scene.asked();
    sleep(seconds(60)).await;
    assert_eq!(scene.asked(), asked, "and nobody asks for it");
}

#[tokio::test(start_paused = true)]
async fn more_models_than_the_cache_holds_drive_each_other_out() {
    let scene = Scene::new(Server::of(&[A, B]), &["a"], |config| config.cache_entries = 2);
    let mut many = endpoints(&["a", "b", "c"]);
    for (number, endpoint) in many.iter_mut().enumerate() {
        endpoint.model = Some(format!("m{number}"));
    }
    scene.source.track(&by_model(many));
    sleep(seconds(60)).await;
    assert!(
        scene.cache().entries == 2 && scene.cache().evicted > 0,
        "{:?}",
        scene.cache()
    );
    let mut said = String::new();
    for number in 0..3 {
        let model = TrackedModel {
            model: format!("m{number}"),
            ..key()
        };
        let _ = writeln!(said, "{}", scene.source.availability(&model).message);
    }
    assert!(said.contains("driven out of the cache, which holds 2 models"), "{said}");
}
