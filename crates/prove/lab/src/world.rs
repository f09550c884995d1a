//! A fleet in virtual time: work arrives, waits in order, and is served by the
//! replicas that are ready; replicas that were asked for take time to start.

use std::collections::VecDeque;

/// Where a replica of the fleet is.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    pub(crate) ready: u32,
    /// Starting replicas: how many, since which second; oldest first.
    pub(crate) starting: VecDeque<(u32, u64)>,
    startup_s: u64,
}

impl Fleet {
    pub(crate) const fn of(ready: u32, startup_s: u64) -> Self {
        Self {
            ready,
            starting: VecDeque::new(),
            startup_s,
        }
    }

    /// What is paid for: replicas that serve and those that start.
    pub(crate) fn paid(&self) -> u32 {
        self.ready + self.starting.iter().map(|(count, _)| count).sum::<u32>()
    }

    /// Replicas that finished starting by `second` are ready.
    pub(crate) fn advance(&mut self, second: u64) {
        while let Some((count, since)) = self.starting.front().copied()
            && second.saturating_sub(since) >= self.startup_s
        {
            self.ready += count;
            self.starting.pop_front();
        }
    }

    /// Starts or drops replicas until `target` are paid for; what has started
    /// last goes first.
    pub(crate) fn set(&mut self, target: u32, second: u64) {
        let paid = self.paid();
        if target > paid {
            self.starting.push_back((target - paid, second));
            return;
        }
        let mut excess = paid - target;
        while excess > 0 {
            let Some(last) = self.starting.back_mut() else {
                self.ready -= excess;
                return;
            };
            let dropped = last.0.min(excess);
            last.0 -= dropped;
            excess -= dropped;
            if last.0 == 0 {
                self.starting.pop_back();
            }
        }
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

    #[test]
    fn a_replica_serves_after_its_start_up_time_and_is_paid_for_from_the_start() {
        let mut fleet = Fleet::of(1, 20);
        fleet.set(3, 100);
        assert_eq!((fleet.ready, fleet.paid()), (1, 3));
        fleet.advance(119);
        assert_eq!(fleet.ready, 1);
        fleet.advance(120);
        assert_eq!((fleet.ready, fleet.paid()), (3, 3));
    }

    #[test]
    fn what_started_last_goes_first() {
        let mut fleet = Fleet::of(2, 20);
        fleet.set(4, 100);
        fleet.set(5, 110);
        fleet.set(3, 115);
        fleet.advance(120);
        assert_eq!((fleet.ready, fleet.paid()), (3, 3));
        fleet.set(1, 130);
        assert_eq!((fleet.ready, fleet.paid()), (1, 1));
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
