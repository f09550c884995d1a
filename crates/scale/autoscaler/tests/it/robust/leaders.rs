//! Two controllers, of which one acts.

use super::chance::seeds;
use super::line::Way;
use super::world::{Setup, play};
use std::time::Duration;

const SEEDS: u64 = 3;
/// As the world sets it up: the lease, and time between two looks.
const LEASE: u64 = 15;
const RETRY: u64 = 2;

#[test]
fn a_frozen_leader_is_followed_and_does_not_speak_again() {
    for seed in seeds("frozen leader", SEEDS) {
        let setup = Setup {
            candidates: 2,
            ..Setup::default()
        };
        let history = play(seed, setup, async |world| {
            world.pass(60.0).await;
            let leader = world.leading();
            assert_eq!(leader.len(), 1, "one leads");
            let (old, new) = (leader[0], 1 - leader[0]);

            world.scalers[old].line.set(Way::Frozen);
            let frozen = tokio::time::Instant::now();
            // More is needed, and only the next one can ask for it.
            world.load(16.0);
            let mut took_over = None;
            for _ in 0..120 {
                world.pass(1.0).await;
                assert!(world.leading().len() <= 1, "seed {seed}: two lead");
                if took_over.is_none() && world.leading() == [new] {
                    took_over = Some(frozen.elapsed());
                }
            }
            let took_over = took_over.expect("nobody took over");
            let most = Duration::from_secs(LEASE + 2 * RETRY);
            assert!(took_over <= most, "seed {seed}: {took_over:?}");
            let by_new = world.scalers[new].line.orders();
            assert!(!by_new.is_empty(), "seed {seed}: the new leader scales");

            // The old one comes back with what it had begun to say.
            world.load(4.0);
            let back = tokio::time::Instant::now();
            world.scalers[old].line.set(Way::Fine);
            for _ in 0..120 {
                world.pass(1.0).await;
                assert_eq!(world.leading(), [new], "seed {seed}: who leads, leads on");
            }
            let since = |order: &super::line::Order| order.at >= frozen + Duration::from_secs(LEASE);
            let late: Vec<_> = world.scalers[old].line.orders().into_iter().filter(since).collect();
            assert!(late.is_empty(), "seed {seed}: {late:?} after {back:?}");

            // And it takes over in its turn.
            let resigned = tokio::time::Instant::now();
            world.scalers[new].stop.cancel();
            while world.leading() != [old] {
                world.pass(0.5).await;
                assert!(resigned.elapsed() < Duration::from_secs(LEASE), "seed {seed}");
            }
            world.load(16.0);
            world.pass(120.0).await;
            let orders = world.scalers[old].line.orders();
            assert!(
                orders.iter().any(|order| order.at > resigned),
                "seed {seed}: {orders:?}"
            );
        });
        history.sound().within(0..=u64::MAX, 1..=8).turns(0..=u64::MAX, 12);
    }
}

#[test]
fn two_whose_clocks_are_apart_agree_on_one() {
    for seed in seeds("controllers' clocks", SEEDS) {
        let setup = Setup {
            candidates: 2,
            apart: 40,
            ..Setup::default()
        };
        let history = play(seed, setup, async |world| {
            for second in 0..300 {
                world.pass(1.0).await;
                let leading = world.leading();
                assert!(leading.len() <= 1, "seed {seed}: two lead");
                assert!(
                    second < LEASE + RETRY || leading.len() == 1,
                    "seed {seed}: nobody leads"
                );
            }
        });
        history.sound().within(0..=u64::MAX, 1..=8).turns(0..=u64::MAX, 8);
    }
}

#[test]
fn everybody_is_told_the_same_number() {
    for seed in seeds("one number", SEEDS) {
        let setup = Setup {
            candidates: 2,
            ..Setup::default()
        };
        let alone = play(seed, Setup::default(), async |world| world.pass(300.0).await);
        let both = play(seed, setup, async |world| {
            world.pass(300.0).await;
            let orders: Vec<_> = world.scalers.iter().map(|scaler| scaler.line.orders().len()).collect();
            assert!(orders.contains(&0), "seed {seed}: both wrote: {orders:?}");
        });
        both.sound().turns(0..=u64::MAX, 8);
        alone.turns(0..=u64::MAX, 8);
    }
}
