//! Targets, limits, promises and configuration that change under way.

use super::chance::seeds;
use super::world::{NAME, Setup, play};
use serde_json::json;

const SEEDS: u64 = 3;
const TARGET: &str = "TargetResolved";
const METRICS: &str = "MetricsAvailable";
const READY: &str = "OptimizationReady";
const ALWAYS: std::ops::RangeInclusive<u64> = 0..=u64::MAX;

#[test]
fn a_target_deleted_and_made_anew() {
    for seed in seeds("target made anew", SEEDS) {
        let (mut gone, mut back) = (0, 0);
        let history = play(seed, Setup::default(), async |world| {
            world.pass(150.0).await;
            world.remove_deployment().await;
            gone = world.at();
            world.pass(60.0).await;
            world.deploy(2).await;
            back = world.at();
            world.pass(300.0).await;
        });
        history
            .sound()
            .within(ALWAYS, 1..=8)
            .turns(ALWAYS, 8)
            .says(gone + 3..=back, TARGET, &["TargetNotFound"])
            .tells(gone + 3..=back, TARGET, &["Deployment default/llama-l4 does not exist"])
            .says(gone + 3..=back, READY, &["TargetNotFound"])
            .says(back + 3..=u64::MAX, TARGET, &["TargetFound"])
            // What was known of the old Pods is not known of the new ones.
            .says(back + 3..=back + 20, METRICS, &["MetricsMissing"])
            .never_fewer(back..=back + 20)
            .says(back + 60..=u64::MAX, METRICS, &["MetricsFound", "MetricsMissing"]);
        let last = history.moments.last().unwrap();
        assert!((2..=6).contains(&last.wanted.unwrap()), "{history}");
    }
}

#[test]
fn made_anew_within_the_same_second() {
    for seed in seeds("made anew at once", SEEDS) {
        let mut anew = 0;
        let history = play(seed, Setup::default(), async |world| {
            world.pass(150.0).await;
            world.remove_deployment().await;
            world.deploy(5).await;
            anew = world.at();
            world.pass(300.0).await;
        });
        history
            .sound()
            .within(ALWAYS, 1..=8)
            .turns(ALWAYS, 8)
            .says(82..=u64::MAX, TARGET, &["TargetFound", "TargetNotFound"])
            // Nothing is known of five Pods that do not even serve.
            .never_fewer(anew + 1..=anew + 40)
            .says(anew + 60..=u64::MAX, METRICS, &["MetricsFound", "MetricsMissing"]);
    }
}

#[test]
fn limits_that_change_and_contradict() {
    for seed in seeds("limits", SEEDS) {
        let (mut low, mut wrong, mut right) = (0, 0, 0);
        let setup = Setup {
            rate: 12.0,
            ..Setup::default()
        };
        let history = play(seed, setup, async |world| {
            world.pass(150.0).await;
            world.specify(json!({"minReplicas": 1, "maxReplicas": 2})).await;
            low = world.at();
            world.pass(60.0).await;
            world.specify(json!({"minReplicas": 9})).await;
            wrong = world.at();
            world.pass(120.0).await;
            world.specify(json!({"minReplicas": 5, "maxReplicas": 6})).await;
            right = world.at();
            world.load(1.0);
            world.pass(200.0).await;
        });
        history
            .sound()
            .within(0..=low, 1..=8)
            .within(low + 2..=right, 1..=2)
            .within(right + 2..=u64::MAX, 5..=6)
            .says(low + 30..=wrong, READY, &["AtMaximum", "CoversDemand"])
            .says(wrong + 2..=right, READY, &["InvalidConfiguration"])
            .tells(wrong + 2..=right, READY, &["spec.minReplicas is 9"])
            .tells(wrong + 2..=right, READY, &["stays in force"])
            .tells(wrong + 2..=right, READY, &["decided by it"])
            .turns(low..=u64::MAX, 4);
        for moment in history.during(&(right + 2..=u64::MAX)) {
            assert_ne!(moment.says(READY).reason, "InvalidConfiguration", "{history}");
        }
    }
}

#[test]
fn an_slo_nobody_can_reach() {
    for seed in seeds("SLO", SEEDS) {
        let class = "name: Premium\npriority: 1\ndata:\n- model: llama\n  slo-tpot: 5\n  slo-ttft: 4000\n";
        let setup = Setup {
            configmaps: vec![("service-classes-config", json!({ "premium": class }))],
            ..Setup::default()
        };
        let history = play(seed, setup, async |world| {
            world.pass(1200.0).await;
        });
        history.sound().within(ALWAYS, 1..=8).turns(ALWAYS, 12);
        // Nothing runs 5 ms a token, so nothing is climbed for; and it is said.
        history
            .within(400..=u64::MAX, 1..=6)
            .tells(400..=u64::MAX, READY, &["cannot be met"]);
    }
}

#[test]
fn a_configuration_broken_under_way() {
    for seed in seeds("configuration", SEEDS) {
        let name = "wva-saturation-scaling-config";
        let good = json!({"default": "kvCacheThreshold: 0.8\nkvSpareTrigger: 0.1\n"});
        let setup = Setup {
            configmaps: vec![(name, good.clone())],
            ..Setup::default()
        };
        let wrong = [
            ("kvCacheTreshold: 0.5\n", "kvCacheTreshold"),
            ("kvCacheThreshold: 7\n", "kvCacheThreshold"),
            ("kvCacheThreshold: [\n", "key \"default\""),
            ("kvCacheThreshold: 0.3\nkvSpareTrigger: 0.4\n", "kvSpareTrigger"),
            ("- 1\n- 2\n", "key \"default\""),
        ];
        let (text, path) = wrong[(seed % wrong.len() as u64) as usize];
        let (mut broken, mut mended) = (0, 0);
        let spoiled = play(seed, setup, async |world| {
            world.pass(150.0).await;
            world.config_map(name, json!({ "default": text })).await;
            world.load(14.0);
            broken = world.at();
            world.pass(200.0).await;
            world.config_map(name, good.clone()).await;
            mended = world.at();
            world.pass(150.0).await;
        });
        spoiled
            .sound()
            .says(broken + 2..=mended, READY, &["InvalidConfiguration"])
            .tells(broken + 2..=mended, READY, &[name])
            .tells(broken + 2..=mended, READY, &[path])
            .tells(broken + 2..=mended, READY, &["last good content stays in force"]);
        for moment in spoiled.during(&(mended + 2..=u64::MAX)) {
            assert_ne!(moment.says(READY).reason, "InvalidConfiguration", "{spoiled}");
        }
        // What was good stays in force: it goes on scaling by it.
        let most = spoiled
            .during(&(broken..=mended))
            .filter_map(|moment| moment.wanted)
            .max();
        assert!(most >= Some(4), "{NAME}: {spoiled}");
        spoiled.within(ALWAYS, 1..=8).turns(ALWAYS, 8);
    }
}

#[test]
fn wrong_configuration_from_the_first_moment_on() {
    for seed in seeds("configuration at first", 2) {
        let name = "wva-saturation-scaling-config";
        let setup = Setup {
            configmaps: vec![(name, json!({"default": "kvCacheThreshold: much\n"}))],
            ..Setup::default()
        };
        let mut mended = 0;
        let history = play(seed, setup, async |world| {
            world.pass(90.0).await;
            world
                .config_map(name, json!({"default": "kvCacheThreshold: 0.8\n"}))
                .await;
            mended = world.at();
            world.pass(60.0).await;
        });
        history
            .sound()
            .within(ALWAYS, 1..=8)
            .says(82..=mended, READY, &["InvalidConfiguration"])
            .tells(82..=mended, READY, &["kvCacheThreshold"]);
        for moment in history.during(&(mended + 2..=u64::MAX)) {
            assert_ne!(moment.says(READY).reason, "InvalidConfiguration", "{history}");
        }
    }
}

#[test]
fn constant_load_comes_to_rest() {
    for seed in seeds("constant load", 2) {
        let setup = Setup {
            rate: 5.0 + (seed % 5) as f64 * 1.5,
            ..Setup::default()
        };
        let history = play(seed, setup, async |world| {
            world.pass(1800.0).await;
        });
        history
            .sound()
            .within(ALWAYS, 1..=8)
            // No gateway counts arrivals here, replicas do: a smaller number that
            // did not do is not tried again for such a load.
            .turns(ALWAYS, 4)
            .turns(1200..=u64::MAX, 0);
    }
}
