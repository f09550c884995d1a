//! A fleet in virtual time: work arrives, waits in order, and is served by the
//! replicas that are ready; replicas that were asked for take time to start, and
//! those that sleep take time to wake.

use crate::run::Ask;
use std::collections::VecDeque;

/// What replicas take to come and go, and what they cost meanwhile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct World {
    /// Seconds from off to serving, paid in full.
    pub startup_s: u64,
    /// Seconds from asleep to serving, paid in full; falling asleep takes as
    /// long, for the same bytes go the other way.
    pub wake_s: u64,
    /// What a sleeper costs beside a replica that serves, 0 to 1.
    pub sleep_cost: f64,
}

/// Replicas that are on their way, or sleep: how many, since which second; oldest
/// first.
pub type OnTheWay = VecDeque<(u32, u64)>;

/// Where a replica of the fleet is.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    pub(crate) ready: u32,
    /// From off to ready.
    pub(crate) starting: OnTheWay,
    /// From sleep to ready.
    pub(crate) waking: OnTheWay,
    /// Sleepers, since which second: those that slept first in front, and those
    /// that are still falling asleep behind.
    pub(crate) asleep: OnTheWay,
    world: World,
}

/// How long replicas took that became ready in one second, if any did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) started_s: Option<u64>,
    pub(crate) woke_s: Option<u64>,
}

fn sum(replicas: &OnTheWay) -> u32 {
    replicas.iter().map(|(count, _)| count).sum()
}

/// Takes up to `count` from the back; returns how many those were.
fn take_last(replicas: &mut OnTheWay, count: u32) -> u32 {
    let mut left = count;
    while left > 0
        && let Some(last) = replicas.back_mut()
    {
        let taken = last.0.min(left);
        last.0 -= taken;
        left -= taken;
        if last.0 == 0 {
            replicas.pop_back();
        }
    }
    count - left
}

/// Takes up to `count` from the front, as long as each has been there for `for_s`.
fn take_first(replicas: &mut OnTheWay, count: u32, for_s: u64, second: u64) -> u32 {
    let mut left = count;
    while left > 0
        && let Some(first) = replicas.front_mut()
        && second.saturating_sub(first.1) >= for_s
    {
        let taken = first.0.min(left);
        first.0 -= taken;
        left -= taken;
        if first.0 == 0 {
            replicas.pop_front();
        }
    }
    count - left
}

impl Fleet {
    pub(crate) const fn of(ready: u32, world: World) -> Self {
        Self {
            ready,
            starting: VecDeque::new(),
            waking: VecDeque::new(),
            asleep: VecDeque::new(),
            world,
        }
    }

    /// Replicas that keep a GPU each: all but those that have fallen asleep.
    pub(crate) fn awake(&self, second: u64) -> u32 {
        let all = self.ready + sum(&self.starting) + sum(&self.waking) + sum(&self.asleep);
        all - self.slept(second)
    }

    /// Sleepers that have given their GPU back.
    pub(crate) fn slept(&self, second: u64) -> u32 {
        let fell = |since: u64| second.saturating_sub(since) >= self.world.wake_s;
        self.asleep
            .iter()
            .filter(|(_, since)| fell(*since))
            .map(|(count, _)| count)
            .sum()
    }

    /// GPUs paid for in this second.
    pub(crate) fn paid(&self, second: u64) -> f64 {
        f64::from(self.awake(second)) + f64::from(self.slept(second)) * self.world.sleep_cost
    }

    /// Replicas that finished starting or waking by `second` are ready.
    pub(crate) fn advance(&mut self, second: u64) -> Arrived {
        let mut arrived = Arrived::default();
        for (way, takes_s, took) in [
            (&mut self.starting, self.world.startup_s, &mut arrived.started_s),
            (&mut self.waking, self.world.wake_s, &mut arrived.woke_s),
        ] {
            while let Some((count, since)) = way.front().copied()
                && second.saturating_sub(since) >= takes_s
            {
                self.ready += count;
                way.pop_front();
                *took = Some(takes_s);
            }
        }
        arrived
    }

    /// Moves replicas until what is asked for is there or on its way; returns
    /// whether anybody moved. What is needed wakes before anything else; of what
    /// is too much sleepers go first, then what has started last.
    pub(crate) fn set(&mut self, ask: Ask, second: u64) -> bool {
        let mut moved = 0;
        let missing = ask.serving.saturating_sub(self.ready + sum(&self.waking));
        let woken = take_first(&mut self.asleep, missing, self.world.wake_s, second);
        if woken > 0 {
            self.waking.push_back((woken, second));
            moved += woken;
        }
        let there = self.ready + sum(&self.starting) + sum(&self.waking) + sum(&self.asleep);
        let warm = ask.serving + ask.asleep;
        if warm > there {
            self.starting.push_back((warm - there, second));
            return true;
        }
        let mut excess = there - warm;
        moved += excess;
        excess -= take_first(&mut self.asleep, excess, 0, second);
        excess -= take_last(&mut self.starting, excess);
        // What wakes is waited for.
        self.ready -= excess.min(self.ready);
        let beyond = (self.ready + sum(&self.waking)).saturating_sub(ask.serving);
        let tired = beyond.min(self.ready);
        if tired > 0 {
            self.ready -= tired;
            self.asleep.push_back((tired, second));
            moved += tired;
        }
        moved > 0
    }
}

/// Work that waits, in the order it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backlog {
    /// Second of arrival and work not yet served.
    waiting: VecDeque<(u64, f64)>,
    total: f64,
}

/// What one second served.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Served {
    /// Replica-seconds served.
    pub(crate) work: f64,
    /// Of these, after more than the time a request may wait.
    pub(crate) late: f64,
}

impl Backlog {
    pub(crate) const fn total(&self) -> f64 {
        self.total
    }

    /// Seconds the oldest work has waited.
    pub(crate) fn oldest_s(&self, second: u64) -> u64 {
        self.waiting
            .front()
            .map_or(0, |(since, _)| second.saturating_sub(*since))
    }

    /// Work that has waited longer than it may.
    pub(crate) fn late_at(&self, second: u64, may_wait_s: u64) -> f64 {
        let late = |since: u64| second.saturating_sub(since) > may_wait_s;
        self.waiting
            .iter()
            .filter(|(since, _)| late(*since))
            .map(|(_, work)| work)
            .sum()
    }

    pub(crate) fn arrive(&mut self, second: u64, work: f64) {
        if work > 0.0 {
            self.waiting.push_back((second, work));
            self.total += work;
        }
    }

    /// Serves `capacity` replica-seconds in order of arrival.
    pub(crate) fn serve(&mut self, second: u64, mut capacity: f64, may_wait_s: u64) -> Served {
        let mut served = Served::default();
        while capacity > 0.0
            && let Some((since, work)) = self.waiting.front_mut()
        {
            let now = work.min(capacity);
            capacity -= now;
            *work -= now;
            served.work += now;
            if second.saturating_sub(*since) > may_wait_s {
                served.late += now;
            }
            if *work <= 1e-9 {
                self.waiting.pop_front();
            }
        }
        self.total = (self.total - served.work).max(0.0);
        if self.waiting.is_empty() {
            self.total = 0.0;
        }
        served
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORLD: World = World {
        startup_s: 20,
        wake_s: 2,
        sleep_cost: 0.1,
    };

    fn ask(serving: u32, asleep: u32) -> Ask {
        Ask { serving, asleep }
    }

    #[test]
    fn a_replica_serves_after_its_start_up_time_and_is_paid_for_from_the_start() {
        let mut fleet = Fleet::of(1, WORLD);
        assert!(fleet.set(Ask::awake(3), 100));
        assert_eq!((fleet.ready, fleet.awake(100)), (1, 3));
        assert_eq!(fleet.advance(119), Arrived::default());
        assert_eq!(fleet.ready, 1);
        assert_eq!(fleet.advance(120).started_s, Some(20));
        assert_eq!((fleet.ready, fleet.awake(120)), (3, 3));
    }

    #[test]
    fn what_started_last_goes_first() {
        let mut fleet = Fleet::of(2, WORLD);
        fleet.set(Ask::awake(4), 100);
        fleet.set(Ask::awake(5), 110);
        fleet.set(Ask::awake(3), 115);
        fleet.advance(120);
        assert_eq!((fleet.ready, fleet.awake(120)), (3, 3));
        fleet.set(Ask::awake(1), 130);
        assert_eq!((fleet.ready, fleet.awake(130)), (1, 1));
        assert!(!fleet.set(Ask::awake(1), 131));
    }

    #[test]
    fn a_sleeper_costs_its_share_once_it_sleeps_and_all_of_a_gpu_while_it_wakes() {
        let mut fleet = Fleet::of(5, WORLD);
        fleet.set(ask(2, 3), 100);
        assert_eq!((fleet.ready, fleet.paid(101)), (2, 5.0));
        assert_eq!((fleet.slept(102), fleet.paid(102)), (3, 2.0 + 0.3));
        fleet.set(ask(4, 1), 200);
        assert_eq!((fleet.ready, fleet.paid(200)), (2, 4.0 + 0.1));
        assert_eq!(fleet.advance(201), Arrived::default());
        assert_eq!(fleet.advance(202).woke_s, Some(2));
        assert_eq!((fleet.ready, fleet.paid(202)), (4, 4.0 + 0.1));
    }

    #[test]
    fn who_still_falls_asleep_wakes_only_after_that() {
        let mut fleet = Fleet::of(3, WORLD);
        fleet.set(ask(1, 2), 100);
        assert!(
            !fleet.set(ask(3, 0), 101),
            "nothing new is started for those that can wake"
        );
        assert!(fleet.set(ask(3, 0), 102));
        fleet.advance(104);
        assert_eq!((fleet.ready, fleet.awake(104)), (3, 3));
    }

    #[test]
    fn what_is_not_needed_goes_in_order_of_use() {
        let mut fleet = Fleet::of(4, WORLD);
        fleet.set(ask(2, 2), 100);
        fleet.set(ask(2, 3), 110);
        assert_eq!(sum(&fleet.starting), 1);
        fleet.set(ask(2, 2), 111);
        assert_eq!(
            (sum(&fleet.asleep), sum(&fleet.starting)),
            (1, 1),
            "a sleeper goes first"
        );
        fleet.advance(130);
        fleet.set(ask(2, 1), 130);
        assert_eq!(
            (fleet.ready, sum(&fleet.asleep)),
            (2, 1),
            "too much that serves goes to sleep before it goes"
        );
    }

    #[test]
    fn work_is_served_in_order_and_late_when_it_waited_too_long() {
        let mut backlog = Backlog::default();
        backlog.arrive(0, 3.0);
        assert_eq!(backlog.serve(0, 1.0, 1), Served { work: 1.0, late: 0.0 });
        backlog.arrive(1, 1.0);
        assert_eq!(backlog.oldest_s(1), 1);
        assert_eq!(backlog.serve(1, 1.0, 1), Served { work: 1.0, late: 0.0 });
        assert_eq!(backlog.serve(2, 5.0, 1), Served { work: 2.0, late: 1.0 });
        assert_eq!(backlog.total(), 0.0);
    }
}
