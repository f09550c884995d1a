//! Work keyed by object: each key at most once in the queue and at most once
//! in work, failures come back after a growing pause. Its size is bounded by
//! the number of objects.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::call::Error;

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The queue of one controller.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    wake: Notify,
}

struct State<T> {
    ready: VecDeque<T>,
    wanted: BTreeSet<T>,
    working: BTreeSet<T>,
    later: BTreeMap<T, Instant>,
    failures: BTreeMap<T, u32>,
}

impl<T: Ord + Clone + Debug + Send + 'static> Queue<T> {
    /// An empty one.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Queue {
            state: Mutex::new(State {
                ready: VecDeque::new(),
                wanted: BTreeSet::new(),
                working: BTreeSet::new(),
                later: BTreeMap::new(),
                failures: BTreeMap::new(),
            }),
            wake: Notify::new(),
        })
    }

    /// Wants `key` looked at soon. Wanted again while in work, it is looked at once more after.
    pub(crate) fn add(&self, key: T) {
        let mut state = self.state.lock();
        state.later.remove(&key);
        if state.wanted.insert(key.clone()) && !state.working.contains(&key) {
            state.ready.push_back(key);
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Wants `key` looked at after `pause`, or sooner if that was said before.
    pub(crate) fn add_after(&self, key: T, pause: Duration) {
        let mut state = self.state.lock();
        let due = Instant::now() + pause;
        let known = state.later.entry(key).or_insert(due);
        *known = due.min(*known);
        drop(state);
        self.wake.notify_one();
    }

    async fn next(&self) -> T {
        loop {
            let pause = {
                let mut state = self.state.lock();
                let now = Instant::now();
                let due: Vec<T> = state
                    .later
                    .iter()
                    .filter(|(_, at)| **at <= now)
                    .map(|(key, _)| key.clone())
                    .collect();
                for key in due {
                    state.later.remove(&key);
                    if state.wanted.insert(key.clone()) && !state.working.contains(&key) {
                        state.ready.push_back(key);
                    }
                }
                if let Some(key) = state.ready.pop_front() {
                    state.wanted.remove(&key);
                    state.working.insert(key.clone());
                    if !state.ready.is_empty() {
                        self.wake.notify_one();
                    }
                    return key;
                }
                state.later.values().min().map(|at| at.saturating_duration_since(now))
            };
            match pause {
                None => self.wake.notified().await,
                Some(pause) => {
                    // Another worker may take the key; then this one just looks again.
                    let _ = tokio::time::timeout(pause, self.wake.notified()).await;
                }
            }
        }
    }

    fn done(&self, key: &T, outcome: &Result<Option<Duration>, Error>) {
        let mut state = self.state.lock();
        state.working.remove(key);
        if state.wanted.contains(key) {
            state.ready.push_back(key.clone());
        }
        let pause = match outcome {
            Ok(pause) => {
                state.failures.remove(key);
                *pause
            }
            Err(_) => {
                let failures = state.failures.entry(key.clone()).or_insert(0);
                let pause = FIRST_PAUSE.saturating_mul(1 << (*failures).min(20)).min(LONGEST_PAUSE);
                *failures += 1;
                Some(pause)
            }
        };
        drop(state);
        self.wake.notify_one();
        if let Some(pause) = pause {
            self.add_after(key.clone(), pause);
        }
    }

    /// Works for ever with `workers` at once. `work` says when it wants to see the key again.
    pub(crate) async fn run<F>(self: Arc<Self>, controller: &'static str, workers: usize, work: impl Fn(T) -> F)
    where
        F: Future<Output = Result<Option<Duration>, Error>>,
    {
        let one = || async {
            loop {
                let key = self.next().await;
                let outcome = work(key.clone()).await;
                match &outcome {
                    Err(error) if error.is_conflict() => {
                        tracing::debug!(controller, ?key, %error, "changed meanwhile; trying again");
                    }
                    Err(error) => tracing::warn!(controller, ?key, %error, "trying again"),
                    Ok(_) => {}
                }
                self.done(&key, &outcome);
            }
        };
        futures::future::join_all((0..workers.max(1)).map(|_| one())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_in_work_once_and_comes_back_when_wanted_meanwhile() {
        let queue = Queue::new();
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.next().await, "a");
        queue.add("a");
        assert_eq!(queue.next().await, "b");
        queue.done(&"a", &Ok(None));
        assert_eq!(queue.next().await, "a");
        queue.done(&"a", &Ok(None));
        queue.done(&"b", &Err(Error::Invalid("x".into())));
        assert_eq!(queue.next().await, "b");
        queue.done(&"b", &Ok(None));
        assert!(queue.state.lock().failures.is_empty());
    }
}
