//! Which signals count: those that are there, of now, and that can be true.

use crate::view::{Demand, ReplicaView};
use crate::{MetricsWord, Policy, words};
use std::time::Duration;
use units::{Instant, Observed, Signal, Source};

/// A figure above this is a broken counter, and sums of such stop being numbers.
const MOST: f64 = 1e15;
/// No replica serves more requests at once.
const MOST_SLOTS: f64 = 1e6;

/// The value, if it counts: seen no longer ago than the policy allows, not
/// further in the future than that either, a number and not negative.
pub(crate) fn heard(signal: &Signal<f64>, policy: &Policy, now: Instant) -> Option<f64> {
    let seen = known(signal, policy, now)?;
    (ahead(seen.at, policy, now).is_none() && possible(seen.value)).then_some(seen.value)
}

/// What was seen, if it is no older than its source's signals may be.
pub(crate) fn known<'a, T>(signal: &'a Signal<T>, policy: &Policy, now: Instant) -> Option<&'a Observed<T>> {
    signal
        .last()
        .filter(|seen| now.since(seen.at) <= policy.max_age_of(seen.source))
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
            Signal::Observed(seen) if known(signal, policy, now).is_none() => {
                return wrong(MetricsWord::Stale, too_old(seen, policy, now));
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

fn too_old<T>(seen: &Observed<T>, policy: &Policy, now: Instant) -> String {
    let age = words::time(now.since(seen.at));
    match seen.source {
        Source::Prometheus => format!(
            "Prometheus recorded it last {age} ago, and {} is fresh: is it still scraped, and more often than that?",
            words::time(policy.max_age_recorded)
        ),
        Source::Gateway | Source::Picker | Source::Replica => format!("last heard of {age} ago"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_old_a_signal_may_be_depends_on_who_told_it() {
        let now = Instant::from_secs(100);
        let policy = Policy {
            max_age: Duration::from_secs(5),
            max_age_recorded: Duration::from_secs(47),
            ..Policy::default()
        };
        for (source, age, counts) in [
            (Source::Replica, 5, true),
            (Source::Replica, 6, false),
            (Source::Gateway, 6, false),
            (Source::Prometheus, 47, true),
            (Source::Prometheus, 48, false),
        ] {
            let signal = Signal::observed(0.5, now - Duration::from_secs(age), source);
            assert_eq!(heard(&signal, &policy, now).is_some(), counts, "{source:?} {age} s");
        }
        let seen = Observed {
            value: 0.5,
            at: now - Duration::from_secs(60),
            source: Source::Prometheus,
        };
        let says = too_old(&seen, &policy, now);
        assert!(says.contains("47 s is fresh"), "{says}");
    }
}
