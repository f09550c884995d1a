//! The predecessor's default: saturation by percentages, one replica at a
//! time, frozen while anything is under way; its gauge is followed by an HPA
//! with the windows that are published for it, and without tolerance: with the
//! default of 10 % an HPA takes a step from 10 to 11 replicas for none, and
//! both would stand still for ever.

use super::{KV_WHEN_FULL, Mean, SLOTS, START};
use crate::run::{Ask, Policy, Sight};
use capacity::saturation::percent;
use hpa::{Behavior, Metric, Reading, Rules, Select, Spec, State, Target, View};
use std::time::Duration;

/// Seconds between two passes of its engine.
const PASS_S: u64 = 30;
/// Seconds between two passes of the HPA controller.
const SYNC_S: u64 = 15;
/// Seconds over which its queries take the highest KV use and queue.
const WINDOW_S: usize = 60;
/// Its engine and the HPA behind it.
#[derive(Debug)]
pub struct Predecessor {
    most: u32,
    spec: Spec,
    state: State,
    kv: Mean,
    queue: Mean,
    /// The gauge it publishes.
    desired: Option<u32>,
    followed: Option<u32>,
}

impl Predecessor {
    /// Scales up to `most` replicas.
    #[must_use]
    pub fn new(most: u32) -> Self {
        let quick = |window: u64| Rules {
            window: Some(Duration::from_secs(window)),
            select: Select::Max,
            policies: vec![hpa::Policy::pods(10, 15)],
            tolerance: Some(0.0),
        };
        let metric = Metric::external("wva_desired_replicas", Target::AverageValue(1_000));
        let spec = Spec {
            behavior: Some(Behavior {
                up: quick(0),
                down: quick(0),
            }),
            ..Spec::new(1, most, vec![metric])
        };
        Self {
            most,
            spec,
            state: State::default(),
            kv: Mean::over(WINDOW_S),
            queue: Mean::over(WINDOW_S),
            desired: None,
            followed: None,
        }
    }

    /// What its engine decides; all replicas of the simulated fleet look alike.
    fn decide(&self, sight: &Sight<'_>) -> u32 {
        let current = sight.asked_for();
        let replica = percent::Replica {
            variant: "v".to_owned(),
            kv: Some(self.kv.max()),
            waiting: Some(self.queue.max()),
        };
        let replicas = vec![replica; sight.ready as usize];
        let variant = percent::Variant {
            name: "v".to_owned(),
            cost: 1.0,
            current,
            pending: current.saturating_sub(sight.ready),
            desired: self.desired,
        };
        let analysis = percent::analyze(&percent::Thresholds::default(), &replicas);
        let targets = percent::targets(&analysis, &[variant], &replicas);
        targets.first().map_or(current, |target| target.replicas).min(self.most)
    }
}

impl Policy for Predecessor {
    fn replicas(&mut self, sight: &Sight<'_>) -> Ask {
        let ready = f64::from(sight.ready.max(1));
        self.kv.push((sight.served / ready).min(1.0) * KV_WHEN_FULL);
        self.queue.push((sight.requests_waiting() / ready).min(10.0 * SLOTS));
        if sight.second.is_multiple_of(PASS_S) {
            self.desired = Some(self.decide(sight));
        }
        if sight.second.is_multiple_of(SYNC_S)
            && let Some(desired) = self.desired
        {
            let now = START + Duration::from_secs(sight.second);
            let series = [i64::from(desired) * 1_000];
            let readings = [Reading::Series(&series)];
            let view = View::settled(sight.asked_for(), &[], &readings);
            self.followed = Some(hpa::step(&self.spec, &mut self.state, &view, now).desired);
        }
        Ask::awake(self.followed.unwrap_or_else(|| sight.asked_for()))
    }
}
