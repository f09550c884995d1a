//! Everything that can be wrong, mixed by chance.

use super::chance::seeds;
use super::history::History;
use super::line::Way;
use super::prometheus::Fault;
use super::world::{Eyes, Setup, World, play};
use serde_json::json;

const SEEDS: u64 = 10;
const ALWAYS: std::ops::RangeInclusive<u64> = 0..=u64::MAX;

#[test]
fn whatever_happens_it_stays_within_bounds_and_recovers() {
    for seed in seeds("chaos", SEEDS) {
        let (history, mended) = chaos(seed);
        let settled = mended + 60;
        history
            .sound()
            .within(ALWAYS, 1..=8)
            .turns(ALWAYS, 30)
            .says(settled..=u64::MAX, "TargetResolved", &["TargetFound"])
            .says(
                settled..=u64::MAX,
                "MetricsAvailable",
                &["MetricsFound", "MetricsMissing"],
            )
            .turns(settled..=u64::MAX, 4);
        let last = history.moments.last().unwrap();
        assert!((2..=6).contains(&last.wanted.unwrap()), "{history}");
        for moment in history.during(&(settled..=u64::MAX)) {
            let ready = moment.says("OptimizationReady");
            assert_eq!(ready.status, "True", "at {}: {history}", moment.at);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_chaos() {
    for seed in seeds("the same chaos", 1) {
        let ((first, _), (second, _)) = (chaos(seed), chaos(seed));
        first.repeats(&second);
    }
}

/// Ten minutes of it, then five in which all is well, and when those began.
fn chaos(seed: u64) -> (History, u64) {
    let setup = Setup {
        eyes: [Eyes::Prometheus, Eyes::Pods, Eyes::Both][(seed % 3) as usize],
        candidates: seed % 2 * 2,
        ..Setup::default()
    };
    let mut mended = 0;
    let history = play(seed, setup, async |world| {
        world.pass(60.0).await;
        for _ in 0..25 {
            disturb(world).await;
            let pause = 5.0 + world.chance.lock().share() * 40.0;
            world.pass(pause).await;
            assert!(world.leading().len() <= 1, "seed {seed}: two lead");
        }
        mend(world).await;
        mended = world.at();
        world.pass(300.0).await;
    });
    (history, mended)
}

/// One more thing goes wrong, or one is mended.
async fn disturb(world: &mut World) {
    let faults = [
        Fault::None,
        Fault::None,
        Fault::Down,
        Fault::Slow,
        Fault::Nan,
        Fault::Empty,
        Fault::Twice,
        Fault::Old,
        Fault::Error,
    ];
    let ways = [
        Way::Fine,
        Way::Fine,
        Way::Flaky,
        Way::Failing,
        Way::Conflicting,
        Way::Frozen,
        Way::NoPods,
    ];
    let (what, fault, way) = {
        let mut chance = world.chance.lock();
        (chance.below(10), chance.one_of(&faults), chance.one_of(&ways))
    };
    let who = world.chance.lock().below(world.scalers.len() as u64) as usize;
    match what {
        0..=2 => world.prometheus(fault),
        3 => {
            let ahead = world.chance.lock().one_of(&[-30.0, 0.0, 30.0]);
            world.prometheus_ahead(ahead);
        }
        4 => drop(world.silence_half()),
        5 => world.all_speak(),
        6 => world.scalers[who].line.set(way),
        7 => world.scalers[who].line.cut_watches(),
        8 => {
            let rate = world.chance.lock().one_of(&[1.0, 6.0, 12.0, 18.0]);
            world.load(rate);
        }
        _ => {
            let spec = world.chance.lock().one_of(&[(1, 8), (2, 5), (9, 3), (1, 8)]);
            world
                .specify(json!({"minReplicas": spec.0, "maxReplicas": spec.1}))
                .await;
        }
    }
}

/// All is well again.
async fn mend(world: &mut World) {
    world.prometheus(Fault::None);
    world.prometheus_ahead(0.0);
    world.all_speak();
    for scaler in &world.scalers {
        scaler.line.set(Way::Fine);
    }
    world.specify(json!({"minReplicas": 1, "maxReplicas": 8})).await;
    world.load(8.0);
}
