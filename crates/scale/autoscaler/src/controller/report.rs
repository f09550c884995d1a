//! Tells what came of a pass: status, Events, records, views.

use super::findings::{Old, findings};
use super::tell::Moment;
use super::{Acted, Carried, Controller, ModelKey, decision_of};
use crate::handle::{Pass, Scaling};
use crate::inventory::InventoryRecord;
use crate::record::{DecisionRecord, ExplanationRecord, Inputs};
use crate::replica_sources::Heard;
use crate::status::{self, Findings};
use crate::subject::Subject;
use crate::survey::pickers::PickerPools;
use crate::survey::{self, Variant};
use crate::views::{self, ModelRecord, VariantView};
use api::{VariantAutoscalingStatus, reasons};
use capacity::{Decision, ModelView, VariantDecision};
use jiff::Timestamp;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use units::Instant;

impl Controller {
    /// Tells everybody: records, events, status, views.
    pub(super) fn report(
        &mut self,
        variants: &[Variant],
        views: BTreeMap<ModelKey, ModelView>,
        decisions: &mut BTreeMap<ModelKey, Decision>,
        carried: &Carried,
        now: Instant,
        wall: Timestamp,
    ) -> Pass {
        let present: BTreeSet<&str> = variants.iter().map(|variant| variant.uid.as_str()).collect();
        self.written.retain(|uid, _| present.contains(uid.as_str()));
        self.teller.keep_only(|uid| present.contains(uid));
        for uid in self.writer.take_failed() {
            self.written.remove(&uid);
        }

        // Views are most of what a pass holds: moved on, not copied.
        let views: BTreeMap<ModelKey, Arc<ModelView>> =
            views.into_iter().map(|(key, view)| (key, Arc::new(view))).collect();
        let configs = super::configs(variants);
        let explain = |(key, decision): (&ModelKey, &mut Decision)| {
            let policy = self.policy_of(&configs, key);
            let inputs = Inputs::of(views.get(key)?.clone(), policy.into_owned(), now);
            let explanation = std::mem::take(&mut decision.explanation);
            Some((key.clone(), Arc::new(ExplanationRecord::of(explanation, inputs))))
        };
        let explanations: BTreeMap<ModelKey, Arc<ExplanationRecord>> =
            decisions.iter_mut().filter_map(explain).collect();
        let decisions = &*decisions;
        let leads = self.leadership.leads(now);
        if !leads {
            // The leader writes; what was written before it did is old.
            self.written.clear();
        }
        let at = Moment { now, wall };
        let old = Old {
            pods: self.world.old_pods(),
        };
        let mut told: BTreeSet<&ModelKey> = BTreeSet::new();
        let mut scalings = Vec::new();
        let mut shown = Vec::with_capacity(variants.len());
        for variant in variants {
            let found = decision_of(variant, decisions);
            let decided = found.map(|(_, _, decided)| decided);
            let outcome = carried.outcomes.get(&variant.uid);
            let heard = key_of(variant).and_then(|model| self.replicas.heard(variant, model));
            let trouble = heard.and_then(Heard::trouble);
            let view = found.and_then(|(key, ..)| views.get(key)).map(Arc::as_ref);
            let new = view.map_or(0, |view| super::model::new_pods(variant, view));
            let findings = findings(variant, decided, outcome, trouble, &old, new);
            if let Some((key, decision, decided)) = found
                && leads
                && self.teller.decision(variant, decision, decided, outcome, at)
            {
                told.insert(key);
                scalings.extend(scaling_of(variant, decided, outcome));
            }
            // What is in a namespace of somebody else's is not touched.
            if leads && variant.skipped.is_none() {
                let before = || status_before(&self.written, variant).into_owned();
                self.teller.conditions(variant, &findings, before, at);
                self.write_status(variant, &findings, wall);
            }
            let key = found.map(|(key, ..)| key);
            let explanation = key.and_then(|key| explanations.get(key)).cloned();
            shown.push(self.show(variant, decided, &findings, view, explanation, now));
        }
        for late in carried.late.iter().filter(|_| leads) {
            let Some(variant) = variants.iter().find(|variant| variant.uid == late.variant) else {
                continue;
            };
            let outcome = carried.outcomes.get(&late.variant);
            if self.teller.late(variant, late, outcome, at) {
                scalings.extend(scaling_of(variant, &late.decided, outcome));
            }
        }
        for event in self.teller.take() {
            self.writer.event(event);
        }
        let records = told
            .into_iter()
            .filter_map(|key| decisions.get(key).zip(explanations.get(key)))
            .map(|(decision, explanation)| {
                self.records += 1;
                tracing::info!(target: "decision", "{}", decision.sentence);
                DecisionRecord::of(decision, explanation.clone(), self.records, wall)
            })
            .collect();
        let sources = self.replicas.health();
        let counts = |namespace: &str| survey::configures(&self.world, variants, namespace);
        Pass {
            leads,
            leader: self.leadership.holder(),
            leader_ip: self.leader_ip(),
            observes: self.leadership.observes(),
            configmaps: self.configs.records(counts),
            variants: shown,
            records,
            scalings,
            sources,
            gpus: InventoryRecord::default(),
            picker_pools: PickerPools::default(),
            took_micros: 0,
            write_failures: self.writer.failures(),
        }
    }

    fn write_status(&mut self, variant: &Variant, findings: &Findings, wall: Timestamp) {
        if variant.subject != Subject::VariantAutoscaling {
            // An HPA's or ScaledObject's status is its own controller's.
            return;
        }
        let before = status_before(&self.written, variant);
        if let Some(after) = status::next(&before, findings, wall)
            && self
                .writer
                .status(&variant.uid, &variant.namespace, &variant.name, status::patch(&after))
        {
            self.written.insert(variant.uid.clone(), after);
        }
    }

    fn show(
        &self,
        variant: &Variant,
        decided: Option<&VariantDecision>,
        findings: &Findings,
        model: Option<&ModelView>,
        explanation: Option<Arc<ExplanationRecord>>,
        now: Instant,
    ) -> VariantView {
        let outcome = findings
            .conditions
            .iter()
            .rev()
            .find(|finding| finding.kind == reasons::OPTIMIZATION_READY);
        let heard = key_of(variant).and_then(|model| self.replicas.heard(variant, model));
        let engine_of = |pod: &str| heard?.engine(pod).cloned();
        let settings = variant.settings.as_ref();
        let config = variant.config.as_ref();
        VariantView {
            kind: variant.subject.kind(),
            name: variant.name.clone(),
            namespace: variant.namespace.clone(),
            model: settings.map(|settings| settings.model.clone()).unwrap_or_default(),
            accelerator: variant.accelerator.clone(),
            controller_instance: variant.instance.clone(),
            target_kind: variant
                .target_key
                .as_ref()
                .map(|key| key.kind.clone())
                .unwrap_or_default(),
            target_name: variant
                .target_key
                .as_ref()
                .map(|key| key.name.clone())
                .unwrap_or_default(),
            cost: settings.map(|settings| settings.cost),
            min: settings.map(|settings| settings.min),
            max: settings.map(|settings| settings.max),
            current: variant.target.as_ref().ok().map(|target| target.replicas),
            ready: variant.ready(),
            desired: decided.map(|decided| decided.to),
            reason: outcome.map(|finding| finding.reason.to_owned()).unwrap_or_default(),
            sentence: outcome.map(|finding| finding.message.clone()).unwrap_or_default(),
            replicas: views::replicas(variant, model, engine_of, now),
            model_signals: heard.map(|heard| ModelRecord::of(heard.model(), now)),
            slo: config.and_then(|config| config.slo.clone()),
            configured: config.map_or_else(|| Vec::new().into(), |config| config.from.clone()),
            in_series: variant.is_told_here(),
            explanation,
        }
    }
}

fn scaling_of(variant: &Variant, decided: &VariantDecision, outcome: Option<&Acted>) -> Option<Scaling> {
    let carried_out = matches!(outcome, Some(Acted::Done | Acted::Published));
    (carried_out && decided.from != decided.to).then(|| Scaling {
        namespace: variant.namespace.clone(),
        variant: variant.name.clone(),
        instance: variant.instance.clone(),
        direction: if decided.to > decided.from { "up" } else { "down" },
        reason: decided.reason.as_str(),
    })
}

/// The status as it was last written, by us or before us.
fn status_before<'a>(
    written: &'a BTreeMap<String, VariantAutoscalingStatus>,
    variant: &Variant,
) -> Cow<'a, VariantAutoscalingStatus> {
    if let Some(status) = written.get(&variant.uid) {
        return Cow::Borrowed(status);
    }
    let status = variant.object.data.get("status").cloned().unwrap_or_default();
    Cow::Owned(serde_json::from_value(status).unwrap_or_default())
}

fn key_of(variant: &Variant) -> Option<&str> {
    Some(variant.decidable()?.0.model.as_str())
}
