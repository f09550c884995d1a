//! Which turns of a condition people should hear of: those that last.

use api::reasons;
use std::collections::BTreeMap;
use std::time::Duration;
use units::Instant;

/// A replica that came up a moment ago was not asked for its signals yet; that
/// is worth a condition, and no Event unless it stays so.
const METRICS_SETTLE: Duration = Duration::from_secs(5);

/// What was told of each variant's conditions, by uid and kind.
#[derive(Debug, Default)]
pub(super) struct Turns(BTreeMap<String, BTreeMap<&'static str, Turn>>);

#[derive(Debug)]
struct Turn {
    /// People were told last that it does not hold.
    told_bad: bool,
    /// Since when it is otherwise.
    otherwise_since: Option<Instant>,
}

impl Turns {
    /// Whether people should hear now that the condition `kind` is `bad`, or
    /// no longer. `before` is what its status said when it was first looked at:
    /// a condition that begins well is not told.
    pub(super) fn is_due(
        &mut self,
        uid: &str,
        kind: &'static str,
        bad: bool,
        before: impl FnOnce() -> Option<bool>,
        now: Instant,
    ) -> bool {
        let of_variant = self.0.entry(uid.to_owned()).or_default();
        let turn = of_variant.entry(kind).or_insert_with(|| Turn {
            told_bad: before().unwrap_or(false),
            otherwise_since: None,
        });
        if bad == turn.told_bad {
            turn.otherwise_since = None;
            return false;
        }
        let settle = if kind == reasons::METRICS_AVAILABLE && bad {
            METRICS_SETTLE
        } else {
            Duration::ZERO
        };
        let due = now.since(*turn.otherwise_since.get_or_insert(now)) >= settle;
        if due {
            turn.told_bad = bad;
            turn.otherwise_since = None;
        }
        due
    }

    /// Forgets objects that are gone.
    pub(super) fn keep_only(&mut self, present: impl Fn(&str) -> bool) {
        self.0.retain(|uid, _| present(uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells when `statuses` (second, bad) are told of.
    fn told(kind: &'static str, before: Option<bool>, statuses: &[(u64, bool)]) -> Vec<u64> {
        let mut turns = Turns::default();
        let due = |(second, bad): &&(u64, bool)| turns.is_due("u", kind, *bad, || before, Instant::from_secs(*second));
        statuses.iter().filter(due).map(|(second, _)| *second).collect()
    }

    #[test]
    fn signals_that_are_missing_for_a_moment_are_no_news() {
        let kind = reasons::METRICS_AVAILABLE;
        assert!(told(kind, None, &[(1, true), (2, false), (3, true), (7, true)]).is_empty());
        let lasting = [(1, true), (5, true), (6, true), (7, true), (8, false), (9, false)];
        assert_eq!(told(kind, None, &lasting), [6, 8], "told once each way");
    }

    #[test]
    fn other_conditions_are_told_when_they_turn() {
        let kind = reasons::TARGET_RESOLVED;
        assert_eq!(
            told(kind, None, &[(1, false), (2, true), (3, true), (4, false)]),
            [2, 4]
        );
        assert_eq!(told(kind, None, &[(1, true)]), [1]);
        assert_eq!(
            told(kind, Some(true), &[(1, true), (2, false)]),
            [2],
            "an earlier life told of it"
        );
    }
}
