//! What a decision was taken from, what each rule said, what bound the answer.

use crate::heard::heard;
use crate::view::{GatewayView, ModelView, ReplicaState, ReplicaView, VariantView};
use crate::{Policy, words};
use units::{Instant, Observed, Signal, Source};

/// Everything about one decision that a person may ask for, but the signals it
/// was taken from: those are [`inputs`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explanation {
    /// Every rule that was asked, in the order they were.
    pub rules: Vec<RuleSaid>,
    /// Sentences on bounds and obstacles that shaped the answer.
    pub bounds: Vec<String>,
    /// Sentences on what would change the answer.
    pub would_change: Vec<String>,
}

/// One signal as it was when the decision was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Input<'a> {
    /// Whose it is: `gateway` or a replica's name.
    pub of: &'a str,
    /// What it tells.
    pub what: &'static str,
    /// Unit of the value.
    pub unit: &'static str,
    /// The value, unless it is missing.
    pub value: Option<f64>,
    /// Its age, milliseconds, unless it is missing.
    pub age_ms: Option<u64>,
    /// Who said so, unless it is missing.
    pub source: Option<&'static str>,
    /// Whether it was young enough to count.
    pub fresh: bool,
    /// Why it is missing, if it is.
    pub missing: Option<&'a str>,
}

/// What a rule asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// More.
    Up,
    /// As it is.
    Hold,
    /// Less.
    Down,
    /// It cannot tell.
    Unknown,
}

/// What one rule said.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleSaid {
    /// The rule.
    pub rule: &'static str,
    /// What it asks for.
    pub verdict: Verdict,
    /// The capacity it asks for, slots, if it can say.
    pub needs: Option<f64>,
    /// The same as a sentence.
    pub says: String,
}

/// Whether the signals of a variant can be acted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// In a word.
    pub word: MetricsWord,
    /// In a sentence, with the remedy if they cannot.
    pub says: String,
}

/// Whether signals are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MetricsWord {
    /// All there and fresh.
    Found,
    /// Some are too old.
    Stale,
    /// Some are not there.
    Missing,
}

impl<'a> Input<'a> {
    /// What was seen, or why nothing was.
    fn new(
        of: &'a str,
        (what, unit): (&'static str, &'static str),
        seen: Result<Observed<f64>, &'a str>,
        policy: &Policy,
        now: Instant,
    ) -> Self {
        let known = seen.ok();
        Self {
            of,
            what,
            unit,
            value: known.map(|seen| seen.value),
            age_ms: known.map(|seen| words::millis(now.since(seen.at))),
            source: known.map(|seen| seen.source.as_str()),
            fresh: known.is_some_and(|seen| heard(&Signal::Observed(seen), policy, now).is_some()),
            missing: seen.err(),
        }
    }
}

/// Every signal that a decision on `view` by `policy` at `now` is taken from:
/// those of gateways first, then those of ready replicas by variant and name.
///
/// There are a dozen for each replica, and few are ever asked for: whoever
/// keeps the view can have them later.
#[must_use]
pub fn inputs<'a>(view: &'a ModelView, policy: &Policy, now: Instant) -> Vec<Input<'a>> {
    let mut inputs = Vec::new();
    of_gateways(&view.gateway, policy, now, &mut inputs);
    let counted = view.arrivals.last().is_some_and(|seen| seen.source != Source::Gateway);
    if view.gateway == GatewayView::Absent || counted {
        let what = ("arrivals", "requests/s");
        inputs.push(Input::new("replicas together", what, told(&view.arrivals), policy, now));
    }
    let mut variants: Vec<&VariantView> = view.variants.iter().collect();
    variants.sort_by(|a, b| a.name.cmp(&b.name));
    for variant in variants {
        let ready = |replica: &&ReplicaView| replica.state == ReplicaState::Ready;
        let mut replicas: Vec<&ReplicaView> = variant.replicas.iter().filter(ready).collect();
        replicas.sort_by(|a, b| a.name.cmp(&b.name));
        for replica in replicas {
            for (what, unit, signal) in replica.signals() {
                inputs.push(Input::new(&replica.name, (what, unit), told(signal), policy, now));
            }
        }
    }
    inputs
}

fn told(signal: &Signal<f64>) -> Result<Observed<f64>, &str> {
    match signal {
        Signal::Observed(seen) => Ok(*seen),
        Signal::Missing { why, .. } => Err(why.as_ref()),
    }
}

fn of_gateways<'a>(gateway: &'a GatewayView, policy: &Policy, now: Instant, inputs: &mut Vec<Input<'a>>) {
    let GatewayView::Present { by, demand, .. } = gateway else {
        return;
    };
    let mut push = |what, unit, value: Option<f64>| {
        let seen = match (demand, value) {
            (Signal::Observed(seen), Some(value)) => Ok(Observed {
                value,
                at: seen.at,
                source: seen.source,
            }),
            (Signal::Observed(_), None) => Err("not enough has been seen yet"),
            (Signal::Missing { why, .. }, _) => Err(why.as_ref()),
        };
        inputs.push(Input::new(by.as_str(), (what, unit), seen, policy, now));
    };
    let seen = demand.last().map(|seen| &seen.value);
    push("queued", "requests", seen.map(|demand| demand.queued as f64));
    if let Some(wait) = seen.and_then(|demand| demand.oldest_wait) {
        push("oldest wait", "ms", Some(wait.as_secs_f64() * 1e3));
    }
    push("in flight", "requests", seen.map(|demand| demand.in_flight as f64));
    push("arrivals", "requests/s", seen.and_then(|demand| demand.arrival_rate));
    push("answers", "requests/s", seen.and_then(|demand| demand.completion_rate));
    for (what, latency) in [
        ("time to first token, median", seen.and_then(|demand| demand.ttft)),
        ("time between tokens, median", seen.and_then(|demand| demand.itl)),
    ] {
        if let Some(latency) = latency {
            push(what, "ms", Some(latency.p50_ms));
        }
    }
}
