//! The SLO: latencies as they are against what was promised, and the replicas
//! it takes to keep the promise.
//!
//! Two witnesses. Latencies that are measured: broken for a while with nothing
//! on its way asks for one more, and near the limit nothing goes. And where
//! rates and lengths are told, the queueing model: it asks for as many as the
//! expected arrivals need. A promise that one request alone breaks is said to
//! be one that cannot be kept, and asks for nothing.

use super::{Ask, EPSILON, Rule, one_more, one_replica, rule, unknown, verdict};
use crate::Reason;
use crate::queueing::{Target, Targets};
use crate::words::{number, short_time, time};
use std::time::Duration;
use units::Instant;

const NAME: &str = "Slo";
/// A replica with so few requests at once shows what one alone takes.
const ALONE: f64 = 1.2;
/// Two loads per replica this far apart, as a share, show what one alone takes.
const LESS_LOAD: f64 = 0.7;
/// What is told of one request alone may be in error by this share.
const IN_ERROR: f64 = 1.05;
/// How long a promise that cannot be kept is not tried again.
const HOPELESS_FOR: Duration = Duration::from_secs(6 * 3_600);
/// How much the model asks for in one step, as a factor.
const MOST_AT_ONCE: f64 = 1.5;

/// Which latency a promise is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Time to the first token.
    Ttft,
    /// Time between tokens.
    Itl,
}

impl Kind {
    const fn short(self) -> &'static str {
        match self {
            Self::Ttft => "TTFT",
            Self::Itl => "ITL",
        }
    }

    const fn of(self) -> &'static str {
        match self {
            Self::Ttft => "to the first token",
            Self::Itl => "between tokens",
        }
    }

    const fn watch(self) -> &'static str {
        match self {
            Self::Ttft => "Slo of TTFT",
            Self::Itl => "Slo of ITL",
        }
    }
}

/// What was tried for one promise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Tried {
    /// Requests at once per replica and the latency when one more was asked for.
    asked: Option<(f64, f64)>,
    /// Since when it is known to be hopeless, for which target, and what one
    /// request alone takes.
    hopeless: Option<(Instant, f64, f64)>,
}

/// One promise and what is known of it.
#[derive(Clone, Copy)]
struct Promise {
    kind: Kind,
    target_ms: f64,
    now_ms: Option<f64>,
    /// What one request alone takes, where that is too long.
    alone_ms: Option<f64>,
}

impl Promise {
    fn share(&self) -> Option<f64> {
        self.now_ms.map(|ms| ms / self.target_ms)
    }

    fn broken(&self) -> bool {
        self.share().is_some_and(|share| share > 1.0 + EPSILON)
    }
}

pub(super) fn slo(ask: &mut Ask<'_, '_>) -> Rule {
    let (load, policy, have) = (ask.load, ask.policy, ask.have);
    let usable = |ms: Option<f64>| ms.filter(|ms| ms.is_normal() && *ms > 0.0);
    let promised = ask.slo.unwrap_or_default();
    let promise = |kind, target: Option<f64>, now_ms| {
        usable(target).map(|target_ms| Promise {
            kind,
            target_ms,
            now_ms,
            alone_ms: None,
        })
    };
    let mut promises: Vec<Promise> = [
        promise(Kind::Ttft, promised.ttft_ms, load.latency.ttft_ms),
        promise(Kind::Itl, promised.itl_ms, load.latency.itl_ms),
    ]
    .into_iter()
    .flatten()
    .collect();
    if promises.is_empty() {
        return unknown(NAME, "no latency is promised for this model");
    }
    if load.ready_replicas == 0 {
        return unknown(NAME, "nothing serves that could keep or break the SLO");
    }
    let model = by_model(ask, &mut promises);
    let mut one = false;
    for promise in &mut promises {
        one |= by_measure(ask, promise);
    }
    let kept: Vec<Promise> = promises.iter().copied().filter(|p| p.alone_ms.is_none()).collect();
    let says = words(&promises, &model);
    if kept.is_empty() {
        let mut rule = rule(NAME, crate::Verdict::Hold, None, 0.0, says);
        hopeless(&promises, &mut rule);
        return rule;
    }
    let worst = kept.iter().filter_map(Promise::share).max_by(f64::total_cmp);
    let step = policy.hysteresis * one_replica(load);
    let (needs, model_above) = match &model {
        // Far from the limit a model that asks for more is wrong, and after each
        // step it has to see what came of it.
        Ok(needs) => {
            let near = worst.is_none_or(|share| share > policy.after_down());
            let above = near && have.coming == 0 && *needs > have.slots + step + EPSILON;
            (needs.min(have.slots * MOST_AT_ONCE), above)
        }
        Err(_) => (0.0, false),
    };
    let model_lasts = ask.memory.above_for(NAME, model_above, ask.now) >= policy.slo_after;
    let up = model_above && model_lasts || one;
    let keep = match (worst, &model) {
        (Some(share), _) if share > policy.after_down() => have.slots,
        // A latency grows no faster than the load of a replica, short of
        // saturation, which the other rules watch. What is measured goes before
        // what a model says.
        (Some(share), _) => load.ready_capacity() * share / policy.after_down(),
        (None, Ok(needs)) => needs + step,
        (None, Err(why)) => {
            let mut rule = unknown(NAME, format!("no source tells the latencies that are promised; {why}"));
            hopeless(&promises, &mut rule);
            return rule;
        }
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
        match measured.max_by(|a, b| a.share().unwrap_or(0.0).total_cmp(&b.share().unwrap_or(0.0))) {
            Some(p) if p.broken() || !model_above => format!(
                "{} {}",
                now_words(p),
                if p.broken() { "breaks the SLO" } else { "of the SLO" }
            ),
            _ => "the SLO needs more for what is expected".to_owned(),
        },
    );
    for promise in &kept {
        rule.changes.push(format!(
            "up: {} above {} for {} (now {})",
            promise.kind.short(),
            short_time(promise.target_ms),
            time(policy.slo_after),
            promise.now_ms.map_or_else(|| "not known".to_owned(), short_time)
        ));
    }
    hopeless(&promises, &mut rule);
    rule
}

/// Slots that the expected arrivals need within what is promised, or why that
/// is not known. Marks promises that one request alone breaks.
fn by_model(ask: &mut Ask<'_, '_>, promises: &mut [Promise]) -> Result<f64, String> {
    let (load, policy, now) = (ask.load, ask.policy, ask.now);
    if !load.slots_known {
        return Err("slots are not known".to_owned());
    }
    let target = |kind| {
        let of_kind = promises.iter().find(|promise| promise.kind == kind);
        of_kind.map(|promise| Target::mean(promise.target_ms))
    };
    let targets = Targets {
        ttft: target(Kind::Ttft),
        itl: target(Kind::Itl),
        throughput: false,
    };
    // Requests per second and slots of what serves.
    let (mut rate, mut slots, mut served) = (0.0, 0.0, 0.0);
    let mut alone = [Some(f64::INFINITY); 2];
    for stand in load.stands.iter().filter(|stand| !stand.ready_replicas.is_empty()) {
        let name = &stand.variant.name;
        let why = |why: String| format!("{name}: {why}");
        let models = &mut ask.memory.models;
        let learnt = models.learn(stand, policy, now);
        let answer = models.answer(name, &targets, now);
        // While nothing is told, what was learnt before still holds.
        let answer = answer.map_err(|not_known| why(learnt.err().unwrap_or(not_known)))?;
        let replicas = stand.ready_replicas.len() as f64;
        rate += answer.rate * replicas;
        slots += stand.slots * replicas;
        served += models.served(name).unwrap_or(0.0) * replicas;
        for (least, this) in alone.iter_mut().zip([answer.ttft_alone_ms, answer.itl_alone_ms]) {
            *least = least.zip(this).map(|(least, this)| least.min(this));
        }
    }
    for promise in promises {
        let [ttft, itl] = alone;
        promise.alone_ms = match promise.kind {
            Kind::Ttft => ttft,
            Kind::Itl => itl,
        }
        .filter(|ms| ms.is_finite());
    }
    let arrivals = load.arrivals.unwrap_or_else(|| served * load.growth().unwrap_or(1.0));
    let needs = arrivals / (rate / slots);
    if needs.is_finite() {
        Ok(needs)
    } else {
        Err("the model gives no number".to_owned())
    }
}

/// Whether a broken promise asks for one more. What was tried before may show
/// that more do not help.
fn by_measure(ask: &mut Ask<'_, '_>, promise: &mut Promise) -> bool {
    let (load, policy, now) = (ask.load, ask.policy, ask.now);
    let broken = promise.broken() && ask.have.coming == 0;
    let lasts = ask.memory.above_for(promise.kind.watch(), broken, now) >= policy.slo_after;
    let tried = ask.memory.tried.entry(promise.kind).or_default();
    if let Some((since, target, alone_ms)) = tried.hopeless {
        if target == promise.target_ms && now.since(since) < HOPELESS_FOR && promise.share().is_none_or(|s| s > 1.0) {
            promise.alone_ms = Some(alone_ms);
            return false;
        }
        *tried = Tried::default();
    }
    if let Some(alone_ms) = promise.alone_ms {
        // What the model found is remembered while it is true that it is broken.
        if promise.broken() {
            tried.hopeless = Some((now, promise.target_ms, alone_ms));
        } else {
            promise.alone_ms = None;
        }
        return false;
    }
    let Some(ms) = promise.now_ms.filter(|_| broken && lasts) else {
        return false;
    };
    let each = load.busy.map(|busy| busy / load.ready_replicas.max(1) as f64);
    let waits = load.queued() > 0 || load.waiting.is_some_and(|waiting| waiting.max > 0.0);
    if let Some(each) = each {
        let alone_ms = match tried.asked {
            _ if each <= ALONE && !waits => Some(ms),
            // A line through two loads; a latency that bends flattens towards one alone.
            Some((before, before_ms)) if each <= before * LESS_LOAD => {
                let slope = ((before_ms - ms) / (before - each)).max(0.0);
                Some(ms - slope * (each - 1.0).max(0.0))
            }
            _ => None,
        };
        let margin = if each <= ALONE { 1.0 } else { IN_ERROR };
        if let Some(alone_ms) = alone_ms.filter(|alone| *alone > promise.target_ms * margin) {
            tried.hopeless = Some((now, promise.target_ms, alone_ms));
            promise.alone_ms = Some(alone_ms);
            return false;
        }
        // The first try counts until the load has grown beyond it.
        if tried
            .asked
            .is_none_or(|(before, _)| each > before || each <= before * LESS_LOAD)
        {
            tried.asked = Some((each, ms));
        }
    }
    true
}

/// Says what cannot be kept and what would change that.
fn hopeless(promises: &[Promise], rule: &mut Rule) {
    for promise in promises {
        let Some(alone_ms) = promise.alone_ms else { continue };
        rule.bounds.push(cannot(promise, alone_ms));
        rule.changes.push(format!(
            "the SLO counts again: a target of at least {} {}, or a faster accelerator",
            short_time(alone_ms.ceil()),
            promise.kind.of()
        ));
    }
}

/// `SLO of 50 ms between tokens cannot be met: one request alone takes 80 ms`.
fn cannot(promise: &Promise, alone_ms: f64) -> String {
    format!(
        "SLO of {} {} cannot be met: one request alone takes {}",
        short_time(promise.target_ms),
        promise.kind.of(),
        short_time(alone_ms)
    )
}

/// `ITL 31 ms of 40 ms`.
fn now_words(promise: &Promise) -> String {
    let now = promise.now_ms.map_or_else(|| "not known".to_owned(), short_time);
    format!("{} {now} of {}", promise.kind.short(), short_time(promise.target_ms))
}

fn words(promises: &[Promise], model: &Result<f64, String>) -> String {
    let one = |promise: &Promise| match promise.alone_ms {
        Some(alone_ms) => cannot(promise, alone_ms),
        None => now_words(promise),
    };
    let all: Vec<String> = promises.iter().map(one).collect();
    let model = match model {
        Ok(needs) => format!("what is expected needs {} slots within it", number(*needs)),
        Err(why) => format!("how many it needs is not known ({why})"),
    };
    format!("{}; {model}", all.join(", "))
}
