//! How a source itself is doing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

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
}

/// The counters behind [`SourceHealth`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    asked: AtomicU64,
    failed: AtomicU64,
    busy_micros: AtomicU64,
    bytes: AtomicU64,
}

impl Counters {
    pub(crate) fn answered(&self, took: Duration, bytes: usize) {
        self.asked.fetch_add(1, Relaxed);
        self.busy_micros
            .fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn failed(&self, took: Duration) {
        self.answered(took, 0);
        self.failed.fetch_add(1, Relaxed);
    }

    pub(crate) fn read(&self) -> SourceHealth {
        SourceHealth {
            asked: self.asked.load(Relaxed),
            failed: self.failed.load(Relaxed),
            busy_micros: self.busy_micros.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
        }
    }
}
