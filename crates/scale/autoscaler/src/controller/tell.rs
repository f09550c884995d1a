//! What people hear of: Events of decisions and of conditions that turned.

use super::notable::{Came, Notable};
use super::turns::Turns;
use super::{Acted, Late};
use crate::events::{self, Budget, Kind};
use crate::status::Findings;
use crate::survey::Variant;
use api::{VariantAutoscalingStatus, reasons};
use capacity::{Decision, VariantDecision};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use units::Instant;

/// One moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Instant,
    pub(super) wall: Timestamp,
}

/// Chooses what is worth an Event, and makes it.
#[derive(Debug, Default)]
pub(super) struct Teller {
    notable: Notable,
    turns: Turns,
    budget: Budget,
    /// Events made so far: a part of their names.
    made: u64,
    pending: Vec<Event>,
}

impl Teller {
    /// The Events made since the last time.
    pub(super) fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.pending)
    }

    /// Forgets objects that are gone.
    pub(super) fn keep_only(&mut self, present: impl Fn(&str) -> bool) {
        self.budget.keep_only(&present);
        self.notable.keep_only(&present);
        self.turns.keep_only(&present);
    }

    /// Makes an Event of a decision that people should know of; says whether
    /// it was one.
    pub(super) fn decision(
        &mut self,
        variant: &Variant,
        decision: &Decision,
        decided: &VariantDecision,
        outcome: Option<&Acted>,
        at: Moment,
    ) -> bool {
        // What comes of it is told when that is known.
        if matches!(outcome, Some(Acted::UnderWay))
            || !self.notable.is_new(&variant.uid, decided, came(outcome), at.now)
        {
            return false;
        }
        let sentence = if decided.from == decided.to {
            &decided.sentence
        } else {
            &decision.sentence
        };
        self.carried_out(variant, decided, sentence, outcome, at);
        true
    }

    /// Makes an Event of a decision that was carried out only after its pass.
    pub(super) fn late(&mut self, variant: &Variant, late: &Late, outcome: Option<&Acted>, at: Moment) -> bool {
        let new = self.notable.is_new(&variant.uid, &late.decided, came(outcome), at.now);
        if new {
            self.carried_out(variant, &late.decided, &late.sentence, outcome, at);
        }
        new
    }

    fn carried_out(
        &mut self,
        variant: &Variant,
        decided: &VariantDecision,
        sentence: &str,
        outcome: Option<&Acted>,
        at: Moment,
    ) {
        let (kind, reason) = match outcome {
            Some(Acted::Failed(_)) => (Kind::Warning, "ScaleFailed"),
            Some(Acted::Overtaken) => (Kind::Normal, "ScaleOvertaken"),
            // Who acts on it may do so late, in part or not at all.
            Some(Acted::Published) if decided.to > decided.from => (Kind::Normal, "WantsMore"),
            Some(Acted::Published) if decided.to < decided.from => (Kind::Normal, "WantsFewer"),
            _ => match (decided.from, decided.to) {
                (0, to) if to > 0 => (Kind::Normal, "ScaledFromZero"),
                (from, 0) if from > 0 => (Kind::Normal, "ScaledToZero"),
                (from, to) if to > from => (Kind::Normal, "ScaledUp"),
                (from, to) if to < from => (Kind::Normal, "ScaledDown"),
                _ => (Kind::Warning, decided.reason.as_str()),
            },
        };
        let message = match outcome {
            Some(Acted::Failed(error)) => format!("{sentence}; but its target could not be set: {error}"),
            Some(Acted::Overtaken) => format!("{sentence}; but somebody else set another number first"),
            _ => sentence.to_owned(),
        };
        self.emit(variant, kind, reason, &message, at);
    }

    /// Makes Events of conditions that turned, and of those that were bad from
    /// the beginning. `before` is the status of the variant's earlier life.
    pub(super) fn conditions(
        &mut self,
        variant: &Variant,
        findings: &Findings,
        before: impl Fn() -> VariantAutoscalingStatus,
        at: Moment,
    ) {
        for finding in &findings.conditions {
            // What is unknown follows from another condition, which speaks.
            if finding.status == "Unknown" {
                continue;
            }
            let bad = finding.status == "False";
            let before = || {
                let conditions = before().conditions;
                let earlier = conditions.iter().find(|condition| condition.type_ == finding.kind)?;
                Some(earlier.status == "False")
            };
            let due = self.turns.is_due(&variant.uid, finding.kind, bad, before, at.now);
            // That it is good again is told by the decision itself.
            if due && (bad || finding.kind != reasons::OPTIMIZATION_READY) {
                let kind = if bad { Kind::Warning } else { Kind::Normal };
                self.emit(variant, kind, finding.reason, &finding.message, at);
            }
        }
    }

    fn emit(&mut self, variant: &Variant, kind: Kind, reason: &str, message: &str, at: Moment) {
        if self.budget.take(&variant.uid, at.now) {
            self.made += 1;
            let event = events::event(variant, kind, reason, "Decide", message, self.made, at.wall);
            self.pending.push(event);
        }
    }
}
fn came(outcome: Option<&Acted>) -> Came {
    match outcome {
        Some(Acted::Failed(_) | Acted::Overtaken) => Came::Failed,
        Some(Acted::Published) => Came::Wished,
        Some(Acted::Done | Acted::UnderWay) | None => Came::Done,
    }
}
