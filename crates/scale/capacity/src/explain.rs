//! What a decision was taken from, what each rule said, what bound the answer.

use crate::heard::heard;
use crate::load::Load;
use crate::view::{GatewayView, ModelView, ReplicaView};
use crate::{Policy, words};
use units::{Instant, Signal, Source};

/// Everything about one decision that a person may ask for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explanation {
    /// Every signal that was looked at.
    pub inputs: Vec<Input>,
    /// Every rule that was asked, in the order they were.
    pub rules: Vec<RuleSaid>,
    /// Sentences on bounds and obstacles that shaped the answer.
    pub bounds: Vec<String>,
    /// Sentences on what would change the answer.
    pub would_change: Vec<String>,
}

/// One signal as it was when the decision was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Whose it is: `gateway` or a replica's name.
    pub of: String,
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
    pub missing: Option<String>,
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

impl Input {
    fn of_signal(
        of: &str,
        what: &'static str,
        unit: &'static str,
        signal: &Signal<f64>,
        policy: &Policy,
        now: Instant,
    ) -> Self {
        let seen = signal.last();
        Self {
            of: of.to_owned(),
            what,
            unit,
            value: seen.map(|seen| seen.value),
            age_ms: seen.map(|seen| words::millis(now.since(seen.at))),
            source: seen.map(|seen| seen.source.as_str()),
            fresh: heard(signal, policy, now).is_some(),
            missing: match signal {
                Signal::Missing { why, .. } => Some(why.clone()),
                Signal::Observed(_) => None,
            },
        }
    }
}

/// Lists every signal of `view`, gateway first, replicas by variant and name.
pub(crate) fn inputs(view: &ModelView, load: &Load<'_>, policy: &Policy, now: Instant) -> Vec<Input> {
    let mut inputs = Vec::new();
    if let GatewayView::Present { demand, .. } = &view.gateway {
        let mut push = |what, unit, value: Option<f64>| {
            let signal = match (demand, value) {
                (Signal::Observed(seen), Some(value)) => Signal::observed(value, seen.at, seen.source),
                (Signal::Observed(seen), None) => Signal::missing(seen.at, "not enough has been seen yet"),
                (Signal::Missing { since, why }, _) => Signal::missing(*since, why.clone()),
            };
            inputs.push(Input::of_signal("gateway", what, unit, &signal, policy, now));
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
    let counted = view.arrivals.last().is_some_and(|seen| seen.source != Source::Gateway);
    if view.gateway == GatewayView::Absent || counted {
        inputs.push(Input::of_signal(
            "replicas together",
            "arrivals",
            "requests/s",
            &view.arrivals,
            policy,
            now,
        ));
    }
    for stand in &load.stands {
        for replica in &stand.ready_replicas {
            of_replica(replica, policy, now, &mut inputs);
        }
    }
    inputs
}

fn of_replica(replica: &ReplicaView, policy: &Policy, now: Instant, inputs: &mut Vec<Input>) {
    for (what, unit, signal) in replica.signals() {
        inputs.push(Input::of_signal(&replica.name, what, unit, signal, policy, now));
    }
}
