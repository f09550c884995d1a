//! Decisions as they are kept and shown.

use capacity::{Decision, Explanation, Input, ModelView, Policy, RuleSaid, Verdict};
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use std::sync::Arc;
use units::Instant;

/// One decision, with everything behind it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionRecord {
    /// Counts up with every record of this process.
    pub number: u64,
    /// When, RFC 3339.
    pub time: String,
    /// When, unix milliseconds.
    pub unix_ms: i64,
    /// Namespace of the variants.
    pub namespace: String,
    /// Model name.
    pub model: String,
    /// Whether any variant was to change.
    pub changed: bool,
    /// The variants, by name.
    pub variants: Vec<VariantChange>,
    /// The whole as one line.
    pub sentence: String,
    /// Everything behind it.
    pub explanation: Arc<ExplanationRecord>,
}

/// One variant in a decision.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VariantChange {
    /// Its name.
    pub name: String,
    /// Replicas asked for before.
    pub from: u32,
    /// Replicas asked for now.
    pub to: u32,
    /// Why, in a word.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub sentence: String,
}

/// Everything behind a decision.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplanationRecord {
    /// Every signal that was looked at.
    pub inputs: Inputs,
    /// What each rule said.
    pub rules: Vec<RuleRecord>,
    /// What bound or clamped the answer.
    pub bounds: Vec<String>,
    /// What would change the answer.
    pub would_change: Vec<String>,
}

/// The signals behind a decision. There are a dozen for each replica, and few
/// are ever read: they are written out when somebody asks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs(Option<Seen>);

/// What a decision was taken from.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    view: Arc<ModelView>,
    policy: Policy,
    at: Instant,
}

impl Inputs {
    pub(crate) const fn of(view: Arc<ModelView>, policy: Policy, at: Instant) -> Self {
        Self(Some(Seen { view, policy, at }))
    }

    /// All of them: those of gateways, then those of each replica.
    #[must_use]
    pub fn list(&self) -> Vec<InputRecord> {
        let of = |seen: &Seen| -> Vec<InputRecord> {
            let inputs = capacity::inputs(&seen.view, &seen.policy, seen.at);
            inputs.into_iter().map(InputRecord::from).collect()
        };
        self.0.as_ref().map(of).unwrap_or_default()
    }
}

impl Serialize for Inputs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.list().serialize(serializer)
    }
}

/// One signal as it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InputRecord {
    /// Whose: `gateway` or a Pod's name.
    pub of: String,
    /// What it tells.
    pub what: &'static str,
    /// Unit of the value.
    pub unit: &'static str,
    /// The value, or null when missing.
    pub value: Option<f64>,
    /// Its age, milliseconds, or null when missing.
    pub age_ms: Option<u64>,
    /// Who said so, or null when missing.
    pub source: Option<&'static str>,
    /// Whether it was young enough to count.
    pub fresh: bool,
    /// Why it is missing, if it is.
    pub missing: Option<String>,
}

/// What one rule said.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleRecord {
    /// The rule.
    pub rule: &'static str,
    /// `up`, `hold`, `down` or `unknown`.
    pub verdict: &'static str,
    /// Capacity it asks for, slots, if it can say.
    pub needs: Option<f64>,
    /// The same as a sentence.
    pub says: String,
}

impl DecisionRecord {
    pub(crate) fn of(decision: &Decision, explanation: Arc<ExplanationRecord>, number: u64, now: Timestamp) -> Self {
        Self {
            number,
            time: now.to_string(),
            unix_ms: now.as_millisecond(),
            namespace: decision.namespace.clone(),
            model: decision.model.clone(),
            changed: decision.changes(),
            variants: decision
                .variants
                .iter()
                .map(|variant| VariantChange {
                    name: variant.name.clone(),
                    from: variant.from,
                    to: variant.to,
                    reason: variant.reason.as_str(),
                    sentence: variant.sentence.clone(),
                })
                .collect(),
            sentence: decision.sentence.clone(),
            explanation,
        }
    }
}

impl ExplanationRecord {
    pub(crate) fn of(explanation: Explanation, inputs: Inputs) -> Self {
        Self {
            inputs,
            rules: explanation.rules.into_iter().map(RuleRecord::from).collect(),
            bounds: explanation.bounds,
            would_change: explanation.would_change,
        }
    }
}

impl From<Input<'_>> for InputRecord {
    fn from(input: Input<'_>) -> Self {
        Self {
            of: input.of.to_owned(),
            what: input.what,
            unit: input.unit,
            value: input.value,
            age_ms: input.age_ms,
            source: input.source,
            fresh: input.fresh,
            missing: input.missing.map(str::to_owned),
        }
    }
}

impl From<RuleSaid> for RuleRecord {
    fn from(said: RuleSaid) -> Self {
        let verdict = match said.verdict {
            Verdict::Up => "up",
            Verdict::Hold => "hold",
            Verdict::Down => "down",
            Verdict::Unknown => "unknown",
        };
        Self {
            rule: said.rule,
            verdict,
            needs: said.needs,
            says: said.says,
        }
    }
}
