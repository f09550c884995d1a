//! The first-come-first-served queue with deadlines.

use std::collections::{BTreeMap, BTreeSet};
use units::Instant;

/// A request, named by its owner; unique while it is in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// The most that may wait. Beyond it requests are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests.
    pub entries: usize,
    /// Bytes of their bodies together.
    pub bytes: u64,
}

/// A waiting request. It keeps its place in line while it is out for an
/// attempt, so that [`Queue::put_back`] can restore it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose entry it is.
    pub id: RequestId,
    /// When it was first offered.
    pub since: Instant,
    /// From this moment on it is no longer dispatched.
    pub deadline: Instant,
    /// Bytes it holds in memory.
    pub bytes: u64,
    place: u64,
}

/// The answer to an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// There is room and nobody waits: go now. The entry serves to put the
    /// request back, should its endpoint fail.
    Dispatch(Entry),
    /// Taken in; [`Queue::on_room`], [`Queue::expire`] or [`Queue::cancel`] will name it.
    Wait,
    /// Not taken in.
    Refuse(Refusal),
}

/// Why an offer was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// As many requests wait as may.
    Entries {
        /// The limit.
        limit: usize,
    },
    /// With this request more bytes would wait than may.
    Bytes {
        /// The limit.
        limit: u64,
        /// Bytes waiting without it.
        waiting: u64,
    },
    /// The deadline was already over when it came.
    DeadlinePassed,
    /// A request of this id waits already.
    AlreadyWaiting,
}

/// What became of everything ever offered. `offered + returned` equals the
/// rest plus what waits now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Offers.
    pub offered: u64,
    /// Entries put back after a failed attempt.
    pub returned: u64,
    /// Dispatched, at once or from the queue.
    pub dispatched: u64,
    /// Refused at the door.
    pub refused: u64,
    /// Deadline passed while waiting.
    pub expired: u64,
    /// Given up by their owner while waiting.
    pub cancelled: u64,
}

/// A bounded queue, first come, first served, with a deadline on each entry.
#[derive(Clone, Debug)]
pub struct Queue {
    limits: Limits,
    by_place: BTreeMap<u64, Entry>,
    place_of: BTreeMap<RequestId, u64>,
    by_deadline: BTreeSet<(Instant, u64)>,
    bytes: u64,
    next_place: u64,
    counts: Counts,
}

impl Queue {
    /// An empty queue.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            by_place: BTreeMap::new(),
            place_of: BTreeMap::new(),
            by_deadline: BTreeSet::new(),
            bytes: 0,
            next_place: 0,
            counts: Counts {
                offered: 0,
                returned: 0,
                dispatched: 0,
                refused: 0,
                expired: 0,
                cancelled: 0,
            },
        }
    }

    /// Offers a request of `bytes` bytes. `room` says whether an endpoint could
    /// take one more request at this moment; nobody overtakes those who wait.
    pub fn offer(&mut self, id: RequestId, bytes: u64, now: Instant, deadline: Instant, room: bool) -> Admit {
        self.counts.offered += 1;
        if let Some(refusal) = self.objection(id, bytes, now, deadline, room) {
            self.counts.refused += 1;
            return Admit::Refuse(refusal);
        }
        let entry = Entry {
            id,
            since: now,
            deadline,
            bytes,
            place: self.next_place,
        };
        self.next_place += 1;
        if room && self.by_place.is_empty() {
            self.counts.dispatched += 1;
            return Admit::Dispatch(entry);
        }
        self.insert(entry);
        Admit::Wait
    }

    fn objection(&self, id: RequestId, bytes: u64, now: Instant, deadline: Instant, room: bool) -> Option<Refusal> {
        if deadline <= now {
            return Some(Refusal::DeadlinePassed);
        }
        if self.place_of.contains_key(&id) {
            return Some(Refusal::AlreadyWaiting);
        }
        if room && self.by_place.is_empty() {
            return None;
        }
        if self.by_place.len() >= self.limits.entries {
            return Some(Refusal::Entries {
                limit: self.limits.entries,
            });
        }
        if self.bytes.saturating_add(bytes) > self.limits.bytes {
            return Some(Refusal::Bytes {
                limit: self.limits.bytes,
                waiting: self.bytes,
            });
        }
        None
    }

    /// Takes out the next request to dispatch, because there is room for one.
    /// Entries whose deadline is over are left for [`Queue::expire`].
    pub fn on_room(&mut self, now: Instant) -> Option<Entry> {
        let place = self.by_place.values().find(|entry| entry.deadline > now)?.place;
        let entry = self.remove(place)?;
        self.counts.dispatched += 1;
        Some(entry)
    }

    /// Puts a dispatched request back where it stood, because the endpoint it
    /// went to failed and no other can take it now. Limits do not apply: it
    /// was admitted once. Its deadline does, at the next [`Queue::expire`].
    ///
    /// Gives false, and does nothing, if a request of this id waits already.
    pub fn put_back(&mut self, entry: Entry) -> bool {
        if self.place_of.contains_key(&entry.id) || self.by_place.contains_key(&entry.place) {
            return false;
        }
        self.counts.returned += 1;
        self.insert(entry);
        true
    }

    /// Takes out every request whose deadline is over, the earliest first.
    pub fn expire(&mut self, now: Instant) -> Vec<Entry> {
        let mut expired = Vec::new();
        while let Some(&(deadline, place)) = self.by_deadline.first() {
            if deadline > now {
                break;
            }
            expired.extend(self.remove(place));
        }
        self.counts.expired += expired.len() as u64;
        expired
    }

    /// Takes out a request that its owner gave up; `None` if it does not wait.
    pub fn cancel(&mut self, id: RequestId) -> Option<Entry> {
        let entry = self.place_of.get(&id).copied().and_then(|place| self.remove(place))?;
        self.counts.cancelled += 1;
        Some(entry)
    }

    /// When [`Queue::expire`] will next have something to say.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Instant> {
        self.by_deadline.first().map(|&(deadline, _)| deadline)
    }

    /// The request that is first in line.
    #[must_use]
    pub fn head(&self) -> Option<&Entry> {
        self.by_place.values().next()
    }

    /// Requests waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_place.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_place.is_empty()
    }

    /// Bytes waiting.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What became of everything offered so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    fn insert(&mut self, entry: Entry) {
        self.by_place.insert(entry.place, entry);
        self.place_of.insert(entry.id, entry.place);
        self.by_deadline.insert((entry.deadline, entry.place));
        self.bytes = self.bytes.saturating_add(entry.bytes);
    }

    fn remove(&mut self, place: u64) -> Option<Entry> {
        let entry = self.by_place.remove(&place)?;
        self.place_of.remove(&entry.id);
        self.by_deadline.remove(&(entry.deadline, entry.place));
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        Some(entry)
    }
}

#[cfg(test)]
mod tests;
