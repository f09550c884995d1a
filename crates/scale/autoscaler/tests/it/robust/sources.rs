//! Prometheus down, slow or lying, and Pods that are silent.

use super::chance::seeds;
use super::prometheus::Fault;
use super::world::{Setup, play};

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in seeds("the same seed", 1) {
        let once = || {
            play(seed, Setup::default(), async |world| {
                world.pass(300.0).await;
                world.load(16.0);
                world.pass(120.0).await;
                world.prometheus(Fault::Down);
                world.pass(300.0).await;
                world.prometheus(Fault::None);
                world.load(4.0);
                world.pass(300.0).await;
            })
        };
        let first = once();
        eprintln!("{first}");
        let second = once();
        assert!(first == second, "{first}\n{second}");
        first.sound();
    }
}
