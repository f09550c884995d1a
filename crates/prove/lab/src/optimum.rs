//! The clairvoyant optimum: what somebody who knew the whole day would pay.
//!
//! There are two. The one that **covers** ([`covering`]) has room for everything
//! that comes, so that nothing need wait; it has a closed form, and a policy that
//! lets work wait may pay less. The one that lets work **wait** ([`Waiting`]) is
//! under the rules of [`crate::run`], as every policy is: work waits in order,
//! for at most so long; at least one replica serves; a replica is paid for from
//! the decision to start it until it is taken away. Its cost is enclosed:
//! [`Waiting::bound_s`] is paid by anybody who serves everything in time, and
//! [`Waiting::schedule`] does so for [`Waiting::schedule_s`]. The proof is in
//! `waiting`. It takes seconds to find where the other takes none.

mod waiting;

use crate::day::{Day, STEP};
use crate::run::{Ask, Policy, Sight, warm_up};
use waiting::Grid;

/// A schedule is the optimum if nobody can pay less by more than this.
const WITHIN: f64 = 0.01;

/// Most states of a second that are tried; see [`tractable`].
const MOST_STATES: u64 = 60_000;

/// Whether a fleet of `peak` replicas, of which `most` may be asked for, is small
/// enough to find the optimum: the more may wait, the more states a second has.
#[must_use]
pub const fn tractable(peak: u32, most: u32, may_wait_s: u64) -> bool {
    (peak as u64).saturating_mul(may_wait_s).saturating_mul(most as u64) <= MOST_STATES
}

/// What somebody who knew the day would pay.
#[derive(Clone, Debug, PartialEq)]
pub struct Optimum {
    /// Replica-seconds of the cheapest schedule on which nothing has to wait.
    pub covering_s: f64,
    /// That of schedules on which work may wait, if it was asked for.
    pub waiting: Option<Waiting>,
}

impl Optimum {
    /// That of `day`, which covers what comes, where a replica starts in `startup_s`.
    #[must_use]
    pub fn covering(day: &Day, startup_s: u64) -> Self {
        Self {
            covering_s: covering(&day.need(), STEP as f64, startup_s as f64),
            waiting: None,
        }
    }

    /// Both.
    #[must_use]
    pub fn of(day: &Day, startup_s: u64, may_wait_s: u64, most: u32) -> Self {
        Self {
            waiting: Some(Waiting::of(day, startup_s, may_wait_s, most)),
            ..Self::covering(day, startup_s)
        }
    }
}

/// What somebody would pay on whose schedule work may wait.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// Replica-seconds that nobody who serves all work in time goes below.
    pub bound_s: f64,
    /// Replica-seconds of `schedule`.
    pub schedule_s: f64,
    /// Replicas to ask for in each second of the day to serve all work in time.
    pub schedule: Vec<u32>,
}

impl Waiting {
    /// That of `day`, on which work may wait for `may_wait_s`, a replica starts
    /// in `startup_s` and `most` may be asked for.
    #[must_use]
    pub fn of(day: &Day, startup_s: u64, may_wait_s: u64, most: u32) -> Self {
        let grid = Grid::new(&day.work, may_wait_s, startup_s, most);
        let found = grid.schedule();
        Self {
            bound_s: grid.bound() as f64,
            schedule_s: found.cost as f64,
            schedule: asked_for(&found.serving, startup_s),
        }
    }

    /// What costs are compared with: those of the schedule where it is known to be
    /// within 1 % of the least, else the bound, so that no policy looks better
    /// than it is.
    #[must_use]
    pub fn replica_seconds(&self) -> f64 {
        if self.schedule_s <= self.bound_s * (1.0 + WITHIN) {
            self.schedule_s
        } else {
            self.bound_s
        }
    }
}

/// Replicas that are there or start in each second, for `serving` to be ready.
fn asked_for(serving: &[u32], startup_s: u64) -> Vec<u32> {
    let mut asked = serving.to_vec();
    for second in 1..serving.len() {
        let more = serving[second].saturating_sub(serving[second - 1]);
        let decided = second.saturating_sub(usize::try_from(startup_s).unwrap_or(usize::MAX));
        for asked in &mut asked[decided..second] {
            *asked += more;
        }
    }
    asked
}

/// A schedule as a policy, to hold it against the rules of everybody else.
#[derive(Clone, Debug)]
pub struct Clairvoyant<'a> {
    asked: &'a [u32],
    /// Seconds before the day, in which it keeps everything ready.
    warm_up: usize,
    most: u32,
}

impl<'a> Clairvoyant<'a> {
    /// Who follows `optimum`.
    #[must_use]
    pub fn new(optimum: &'a Waiting, most: u32) -> Self {
        Self {
            asked: &optimum.schedule,
            warm_up: warm_up(optimum.schedule.len()),
            most,
        }
    }
}

impl Policy for Clairvoyant<'_> {
    fn replicas(&mut self, sight: &Sight<'_>) -> Ask {
        let of_day = usize::try_from(sight.second)
            .ok()
            .and_then(|second| second.checked_sub(self.warm_up));
        let asked = of_day.and_then(|second| self.asked.get(second).copied());
        Ask::awake(asked.unwrap_or(self.most))
    }
}

/// Least replica-seconds that cover `need` at every step of `step_s` seconds
/// when a start costs `startup_s` seconds of a replica that does not serve yet.
///
/// For each level k the pattern "need >= k" is independent of the other levels,
/// so the least cost has a closed form: the time the level is needed, and for
/// every gap the cheaper of staying on and starting again. Levels that are needed
/// in the first step are there already, as they are for every policy that is
/// compared.
#[must_use]
pub fn covering(need: &[u32], step_s: f64, startup_s: f64) -> f64 {
    let peak = need.iter().copied().max().unwrap_or(0) as usize;
    // When each level was last needed, as the step after it; 0: since the start.
    let mut free_since: Vec<Option<usize>> = vec![None; peak];
    let mut total = 0.0;
    for (step, needed) in need.iter().map(|needed| *needed as usize).enumerate() {
        for free in &mut free_since[..needed] {
            total += match *free {
                _ if step == 0 => 0.0,
                None => startup_s,
                Some(since) => ((step - since) as f64 * step_s).min(startup_s),
            };
            *free = Some(step + 1);
        }
        total += needed as f64 * step_s;
    }
    total
}

#[cfg(test)]
mod tests;
