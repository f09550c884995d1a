//! Carries decisions out.

use super::{Acted, Controller, ModelKey, with_decisions};
use crate::Actuator;
use crate::subject::Subject;
use crate::survey::Variant;
use crate::target::{self, ScaleError, Scaled, Seen, Target, TargetKey};
use capacity::{Decision, VariantDecision};
use std::collections::BTreeMap;

impl Controller {
    /// Carries decisions out, all at once; says what came of each variant's.
    pub(super) async fn act(
        &mut self,
        variants: &[Variant],
        decisions: &BTreeMap<ModelKey, Decision>,
    ) -> BTreeMap<String, Acted> {
        let mut acted = BTreeMap::new();
        let mut orders = Vec::new();
        for (variant, decided) in with_decisions(variants, decisions) {
            let id = variant.uid.clone();
            match (self.way(variant, decided), &variant.target_key) {
                _ if decided.from == decided.to => drop(acted.insert(id, Acted::Done)),
                (Actuator::Gauge | Actuator::Hpa, _) => drop(acted.insert(id, Acted::Published)),
                (Actuator::Direct, Some(key)) => match self.scales.api(key).await {
                    Ok(api) => {
                        let seen = variant.target.as_ref().map(Target::seen).unwrap_or_default();
                        orders.push((id, key.clone(), api, decided.from, decided.to, seen));
                    }
                    Err(why) => drop(acted.insert(id, Acted::Failed(ScaleError::Kind(why)))),
                },
                (Actuator::Direct, None) | (Actuator::Observe, _) => {}
            }
        }
        let (leadership, clock) = (self.leadership.clone(), self.clock);
        let may = &|| leadership.leads(clock.now());
        let orders = orders.into_iter().map(|(id, key, api, from, to, seen)| async move {
            let result = target::set_replicas(&api, &key.name, seen.0.as_deref(), from, to, may).await;
            (id, key, to, seen, result)
        });
        for (id, key, to, seen, result) in futures::future::join_all(orders).await {
            let outcome = self.settle(key, to, seen, result);
            acted.insert(id, outcome);
        }
        acted
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

    fn settle(&mut self, key: TargetKey, to: u32, seen: Seen, result: Result<Scaled, ScaleError>) -> Acted {
        let now = self.clock.now();
        self.ledger.prune(now);
        if key.watched().is_none() {
            self.scales.forget(&key);
        }
        match result {
            Ok(Scaled::Done) => {
                if key.watched().is_some() {
                    self.ledger.note(key, to, seen, now);
                }
                Acted::Done
            }
            Ok(Scaled::Overtaken(wanted)) => {
                if key.watched().is_some() {
                    self.ledger.note(key, wanted, seen, now);
                }
                Acted::Overtaken
            }
            Err(error) => Acted::Failed(error),
        }
    }
}
