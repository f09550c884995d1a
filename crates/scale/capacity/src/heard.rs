//! Which signals count: those that are there, of now, and that can be true.

use crate::view::{Demand, ReplicaView};
use crate::{MetricsWord, Policy, words};
use std::time::Duration;
use units::{Instant, Signal};

/// A figure above this is a broken counter, and sums of such stop being numbers.
const MOST: f64 = 1e15;
/// No replica serves more requests at once.
const MOST_SLOTS: f64 = 1e6;

/// The value, if it counts: seen no longer ago than the policy allows, not
/// further in the future than that either, a number and not negative.
pub(crate) fn heard(signal: &Signal<f64>, policy: &Policy, now: Instant) -> Option<f64> {
    let seen = signal.fresh(now, policy.max_age)?;
    (ahead(seen.at, policy, now).is_none() && possible(seen.value)).then_some(seen.value)
}

fn possible(value: f64) -> bool {
    (0.0..=MOST).contains(&value)
}

/// A number of slots that a replica may have.
pub(crate) fn possible_slots(slots: f64) -> bool {
    slots > 0.0 && slots <= MOST_SLOTS
}

/// By how much a signal comes from the future, if that is too much: a clock
/// ahead would keep it young for ever.
pub(crate) fn ahead(at: Instant, policy: &Policy, now: Instant) -> Option<Duration> {
    Some(at.since(now)).filter(|ahead| *ahead > policy.max_age)
}

/// `its time is 40 s ahead of ours: are the clocks apart?`
pub(crate) fn ahead_words(ahead: Duration) -> String {
    format!(
        "its time is {} ahead of ours: are the clocks apart?",
        words::time(ahead)
    )
}

/// What of a ready replica is missing, stale or impossible among the signals a
/// scale-down needs. One that is told and cannot be true makes the replica no
/// better than a silent one, whichever it is.
pub(crate) fn silence(replica: &ReplicaView, policy: &Policy, now: Instant) -> Option<(String, MetricsWord, String)> {
    let wrong = |word, why| Some((replica.name.clone(), word, why));
    for signal in [&replica.kv, &replica.running, &replica.waiting] {
        match signal {
            Signal::Missing { why, .. } => return wrong(MetricsWord::Missing, why.to_string()),
            Signal::Observed(seen) if signal.fresh(now, policy.max_age).is_none() => {
                let age = words::time(now.since(seen.at));
                return wrong(MetricsWord::Stale, format!("last heard of {age} ago"));
            }
            Signal::Observed(_) => {}
        }
    }
    for (what, _, signal) in replica.signals() {
        let Some(seen) = signal.last() else { continue };
        if let Some(ahead) = ahead(seen.at, policy, now) {
            return wrong(MetricsWord::Stale, ahead_words(ahead));
        }
        let slots_wrong = what == "slots" && !possible_slots(seen.value);
        if slots_wrong || !possible(seen.value) {
            let said = format!("{what} is {}, which cannot be", seen.value);
            return wrong(MetricsWord::Missing, said);
        }
    }
    None
}

/// The demand without figures that cannot be true, and the first such figure.
pub(crate) fn credible(demand: &Demand) -> (Demand, Option<String>) {
    let (mut credible, mut wrong) = (*demand, None);
    let mut check = |what: &str, value: f64| {
        if !possible(value) {
            wrong.get_or_insert_with(|| format!("{what} is {value}, which cannot be"));
        }
        possible(value)
    };
    credible.arrival_rate = demand.arrival_rate.filter(|rate| check("arrival rate", *rate));
    credible.completion_rate = demand.completion_rate.filter(|rate| check("completion rate", *rate));
    credible.ttft = demand
        .ttft
        .filter(|ttft| check("time to first token", ttft.p50_ms) && check("its 99th percentile", ttft.p99_ms));
    credible.itl = demand
        .itl
        .filter(|itl| check("time between tokens", itl.p50_ms) && check("its 99th percentile", itl.p99_ms));
    (credible, wrong)
}
