//! Several rules, one answer.
//!
//! Every rule has one vote, in slots: what it needs if it asks for more, and
//! what it needs to keep. More is taken when any of them asks for more, and
//! then as much as the one that needs most. Less is taken only down to what
//! every one of them can keep; one that does not know has no vote. The safety
//! floor is not overruled by anybody: the saturated share keeps what there is
//! while one replica is full, and nothing goes while a replica is silent
//! ([`Load::covered`](crate::load::Load::covered)).
//!
//! No vote weighs more than another: who is pulled below its need by others
//! would ask again in the next pass.

use super::{Have, Rule};
use crate::{Reason, Verdict};

/// What all of them together say.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tally {
    /// Why more is asked for, if it is: the word of the first that asks, and
    /// what each of those says.
    pub(super) up: Option<(Reason, Vec<String>)>,
    /// Slots asked for; what there is, if nobody asks.
    pub(super) needs: f64,
    /// Least slots that every rule can keep.
    pub(super) keep: f64,
}

/// Adds up what the rules say, in their order.
pub(super) fn tally(rules: &[Rule], have: Have) -> Tally {
    let mut tally = Tally {
        up: None,
        needs: have.slots,
        keep: 0.0,
    };
    for rule in rules {
        tally.keep = tally.keep.max(rule.keep);
        if let (Verdict::Up, Some(needs)) = (rule.said.verdict, rule.said.needs) {
            tally.needs = tally.needs.max(needs);
            let (_, causes) = tally.up.get_or_insert_with(|| (rule.reason, Vec::new()));
            causes.extend(rule.cause.clone().filter(|cause| !cause.is_empty()));
            causes.dedup();
        }
    }
    if tally.up.is_some() {
        tally.keep = tally.keep.max(have.slots);
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::rules::{rule, unknown, verdict};
    use proptest::prelude::*;

    const HAVE: Have = Have { slots: 4.0, coming: 0 };

    /// A rule that would have so many slots.
    fn wants(slots: f64) -> Rule {
        let up = slots > HAVE.slots;
        let mut rule = rule(
            "r",
            verdict(up, slots, HAVE),
            Some(slots),
            slots.min(HAVE.slots),
            String::new(),
        );
        rule.cause = Some(format!("wants {slots}"));
        rule
    }

    #[test]
    fn votes_are_added_up() {
        let silent = || unknown("silent", "its data are 100 s old");
        // What the rules would have; then what is needed, kept, and whether more is asked for.
        let cases: [(&str, Vec<Rule>, f64, f64, bool); 7] = [
            (
                "the one that needs most",
                vec![wants(10.0), wants(5.0)],
                10.0,
                4.0,
                true,
            ),
            ("one alone", vec![wants(4.2)], 4.2, 4.0, true),
            (
                "any may ask",
                vec![wants(2.0), wants(10.0), wants(1.0)],
                10.0,
                4.0,
                true,
            ),
            (
                "all agree on less: the least of it",
                vec![wants(1.0), wants(3.0)],
                4.0,
                3.0,
                false,
            ),
            ("one does not agree", vec![wants(1.0), wants(4.0)], 4.0, 4.0, false),
            (
                "who does not know has no vote",
                vec![wants(1.0), silent()],
                4.0,
                1.0,
                false,
            ),
            ("nobody knows", vec![silent()], 4.0, 0.0, false),
        ];
        for (what, rules, needs, keep, up) in cases {
            let got = tally(&rules, HAVE);
            assert_eq!((got.needs, got.keep, got.up.is_some()), (needs, keep, up), "{what}");
        }
        let (_, causes) = tally(&[wants(5.0), wants(5.0), wants(6.0)], HAVE).up.unwrap();
        assert_eq!(causes, ["wants 5", "wants 6"], "said once");
    }

    proptest! {
        #[test]
        fn up_if_any_down_if_all_and_never_below_a_vote(votes in prop::collection::vec(0.0..80.0f64, 0..6)) {
            let rules: Vec<Rule> = votes.iter().map(|slots| wants(*slots)).collect();
            let got = tally(&rules, HAVE);
            prop_assert_eq!(got.up.is_some(), votes.iter().any(|slots| *slots > HAVE.slots));
            for slots in &votes {
                prop_assert!(got.needs >= *slots && got.keep >= slots.min(HAVE.slots));
            }
        }
    }
}
