//! Prometheus down, slow or lying, its clock apart, and Pods that are silent.

use super::chance::seeds;
use super::history::{History, Span};
use super::prometheus::Fault;
use super::world::{Eyes, Setup, World, play};

/// Seeds of each scenario that are always the same.
const SEEDS: u64 = 2;
const METRICS: &str = "MetricsAvailable";
const READY: &str = "OptimizationReady";
/// A signal of Prometheus may be acted on for so many seconds.
const FRESH: u64 = 30;

/// What a world went through, and when something was wrong.
struct Through {
    history: History,
    wrong: Span,
}

/// Load that is there, then `spoil` for five minutes in which it changes, then
/// all is well again.
fn through(seed: u64, setup: Setup, spoil: &impl AsyncFn(&World, bool)) -> Through {
    let (mut begin, mut end) = (0, 0);
    let history = play(seed, setup, async |world| {
        world.pass(100.0).await;
        begin = world.at();
        spoil(world, true).await;
        world.pass(100.0).await;
        // A drop nobody can see, and then more than there was.
        world.load(2.0);
        world.pass(120.0).await;
        world.load(9.0);
        world.pass(80.0).await;
        end = world.at();
        spoil(world, false).await;
        world.pass(200.0).await;
    });
    Through {
        history,
        wrong: begin..=end,
    }
}

impl Through {
    /// What must hold whatever was wrong: bounds, few turns, sound conditions,
    /// and an end in which the load is served.
    fn ends_well(&self, within: u64) -> &Self {
        let (history, end) = (&self.history, *self.wrong.end());
        history
            .sound()
            .counts_right()
            .within(0..=u64::MAX, 1..=8)
            .turns(0..=u64::MAX, 12);
        let last = history.moments.last().unwrap();
        // A Pod that came a moment ago has not been scraped yet.
        history.says(end + within..=last.at, METRICS, &["MetricsFound", "MetricsMissing"]);
        let found = history
            .during(&(end..=end + within))
            .any(|moment| moment.says(METRICS).reason == "MetricsFound" && moment.says(READY).status == "True");
        assert!(found, "not well within {within} s after {end}: {history}");
        assert!((2..=6).contains(&last.wanted.unwrap()), "{history}");
        self
    }

    /// From `after` seconds on nobody knows anything: nothing changes, and the
    /// conditions say so, for these reasons and in one of these words.
    fn is_blind(&self, after: u64, reasons: &[&str], words: &[&str]) -> &Self {
        let span = self.wrong.start() + after..=*self.wrong.end();
        self.history.steady(span.clone());
        self.history.says(span.clone(), METRICS, reasons);
        self.history.tells(span.clone(), METRICS, words);
        self.history.says(span, READY, &["MetricsUnavailable"]);
        self
    }
}

async fn fault(world: &World, fault: Fault) {
    world.prometheus(fault);
}

#[test]
fn prometheus_down() {
    for seed in seeds("Prometheus down", SEEDS) {
        through(seed, Setup::default(), &async |world, wrong| {
            fault(world, if wrong { Fault::Down } else { Fault::None }).await;
        })
        .is_blind(FRESH + 5, &["PrometheusError"], &["Connection refused"])
        .ends_well(20);
    }
}

#[test]
fn prometheus_answers_with_an_error() {
    for seed in seeds("Prometheus fails", SEEDS) {
        through(seed, Setup::default(), &async |world, wrong| {
            fault(world, if wrong { Fault::Error } else { Fault::None }).await;
        })
        .is_blind(FRESH + 5, &["PrometheusError"], &["TSDB not ready"])
        .ends_well(20);
    }
}

#[test]
fn prometheus_slower_than_any_deadline() {
    for seed in seeds("Prometheus slow", SEEDS) {
        through(seed, Setup::default(), &async |world, wrong| {
            fault(world, if wrong { Fault::Slow } else { Fault::None }).await;
        })
        .is_blind(FRESH + 15, &["PrometheusError"], &["within 10s"])
        .ends_well(40);
    }
}

#[test]
fn prometheus_tells_no_numbers() {
    for seed in seeds("Prometheus says NaN", SEEDS) {
        through(seed, Setup::default(), &async |world, wrong| {
            fault(world, if wrong { Fault::Nan } else { Fault::None }).await;
        })
        .is_blind(FRESH + 5, &["MetricsMissing", "MetricsStale"], &["NaN"])
        .ends_well(25);
    }
}

#[test]
fn prometheus_knows_of_nothing() {
    for seed in seeds("Prometheus empty", SEEDS) {
        through(seed, Setup::default(), &async |world, wrong| {
            fault(world, if wrong { Fault::Empty } else { Fault::None }).await;
        })
        .is_blind(
            FRESH + 5,
            &["MetricsMissing"],
            &["Prometheus has no samples of model llama"],
        )
        .ends_well(25);
    }
}

#[test]
fn prometheus_answers_what_once_was() {
    for seed in seeds("Prometheus old", SEEDS) {
        let through = through(seed, Setup::default(), &async |world, wrong| {
            fault(world, if wrong { Fault::Old } else { Fault::None }).await;
        });
        through
            .is_blind(FRESH + 15, &["MetricsStale", "MetricsMissing"], &["sample"])
            .ends_well(25);
    }
}

#[test]
fn everything_twice_is_as_if_it_were_once() {
    for seed in seeds("Prometheus twice", 2) {
        let with = |wrong_fault: Fault| {
            let through = through(seed, Setup::default(), &async |world, wrong| {
                fault(world, if wrong { wrong_fault } else { Fault::None }).await;
            });
            through.ends_well(5);
            through.history
        };
        let (once, twice) = (with(Fault::None), with(Fault::Twice));
        assert!(once == twice, "once {once}\ntwice {twice}");
    }
}

#[test]
fn a_prometheus_whose_clock_is_apart_is_understood() {
    for seed in seeds("Prometheus' clock", SEEDS) {
        for apart in [-30.0, 30.0] {
            let through = through(seed, Setup::default(), &async |world, wrong| {
                world.prometheus_ahead(if wrong { apart } else { 0.0 });
            });
            through.history.says(
                0..=u64::MAX,
                READY,
                &[
                    "CoversDemand",
                    "Starting",
                    "Stabilizing",
                    "WaitingForCoverage",
                    "Saturated",
                    "LessNeeded",
                    "AtMinimum",
                    "AtMaximum",
                    "",
                ],
            );
            through.ends_well(40);
        }
    }
}

#[test]
fn a_controller_whose_clock_is_apart_from_all_others() {
    for seed in seeds("the controller's clock", 2) {
        for (eyes, apart) in [(Eyes::Prometheus, -30), (Eyes::Prometheus, 30), (Eyes::Pods, 30)] {
            let setup = Setup {
                eyes,
                apart,
                ..Setup::default()
            };
            let through = through(seed, setup, &async |_, _| {});
            let known = |moment: &super::history::Moment| moment.says(READY).reason != "MetricsUnavailable";
            assert!(through.history.moments.iter().all(known), "{}", through.history);
            through.ends_well(5);
        }
    }
}

#[test]
fn who_scrapes_himself_needs_no_prometheus() {
    for seed in seeds("both", SEEDS) {
        let faults = [Fault::Down, Fault::Slow, Fault::Nan, Fault::Empty, Fault::Old];
        let wrong_fault = faults[(seed % 5) as usize];
        let setup = Setup {
            eyes: Eyes::Both,
            ..Setup::default()
        };
        let through = through(seed, setup, &async |world, wrong| {
            fault(world, if wrong { wrong_fault } else { Fault::None }).await;
        });
        let always = 82..=u64::MAX;
        through
            .history
            .says(always, METRICS, &["MetricsFound", "MetricsMissing"]);
        let blind = |moment: &super::history::Moment| moment.says(READY).reason == "MetricsUnavailable";
        assert!(!through.history.moments.iter().any(blind), "{}", through.history);
        through.ends_well(5);
    }
}

/// What Prometheus recorded counts for as long as it is the newest there can be.
#[test]
fn scraped_as_rarely_as_is_usual() {
    for seed in seeds("scraped every 30 s", SEEDS) {
        for eyes in [Eyes::Prometheus, Eyes::Both] {
            let setup = Setup {
                eyes,
                scrape_every: 30,
                staggered: true,
                rate: 14.0,
                replicas: 5,
                ..Setup::default()
            };
            let history = play(seed, setup, async |world| {
                if eyes == Eyes::Both {
                    world.bar_half();
                }
                world.pass(150.0).await;
                world.load(2.0);
                world.pass(450.0).await;
            });
            history.sound().within(0..=u64::MAX, 1..=8).turns(0..=u64::MAX, 6).says(
                82..=u64::MAX,
                METRICS,
                &["MetricsFound"],
            );
            let last = history.moments.last().unwrap();
            assert!((1..=2).contains(&last.wanted.unwrap()), "{eyes:?}: {history}");
        }
    }
}

#[test]
fn half_the_pods_silent() {
    for seed in seeds("half silent", SEEDS) {
        for eyes in [Eyes::Prometheus, Eyes::Pods] {
            let setup = Setup {
                eyes,
                rate: 12.0,
                replicas: 4,
                ..Setup::default()
            };
            let through = through(seed, setup, &async |world, wrong| {
                if wrong {
                    world.silence_half();
                } else {
                    world.all_speak();
                }
            });
            let aged = if eyes == Eyes::Pods { 10 } else { FRESH + 15 };
            let span = through.wrong.start() + aged..=*through.wrong.end();
            through
                .history
                .never_fewer(span.clone())
                .says(span.clone(), METRICS, &["MetricsMissing", "MetricsStale"])
                .tells(span, METRICS, &["without fresh signals"]);
            through.ends_well(25);
        }
    }
}

#[test]
fn wrong_from_the_first_moment_on() {
    for seed in seeds("wrong at first", 1) {
        for (wrong, reason) in [
            (Fault::Down, "PrometheusError"),
            (Fault::Error, "PrometheusError"),
            (Fault::Slow, "PrometheusError"),
            (Fault::Nan, "MetricsMissing"),
            (Fault::Empty, "MetricsMissing"),
        ] {
            let mut end = 0;
            let history = play(seed, Setup::default(), async |world| {
                world.prometheus(wrong);
                world.pass(120.0).await;
                end = world.at();
                world.prometheus(Fault::None);
                world.pass(120.0).await;
            });
            history.sound().steady(0..=end);
            for moment in history.during(&(0..=end)) {
                let said = moment.says(METRICS);
                assert!(said.status != "True", "{said:?}: {history}");
            }
            history.says(95..=end, METRICS, &[reason]).says(
                end + 40..=u64::MAX,
                METRICS,
                &["MetricsFound", "MetricsMissing"],
            );
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in seeds("the same seed", 2) {
        let faults = [Fault::Down, Fault::Slow, Fault::Nan];
        let wrong_fault = faults[(seed % 3) as usize];
        let once = || {
            let through = through(seed, Setup::default(), &async |world, wrong| {
                fault(world, if wrong { wrong_fault } else { Fault::None }).await;
            });
            through.history
        };
        let (first, second) = (once(), once());
        first.repeats(&second);
    }
}
