use super::*;
use capacity::Policy;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

fn data(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = entries
        .iter()
        .map(|(key, text)| ((*key).to_owned(), (*text).to_owned()));
    owned.collect()
}

fn book() -> Book {
    let scope = Scope {
        system_namespace: "system".to_owned(),
        names: Names::default(),
        scale_to_zero: None,
    };
    Book::new(scope, Policy::default())
}

const PUBLISHED: &str = "kvCacheThreshold: 0.80\nqueueLengthThreshold: 5\nkvSpareTrigger: 0.1\nqueueSpareTrigger: 3\n";

#[test]
fn the_published_saturation_map_is_read() {
    let read = parse_saturation("s/c", &data(&[("default", PUBLISHED)])).unwrap();
    assert_eq!(read.default, Saturation::default());
    assert_eq!(
        parse_saturation("s/c", &data(&[])).unwrap().default,
        Saturation::default(),
        "no entry is the published values"
    );
}

#[test]
fn a_partial_entry_inherits_from_the_default_entry() {
    let maps = data(&[
        ("default", "kvCacheThreshold: 0.7\nqueueLengthThreshold: 8"),
        ("llama", "model_id: llama\nkvSpareTrigger: 0.2"),
        ("llama-shop", "model_id: llama\nnamespace: shop\nqueueSpareTrigger: 1"),
    ]);
    let read = parse_saturation("s/c", &maps).unwrap();
    let numbers = |namespace, model| {
        let (key, value) = read.of(namespace, model);
        (
            key,
            value.kv_cache_threshold,
            value.queue_length_threshold,
            value.kv_spare_trigger,
            value.queue_spare_trigger,
        )
    };
    assert_eq!(numbers("any", "other"), ("default", 0.7, 8.0, 0.1, 3.0));
    assert_eq!(numbers("any", "llama"), ("llama", 0.7, 8.0, 0.2, 3.0));
    assert_eq!(numbers("shop", "llama"), ("llama-shop", 0.7, 8.0, 0.1, 1.0));
}

#[test]
fn token_thresholds_have_defaults_before_they_are_checked() {
    let read = parse_saturation("s/c", &data(&[("default", "analyzerName: saturation")])).unwrap();
    assert_eq!(read.default.analyzer, Analyzer::Tokens);
    let text = "analyzerName: \"\"\nscaleUpThreshold: 0.9\nscaleDownBoundary: 0.6";
    let named = parse_saturation("s/c", &data(&[("default", text)])).unwrap();
    let policy = named.default.applied_to(&Policy::default());
    let acts = (policy.analyzer, policy.scale_up_threshold, policy.scale_down_boundary);
    assert_eq!(acts, (Analyzer::Percent, 0.9, 0.6));
    assert_eq!(
        parse_saturation("s/c", &data(&[])).unwrap().default.analyzer,
        Analyzer::Both
    );
    assert_eq!(
        (read.default.scale_up_threshold, read.default.scale_down_boundary),
        (0.85, 0.70)
    );
}

#[test]
fn what_cannot_be_used_names_configmap_key_field_and_remedy() {
    let cases = [
        (
            "default",
            "kvCacheThreshold: 1.5",
            "field kvCacheThreshold: is 1.5: it must be above 0, at most 1",
        ),
        (
            "default",
            "kvCacheThreshold: high",
            "field kvCacheThreshold: is `high`: it must be a number",
        ),
        (
            "default",
            "kvCacheThreshold: .nan",
            "cannot be read: line 1 column 19: non-finite",
        ),
        ("default", "kvCacheThreshold:", "field kvCacheThreshold: has no value"),
        (
            "default",
            "kvSpareTrigger: 0.9",
            "field kvSpareTrigger: is 0.9: it must be at least 0 and below",
        ),
        ("default", "queueLengthThreshold: -1", "field queueLengthThreshold"),
        (
            "default",
            "scaleUpThreshold: 0.5",
            "field scaleUpThreshold: is 0.5: it must be above scaleDownBoundary",
        ),
        (
            "default",
            "scaleDownBoundary: 0",
            "field scaleDownBoundary: is 0: it must be above 0",
        ),
        (
            "default",
            "enableLimiter: perhaps",
            "field enableLimiter: is `perhaps`: it must be true or false",
        ),
        ("default", "analyzerName: oracle", "field analyzerName: is `oracle`"),
        (
            "default",
            "kvCacheTreshold: 0.8",
            "field kvCacheTreshold: is not known: take it out, or write one of",
        ),
        ("default", "model_id: llama", "field model_id: makes no sense here"),
        ("default", "- 1", "is a list, not a mapping"),
        ("llama", "kvCacheThreshold: 0.7", "field model_id: is missing"),
        ("llama", "model_id: ''", "field model_id: is empty"),
    ];
    for (key, text, expected) in cases {
        let error = parse_saturation("shop/c", &data(&[(key, text)]))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(&format!("ConfigMap shop/c, key \"{key}\"")) && error.contains(expected),
            "{text}: {error}"
        );
    }
}

#[test]
fn scale_to_zero_is_open_where_nobody_says_it() {
    let maps = data(&[
        ("default", "retention_period: 15m"),
        ("a", "model_id: llama\nenable_scale_to_zero: true"),
        (
            "b",
            "model_id: qwen\nenable_scale_to_zero: false\nretention_period: 1h30m",
        ),
        ("c", "model_id: qwen\nenable_scale_to_zero: true"),
    ]);
    let read = parse_zero("s/c", &maps).unwrap();
    let minutes = |count: u64| Some(Duration::from_secs(count * 60));
    for (model, enabled, retention) in [
        ("other", None, minutes(15)),
        ("llama", Some(true), minutes(15)),
        ("qwen", Some(false), minutes(90)),
    ] {
        assert_eq!(*read.of("n", model).1, Zero { enabled, retention }, "{model}");
    }
    assert_eq!(
        read.shadowed(),
        [("c", "b")],
        "the first of two keys for one model counts"
    );
    for (text, field) in [
        ("retention_period: 0s", "retention_period"),
        ("retention_period: soon", "retention_period"),
        ("enable_scale_to_zero: 3", "enable_scale_to_zero"),
        ("retention: 5m", "retention: is not known"),
    ] {
        let error = parse_zero("s/c", &data(&[("default", text)])).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
}

#[test]
fn costs_are_found_by_accelerator_and_by_device() {
    let maps = data(&[
        ("A100", r#"{"device": "NVIDIA-A100-PCIE-80GB", "cost": "40.00"}"#),
        ("G2", r#"{"device": "Intel-Gaudi-2-96GB", "cost": 23}"#),
    ]);
    let costs = parse_costs("s/c", &maps).unwrap();
    for (accelerator, cost) in [
        ("A100", Some(40.0)),
        ("NVIDIA-A100-PCIE-80GB", Some(40.0)),
        ("Gaudi-2", Some(23.0)),
        ("H100", None),
    ] {
        assert_eq!(costs.of(accelerator), cost, "{accelerator}");
    }
    for text in [r#"{"cost": "-1"}"#, r#"{"device": "x"}"#, r#"{"cost": 1, "price": 2}"#] {
        assert!(parse_costs("s/c", &data(&[("A100", text)])).is_err(), "{text}");
    }
}

#[test]
fn a_model_in_two_classes_belongs_to_the_one_that_matters_more() {
    let class = |name: &str, priority: i32, ttft: i32| {
        format!("name: {name}\npriority: {priority}\ndata:\n- model: m\n  slo-tpot: 24\n  slo-ttft: {ttft}\n")
    };
    for (first, second, chosen) in [
        (("Freemium", 10), ("Premium", 1), "Premium"),
        (("Premium", 1), ("Freemium", 10), "Premium"),
        (("b", 1), ("a", 1), "a"),
    ] {
        let maps = data(&[
            ("1", &class(first.0, first.1, 500)),
            ("2", &class(second.0, second.1, 500)),
        ]);
        let classes = parse_classes("s/c", &maps).unwrap();
        let level = classes.of("m").unwrap();
        assert_eq!(
            (level.class.as_str(), level.tpot_ms, level.ttft_ms),
            (chosen, Some(24.0), Some(500.0))
        );
    }
    let error = parse_classes("s/c", &data(&[("1", &class("P", 1, -5))]))
        .unwrap_err()
        .to_string();
    assert!(error.contains("field data[0].slo-ttft: is -5"), "{error}");
    let at = |percentile: &str| {
        let text = format!("{}  slo-percentile: {percentile}\n", class("P", 1, 500));
        parse_classes("s/c", &data(&[("1", &text)]))
    };
    assert_eq!(at("99").unwrap().of("m").unwrap().percentile, Some(0.99));
    let error = at("0.99").unwrap_err().to_string();
    assert!(
        error.contains("field data[0].slo-percentile: is 0.99: it must be from 50 to 99.9"),
        "{error}"
    );
    let error = parse_classes(
        "s/c",
        &data(&[("1", "name: p\npriority: 1\ndata:\n- model: m\n  slo-itl: 3")]),
    );
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("field data[0].slo-itl: is not known")
    );
}

#[test]
fn the_last_good_content_stays_in_force_and_the_error_is_told_once() {
    let mut book = book();
    let good = data(&[("default", "kvCacheThreshold: 0.6")]);
    book.learn(Kind::Saturation, "system", "1", &good).unwrap();
    let bad = data(&[("default", "kvCacheThreshold: 6")]);
    assert!(book.learn(Kind::Saturation, "system", "2", &bad).is_err());
    assert!(
        book.learn(Kind::Saturation, "system", "2", &bad).is_ok(),
        "told already"
    );
    let config = book.of_model("shop", "llama");
    assert_eq!(config.policy.kv_cache_threshold, 0.6);
    assert!(
        config.problems[0].contains("is 6") && config.problems[0].ends_with("its last good content stays in force")
    );
    assert!(!book.records(|_| false)[0].valid);

    book.learn(Kind::Saturation, "system", "3", &good).unwrap();
    assert!(book.of_model("shop", "llama").problems.is_empty() && book.records(|_| false)[0].valid);

    let mut fresh = self::book();
    fresh.learn(Kind::Saturation, "system", "1", &bad).unwrap_err();
    let config = fresh.of_model("shop", "llama");
    assert_eq!(config.policy, Policy::default());
    assert!(config.problems[0].ends_with("the defaults are in force instead"));
}

#[test]
fn a_namespaces_own_map_replaces_the_systems_and_only_its_own_kind() {
    let mut book = book();
    let thresholds = |kv: &str| data(&[("default", kv)]);
    book.learn(Kind::Saturation, "system", "1", &thresholds("kvCacheThreshold: 0.6"))
        .unwrap();
    book.learn(Kind::Saturation, "shop", "1", &thresholds("queueLengthThreshold: 9"))
        .unwrap();
    book.learn(Kind::Zero, "shop", "1", &data(&[("default", "retention_period: 5m")]))
        .unwrap();
    let numbers = |book: &mut Book, namespace: &str| {
        let config = book.of_model(namespace, "m");
        (
            config.policy.kv_cache_threshold,
            config.policy.queue_length_threshold,
            config.zero.retention,
        )
    };
    let minutes = Some(Duration::from_secs(300));
    assert_eq!(numbers(&mut book, "shop"), (0.8, 9.0, minutes), "wholesale");
    assert_eq!(numbers(&mut book, "else"), (0.6, 5.0, None));
    assert_eq!(book.of_model("shop", "m").policy.zero_after, Duration::from_secs(300));

    // Its saturation map is deleted; the other stays.
    let left: BTreeSet<_> = [(Kind::Saturation, "system".to_owned()), (Kind::Zero, "shop".to_owned())].into();
    book.keep_only(&left);
    assert_eq!(numbers(&mut book, "shop"), (0.6, 5.0, minutes));

    book.learn(Kind::Saturation, "shop", "2", &data(&[])).unwrap();
    assert_eq!(numbers(&mut book, "shop").0, 0.6, "an empty one hides nothing");
    book.learn(Kind::Saturation, "shop", "3", &thresholds("kvCacheThreshold: 7"))
        .unwrap_err();
    assert_eq!(numbers(&mut book, "shop").0, 0.6, "nor does one that was never good");
}

#[test]
fn the_environment_speaks_where_no_map_does() {
    let scope = Scope {
        system_namespace: "system".to_owned(),
        names: Names::default(),
        scale_to_zero: Some(true),
    };
    let mut book = Book::new(scope, Policy::default());
    assert_eq!(book.of_model("n", "m").zero.enabled, Some(true));
    book.learn(
        Kind::Zero,
        "system",
        "1",
        &data(&[("default", "enable_scale_to_zero: false")]),
    )
    .unwrap();
    assert_eq!(book.of_model("n", "m").zero.enabled, Some(false));
}

proptest::proptest! {
    /// Whatever somebody writes: a refusal with its place, or a policy that makes sense.
    #[test]
    fn any_text_is_refused_or_makes_sense(text in "[a-zA-Z_ :.\\-\\[\\]{}\"'0-9\n]{0,80}", number in proptest::num::f64::ANY) {
        let numbered = format!("kvCacheThreshold: {number:?}\nqueueLengthThreshold: {number:e}\n{text}");
        for text in [&text, &numbered] {
            let data = data(&[("default", text), ("m", &format!("model_id: m\n{text}"))]);
            match parse_saturation("n/c", &data) {
                Ok(read) => {
                    let policy = read.of("n", "m").1.applied_to(&Policy::default());
                    proptest::prop_assert_eq!(policy.validate(), Ok(()));
                }
                Err(error) => proptest::prop_assert!(error.to_string().starts_with("ConfigMap n/c, key ")),
            }
            let _ = parse_zero("n/c", &data);
            let _ = parse_costs("n/c", &data);
            let _ = parse_classes("n/c", &data);
            let _ = duration(text);
        }
    }
}
