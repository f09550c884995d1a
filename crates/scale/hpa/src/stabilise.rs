//! Stabilisation windows: a change waits until every recommendation of its
//! window asks for it.

use std::time::Duration;
use units::Instant;

/// Entries kept at the most. A pass every second over the longest window the
/// API allows (3600 s) fits; with more the oldest goes first.
const MOST_ENTRIES: usize = 4096;

/// What was recommended, before windows and limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recommendations {
    entries: Vec<(u32, Instant)>,
    seeded: bool,
}

impl Recommendations {
    /// Before the first pass, takes what the target has for a recommendation.
    pub fn seed(&mut self, current: u32, now: Instant) {
        if !self.seeded {
            self.seeded = true;
            self.entries.push((current, now));
        }
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Without `behavior`: the highest recommendation of the last `window`,
    /// `proposed` included. `proposed` is remembered.
    pub fn highest(&mut self, proposed: u32, window: Duration, now: Instant) -> u32 {
        let mut highest = proposed;
        let mut old = None;
        for (i, (replicas, at)) in self.entries.iter().enumerate() {
            if now.since(*at) > window {
                old = Some(i);
            } else {
                highest = highest.max(*replicas);
            }
        }
        self.remember(old, proposed, now);
        highest
    }

    /// With `behavior`: `current`, moved up to the lowest recommendation of the
    /// last `up`, or down to the highest of the last `down`, `proposed`
    /// included in both. `proposed` is remembered.
    pub fn between(&mut self, current: u32, proposed: u32, up: Duration, down: Duration, now: Instant) -> u32 {
        let (mut lowest, mut highest) = (proposed, proposed);
        let mut old = None;
        for (i, (replicas, at)) in self.entries.iter().enumerate() {
            let age = now.since(*at);
            if age < up {
                lowest = lowest.min(*replicas);
            }
            if age < down {
                highest = highest.max(*replicas);
            }
            if age > up && age > down {
                old = Some(i);
            }
        }
        self.remember(old, proposed, now);
        current.max(lowest).min(highest)
    }

    fn remember(&mut self, old: Option<usize>, proposed: u32, now: Instant) {
        let old = old.or_else(|| {
            let full = self.entries.len() >= MOST_ENTRIES;
            let oldest = || (0..self.entries.len()).min_by_key(|i| (self.entries[*i].1, *i));
            full.then(oldest).flatten()
        });
        match old.and_then(|i| self.entries.get_mut(i)) {
            Some(entry) => *entry = (proposed, now),
            None => self.entries.push((proposed, now)),
        }
    }

    #[cfg(test)]
    pub(crate) fn of(entries: &[(u32, Instant)]) -> Self {
        Self {
            entries: entries.to_vec(),
            seeded: true,
        }
    }

    #[cfg(test)]
    pub(crate) fn replicas(&self) -> Vec<u32> {
        self.entries.iter().map(|(replicas, _)| *replicas).collect()
    }
}

#[cfg(test)]
mod tests;
