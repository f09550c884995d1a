//! Every policy on every day at every start-up time, beside the optimum.

use crate::day::{CEILING, Day, STEP};
use crate::optimum::Optimum;
use crate::policy::{Hpa, Keda, Pace, Predecessor, Signal, Sleeping, Tidegate};
use crate::run::{Policy, run};
use crate::world::World;

/// The policies that are compared, by the names in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// HPA on CPU at 70 %.
    HpaCpu,
    /// HPA on requests waiting and running, at 70 % of the slots.
    HpaInflight,
    /// The predecessor's default and the HPA that follows it.
    Predecessor,
    /// KEDA with its defaults, on the same requests as `hpa-inflight`.
    Keda,
    /// The same with the `behavior` of the predecessor's sample.
    KedaSample,
    /// Ours.
    Tidegate,
    /// Ours with a sleeping tier.
    TidegateSleeping,
}

impl Contender {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 7] = [
        Self::HpaCpu,
        Self::HpaInflight,
        Self::Predecessor,
        Self::Keda,
        Self::KedaSample,
        Self::Tidegate,
        Self::TidegateSleeping,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HpaCpu => "hpa-cpu",
            Self::HpaInflight => "hpa-inflight",
            Self::Predecessor => "predecessor",
            Self::Keda => "keda",
            Self::KedaSample => "keda-sample",
            Self::Tidegate => "tidegate",
            Self::TidegateSleeping => "tidegate-sleeping",
        }
    }

    fn policy(self, rules: &Rules) -> Box<dyn Policy> {
        let most = rules.most();
        match self {
            Self::HpaCpu => Box::new(Hpa::new(Signal::Cpu, most)),
            Self::HpaInflight => Box::new(Hpa::new(Signal::InFlight, most)),
            Self::Predecessor => Box::new(Predecessor::new(most)),
            Self::Keda => Box::new(Keda::new(Pace::Default, most)),
            Self::KedaSample => Box::new(Keda::new(Pace::Sample, most)),
            Self::Tidegate => Box::new(Tidegate::new(rules.may_wait_s, most)),
            Self::TidegateSleeping => Box::new(Sleeping::new(rules.may_wait_s, most, rules.sleep_cost)),
        }
    }
}

/// What holds for all cells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Replicas needed at the busiest time.
    pub peak: u32,
    /// Seconds a request may wait for a replica.
    pub may_wait_s: u64,
    /// Seconds a sleeping replica takes to wake.
    pub wake_s: u64,
    /// What it costs beside one that serves, 0 to 1.
    pub sleep_cost: f64,
    /// Whether the optimum on which work may wait is found as well.
    pub waiting_optimum: bool,
}

impl Rules {
    /// Replicas a policy may ask for: twice the peak, so that the bound hides no
    /// overshoot and stands in nobody's way.
    #[must_use]
    pub const fn most(&self) -> u32 {
        self.peak.saturating_mul(2)
    }
}

/// One policy on one day at one start-up time.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The day.
    pub day: String,
    /// Start-up time of a replica, seconds.
    pub startup_s: u64,
    /// The policy.
    pub policy: &'static str,
    /// Replica-hours paid for, starting ones included, sleeping ones at their share.
    pub gpu_hours: f64,
    /// Hours that replicas slept, not weighed.
    pub asleep_hours: f64,
    /// Replica-hours of the optimum that covers what comes, in a world in which
    /// nobody sleeps.
    pub optimum_gpu_hours: f64,
    /// Replica-hours over those of the optimum.
    pub cost_ratio: f64,
    /// The optimum on which work may wait as policies let it, if it was asked for.
    pub waiting: Option<Beside>,
    /// Replica-hours of the work itself: what nobody can go below.
    pub work_gpu_hours: f64,
    /// Share of the work that waited no longer than allowed, 0 to 1.
    pub attainment: f64,
    /// Seconds in which anybody was started, woken, put to sleep or let go.
    pub actions: u32,
    /// Most replicas paid for in full at once.
    pub most_replicas: u32,
    /// Most that slept at once.
    pub most_asleep: u32,
}

/// A cell beside the optimum on which work may wait.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beside {
    /// Its replica-hours.
    pub optimum_gpu_hours: f64,
    /// Replica-hours that nobody who serves everything in time goes below.
    pub bound_gpu_hours: f64,
    /// Replica-hours of the policy over those of the optimum.
    pub cost_ratio: f64,
}

/// All policies on one day at one start-up time.
#[must_use]
pub fn cells(day: &Day, startup_s: u64, rules: &Rules) -> Vec<Cell> {
    let optimum = if rules.waiting_optimum {
        Optimum::of(day, startup_s, rules.may_wait_s, rules.most())
    } else {
        Optimum::covering(day, startup_s)
    };
    let of = |contender| cell(day, startup_s, contender, rules, &optimum);
    Contender::ALL.into_iter().map(of).collect()
}

/// One cell, beside the `optimum` of its day and start-up time.
#[must_use]
pub fn cell(day: &Day, startup_s: u64, contender: Contender, rules: &Rules, optimum: &Optimum) -> Cell {
    let mut policy = contender.policy(rules);
    let world = World {
        startup_s,
        wake_s: rules.wake_s,
        sleep_cost: rules.sleep_cost,
    };
    let outcome = run(day, world, rules.may_wait_s, rules.most(), policy.as_mut());
    Cell {
        day: day.name.clone(),
        startup_s,
        policy: contender.as_str(),
        gpu_hours: outcome.replica_seconds / 3600.0,
        asleep_hours: outcome.asleep_seconds / 3600.0,
        optimum_gpu_hours: optimum.covering_s / 3600.0,
        cost_ratio: outcome.replica_seconds / optimum.covering_s.max(1.0),
        waiting: optimum.waiting.as_ref().map(|waiting| Beside {
            optimum_gpu_hours: waiting.replica_seconds() / 3600.0,
            bound_gpu_hours: waiting.bound_s / 3600.0,
            cost_ratio: outcome.replica_seconds / waiting.replica_seconds().max(1.0),
        }),
        work_gpu_hours: day.work.iter().sum::<f64>() / 3600.0,
        attainment: outcome.attainment,
        actions: outcome.actions,
        most_replicas: outcome.most,
        most_asleep: outcome.most_asleep,
    }
}

/// The assumptions, for people.
#[must_use]
pub fn assumptions(rules: &Rules) -> Vec<String> {
    vec![
        format!(
            "optimum: the cheapest schedule, known in advance, that keeps every {STEP} s mean at or below {:.0} % of the \
             capacity, start-up times paid, so that nothing need wait; a policy that lets requests wait can be cheaper",
            CEILING * 100.0
        ),
        if rules.waiting_optimum {
            format!(
                "the second ratio: beside the cheapest schedule under which all work is served within {} s, found within \
                 1 % of a bound that nobody goes below (else that bound is meant)",
                rules.may_wait_s
            )
        } else {
            "--waiting-optimum: compares with the cheapest schedule that lets work wait as policies do, too; takes minutes"
                .to_owned()
        },
        format!(
            "attainment: share of the work that waited at most {} s for a replica",
            rules.may_wait_s
        ),
        "GPU-hours: one GPU per replica, paid for from the decision to start it until it is taken away".to_owned(),
        format!(
            "tidegate-sleeping: a replica may sleep, at {} of a GPU; it falls asleep and wakes in {} s each, at a whole one; \
             the optimum is that of the world without sleep, so that ratios compare",
            rules.sleep_cost, rules.wake_s
        ),
    ]
}

#[cfg(test)]
mod tests;
