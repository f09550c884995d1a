//! The SLO: latencies as they are against what was promised, and the replicas
//! it takes to keep the promise.
//!
//! Two witnesses. Latencies that are measured: broken for a while with nothing
//! on its way asks for one more, and near the limit nothing goes. And where
//! rates and lengths are told, the queueing model: it asks for as many as the
//! expected arrivals need, of the mean or of the percentile that is promised. It
//! lets replicas go whose latency is their own and no load's, and what it asked
//! for does not go against its word. A promise that one request alone breaks is
//! said to be one that cannot be kept, and asks for nothing.

use super::judge::Judged;
use super::promise::Promise;
use super::{Ask, EPSILON, Rule, one_more, one_replica, rule, unknown, verdict};
use crate::Reason;
use crate::load::Load;
use crate::words::{number, short_time, time};
use std::time::Duration;

const NAME: &str = "Slo";
/// How much the model asks for in one step, as a factor.
const MOST_AT_ONCE: f64 = 1.5;
/// The same while it is not known what one request alone takes: beyond, the
/// promise may be out of reach.
const MOST_UNSURE: f64 = 1.2;
/// What the model asked for is not let go against its word for so long: as long
/// as a load that did not fit is remembered.
const HEEDED: Duration = Duration::from_secs(1_800);

pub(super) fn slo(ask: &mut Ask<'_, '_>) -> Rule {
    let (load, policy, have, judged) = (ask.load, ask.policy, ask.have, ask.judged);
    let promises = &judged.promises;
    if promises.is_empty() {
        return unknown(NAME, "no latency is promised for this model");
    }
    if !judged.serves {
        let why = if load.ready_replicas == 0 {
            "nothing serves that could keep or break the SLO"
        } else {
            "nothing serves that could keep the SLO"
        };
        let mut rule = unknown(NAME, why);
        if load.ready_replicas > 0 && have.slots <= 0.0 {
            // Others say how many; that it takes one is certain.
            rule = super::rule(NAME, crate::Verdict::Up, Some(one_more(0.0)), 0.0, why.to_owned());
            rule.reason = Reason::SloAtRisk;
            rule.cause = Some("what serves breaks the SLO even with one request".to_owned());
        }
        rule.bounds.extend(judged.too_slow.iter().cloned());
        return rule;
    }
    let model = by_model(judged, load);
    let one = judged.one;
    let kept: Vec<Promise> = promises.iter().copied().filter(|p| p.alone_ms.is_none()).collect();
    let says = words(promises, &model);
    if kept.is_empty() {
        let mut rule = rule(NAME, crate::Verdict::Hold, None, 0.0, says);
        hopeless(judged, &mut rule);
        return rule;
    }
    let worst = kept.iter().filter_map(Promise::used).max_by(f64::total_cmp);
    let step = policy.hysteresis * one_replica(load);
    let (needs, model_above) = match &model {
        // Far from the limit a model that asks for more is wrong, and after each
        // step it has to see what came of it.
        Ok(Sized { needs, sure, .. }) => {
            let near = worst.is_none_or(|share| share > policy.after_down());
            let above = near && have.coming == 0 && *needs > have.slots + step + EPSILON;
            let most = have.slots * if *sure { MOST_AT_ONCE } else { MOST_UNSURE };
            (needs.min(most.max(one_more(have.slots))), above)
        }
        Err(_) => (0.0, false),
    };
    let model_lasts = ask.memory.above_for(NAME, model_above, ask.now) >= policy.slo_after;
    let model_asks = model_above && model_lasts;
    if model_asks {
        ask.memory.sized_up = Some(ask.now);
    }
    let up = model_asks || one;
    // More replicas lower only what load adds to a latency. Where that is next to
    // nothing the model says how many it takes, and one at a time goes, so that
    // what comes of it is seen.
    let own = |promise: &Promise| by_load(promise, judged, load).is_some_and(|share| share <= policy.hysteresis);
    let known = match &model {
        Ok(Sized {
            needs,
            sure: true,
            claimed: false,
        }) if kept.iter().all(own) => Some((needs + step).max(have.slots - one_replica(load))),
        _ => None,
    };
    let keep = match (worst, &model) {
        (Some(share), _) if share > policy.after_down() => known.unwrap_or(have.slots).min(have.slots),
        // A latency grows no faster than the load of a replica, short of
        // saturation, which the other rules watch.
        (Some(share), _) => {
            let measured = load.ready_capacity() * share / policy.after_down();
            known.map_or(measured, |known| measured.min(known))
        }
        (None, Ok(Sized { needs, .. })) => needs + step,
        (None, Err(why)) => {
            let mut rule = unknown(NAME, format!("no source tells the latencies that are promised; {why}"));
            hopeless(judged, &mut rule);
            return rule;
        }
    };
    // With what the model asked for a latency is far from its limit, which is no
    // reason to let it go: the model would ask again.
    let heeded = ask.memory.sized_up.is_some_and(|at| ask.now.since(at) <= HEEDED);
    let keep = match &model {
        Ok(Sized { needs, .. }) if heeded => keep.max((needs + step).min(have.slots)),
        _ => keep,
    };
    let needs = if one { needs.max(one_more(have.slots)) } else { needs };
    let mut rule = rule(
        NAME,
        verdict(up, keep, have),
        (needs > 0.0).then_some(needs),
        keep,
        says,
    );
    rule.reason = Reason::SloAtRisk;
    let measured = kept.iter().filter(|promise| promise.now_ms.is_some());
    rule.cause = Some(
        match measured.max_by(|a, b| a.used().unwrap_or(0.0).total_cmp(&b.used().unwrap_or(0.0))) {
            Some(p) if p.broken() || !model_above => format!(
                "{} {}",
                p.now_words(),
                if p.broken() { "breaks the SLO" } else { "of the SLO" }
            ),
            _ => "the SLO needs more for what is expected".to_owned(),
        },
    );
    for promise in &kept {
        rule.changes.push(format!(
            "up: {} above {} for {} (now {})",
            promise.name(),
            short_time(promise.target_ms),
            time(policy.slo_after),
            promise.now_ms.map_or_else(|| "not known".to_owned(), short_time)
        ));
    }
    hopeless(judged, &mut rule);
    rule
}

/// How much of what one request alone leaves of a promise is used up by load.
fn by_load(promise: &Promise, judged: &Judged, load: &Load<'_>) -> Option<f64> {
    let own_ms = judged.own(promise.kind, load)?;
    let left_ms = promise.target_ms - own_ms;
    (left_ms > 0.0).then_some((promise.now_ms? - own_ms) / left_ms)
}

/// Slots that the expected arrivals need within what is promised.
struct Sized {
    needs: f64,
    /// Whether it is known what one request alone takes.
    sure: bool,
    /// Whether that rests on a profile more than on what was seen.
    claimed: bool,
}

/// What the queueing model says, or why it says nothing.
fn by_model(judged: &Judged, load: &Load<'_>) -> Result<Sized, String> {
    // Requests per second and slots of what serves.
    let (mut rate, mut slots, mut served) = (0.0, 0.0, 0.0);
    let (mut sure, mut claimed) = (true, false);
    let serving = load.stands.iter().zip(&judged.answers);
    for (stand, answer) in serving.filter(|(stand, _)| !stand.ready_replicas.is_empty()) {
        let replicas = stand.ready_replicas.len() as f64;
        if stand.too_slow.is_some() {
            served += answer.as_ref().map_or(0.0, |answer| answer.served) * replicas;
            continue;
        }
        let answer = answer.as_ref().map_err(Clone::clone)?;
        rate += answer.rate * replicas;
        slots += stand.slots * replicas;
        served += answer.served * replicas;
        sure &= answer.sure;
        claimed |= answer.claimed;
    }
    let arrivals = load.arrivals.unwrap_or_else(|| served * load.growth().unwrap_or(1.0));
    let needs = arrivals / (rate / slots);
    if needs.is_finite() {
        Ok(Sized { needs, sure, claimed })
    } else {
        Err("the model gives no number".to_owned())
    }
}

/// Says what cannot be kept and what would change that.
fn hopeless(judged: &Judged, rule: &mut Rule) {
    rule.bounds.extend(judged.too_slow.iter().cloned());
    for promise in &judged.promises {
        let Some(alone_ms) = promise.alone_ms else { continue };
        rule.bounds.push(promise.cannot(alone_ms));
        rule.changes.push(format!(
            "the SLO counts again: a target of at least {} {}, or a faster accelerator",
            short_time(alone_ms.ceil()),
            promise.kind.of()
        ));
    }
}

fn words(promises: &[Promise], model: &Result<Sized, String>) -> String {
    let one = |promise: &Promise| match promise.alone_ms {
        Some(alone_ms) => promise.cannot(alone_ms),
        None => promise.now_words(),
    };
    let all: Vec<String> = promises.iter().map(one).collect();
    let model = match model {
        Ok(Sized { needs, claimed, .. }) => {
            let by = if *claimed { ", by its profile" } else { "" };
            format!("what is expected needs {} slots within it{by}", number(*needs))
        }
        Err(why) => format!("how many it needs is not known ({why})"),
    };
    format!("{}; {model}", all.join(", "))
}
