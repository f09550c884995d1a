//! How a source itself is doing.

use crate::cache::CacheStats;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use units::Instant;

/// A source that had a good answer this lately is up, whatever failed since:
/// one replica that does not answer is no broken source.
const UP_FOR: Duration = Duration::from_secs(30);

/// What a source did since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceHealth {
    /// Questions asked.
    pub asked: u64,
    /// Questions that got no usable answer.
    pub failed: u64,
    /// Time all answers took together, microseconds.
    pub busy_micros: u64,
    /// Bytes read.
    pub bytes: u64,
    /// When the last usable answer came, counted from the unix epoch; absent
    /// before the first.
    pub last_success: Option<Instant>,
    /// Whether it answers; absent until it was asked.
    pub up: Option<bool>,
    /// How its cache does, if it has one.
    pub cache: Option<CacheStats>,
    /// By how much its clock is ahead of ours, milliseconds, if it tells the
    /// time; below 0 it is behind.
    pub clock_ahead_ms: Option<i64>,
}

impl SourceHealth {
    /// Both together: up if one of them is.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let cache = match (self.cache, other.cache) {
            (Some(mine), Some(theirs)) => Some(mine.and(theirs)),
            (mine, theirs) => mine.or(theirs),
        };
        Self {
            asked: self.asked + other.asked,
            failed: self.failed + other.failed,
            busy_micros: self.busy_micros + other.busy_micros,
            bytes: self.bytes + other.bytes,
            last_success: self.last_success.max(other.last_success),
            up: self.up.max(other.up),
            cache,
            clock_ahead_ms: self.clock_ahead_ms.or(other.clock_ahead_ms),
        }
    }
}

/// The counters behind [`SourceHealth`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    asked: AtomicU64,
    failed: AtomicU64,
    busy_micros: AtomicU64,
    bytes: AtomicU64,
    /// Nanoseconds since the epoch; 0 is never.
    last_success: AtomicU64,
    last_failure: AtomicU64,
}

impl Counters {
    /// A question that was asked at `asked` has been answered at `now`.
    pub(crate) fn answered(&self, asked: Instant, now: Instant, bytes: usize) {
        self.count(now.since(asked), bytes);
        self.last_success.fetch_max(now.as_nanos(), Relaxed);
    }

    /// A question that was asked at `asked` has come to nothing at `now`.
    pub(crate) fn failed(&self, asked: Instant, now: Instant) {
        self.count(now.since(asked), 0);
        self.failed.fetch_add(1, Relaxed);
        self.last_failure.fetch_max(now.as_nanos(), Relaxed);
    }

    fn count(&self, took: Duration, bytes: usize) {
        self.asked.fetch_add(1, Relaxed);
        self.busy_micros
            .fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn read(&self, now: Instant) -> SourceHealth {
        let at = |nanos: &AtomicU64| match nanos.load(Relaxed) {
            0 => None,
            nanos => Some(Instant::from_nanos(nanos)),
        };
        let (success, failure) = (at(&self.last_success), at(&self.last_failure));
        SourceHealth {
            asked: self.asked.load(Relaxed),
            failed: self.failed.load(Relaxed),
            busy_micros: self.busy_micros.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            last_success: success,
            up: success
                .or(failure)
                .map(|_| success > failure || success.is_some_and(|at| now.since(at) <= UP_FOR)),
            cache: None,
            clock_ahead_ms: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_up_as_long_as_somebody_answers() {
        let at = Instant::from_secs;
        let counters = Counters::default();
        assert_eq!(counters.read(at(100)).up, None, "nobody was asked");
        counters.failed(at(100), at(101));
        assert_eq!(counters.read(at(101)).up, Some(false));
        counters.answered(at(102), at(103), 10);
        counters.failed(at(104), at(105));
        assert_eq!(counters.read(at(110)).up, Some(true), "others answer");
        assert_eq!(counters.read(at(140)).up, Some(false));
        let health = counters.read(at(140));
        assert_eq!(
            (health.asked, health.failed, health.bytes, health.last_success),
            (3, 2, 10, Some(at(103)))
        );
        counters.answered(at(141), at(141), 0);
        assert_eq!(counters.read(at(10_000)).up, Some(true), "not asked since");
    }

    #[test]
    fn two_sources_count_together() {
        let one = SourceHealth {
            asked: 3,
            up: Some(false),
            last_success: Some(Instant::from_secs(7)),
            ..SourceHealth::default()
        };
        let other = SourceHealth {
            asked: 4,
            up: Some(true),
            ..SourceHealth::default()
        };
        let both = one.and(other);
        assert_eq!(
            (both.asked, both.up, both.last_success),
            (7, Some(true), one.last_success)
        );
    }
}
