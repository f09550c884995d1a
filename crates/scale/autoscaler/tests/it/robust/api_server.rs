//! An API server that refuses, contradicts and breaks off.

use super::chance::seeds;
use super::line::Way;
use super::world::{Setup, play};

const SEEDS: u64 = 3;
const TARGET: &str = "TargetResolved";
const METRICS: &str = "MetricsAvailable";
const READY: &str = "OptimizationReady";
const ALWAYS: std::ops::RangeInclusive<u64> = 0..=u64::MAX;

/// What one maximum holds back, a higher one lets be seen: a load that five
/// serve, and the backlog of the minutes in which new ones are not seen.
const MOST: i64 = 20;

fn high() -> Setup {
    Setup {
        bounds: (1, 30),
        ..Setup::default()
    }
}

#[test]
fn it_fails_for_a_while() {
    for seed in seeds("API server fails", SEEDS) {
        let way = [Way::Failing, Way::Frozen, Way::Flaky][(seed % 3) as usize];
        let (mut begin, mut end) = (0, 0);
        let history = play(seed, Setup::default(), async |world| {
            world.pass(120.0).await;
            begin = world.at();
            world.scalers[0].line.set(way);
            world.scalers[0].line.cut_watches();
            world.load(14.0);
            world.pass(90.0).await;
            end = world.at();
            world.scalers[0].line.set(Way::Fine);
            world.pass(240.0).await;
        });
        history
            .sound()
            .within(ALWAYS, 1..=8)
            .turns(ALWAYS, 8)
            .says(end + 45..=u64::MAX, TARGET, &["TargetFound"])
            .says(end + 45..=u64::MAX, METRICS, &["MetricsFound", "MetricsMissing"]);
        // Through one that answers now and then, Pods are seen well enough.
        if !matches!(way, Way::Flaky) {
            history.never_fewer(begin + 2..=end);
        }
        let last = history.moments.last().unwrap();
        assert!((3..=8).contains(&last.wanted.unwrap()), "{way:?}: {history}");
        assert_eq!(last.desired, last.wanted, "{way:?}: {history}");
    }
}

#[test]
fn what_cannot_be_set_is_said() {
    for seed in seeds("scaling refused", SEEDS) {
        let (mut begin, mut end) = (0, 0);
        let history = play(seed, Setup::default(), async |world| {
            world.pass(120.0).await;
            begin = world.at();
            world.scalers[0].line.set(Way::Conflicting);
            world.load(16.0);
            world.pass(90.0).await;
            end = world.at();
            world.scalers[0].line.set(Way::Fine);
            world.pass(180.0).await;
        });
        history
            .sound()
            .within(ALWAYS, 1..=8)
            .steady(begin + 1..=end)
            .says(begin + 45..=end, READY, &["ScaleFailed"])
            .tells(begin + 45..=end, READY, &["changed by somebody else"]);
        let last = history.moments.last().unwrap();
        assert!((4..=8).contains(&last.wanted.unwrap()), "{history}");
        for moment in history.during(&(end + 5..=u64::MAX)) {
            assert_ne!(moment.says(READY).reason, "ScaleFailed", "{history}");
        }
    }
}

#[test]
fn watches_that_break_all_the_time_lose_nothing() {
    for seed in seeds("watches break", SEEDS) {
        let history = play(seed, high(), async |world| {
            for _ in 0..40 {
                let pause = 2.0 + world.chance.lock().share() * 20.0;
                world.pass(pause).await;
                world.scalers[0].line.cut_watches();
            }
            world.load(14.0);
            world.pass(180.0).await;
        });
        history
            .sound()
            .within(ALWAYS, 1..=MOST)
            .turns(ALWAYS, 10)
            .says(82..=u64::MAX, TARGET, &["TargetFound"])
            .says(82..=u64::MAX, METRICS, &["MetricsFound", "MetricsMissing"]);
        let last = history.moments.last().unwrap();
        assert!((3..=MOST).contains(&last.wanted.unwrap()), "{history}");
    }
}

#[test]
fn pods_that_may_not_be_watched_any_more() {
    for seed in seeds("no right to Pods", SEEDS) {
        let (mut begin, mut end) = (0, 0);
        let history = play(seed, high(), async |world| {
            world.pass(120.0).await;
            begin = world.at();
            world.scalers[0].line.set(Way::NoPods);
            world.scalers[0].line.cut_watches();
            world.load(14.0);
            world.pass(150.0).await;
            end = world.at();
            world.scalers[0].line.set(Way::Fine);
            world.pass(180.0).await;
        });
        history
            .sound()
            .within(ALWAYS, 1..=MOST)
            .turns(ALWAYS, 10)
            .never_fewer(begin + 2..=end)
            .says(begin + 25..=end, METRICS, &["MetricsStale"])
            .tells(begin + 25..=end, METRICS, &["pods is forbidden"])
            .says(end + 10..=u64::MAX, METRICS, &["MetricsFound", "MetricsMissing"]);
        let last = history.moments.last().unwrap();
        assert!((3..=MOST).contains(&last.wanted.unwrap()), "{history}");
    }
}
