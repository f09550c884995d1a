//! Holds what was decided against the GPUs that are there.

use super::{Controller, ModelKey, model_key};
use crate::configuration::ModelConfig;
use crate::inventory::{InventoryRecord, known_as};
use crate::survey::Variant;
use crate::survey::promises::NO_CLASS;
use capacity::grant::{Supply, Terms, Wish, grant};
use capacity::optimize::inventory::Inventory;
use capacity::{Decision, ModelView, VariantView};
use std::collections::BTreeMap;
use units::Instant;

impl Controller {
    /// Cuts `decisions` to the GPUs and quotas there are; tells which GPUs
    /// those are.
    pub(super) fn limit(
        &mut self,
        variants: &[Variant],
        views: &BTreeMap<ModelKey, ModelView>,
        decisions: &mut BTreeMap<ModelKey, Decision>,
        now: Instant,
    ) -> InventoryRecord {
        let mut by_model: BTreeMap<ModelKey, Vec<&Variant>> = BTreeMap::new();
        for variant in variants {
            if let Some(key) = model_key(variant) {
                by_model.entry(key).or_default().push(variant);
            }
        }
        let by_gpus = |variants: &[&Variant]| {
            let asked_for = config(variants).is_some_and(|config| config.saturation.enable_limiter);
            self.config.limiter.enabled || asked_for
        };
        let limits = self.configs.limits();
        let limited: BTreeMap<&ModelKey, bool> = by_model
            .iter()
            .map(|(key, variants)| (key, by_gpus(variants)))
            .collect();
        if limited.values().any(|limited| *limited) {
            self.gpus.look_everywhere(&self.world);
        }
        let inventory = self.gpus.count(&self.world, variants, now);
        let record = self.gpus.record(&inventory);
        let bound = limits.max_step_up.is_some() || limits.quotas != Default::default();
        if !bound && !limited.values().any(|limited| *limited) {
            return record;
        }
        let wish = |(key, decision): (&ModelKey, _)| {
            let decision: &mut Decision = decision;
            let (variants, view) = (by_model.get(key)?, views.get(key)?);
            let terms = decision.variants.iter().map(|decided| {
                let variant = variants.iter().find(|variant| variant.name == decided.name)?;
                let seen = view.variants.iter().find(|seen| seen.name == decided.name)?;
                Some(terms(variant, seen, &inventory))
            });
            Some(Wish {
                terms: terms.collect::<Option<Vec<Terms>>>()?,
                decision,
                priority: config(variants)
                    .and_then(|config| config.slo.as_ref())
                    .map_or(NO_CLASS, |slo| slo.priority),
                by_gpus: limited.get(key).copied().unwrap_or(false),
            })
        };
        let mut wishes: Vec<Wish<'_>> = decisions.iter_mut().filter_map(wish).collect();
        let supply = Supply {
            inventory: &inventory,
            quotas: &limits.quotas,
            fail: limits.when_unknown.unwrap_or(self.config.limiter.fail),
            step_up: limits.max_step_up,
        };
        for cut in grant(&mut wishes, &supply).cuts {
            tracing::debug!(
                namespace = cut.namespace,
                variant = cut.variant,
                wished = cut.wished,
                granted = cut.granted,
                why = cut.why,
                "limited"
            );
        }
        record
    }
}

/// What ConfigMaps say of the model.
fn config<'a>(variants: &[&'a Variant]) -> Option<&'a ModelConfig> {
    variants.first()?.config.as_deref()
}

/// What the replicas of a variant are made of.
fn terms(variant: &Variant, seen: &VariantView, inventory: &Inventory) -> Terms {
    let held: u64 = variant.pods.iter().map(|pod| pod.gpus).sum();
    let target = variant.target.as_ref().ok();
    let said = || {
        let of = &variant.settings.as_ref()?.accelerators;
        of.get(variant.accelerator.as_deref()?).copied().map(u64::from)
    };
    // A replica of what has no template may be several Pods.
    let counted = || {
        let replicas = u64::from(target?.replicas);
        (held > 0 && replicas > 0).then(|| held.div_ceil(replicas))
    };
    let each = target
        .and_then(|target| target.gpus)
        .or_else(said)
        .or_else(counted)
        .unwrap_or(1);
    let small = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    // Without a template a replica may be several Pods, each on a node.
    let pod = match target.and_then(|target| target.gpus) {
        Some(_) => each,
        None => variant.pods.iter().map(|pod| pod.gpus).max().unwrap_or(0).min(each),
    };
    Terms {
        accelerator: known_as(inventory, variant.accelerator.as_deref()),
        gpus_per_replica: small(each),
        gpus_per_pod: small(pod),
        held: small(held / each.max(1)),
        min: seen.min,
        max: seen.max,
        cost: seen.cost,
        slots: seen.slots.or_else(|| slots_seen(seen)),
    }
}

/// What replicas themselves say of their slots, on average.
fn slots_seen(seen: &VariantView) -> Option<f64> {
    let told = || {
        seen.replicas
            .iter()
            .filter_map(|replica| Some(replica.slots.last()?.value))
    };
    let count = told().count();
    (count > 0).then(|| told().sum::<f64>() / count as f64)
}
