//! What was heard lately, kept for those who read: bounded in time and number.
//!
//! Time is passed in. A [`MemoryCache`] hands out nothing older than its time
//! to live and holds no more than its most entries; beyond that the least
//! recently used one goes (LRU). [`NoCache`] keeps nothing.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use units::Instant;

/// What a cache did since it was made, and how much it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Readings that found something young enough.
    pub hits: u64,
    /// Readings that did not.
    pub misses: u64,
    /// Entries that went because there were too many.
    pub evicted: u64,
    /// Entries that were cleaned up because they were too old.
    pub expired: u64,
    /// Entries held now, those too old included.
    pub entries: u64,
}

impl CacheStats {
    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            hits: self.hits + other.hits,
            misses: self.misses + other.misses,
            evicted: self.evicted + other.evicted,
            expired: self.expired + other.expired,
            entries: self.entries + other.entries,
        }
    }
}

/// What came of a reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cached<V> {
    /// It is there and young enough.
    Hit(V),
    /// It is there, and too old to be handed out.
    Expired {
        /// How old it is.
        age: Duration,
    },
    /// It is not there.
    Absent,
}

/// Keeps values by a key such as `replica:<namespace>/<model>`.
pub trait Cache<V>: fmt::Debug + Send + Sync {
    /// The value of `key`, if it is young enough at `now`.
    fn get(&self, key: &str, now: Instant) -> Cached<V>;

    /// Keeps `value`, which came at `now`.
    fn put(&self, key: String, value: V, now: Instant);

    /// Forgets `key`; says whether it was there.
    fn invalidate(&self, key: &str) -> bool;

    /// Forgets every key that begins with `prefix`, such as
    /// `replica:<namespace>/`; says how many there were.
    fn invalidate_prefix(&self, prefix: &str) -> usize;

    /// Forgets what is too old at `now`; says how many there were.
    fn clean(&self, now: Instant) -> usize;

    /// Whether what is put can be got again.
    fn keeps(&self) -> bool;

    /// What it did, and how much it holds.
    fn stats(&self) -> CacheStats;
}

/// Keeps values in memory.
pub struct MemoryCache<V> {
    ttl: Duration,
    most: usize,
    state: Mutex<State<V>>,
}

struct State<V> {
    entries: BTreeMap<String, Entry<V>>,
    /// Keys by when they were last used.
    used: BTreeMap<u64, String>,
    uses: u64,
    stats: CacheStats,
}

struct Entry<V> {
    value: V,
    put: Instant,
    used: u64,
}

impl<V> MemoryCache<V> {
    /// An empty cache of at most `most` entries (at least 1), each handed out
    /// until it is older than `ttl`.
    #[must_use]
    pub fn new(ttl: Duration, most: usize) -> Self {
        let state = State {
            entries: BTreeMap::new(),
            used: BTreeMap::new(),
            uses: 0,
            stats: CacheStats::default(),
        };
        Self {
            ttl,
            most: most.max(1),
            state: Mutex::new(state),
        }
    }
}

impl<V> fmt::Debug for MemoryCache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryCache")
            .field("ttl", &self.ttl)
            .field("most", &self.most)
            .field("entries", &self.state.lock().entries.len())
            .finish()
    }
}

impl<V> State<V> {
    fn remove(&mut self, key: &str) -> bool {
        let entry = self.entries.remove(key);
        entry.is_some_and(|entry| self.used.remove(&entry.used).is_some())
    }

    fn remove_all(&mut self, keys: &[String]) -> usize {
        keys.iter().filter(|key| self.remove(key)).count()
    }

    fn next_use(&mut self, key: &str) -> u64 {
        self.uses += 1;
        self.used.insert(self.uses, key.to_owned());
        self.uses
    }
}

impl<V: Clone + Send> Cache<V> for MemoryCache<V> {
    fn get(&self, key: &str, now: Instant) -> Cached<V> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(entry) = state.entries.get_mut(key) else {
            state.stats.misses += 1;
            return Cached::Absent;
        };
        let age = now.since(entry.put);
        if age > self.ttl {
            state.stats.misses += 1;
            return Cached::Expired { age };
        }
        state.stats.hits += 1;
        // The key moves to the end of the line, and is not written anew.
        if let Some(key) = state.used.remove(&entry.used) {
            state.uses += 1;
            state.used.insert(state.uses, key);
            entry.used = state.uses;
        }
        Cached::Hit(entry.value.clone())
    }

    fn put(&self, key: String, value: V, now: Instant) {
        let mut state = self.state.lock();
        state.remove(&key);
        while state.entries.len() >= self.most {
            let Some((_, least)) = state.used.pop_first() else {
                break;
            };
            state.entries.remove(&least);
            state.stats.evicted += 1;
        }
        let used = state.next_use(&key);
        state.entries.insert(key, Entry { value, put: now, used });
    }

    fn invalidate(&self, key: &str) -> bool {
        self.state.lock().remove(key)
    }

    fn invalidate_prefix(&self, prefix: &str) -> usize {
        let mut state = self.state.lock();
        let from = state.entries.range(prefix.to_owned()..);
        let keys: Vec<String> = from
            .map(|(key, _)| key)
            .take_while(|key| key.starts_with(prefix))
            .cloned()
            .collect();
        state.remove_all(&keys)
    }

    fn clean(&self, now: Instant) -> usize {
        let mut state = self.state.lock();
        let old = |(key, entry): (&String, &Entry<V>)| (now.since(entry.put) > self.ttl).then(|| key.clone());
        let keys: Vec<String> = state.entries.iter().filter_map(old).collect();
        let cleaned = state.remove_all(&keys);
        state.stats.expired += cleaned as u64;
        cleaned
    }

    fn keeps(&self) -> bool {
        true
    }

    fn stats(&self) -> CacheStats {
        let state = self.state.lock();
        CacheStats {
            entries: state.entries.len() as u64,
            ..state.stats
        }
    }
}

/// Keeps nothing: every reading has to ask.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCache;

impl<V> Cache<V> for NoCache {
    fn get(&self, _: &str, _: Instant) -> Cached<V> {
        Cached::Absent
    }

    fn put(&self, _: String, _: V, _: Instant) {}

    fn invalidate(&self, _: &str) -> bool {
        false
    }

    fn invalidate_prefix(&self, _: &str) -> usize {
        0
    }

    fn clean(&self, _: Instant) -> usize {
        0
    }

    fn keeps(&self) -> bool {
        false
    }

    fn stats(&self) -> CacheStats {
        CacheStats::default()
    }
}

#[cfg(test)]
mod tests;
