//! The load as people read it, and what would change the answer.

use crate::load::Load;
use crate::words::{number, percent, time};
use crate::{Memory, Policy};
use units::Instant;

/// `queue 22 waits 1.4 s`.
pub(in crate::decide) fn queue_words(load: &Load<'_>) -> String {
    match load.demand.and_then(|demand| demand.oldest_wait) {
        Some(wait) => format!("queue {} waits {}", load.queued(), time(wait)),
        None => format!("queue {}", load.queued()),
    }
}

/// The load in a few words, of whatever is known.
pub(in crate::decide) fn load_words(load: &Load<'_>) -> String {
    let mut parts = Vec::new();
    if load.queued() > 0 {
        parts.push(queue_words(load));
    }
    match load.busy {
        Some(busy) if load.slots_known => {
            parts.push(format!(
                "{} of {} slots busy",
                number(busy),
                number(load.ready_capacity())
            ));
        }
        Some(busy) => parts.push(format!("{} requests at replicas", number(busy))),
        None => {}
    }
    if let Some(kv) = load.kv {
        parts.push(format!("KV {}", percent(kv.mean)));
    }
    if let Some(waiting) = load.waiting.filter(|waiting| waiting.max > 0.0) {
        parts.push(format!("{} waiting in each engine", number(waiting.mean)));
    }
    if parts.is_empty() {
        "no load is known".to_owned()
    } else {
        parts.join(", ")
    }
}

/// What would change the answer.
pub(in crate::decide) fn would_change(
    load: &Load<'_>,
    have: f64,
    policy: &Policy,
    memory: &Memory,
    now: Instant,
) -> Vec<String> {
    let mut changes = Vec::new();
    if load.wanted() == 0 {
        changes.push("up: a request held at the gateway".to_owned());
        return changes;
    }
    if let (true, Some(asked)) = (load.slots_known, load.slots_asked) {
        let needs = asked.max(load.expected.map_or(asked, |expected| expected.load));
        changes.push(format!(
            "up: more than {} slots expected (now {})",
            number(have),
            number(needs)
        ));
    }
    if let Some(kv) = load.kv {
        let limit = percent(policy.kv_limit());
        changes.push(format!(
            "up: KV cache at {limit} or more on average (now {})",
            percent(kv.mean)
        ));
    }
    if let Some(waiting) = load.waiting {
        let limit = number(policy.waiting_limit());
        changes.push(format!(
            "up: more than {limit} waiting in each engine (now {})",
            number(waiting.mean)
        ));
    }
    let least = load
        .stands
        .iter()
        .filter(|stand| stand.ready > 0)
        .map(|stand| stand.slots)
        .reduce(f64::min);
    if let Some(least) = least.filter(|least| load.ready_capacity() > *least)
        && load.slots_known
    {
        let fits = (load.ready_capacity() - least - policy.hysteresis * least).max(0.0);
        let window = time(memory.patience(policy));
        changes.push(format!(
            "down: at most {} slots expected during {window}, every signal fresh",
            number(fits)
        ));
    }
    if load.stands.iter().any(|stand| stand.variant.min == 0) {
        let (idle, after) = (time(memory.idle_for(now)), time(policy.zero_after));
        changes.push(format!("to the minimum: no work for {after} (now {idle})"));
    }
    changes
}
