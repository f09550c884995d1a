//! How long servers of a variant take to start, learned by watching them.

use super::input::{Input, ReplicaState};
use std::collections::{BTreeMap, VecDeque};

/// Starts kept per variant.
const KEPT: usize = 9;

/// What earlier starts took. Bounded by the replicas and variants in the input.
#[derive(Debug, Default)]
pub(super) struct Starts {
    /// By Pod: the start under way or done.
    pods: BTreeMap<String, Start>,
    /// By variant: milliseconds of the last starts, oldest first.
    took_ms: BTreeMap<String, VecDeque<u64>>,
}

#[derive(Debug)]
struct Start {
    started_unix_ms: u64,
    /// It was seen starting, so that the moment it served is known.
    watched: bool,
    /// It served: there is nothing more to learn from it.
    done: bool,
}

impl Starts {
    /// Looks at the replicas at `now`.
    pub(super) fn observe(&mut self, input: &Input, now_unix_ms: u64) {
        for variant in &input.variants {
            for replica in &variant.replicas {
                let Some(started_unix_ms) = replica.started_unix_ms else {
                    continue;
                };
                let start = self.pods.entry(replica.pod.clone()).or_insert(Start {
                    started_unix_ms,
                    watched: false,
                    done: false,
                });
                if start.started_unix_ms != started_unix_ms {
                    *start = Start {
                        started_unix_ms,
                        watched: false,
                        done: false,
                    };
                }
                match replica.state {
                    ReplicaState::Starting => start.watched = true,
                    ReplicaState::Serving if !start.done => {
                        start.done = true;
                        let ready = replica.ready_unix_ms.or(start.watched.then_some(now_unix_ms));
                        if let Some(took) = ready.and_then(|ready| ready.checked_sub(started_unix_ms)) {
                            let took_ms = self.took_ms.entry(variant.name.clone()).or_default();
                            took_ms.push_back(took);
                            while took_ms.len() > KEPT {
                                took_ms.pop_front();
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
        self.pods
            .retain(|pod, _| input.variants.iter().any(|v| v.replicas.iter().any(|r| r.pod == *pod)));
        self.took_ms
            .retain(|name, _| input.variants.iter().any(|v| v.name == *name));
    }

    /// What a start of `variant` takes, milliseconds: the median of the last
    /// ones, or `None` when none was seen.
    pub(super) fn usual_ms(&self, variant: &str) -> Option<u64> {
        let mut took: Vec<u64> = self.took_ms.get(variant)?.iter().copied().collect();
        took.sort_unstable();
        took.get(took.len() / 2).copied()
    }
}
