//! Rate policies and bounds: how far one pass may go.

use crate::outcome::Limited;
use crate::spec::{Behavior, PolicyKind, Rules, Select};
use std::time::Duration;
use units::Instant;

/// Changes kept at the most in one direction. A pass every second over the
/// longest period the API allows (1800 s) fits; with more the oldest goes first.
const MOST_ENTRIES: usize = 2048;

/// The changes of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    entries: Vec<Change>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    replicas: u32,
    at: Instant,
    outdated: bool,
}

impl Changes {
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

    /// Replicas changed within the last `period`.
    #[must_use]
    pub fn within(&self, period: Duration, now: Instant) -> i64 {
        let recent = self.entries.iter().filter(|change| now.since(change.at) < period);
        recent.map(|change| i64::from(change.replicas)).sum()
    }

    /// Remembers a change of `replicas`; one that no policy of `rules` looks at
    /// any more gives its place. Returns the place.
    pub fn remember(&mut self, replicas: u32, rules: &Rules, now: Instant) -> usize {
        let longest = rules.policies.iter().map(|policy| policy.period).max();
        let longest = longest.unwrap_or_default();
        let mut place = None;
        for (i, change) in self.entries.iter_mut().enumerate() {
            change.outdated |= now.since(change.at) > longest;
            if change.outdated {
                place = Some(i);
            }
        }
        if place.is_none() && self.entries.len() >= MOST_ENTRIES {
            place = (0..self.entries.len()).min_by_key(|i| (self.entries[*i].at, *i));
        }
        let change = Change {
            replicas,
            at: now,
            outdated: false,
        };
        match place {
            Some(i) => {
                self.entries[i] = change;
                i
            }
            None => {
                self.entries.push(change);
                self.entries.len() - 1
            }
        }
    }

    /// Forgets the change at `place`.
    pub(crate) fn forget(&mut self, place: usize) {
        if place < self.entries.len() {
            self.entries.remove(place);
        }
    }

    #[cfg(test)]
    pub(crate) fn of(entries: &[(u32, Instant)]) -> Self {
        let change = |(replicas, at): &(u32, Instant)| Change {
            replicas: *replicas,
            at: *at,
            outdated: false,
        };
        Self {
            entries: entries.iter().map(change).collect(),
        }
    }

    #[cfg(test)]
    pub(crate) fn listed(&self) -> Vec<(u32, bool)> {
        self.entries.iter().map(|c| (c.replicas, c.outdated)).collect()
    }
}

/// Without `behavior`: `desired` between `min` and the smaller of `max` and
/// twice `current`, at least 4.
#[must_use]
pub fn older(current: u32, desired: u32, min: u32, max: u32) -> (u32, Limited) {
    let rate = current.saturating_mul(2).max(4);
    let (most, why) = if max > rate {
        (rate, Limited::ScaleUpLimit)
    } else {
        (max, Limited::TooManyReplicas)
    };
    if desired < min {
        (min, Limited::TooFewReplicas)
    } else if desired > most {
        (most, why)
    } else {
        (desired, Limited::DesiredWithinRange)
    }
}

/// With `behavior`: `desired` as far as the policies and `max` (up) or `min`
/// (down) allow, seen the changes `ups` and `downs` that were made.
#[must_use]
pub fn by_policies(
    behavior: &Behavior,
    (ups, downs): (&Changes, &Changes),
    current: u32,
    desired: u32,
    (min, max): (u32, u32),
    now: Instant,
) -> (u32, Limited) {
    if desired > current {
        let rate = allowed(Direction::Up, &behavior.up, ups, downs, current, now).max(current);
        let (most, why) = if max > rate {
            (rate, Limited::ScaleUpLimit)
        } else {
            (max, Limited::TooManyReplicas)
        };
        if desired > most {
            return (most, why);
        }
    } else if desired < current {
        let rate = allowed(Direction::Down, &behavior.down, ups, downs, current, now).min(current);
        let (least, why) = if min < rate {
            (rate, Limited::ScaleDownLimit)
        } else {
            (min, Limited::TooFewReplicas)
        };
        if desired < least {
            return (least, why);
        }
    }
    (desired, Limited::DesiredWithinRange)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// How far the policies let `current` go; `current` when there are none.
fn allowed(direction: Direction, rules: &Rules, ups: &Changes, downs: &Changes, current: u32, now: Instant) -> u32 {
    if rules.select == Select::Disabled {
        return current;
    }
    let limits = rules.policies.iter().map(|policy| {
        let start = i64::from(current) - ups.within(policy.period, now) + downs.within(policy.period, now);
        let value = i64::from(policy.value);
        let share = policy.value as f64 / 100.0;
        match (policy.kind, direction) {
            (PolicyKind::Pods, Direction::Up) => start.saturating_add(value),
            (PolicyKind::Pods, Direction::Down) => start.saturating_sub(value),
            // Rounded up, or one percent of a small number would be no change.
            (PolicyKind::Percent, Direction::Up) => (start as f64 * (1.0 + share)).ceil() as i64,
            (PolicyKind::Percent, Direction::Down) => (start as f64 * (1.0 - share)) as i64,
        }
    });
    let farthest = match (direction, rules.select) {
        (Direction::Up, Select::Max) | (Direction::Down, Select::Min) => limits.max(),
        _ => limits.min(),
    };
    let farthest = farthest.unwrap_or(i64::from(current));
    u32::try_from(farthest.clamp(0, i64::from(crate::MOST_REPLICAS))).unwrap_or(current)
}

#[cfg(test)]
mod tests;
