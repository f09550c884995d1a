//! Sleep: giving GPU memory back while the process lives.

use super::Engine;

/// How deep an engine sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SleepLevel {
    /// Level 0: nothing is scheduled, memory stays as it is.
    Paused,
    /// Level 1: weights wait in host memory, the KV cache is dropped.
    WeightsOffloaded,
    /// Level 2: weights and KV cache are dropped.
    DiscardAll,
}

/// What is in place to compute with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resident {
    /// Weights are in GPU memory.
    pub weights: bool,
    /// The KV cache is allocated.
    pub kv_cache: bool,
    /// Scheduling is on.
    pub scheduling: bool,
    /// How deep the engine was last sent to sleep, until it is awake again.
    pub asleep: Option<SleepLevel>,
}

impl Resident {
    pub(super) const ALL: Self = Self {
        weights: true,
        kv_cache: true,
        scheduling: true,
        asleep: None,
    };

    /// Whether steps can run.
    #[must_use]
    pub const fn all(&self) -> bool {
        self.weights && self.kv_cache && self.scheduling
    }
}

/// What to wake. Scheduling follows once all memory is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WakeTags {
    /// Bring the weights back.
    pub weights: bool,
    /// Allocate the KV cache.
    pub kv_cache: bool,
}

impl WakeTags {
    /// Everything.
    pub const ALL: Self = Self {
        weights: true,
        kv_cache: true,
    };
}

impl Engine {
    /// Whether requests that never ran may start. While they may not, those
    /// that did run on to their end, so that the engine drains.
    pub const fn admit_new(&mut self, admit: bool) {
        self.admit_new = admit;
    }

    /// Puts the engine to sleep. Requests that run lose their KV cache (unless
    /// it only pauses) and go back to the front of the queue in their order;
    /// nothing is scheduled until [`Engine::wake`]. Deepens a sleep, never
    /// lightens it.
    pub fn sleep(&mut self, level: SleepLevel) {
        self.resident.scheduling = false;
        self.resident.asleep = self.resident.asleep.max(Some(level));
        if level == SleepLevel::Paused {
            return;
        }
        while let Some(slot) = self.running.pop() {
            self.preempt(slot);
        }
        self.pool.forget();
        self.resident.weights = false;
        self.resident.kv_cache = false;
    }

    /// Brings back what `tags` name. True once the engine is awake.
    pub fn wake(&mut self, tags: WakeTags) -> bool {
        self.resident.weights |= tags.weights;
        self.resident.kv_cache |= tags.kv_cache;
        if self.resident.weights && self.resident.kv_cache {
            self.resident = Resident::ALL;
        }
        self.resident.all()
    }
}
