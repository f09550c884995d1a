//! Which decisions people should hear of: each change once, and each obstacle
//! when it appears.

use capacity::{Reason, VariantDecision};
use std::collections::BTreeMap;
use std::time::Duration;
use units::Instant;

/// The same thing is worth telling again after this long.
const AGAIN: Duration = Duration::from_secs(60);

/// What was told of each variant, by uid.
#[derive(Debug, Default)]
pub(super) struct Notable(BTreeMap<String, Told>);

#[derive(Debug, Default)]
struct Told {
    change: Option<(Instant, Change)>,
    obstacle: Option<(Instant, Reason)>,
}

/// A change, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    from: u32,
    to: u32,
    came: Came,
}

/// What came of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// It was carried out, or nobody is to do so.
    Done,
    /// It is a wish, until somebody else acts on it.
    Wished,
    /// It could not be carried out.
    Failed,
}

impl Notable {
    /// Whether `decided`, and what `came` of it, is new; remembers it if so.
    pub(super) fn is_new(&mut self, uid: &str, decided: &VariantDecision, came: Came, now: Instant) -> bool {
        let told = self.0.entry(uid.to_owned()).or_default();
        if decided.from != decided.to {
            let change = Change {
                from: decided.from,
                to: decided.to,
                came,
            };
            // A wish stays one for as long as somebody else holds it back.
            let known = told
                .change
                .is_some_and(|(at, told)| told == change && (came == Came::Wished || now.since(at) < AGAIN));
            if !known {
                told.change = Some((now, change));
            }
            return !known;
        }
        // It has been carried out: the same change later is a new one.
        told.change = None;
        if !is_obstacle(decided.reason) {
            return false;
        }
        let known = told
            .obstacle
            .is_some_and(|(at, reason)| reason == decided.reason && now.since(at) < AGAIN);
        // Seen again and again it stays known, and is told again only after a pause.
        told.obstacle = Some((now, decided.reason));
        !known
    }

    /// Forgets objects that are gone.
    pub(super) fn keep_only(&mut self, present: impl Fn(&str) -> bool) {
        self.0.retain(|uid, _| present(uid));
    }
}

/// A reason that asks somebody to do something.
const fn is_obstacle(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::AtMaximum | Reason::NotStarting | Reason::LimitedByGpus | Reason::LimitedByQuota
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use capacity::{Metrics, MetricsWord};

    fn decided(from: u32, to: u32, reason: Reason) -> VariantDecision {
        let metrics = Metrics {
            word: MetricsWord::Found,
            says: String::new(),
        };
        VariantDecision {
            name: "v".into(),
            from,
            to,
            reason,
            sentence: String::new(),
            metrics,
            too_slow: false,
        }
    }

    #[test]
    fn a_change_is_told_once_until_it_is_carried_out() {
        let mut notable = Notable::default();
        let at = Instant::from_secs;
        let up = decided(1, 3, Reason::Saturated);
        assert!(notable.is_new("u", &up, Came::Done, at(1)));
        assert!(
            !notable.is_new("u", &up, Came::Done, at(2)),
            "waiting for somebody to act"
        );
        assert!(
            notable.is_new("u", &decided(1, 4, Reason::Saturated), Came::Done, at(3)),
            "another change"
        );
        assert!(!notable.is_new("u", &decided(4, 4, Reason::CoversDemand), Came::Done, at(4)));
        assert!(
            notable.is_new("u", &decided(1, 4, Reason::Saturated), Came::Done, at(5)),
            "undone and decided again"
        );
    }

    #[test]
    fn an_obstacle_is_told_when_it_appears() {
        let mut notable = Notable::default();
        let at = Instant::from_secs;
        let full = decided(4, 4, Reason::AtMaximum);
        assert!(notable.is_new("u", &full, Came::Done, at(1)));
        assert!((2..200).all(|second| !notable.is_new("u", &full, Came::Done, at(second))));
        assert!(notable.is_new("u", &full, Came::Done, at(300)), "after a pause");
        assert!(!notable.is_new("u", &decided(4, 4, Reason::CoversDemand), Came::Done, at(301)));
    }

    #[test]
    fn what_fails_and_then_succeeds_is_told_twice_and_a_wish_once() {
        let mut notable = Notable::default();
        let at = Instant::from_secs;
        let up = decided(1, 3, Reason::Saturated);
        assert!(notable.is_new("u", &up, Came::Failed, at(1)));
        assert!(!notable.is_new("u", &up, Came::Failed, at(2)));
        assert!(notable.is_new("u", &up, Came::Done, at(3)), "it has succeeded");
        // Held back by an HPA's maximum for ten minutes.
        assert!(notable.is_new("v", &up, Came::Wished, at(1)));
        assert!((2..600).all(|second| !notable.is_new("v", &up, Came::Wished, at(second))));
        assert!(notable.is_new("v", &decided(1, 4, Reason::Saturated), Came::Wished, at(601)));
    }
}
