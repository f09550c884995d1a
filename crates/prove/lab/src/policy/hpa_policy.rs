//! Kubernetes' HPA: the exact arithmetic of crate `hpa` on signals as old as
//! they are in a cluster.

use super::{Mean, SLOTS, START};
use crate::run::{Ask, Policy, Sight};
use hpa::{Metric, Pod, Reading, Sample, Spec, State, Target, View};
use std::time::Duration;

/// Seconds between two passes of the HPA controller.
pub(super) const SYNC_S: u64 = 15;
/// Seconds over which metrics-server means CPU.
const CPU_WINDOW_S: usize = 60;
/// Seconds between two scrapes of Prometheus.
pub(super) const SCRAPE_S: u64 = 15;
/// Percent of its CPU request, and percent of its slots, at which an operator
/// would have a replica run: the usual 70.
const TARGET_PERCENT: u32 = 70;
/// The latter, in thousandths of a request per replica.
pub(super) const PER_REPLICA: i64 = (SLOTS * TARGET_PERCENT as f64 / 100.0 * 1000.0) as i64;
/// CPU request of a replica, in thousandths of a core.
const CPU_REQUEST: i64 = 1_000;

/// What the HPA scales by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// CPU of the replicas, taken to follow how busy they are.
    Cpu,
    /// Requests waiting and running, from a metrics adapter.
    InFlight,
}

/// An HPA with the API server's defaults: no `behavior`, five minutes' window on
/// the way down.
#[derive(Debug)]
pub struct Hpa {
    signal: Signal,
    spec: Spec,
    state: State,
    busy: Mean,
    /// Requests waiting and running as Prometheus last scraped them.
    scraped: i64,
    desired: Option<u32>,
    pods: Vec<Pod>,
    samples: Vec<Option<Sample>>,
    requests: Vec<i64>,
}

impl Hpa {
    /// Scales by `signal` up to `most` replicas.
    #[must_use]
    pub fn new(signal: Signal, most: u32) -> Self {
        let spec = match signal {
            Signal::Cpu => Spec::new(1, most, vec![Metric::cpu(TARGET_PERCENT)]),
            Signal::InFlight => {
                let metric = Metric::external("requests_in_flight", Target::AverageValue(PER_REPLICA));
                Spec::new(1, most, vec![metric])
            }
        };
        Self {
            signal,
            spec,
            state: State::default(),
            busy: Mean::over(CPU_WINDOW_S),
            scraped: 0,
            desired: None,
            pods: Vec::new(),
            samples: Vec::new(),
            requests: Vec::new(),
        }
    }

    /// The fleet as Pods with their CPU.
    fn see(&mut self, sight: &Sight<'_>) {
        let now = START + Duration::from_secs(sight.second);
        let milli = (self.busy.get().min(1.0) * CPU_REQUEST as f64) as i64;
        let sample = Sample {
            milli,
            at: now,
            window: Duration::from_secs(CPU_WINDOW_S as u64),
        };
        self.pods.clear();
        self.samples.clear();
        for _ in 0..sight.ready {
            self.pods.push(Pod::serving(
                START - Duration::from_secs(3_600),
                START - Duration::from_secs(3_000),
            ));
            self.samples.push(Some(sample));
        }
        for (count, since) in sight.starting {
            for _ in 0..*count {
                self.pods.push(Pod::starting(START + Duration::from_secs(*since)));
                self.samples.push(None);
            }
        }
        self.requests.resize(self.pods.len(), CPU_REQUEST);
    }
}

impl Policy for Hpa {
    fn replicas(&mut self, sight: &Sight<'_>) -> Ask {
        self.busy.push(if sight.ready > 0 {
            sight.served / f64::from(sight.ready)
        } else {
            0.0
        });
        if sight.second.is_multiple_of(SCRAPE_S) {
            // The cast saturates; requests in thousandths are far from its end.
            self.scraped = ((sight.served * SLOTS + sight.requests_waiting()) * 1000.0) as i64;
        }
        if sight.second.is_multiple_of(SYNC_S) {
            let now = START + Duration::from_secs(sight.second);
            self.see(sight);
            let series = [self.scraped];
            let reading = match self.signal {
                Signal::Cpu => Reading::PerPod {
                    samples: &self.samples,
                    strays: &[],
                    requests: Ok(&self.requests),
                },
                Signal::InFlight => Reading::Series(&series),
            };
            let readings = [reading];
            let view = View::settled(sight.asked_for(), &self.pods, &readings);
            self.desired = Some(hpa::step(&self.spec, &mut self.state, &view, now).desired);
        }
        Ask::awake(self.desired.unwrap_or_else(|| sight.asked_for()))
    }
}
