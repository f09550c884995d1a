//! KEDA: a ScaledObject with a Prometheus trigger on requests waiting and
//! running; both of its loops in the exact arithmetic of crate `hpa`.

use super::hpa_policy::{PER_REPLICA, SCRAPE_S, SYNC_S};
use super::{SLOTS, START};
use crate::run::{Ask, Policy, Sight};
use hpa::keda::{self, ScaledObject, Trigger, Workload};
use hpa::{Behavior, Reading, Rules, Select, Spec, State, View};
use std::time::Duration;

/// How fast the HPA behind a ScaledObject may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// No `behavior`: the HPA's defaults, five minutes' window on the way down.
    Default,
    /// The `behavior` of the predecessor's sample ScaledObject, which is meant for
    /// the predecessor's own, damped gauge: no windows, at most twice as many in
    /// 30 s or 5 in 15 s, both ways.
    Sample,
}

/// A ScaledObject with KEDA's defaults: polled every 30 s for activation, five
/// minutes' cooldown, the HPA asks KEDA's metrics server in each of its passes. The
/// fleet keeps a replica where KEDA would keep none.
#[derive(Debug)]
pub struct Keda {
    object: ScaledObject,
    polled: keda::State,
    spec: Spec,
    passed: State,
    /// Requests waiting and running as Prometheus last scraped them.
    scraped: f64,
    desired: Option<u32>,
}

impl Keda {
    /// Scales up to `most` replicas.
    #[must_use]
    pub fn new(pace: Pace, most: u32) -> Self {
        let trigger = Trigger::new("s0-prometheus", PER_REPLICA as f64 / 1000.0);
        let quick = || Rules {
            window: Some(Duration::ZERO),
            select: Select::Max,
            policies: vec![hpa::Policy::percent(100, 30), hpa::Policy::pods(5, 15)],
            tolerance: None,
        };
        let object = ScaledObject {
            max_replicas: most,
            behavior: (pace == Pace::Sample).then(|| Behavior {
                up: quick(),
                down: quick(),
            }),
            ..ScaledObject::new(vec![trigger], START)
        };
        Self {
            spec: keda::hpa_of(&object, "lab"),
            object,
            polled: keda::State::default(),
            passed: State::default(),
            scraped: 0.0,
            desired: None,
        }
    }
}

impl Policy for Keda {
    fn replicas(&mut self, sight: &Sight<'_>) -> Ask {
        let now = START + Duration::from_secs(sight.second);
        if sight.second.is_multiple_of(SCRAPE_S) {
            self.scraped = sight.served * SLOTS + sight.requests_waiting();
        }
        let answer = keda::prometheus(&[self.scraped], true);
        let mut workload = Workload {
            replicas: self.desired.unwrap_or_else(|| sight.asked_for()),
            ready: sight.ready,
        };
        if sight.second.is_multiple_of(self.object.polling_interval.as_secs()) {
            let answers = std::slice::from_ref(&answer);
            let polled = keda::poll(&self.object, &mut self.polled, workload, answers, now);
            workload.replicas = polled.replicas.unwrap_or(workload.replicas);
        }
        if sight.second.is_multiple_of(SYNC_S) {
            let reported = keda::metric(&self.object, &mut self.polled, 0, &answer, workload);
            let series = reported.map(|reported| [reported.milli]);
            let reading = match &series {
                Ok(series) => Reading::Series(series),
                Err(why) => Reading::Failed(why),
            };
            let readings = [reading];
            let view = View::settled(workload.replicas, &[], &readings);
            workload.replicas = hpa::step(&self.spec, &mut self.passed, &view, now).desired;
        }
        self.desired = Some(workload.replicas);
        Ask::awake(workload.replicas)
    }
}
