//! Saturation by percent: shares of the KV cache and queues inside the engines.

use super::{Ask, EPSILON, Rule, one_more, one_replica, rule, unknown, verdict};
use crate::load::Load;
use crate::words::{count, number, percent};
use crate::{Analyzer, Policy};

/// Why the shares have no vote, if they have none. A replica that is full keeps
/// what there is all the same.
fn outvoted(policy: &Policy, by_tokens: bool) -> Option<&'static str> {
    (policy.analyzer == Analyzer::Tokens && by_tokens).then_some("not asked: saturation is judged by tokens")
}

pub(super) fn kv_cache(ask: &mut Ask<'_, '_>, by_tokens: bool) -> Rule {
    const NAME: &str = "KvCache";
    let (load, policy, have) = (ask.load, ask.policy, ask.have);
    if let Some(why) = outvoted(policy, by_tokens) {
        return unknown(NAME, why);
    }
    let Some(kv) = load.kv else {
        return unknown(NAME, "no ready replica tells its KV cache");
    };
    let limit = policy.kv_limit();
    // Where it is known how the load grows, that says how much must be spare;
    // else the spare share that is configured does.
    let (needs, keep) = match kv_with_growth(load, policy, kv.total) {
        Some(needs) => (needs, needs + policy.hysteresis * one_replica(load)),
        None => (kv.total / policy.kv_target(), kv.total / (limit * policy.after_down())),
    };
    let above = match load.growth() {
        Some(_) => needs > have.slots + EPSILON,
        None => kv.total > 0.0 && kv.total >= have.slots * limit - EPSILON,
    };
    let up = ask.lasting(
        NAME,
        above,
        kv.total > 0.0 && kv.total >= have.slots * policy.kv_cache_threshold,
    );
    let says = format!(
        "KV cache {} in use on average over all replicas (most {}); more is asked for from {} on",
        percent(kv.mean),
        percent(kv.max),
        percent(limit)
    );
    let mut rule = rule(NAME, verdict(up, keep, have), Some(needs), keep, says);
    rule.cause = Some(if load.saturated == load.ready_replicas && load.ready_replicas > 0 {
        format!("KV {} on all replicas", percent(kv.mean))
    } else {
        format!("KV {} on average, {} at most", percent(kv.mean), percent(kv.max))
    });
    rule
}

/// Slots whose KV cache stays below what saturates when the load has grown as
/// far as is expected.
fn kv_with_growth(load: &Load<'_>, policy: &Policy, total: f64) -> Option<f64> {
    Some(total * load.growth()? / policy.kv_cache_threshold)
}

pub(super) fn waiting_inside(ask: &mut Ask<'_, '_>, by_tokens: bool) -> Rule {
    const NAME: &str = "WaitingInside";
    let (load, policy, have) = (ask.load, ask.policy, ask.have);
    if let Some(why) = outvoted(policy, by_tokens) {
        return unknown(NAME, why);
    }
    let Some(waiting) = load.waiting else {
        return unknown(NAME, "no ready replica tells its waiting requests");
    };
    let limit = policy.waiting_limit();
    // How many more this needs cannot be told from a queue's length, so it asks
    // for one at a time and waits for what is on its way.
    let above = waiting.mean > limit + EPSILON && have.coming == 0;
    let up = ask.lasting(NAME, above, waiting.mean >= policy.queue_length_threshold);
    let keep = waiting.total / (limit * policy.after_down());
    let says = format!(
        "{} requests wait inside each engine on average (most {}); more is asked for above {}",
        number(waiting.mean),
        number(waiting.max),
        number(limit)
    );
    let mut rule = rule(
        NAME,
        verdict(up, keep, have),
        up.then(|| one_more(have.slots)),
        keep,
        says,
    );
    rule.cause = Some(format!("{} waiting in each engine", number(waiting.mean)));
    rule
}

pub(super) fn saturated_share(ask: &mut Ask<'_, '_>) -> Rule {
    const NAME: &str = "SaturatedShare";
    let (load, policy, have) = (ask.load, ask.policy, ask.have);
    if load.judged == 0 {
        return unknown(NAME, "no ready replica can be judged".to_owned());
    }
    let share = load.saturated as f64 / load.judged as f64;
    let above = share >= policy.saturated_share - EPSILON && have.coming == 0;
    let up = ask.lasting(NAME, above, false);
    // While one is full, nothing is taken away, whatever the mean says.
    let keep = if load.saturated > 0 { have.slots } else { 0.0 };
    let says = format!(
        "{} of {} saturated; more is asked for from {} on, and nothing is taken away while one is",
        load.saturated,
        count(load.judged, "replica is", "replicas are"),
        percent(policy.saturated_share)
    );
    let mut rule = rule(
        NAME,
        verdict(up, keep, have),
        up.then(|| one_more(have.slots)),
        keep,
        says,
    );
    rule.cause = (load.saturated < load.judged).then(|| format!("{} of {} replicas full", load.saturated, load.judged));
    rule
}
