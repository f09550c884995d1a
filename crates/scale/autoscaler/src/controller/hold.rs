//! What is not done while it cannot be seen what there is.

use super::ModelKey;
use capacity::{Decision, Reason};
use std::collections::BTreeMap;

/// Takes nothing away while Pods cannot be seen, because of `why`: those that
/// are known may carry half of the load only. What the user's maximum takes
/// away goes all the same.
pub(super) fn take_nothing(decisions: &mut BTreeMap<ModelKey, Decision>, why: &str) {
    for decision in decisions.values_mut() {
        let mut held = Vec::new();
        for variant in &mut decision.variants {
            if variant.to >= variant.from || variant.reason == Reason::AtMaximum {
                continue;
            }
            variant.to = variant.from;
            variant.reason = Reason::WaitingForCoverage;
            variant.sentence = format!("{} stays at {}: fewer may do, but {why}", decision.model, variant.from);
            held.push(variant.name.as_str());
        }
        if held.is_empty() {
            continue;
        }
        let bound = format!("{} not lowered: {why}", held.join(", "));
        decision.sentence = format!("{}; but {bound}", decision.sentence);
        decision.explanation.bounds.push(bound);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capacity::{GatewayView, Memory, ModelView, Policy, VariantView};
    use units::{Instant, Signal};

    /// One variant that is asked for `wanted` and may have up to `max`, idle for long.
    fn decided(wanted: u32, max: u32) -> BTreeMap<ModelKey, Decision> {
        let view = ModelView {
            model: "m".to_owned(),
            namespace: "n".to_owned(),
            slo: None,
            gateway: GatewayView::Absent,
            arrivals: Signal::missing(Instant::ZERO, "not asked"),
            variants: vec![VariantView {
                name: "v".to_owned(),
                accelerator: None,
                cost: 1.0,
                min: 1,
                max,
                wanted,
                slots: None,
                gpus: None,
                engine: None,
                profile: None,
                replicas: Vec::new(),
            }],
        };
        let decision = capacity::decide(&view, &Policy::default(), &mut Memory::default(), Instant::from_secs(9));
        [(("n".to_owned(), "m".to_owned()), decision)].into()
    }

    fn held(mut decisions: BTreeMap<ModelKey, Decision>, to: u32, reason: Reason) -> Decision {
        for decision in decisions.values_mut() {
            (decision.variants[0].to, decision.variants[0].reason) = (to, reason);
        }
        take_nothing(&mut decisions, "Pods cannot be watched");
        decisions.into_values().next().unwrap()
    }

    #[test]
    fn fewer_is_not_decided_unseen_and_more_is() {
        for (to, reason, expected, says) in [
            (3, Reason::LessNeeded, 5, Reason::WaitingForCoverage),
            (0, Reason::Idle, 5, Reason::WaitingForCoverage),
            (7, Reason::Saturated, 7, Reason::Saturated),
            (5, Reason::CoversDemand, 5, Reason::CoversDemand),
            (4, Reason::AtMaximum, 4, Reason::AtMaximum),
        ] {
            let decision = held(decided(5, 8), to, reason);
            let variant = &decision.variants[0];
            assert_eq!((variant.to, variant.reason), (expected, says), "{to} by {reason}");
            let told = decision
                .explanation
                .bounds
                .iter()
                .any(|bound| bound.contains("not lowered"));
            assert_eq!(told, to < 5 && reason != Reason::AtMaximum);
            if told {
                assert!(
                    variant.sentence.contains("Pods cannot be watched"),
                    "{}",
                    variant.sentence
                );
            }
        }
    }
}
