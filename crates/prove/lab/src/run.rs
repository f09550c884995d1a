//! One policy through one day.

use crate::day::Day;
use crate::world::{Backlog, Fleet, OnTheWay, World};

/// What a policy sees at a second.
#[derive(Debug)]
pub struct Sight<'a> {
    /// Seconds since the policy began.
    pub second: u64,
    /// Replicas that serve.
    pub ready: u32,
    /// Starting replicas: how many, since which second.
    pub starting: &'a OnTheWay,
    /// Waking replicas, likewise.
    pub waking: &'a OnTheWay,
    /// Sleepers, likewise, those that still fall asleep included.
    pub asleep: &'a OnTheWay,
    /// Seconds that a replica took to start which became ready just now.
    pub started_s: Option<u64>,
    /// Seconds that one took to wake.
    pub woke_s: Option<u64>,
    /// Work that arrived during the last second, replica-seconds.
    pub arrived: f64,
    /// Work served during the last second, replica-seconds.
    pub served: f64,
    /// Work that waits, replica-seconds.
    pub waiting: f64,
    /// How long the oldest of it has waited, seconds.
    pub oldest_wait_s: u64,
    /// Replica-seconds of one request, on average.
    pub work_per_request: f64,
}

impl Sight<'_> {
    /// Requests that wait.
    #[must_use]
    pub fn requests_waiting(&self) -> f64 {
        self.waiting / self.work_per_request
    }

    /// Replicas asked for where none sleep: those that serve and those that start.
    #[must_use]
    pub fn asked_for(&self) -> u32 {
        self.ready + self.starting.iter().map(|(count, _)| count).sum::<u32>()
    }
}

/// What a policy asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Replicas that serve, or start or wake to do so.
    pub serving: u32,
    /// Replicas that sleep, or start to do so.
    pub asleep: u32,
}

impl Ask {
    /// Nobody asleep.
    #[must_use]
    pub const fn awake(serving: u32) -> Self {
        Self { serving, asleep: 0 }
    }
}

/// Decides how many replicas to ask for.
pub trait Policy {
    /// Called once a second.
    fn replicas(&mut self, sight: &Sight<'_>) -> Ask;
}

/// What a day under a policy came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Replica-seconds paid for, starting ones included, sleeping ones at their
    /// share.
    pub replica_seconds: f64,
    /// Seconds that replicas slept, not weighed.
    pub asleep_seconds: f64,
    /// Share of the work whose wait was within the limit, 0 to 1.
    pub attainment: f64,
    /// Seconds in which anybody was started, woken, put to sleep or let go.
    pub actions: u32,
    /// Most replicas paid for in full at once.
    pub most: u32,
    /// Most that slept at once.
    pub most_asleep: u32,
}

/// Seconds before the day in which a policy learns and nothing is counted:
/// the last of the day, as if it were the day before.
const WARM_UP: usize = 3 * 3_600;

/// The same for a day of so many seconds.
pub(crate) fn warm_up(day: usize) -> usize {
    WARM_UP.min(day)
}

/// Runs `policy` through `day`, with the replicas that are needed at its
/// beginning ready, a limit of `may_wait_s` on the wait for a replica, and one of
/// `most` replicas.
pub fn run(day: &Day, world: World, may_wait_s: u64, most: u32, policy: &mut dyn Policy) -> Outcome {
    let warm_up = warm_up(day.work.len());
    let before = &day.work[day.work.len() - warm_up..];
    let first = Day::need_of(before).first().copied().unwrap_or(1);
    let mut fleet = Fleet::of(first, world);
    let mut backlog = Backlog::default();
    let (mut arrived_last, mut served_last) = (0.0, 0.0);
    let (mut total, mut late) = (0.0, 0.0);
    let mut outcome = Outcome::default();
    for (second, work) in before.iter().chain(&day.work).enumerate() {
        let counted = second >= warm_up;
        let second = second as u64;
        let came = fleet.advance(second);
        let sight = Sight {
            second,
            ready: fleet.ready,
            starting: &fleet.starting,
            waking: &fleet.waking,
            asleep: &fleet.asleep,
            started_s: came.started_s,
            woke_s: came.woke_s,
            arrived: arrived_last,
            served: served_last,
            waiting: backlog.total(),
            oldest_wait_s: backlog.oldest_s(second),
            work_per_request: day.work_per_request,
        };
        let asked = policy.replicas(&sight);
        let serving = asked.serving.clamp(1, most);
        let asleep = asked.asleep.min(most - serving);
        let moved = fleet.set(Ask { serving, asleep }, second);
        outcome.actions += u32::from(counted && moved);
        backlog.arrive(second, *work);
        let served = backlog.serve(second, f64::from(fleet.ready), may_wait_s);
        arrived_last = *work;
        served_last = served.work;
        if counted {
            total += work;
            late += served.late;
            outcome.replica_seconds += fleet.paid(second);
            outcome.asleep_seconds += f64::from(fleet.slept(second));
            outcome.most = outcome.most.max(fleet.awake(second));
            outcome.most_asleep = outcome.most_asleep.max(fleet.slept(second));
        }
    }
    // What still waits at the end was not served in time either, unless it only just came.
    late += backlog.late_at((warm_up + day.work.len()) as u64, may_wait_s);
    outcome.attainment = if total > 0.0 {
        (1.0 - late / total).max(0.0)
    } else {
        1.0
    };
    outcome
}
