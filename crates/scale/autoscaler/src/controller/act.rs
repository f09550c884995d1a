//! Carries decisions out.

use super::orders::Order;
use super::{Acted, Carried, Controller, Late, ModelKey, decision_of, with_decisions};
use crate::Actuator;
use crate::subject::Subject;
use crate::survey::Variant;
use crate::target::{ScaleError, Scaled, Target};
use capacity::{Decision, VariantDecision};
use std::collections::BTreeMap;

impl Controller {
    /// Carries decisions out, all at once; says what came of each variant's,
    /// and what came only now of orders of earlier passes.
    pub(super) async fn act(&mut self, variants: &[Variant], decisions: &BTreeMap<ModelKey, Decision>) -> Carried {
        let mut carried = Carried::default();
        let acted = &mut carried.outcomes;
        for ended in self.orders.ended() {
            let order = ended.order;
            acted.insert(order.variant.clone(), self.settle(&order, ended.result));
            carried.late.push(Late {
                variant: order.variant,
                decided: order.decided,
                sentence: order.sentence,
            });
        }
        let mut ordered = false;
        for (variant, decided) in with_decisions(variants, decisions) {
            // Who was just answered is decided on anew in the next pass, knowing the answer.
            if acted.contains_key(&variant.uid) {
                continue;
            }
            let id = variant.uid.clone();
            match (self.way(variant, decided), &variant.target_key) {
                (Actuator::Direct, Some(key)) if self.orders.under_way(key) => {
                    drop(acted.insert(id, Acted::UnderWay));
                }
                _ if decided.from == decided.to => drop(acted.insert(id, Acted::Done)),
                (Actuator::Gauge | Actuator::Hpa, _) => drop(acted.insert(id, Acted::Published)),
                (Actuator::Direct, Some(key)) => match self.scales.api(key) {
                    Ok(api) => {
                        let order = Order {
                            variant: id.clone(),
                            key: key.clone(),
                            seen: variant.target.as_ref().map(Target::seen).unwrap_or_default(),
                            decided: decided.clone(),
                            sentence: sentence_of(variant, decisions),
                        };
                        self.orders.begin(order, api, self.leadership.clone(), self.clock);
                        acted.insert(id, Acted::UnderWay);
                        ordered = true;
                    }
                    Err(why) => drop(acted.insert(id, Acted::Failed(ScaleError::Kind(why)))),
                },
                (Actuator::Direct, None) | (Actuator::Observe, _) => {}
            }
        }
        if ordered {
            for ended in self.orders.soon().await {
                let outcome = self.settle(&ended.order, ended.result);
                acted.insert(ended.order.variant, outcome);
            }
        }
        carried
    }

    /// How a decision on this variant is carried out. A managed HPA or
    /// ScaledObject scales by the gauge itself; but an HPA that may be at zero
    /// would leave it only at its next look. One that may not and is there was
    /// switched off by its user, which is respected.
    fn way(&self, variant: &Variant, decided: &VariantDecision) -> Actuator {
        let may_be_zero = variant.settings.as_ref().is_some_and(|settings| settings.min == 0);
        match variant.subject {
            Subject::VariantAutoscaling => match self.config.actuator {
                Actuator::Hpa if may_be_zero && (decided.from == 0 || decided.to == 0) => Actuator::Direct,
                actuator => actuator,
            },
            Subject::HorizontalPodAutoscaler if decided.from == 0 && may_be_zero => Actuator::Direct,
            Subject::HorizontalPodAutoscaler | Subject::ScaledObject => Actuator::Gauge,
        }
    }

    fn settle(&mut self, order: &Order, result: Result<Scaled, ScaleError>) -> Acted {
        let now = self.clock.now();
        self.ledger.prune(now);
        let (key, to) = (&order.key, order.decided.to);
        let (wanted, outcome) = match result {
            Ok(Scaled::Done) => (to, Acted::Done),
            Ok(Scaled::Overtaken(wanted)) => (wanted, Acted::Overtaken),
            Err(error) => return Acted::Failed(error),
        };
        if key.watched().is_some() {
            self.ledger.note(key.clone(), wanted, order.seen.clone(), now);
        } else {
            self.scales.set(key, wanted);
        }
        outcome
    }
}

/// What a decision on a whole model says.
fn sentence_of(variant: &Variant, decisions: &BTreeMap<ModelKey, Decision>) -> String {
    decision_of(variant, decisions)
        .map(|(_, decision, _)| decision.sentence.clone())
        .unwrap_or_default()
}
