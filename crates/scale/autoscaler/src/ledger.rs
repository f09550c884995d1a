//! What was set and has not come back from the watch yet.

use crate::target::{Seen, TargetKey};
use std::collections::BTreeMap;
use std::time::Duration;
use units::Instant;

/// After this long the watch is believed again, whatever it says.
const PATIENCE: Duration = Duration::from_secs(5);

/// Replicas that were set, by target, until the watch has caught up, so that
/// the next decision does not start from a number that is known to be old.
#[derive(Debug, Default)]
pub(crate) struct Ledger(BTreeMap<TargetKey, Entry>);

#[derive(Debug)]
struct Entry {
    replicas: u32,
    at: Instant,
    seen: Seen,
}

impl Ledger {
    /// Notes that `replicas` were set on an object that was `seen` so.
    pub(crate) fn note(&mut self, key: TargetKey, replicas: u32, seen: Seen, now: Instant) {
        self.0.insert(
            key,
            Entry {
                replicas,
                at: now,
                seen,
            },
        );
    }

    /// The replicas asked for, given what the watch says.
    pub(crate) fn correct(&mut self, key: &TargetKey, wanted: u32, seen: &Seen, now: Instant) -> u32 {
        match self.0.get(key) {
            Some(entry) if entry.seen == *seen && now.since(entry.at) < PATIENCE => entry.replicas,
            Some(_) => {
                self.0.remove(key);
                wanted
            }
            None => wanted,
        }
    }

    /// Forgets what is older than anybody would ask for.
    pub(crate) fn prune(&mut self, now: Instant) {
        self.0.retain(|_, entry| now.since(entry.at) < PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::TargetRef;

    #[test]
    fn what_was_set_counts_until_the_watch_has_caught_up() {
        let target = TargetRef {
            api_version: None,
            kind: "Deployment".into(),
            name: "x".into(),
        };
        let key = TargetKey::new("ns", &target);
        let mut ledger = Ledger::default();
        let at = Instant::from_secs;
        let seen = |uid: &str, generation| (Some(uid.to_owned()), Some(generation));
        ledger.note(key.clone(), 3, seen("u", 7), at(10));
        assert_eq!(
            ledger.correct(&key, 1, &seen("u", 7), at(11)),
            3,
            "still the old object"
        );
        assert_eq!(
            ledger.correct(&key, 2, &seen("u", 8), at(11)),
            2,
            "somebody changed it since"
        );
        assert_eq!(
            ledger.correct(&key, 1, &seen("u", 7), at(11)),
            1,
            "believed from then on"
        );
        ledger.note(key.clone(), 3, seen("u", 8), at(12));
        assert_eq!(ledger.correct(&key, 1, &seen("u", 8), at(17)), 1, "not for ever");
        ledger.note(key.clone(), 3, seen("u", 1), at(20));
        assert_eq!(
            ledger.correct(&key, 1, &seen("v", 1), at(21)),
            1,
            "another object of that name"
        );
    }
}
