//! Which variants can keep what is promised.
//!
//! Before any rule is asked: each variant that serves is learnt from, and one
//! that breaks a promise even with one request is no capacity where another
//! variant may keep it. It goes on serving until the others carry the load.

use super::model::Answer;
use super::promise::{Kind, Promise};
use super::tried::{Next, Seen};
use crate::heard::{heard, known};
use crate::load::{Load, Stand, spread};
use crate::words::short_name;
use crate::{Memory, ModelView, Policy};
use std::time::Duration;
use units::Instant;

/// Replicas that did not come up are not relied upon again for so long.
const AGAIN_AFTER: Duration = Duration::from_secs(1_800);

/// What is known of the promises made for a model.
#[derive(Debug)]
pub(in crate::decide) struct Judged {
    pub(super) promises: Vec<Promise>,
    /// What one replica stands, for each of the load's variants.
    pub(super) answers: Vec<Result<Answer, String>>,
    /// Whether a broken promise asks for one more.
    pub(super) one: bool,
    /// Which variants are too slow, as sentences.
    pub(super) too_slow: Vec<String>,
    /// Whether any that may keep the promises serves.
    pub(super) serves: bool,
}

impl Judged {
    /// The least that one request alone takes of what serves and may keep the
    /// promises; None where it is not known of all.
    pub(super) fn own(&self, kind: Kind, load: &Load<'_>) -> Option<f64> {
        let fit = load
            .stands
            .iter()
            .zip(&self.answers)
            .filter(|(stand, _)| may_keep(stand));
        let own = fit.map(|(_, answer)| answer.as_ref().ok()?.own(kind));
        own.reduce(|a, b| Some(a?.min(b?))).flatten()
    }
}

/// Learns from every variant, and marks those that are too slow.
pub(in crate::decide) fn judge(
    view: &ModelView,
    load: &mut Load<'_>,
    policy: &Policy,
    memory: &mut Memory,
    now: Instant,
) -> Judged {
    let mut judged = Judged {
        promises: view.slo.as_ref().map(Promise::all_of).unwrap_or_default(),
        answers: Vec::new(),
        one: false,
        too_slow: Vec::new(),
        serves: load.ready_replicas > 0,
    };
    if judged.promises.is_empty() {
        return judged;
    }
    judged.answers = answers(&judged.promises, load, policy, memory, now);
    price(&judged.answers, load);
    look(&mut judged, load, policy, now);
    let own = own(&judged, load, policy, now);
    mark(&judged.promises, &own, load, memory, now);
    look(&mut judged, load, policy, now);
    measure(&mut judged, &own, load, policy, memory, now);
    let slow = mark(&judged.promises, &own, load, memory, now);
    look(&mut judged, load, policy, now);
    let says = |(variant, why): (String, String)| {
        let name = short_name(&variant, &view.model);
        format!("{name}: {why}; others are to serve instead")
    };
    judged.too_slow = slow.into_iter().map(says).collect();
    judged.serves = load.stands.iter().any(may_keep);
    for (at, promise) in judged.promises.iter_mut().enumerate() {
        let mut least = Some(f64::INFINITY);
        for (stand, own) in load.stands.iter().zip(&own).filter(|(stand, _)| may_keep(stand)) {
            let alone = memory.hopeless(&stand.variant.name, promise, own[at]);
            least = least.zip(alone).map(|(least, alone)| least.min(alone));
        }
        promise.alone_ms = least.filter(|ms| ms.is_finite());
    }
    judged.one &= judged.promises.iter().any(|p| p.broken() && p.alone_ms.is_none());
    judged
}

impl Memory {
    /// What one request alone takes on a variant, if that is known to be too
    /// long for what is promised.
    fn hopeless(&mut self, variant: &str, promise: &Promise, now_ms: Option<f64>) -> Option<f64> {
        let tried = self.tried.get_mut(&(variant.to_owned(), promise.kind))?;
        tried.hopeless(promise.target_ms, now_ms)
    }
}

/// Whether a variant serves and is not known to be too slow.
fn may_keep(stand: &Stand<'_>) -> bool {
    serves(stand) && stand.too_slow.is_none()
}

/// Each promise's latency on each variant: what is seen of all where one alone
/// serves, else what its replicas tell.
fn own(judged: &Judged, load: &Load<'_>, policy: &Policy, now: Instant) -> Vec<Vec<Option<f64>>> {
    let alone = load.stands.iter().filter(|stand| serves(stand)).count() == 1;
    let of = |(stand, answer): (&Stand<'_>, &Result<Answer, String>)| {
        let of = |promise: &Promise| match promise.share {
            _ if !serves(stand) => None,
            _ if alone => promise.now_ms,
            None => told(promise, std::iter::once(stand), policy, now),
            Some(_) => {
                let mean = told(promise, std::iter::once(stand), policy, now)?;
                Some(mean * answer.as_ref().ok()?.stretch(promise.kind)?)
            }
        };
        judged.promises.iter().map(of).collect()
    };
    load.stands.iter().zip(&judged.answers).map(of).collect()
}

fn serves(stand: &Stand<'_>) -> bool {
    !stand.ready_replicas.is_empty()
}

/// Learns from what serves; what does not is known from before.
fn answers(
    promises: &[Promise],
    load: &Load<'_>,
    policy: &Policy,
    memory: &mut Memory,
    now: Instant,
) -> Vec<Result<Answer, String>> {
    let targets = Promise::targets(promises);
    let models = &mut memory.models;
    let answer = |stand: &Stand<'_>| {
        let name = &stand.variant.name;
        if !load.slots_known {
            return Err("slots are not known".to_owned());
        }
        if !serves(stand) {
            return models
                .last(name, &targets)
                .ok_or_else(|| "it does not serve".to_owned());
        }
        let learnt = models.learn(stand, policy, now);
        // While nothing is told, what was learnt before still holds.
        models
            .answer(name, &targets, now)
            .map_err(|not_known| format!("{name}: {}", learnt.err().unwrap_or(not_known)))
    };
    load.stands.iter().map(answer).collect()
}

/// Where it is known what every variant stands within the promises, that says
/// which is the cheapest, and not how many requests it takes at once.
fn price(answers: &[Result<Answer, String>], load: &mut Load<'_>) {
    let all = || {
        answers
            .iter()
            .zip(&load.stands)
            .filter(|(_, stand)| stand.variant.max > 0)
    };
    let known = |answer: &Result<Answer, String>| answer.as_ref().is_ok_and(|answer| answer.within > 0.0);
    if !all().all(|(answer, _)| known(answer)) {
        return;
    }
    for (answer, stand) in answers.iter().zip(&mut load.stands) {
        if let Ok(answer) = answer {
            stand.price = stand.variant.cost / answer.within;
        }
    }
}

/// Marks who is known to break a promise even with one request, where somebody
/// else may not; says who that is.
fn mark(
    promises: &[Promise],
    own: &[Vec<Option<f64>>],
    load: &mut Load<'_>,
    memory: &mut Memory,
    now: Instant,
) -> Vec<(String, String)> {
    let mut why: Vec<Option<String>> = Vec::with_capacity(load.stands.len());
    for (stand, own) in load.stands.iter().zip(own) {
        let mut slow = None;
        for (promise, now_ms) in promises.iter().zip(own) {
            if let Some(alone_ms) = memory.hopeless(&stand.variant.name, promise, *now_ms) {
                slow.get_or_insert_with(|| promise.cannot(alone_ms));
            }
        }
        why.push(slow);
    }
    let others = load.stands.iter().zip(&why);
    let others = others.filter(|(stand, why)| why.is_none() && stand.variant.max > 0);
    let may_come = |stand: &Stand<'_>| {
        let name = &stand.variant.name;
        if stand.stuck > 0 {
            memory.tried_again.insert(name.clone(), now + AGAIN_AFTER);
        } else if serves(stand) {
            memory.tried_again.remove(name);
        }
        memory.tried_again.get(name).is_none_or(|again| now >= *again)
    };
    if !others
        .map(|(stand, _)| stand)
        .map(may_come)
        .fold(false, |any, may| any | may)
    {
        why.iter_mut().for_each(|why| *why = None);
    }
    for (stand, why) in load.stands.iter_mut().zip(&why) {
        stand.too_slow.clone_from(why);
    }
    let names = load.stands.iter().map(|stand| stand.variant.name.clone());
    names.zip(why).filter_map(|(name, why)| Some((name, why?))).collect()
}

/// The mean that replicas of these variants tell.
fn told<'s, 'l: 's>(
    promise: &Promise,
    stands: impl Iterator<Item = &'s Stand<'l>>,
    policy: &Policy,
    now: Instant,
) -> Option<f64> {
    let of = promise.kind.told();
    let replicas = stands.flat_map(|stand| stand.ready_replicas.iter().map(move |replica| (stand.slots, *replica)));
    spread(replicas.map(|(slots, replica)| (slots, heard(of(replica), policy, now).filter(|ms| *ms > 0.0))))
        .map(|spread| spread.mean)
}

/// Latencies as they are now, of those that may keep them: the worse of what
/// replicas and gateways say.
fn look(judged: &mut Judged, load: &Load<'_>, policy: &Policy, now: Instant) {
    let slow = load
        .stands
        .iter()
        .any(|stand| serves(stand) && stand.too_slow.is_some());
    for promise in &mut judged.promises {
        let fit = load.stands.iter().filter(|stand| stand.too_slow.is_none());
        let mean = told(promise, fit, policy, now);
        // Gateways tell of all, those that are too slow included.
        let seen = load.demand.filter(|_| !slow).and_then(|demand| match promise.kind {
            Kind::Ttft => demand.ttft,
            Kind::Itl => demand.itl,
        });
        let seen = seen.map(|latency| promise.seen(latency));
        // A mean becomes a percentile by the shape the model gives it.
        let stretch = promise.share.and_then(|_| stretch(&judged.answers, load, promise.kind));
        promise.only_mean = promise.share.is_some() && seen.is_none() && stretch.is_none() && mean.is_some();
        let told = mean.map(|mean| mean * stretch.unwrap_or(1.0));
        promise.now_ms = match (told, seen) {
            // Measured goes before derived.
            (Some(_), Some(seen)) if promise.share.is_some() => Some(mean.map_or(seen, |mean| mean.max(seen))),
            (Some(told), Some(seen)) => Some(told.max(seen)),
            (told, seen) => told.or(seen),
        };
    }
}

/// The moment from which on a latency is a mean of what was: the earliest that
/// any replica or gateway tells of.
fn told_since(promise: &Promise, stand: &Stand<'_>, policy: &Policy, now: Instant) -> Instant {
    let of = promise.kind.told();
    let told = stand
        .ready_replicas
        .iter()
        .filter_map(|replica| known(of(replica), policy, now));
    let since = told.map(|seen| seen.at - policy.mean_over_of(seen.source));
    since.fold(now - policy.mean_over, Instant::min)
}

/// How much longer than the mean the promised percentile is, by the models.
fn stretch(answers: &[Result<Answer, String>], load: &Load<'_>, kind: Kind) -> Option<f64> {
    let fit = answers.iter().zip(&load.stands);
    let fit = fit.filter(|(_, stand)| serves(stand) && stand.too_slow.is_none());
    fit.filter_map(|(answer, _)| answer.as_ref().ok()?.stretch(kind))
        .reduce(f64::max)
}

/// Whether broken promises ask for one more. What was tried before may show
/// that more do not help.
fn measure(
    judged: &mut Judged,
    own: &[Vec<Option<f64>>],
    load: &Load<'_>,
    policy: &Policy,
    memory: &mut Memory,
    now: Instant,
) {
    let waits = load.queued() > 0 || load.waiting.is_some_and(|waiting| waiting.max > 0.0);
    for (at, promise) in judged.promises.iter().enumerate() {
        let broken = promise.broken() && load.coming() == 0;
        let lasts = memory.above_for(promise.kind.watch(), broken, now) >= policy.slo_after;
        let all = load.stands.iter().zip(&judged.answers).zip(own);
        for ((stand, answer), own) in all.filter(|((stand, _), _)| may_keep(stand)) {
            let key = (stand.variant.name.clone(), promise.kind);
            let tried = memory.tried.entry(key).or_default();
            if let (Some(each), Some(ms)) = (stand.busy_each(policy, now), own[at]) {
                tried.note(stand.ready_replicas.len(), Seen { each, ms, waits }, now);
            }
            if !promise.broken() || tried.hopeless(promise.target_ms, own[at]).is_some() {
                continue;
            }
            let by_model = answer.as_ref().ok().and_then(|answer| answer.alone(promise.kind));
            if let Some(alone_ms) = by_model {
                tried.give_up(promise.target_ms, alone_ms);
            } else if broken && lasts {
                let since = told_since(promise, stand, policy, now);
                judged.one |= tried.broken(promise.target_ms, since) == Next::OneMore;
            }
        }
    }
}
