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
    change: Option<(Instant, u32, u32)>,
    obstacle: Option<(Instant, Reason)>,
}

impl Notable {
    /// Whether `decided` is new; remembers it if so.
    pub(super) fn is_new(&mut self, uid: &str, decided: &VariantDecision, now: Instant) -> bool {
        let told = self.0.entry(uid.to_owned()).or_default();
        if decided.from != decided.to {
            let known = told
                .change
                .is_some_and(|(at, from, to)| (from, to) == (decided.from, decided.to) && now.since(at) < AGAIN);
            if !known {
                told.change = Some((now, decided.from, decided.to));
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
        assert!(notable.is_new("u", &up, at(1)));
        assert!(!notable.is_new("u", &up, at(2)), "waiting for somebody to act");
        assert!(
            notable.is_new("u", &decided(1, 4, Reason::Saturated), at(3)),
            "another change"
        );
        assert!(!notable.is_new("u", &decided(4, 4, Reason::CoversDemand), at(4)));
        assert!(
            notable.is_new("u", &decided(1, 4, Reason::Saturated), at(5)),
            "undone and decided again"
        );
    }

    #[test]
    fn an_obstacle_is_told_when_it_appears() {
        let mut notable = Notable::default();
        let at = Instant::from_secs;
        let full = decided(4, 4, Reason::AtMaximum);
        assert!(notable.is_new("u", &full, at(1)));
        assert!((2..200).all(|second| !notable.is_new("u", &full, at(second))));
        assert!(notable.is_new("u", &full, at(300)), "after a pause");
        assert!(!notable.is_new("u", &decided(4, 4, Reason::CoversDemand), at(301)));
    }
}
