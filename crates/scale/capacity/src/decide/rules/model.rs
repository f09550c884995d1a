//! What is learnt of each variant's service times, and the rate one replica
//! stands within the SLO.
//!
//! A [`Tuner`] per variant watches rates and latencies; the queueing model
//! with its parameters gives the rate. One load shows only one point of the
//! curve, so no answer goes far beyond the rates that were seen: each step
//! makes the next one known.

use super::promise::Kind;
use crate::Policy;
use crate::heard::heard;
use crate::load::Stand;
use crate::queueing::{Averaging, QueueError, QueueModel, Replica, Statistic, Target, Targets, Workload};
use crate::tuner::{Observation, Outcome, Tuner, TunerConfig};
use crate::view::{Profile, ReplicaView};
use std::collections::BTreeMap;
use std::time::Duration;
use units::{Instant, Signal};

/// Time between two observations of a variant: a latency is a mean over a while.
const EVERY: Duration = Duration::from_secs(10);
/// Observations learnt from before a model has a say.
const LEAST_TAKEN: u32 = 5;
/// Observations rejected in a row that end its say.
const MOST_REJECTED: u32 = 3;
/// Without an observation for so long its say ends, too.
const LASTS: Duration = Duration::from_secs(600);
/// How far beyond the rates seen an answer may go, as a factor.
const BEYOND: f64 = 1.5;
/// By how much the range of rates seen shrinks with each observation.
const FADES: f64 = 0.01;
/// A line through rates so far apart, as a factor, tells what one request takes.
const APART: f64 = 2.0;
/// As does a replica with so few requests at once.
const NEARLY_ALONE: f64 = 1.5;
/// A latency above its target by no more than this share may be in error.
const IN_ERROR: f64 = 1.1;
/// The largest batch that is solved for.
const MOST_BATCH: f64 = 4_096.0;
/// No parameter is taken to be less, milliseconds.
const LEAST_MS: f64 = 1e-6;

/// One model per variant.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Models(BTreeMap<String, Learnt>);

#[derive(Clone, Debug, PartialEq)]
struct Learnt {
    tuner: Tuner,
    last: Observation,
    looked_at: Instant,
    taken_at: Instant,
    taken: u32,
    rejected: u32,
    /// Whether it began with what the user measured.
    claimed: bool,
    /// The lowest and highest rate of one replica lately, and the requests at
    /// once that went with the lowest.
    seen: (f64, f64),
    fewest_at_once: f64,
    said: String,
    /// The last answer and for which targets; one observation gives one.
    answer: Option<(Targets, Answer)>,
}

/// What one replica of a variant stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Answer {
    /// Requests per second within every target that can be met, not far beyond
    /// the rates that were seen.
    pub(super) rate: f64,
    /// The same wherever it is; 0 where a target cannot be met.
    pub(super) within: f64,
    /// Whether it is known what one request alone takes.
    pub(super) sure: bool,
    /// Whether little was seen yet, so that it rests on the user's profile.
    pub(super) claimed: bool,
    /// Requests per second that it serves now.
    pub(super) served: f64,
    /// What one request alone takes, to the first token and between tokens, if
    /// that is too long.
    alone_ms: [Option<f64>; 2],
    /// What one request alone takes, of the targets' figures.
    own_ms: [Option<f64>; 2],
    /// How much longer than the mean the targets' percentiles are at the rate
    /// that is served, as factors.
    stretch: [Option<f64>; 2],
}

impl Answer {
    /// What one request alone takes, if that is too long.
    pub(super) const fn alone(&self, kind: Kind) -> Option<f64> {
        self.alone_ms[kind as usize]
    }

    /// What one request alone takes, of the figure that is promised.
    pub(super) const fn own(&self, kind: Kind) -> Option<f64> {
        self.own_ms[kind as usize]
    }

    /// How much longer the promised percentile is than the mean, as a factor.
    pub(super) const fn stretch(&self, kind: Kind) -> Option<f64> {
        self.stretch[kind as usize]
    }
}

impl Models {
    /// Forgets variants that are no longer there.
    pub(crate) fn keep_only(&mut self, present: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| present(name));
    }

    /// Takes in what the replicas of a variant show, every so often.
    pub(super) fn learn(&mut self, stand: &Stand<'_>, policy: &Policy, now: Instant) -> Result<(), String> {
        let name = &stand.variant.name;
        if self.0.get(name).is_some_and(|known| now.since(known.looked_at) < EVERY) {
            return Ok(());
        }
        let seen = observe(stand, policy, now)?;
        if let Some(known) = self.0.get_mut(name) {
            known.observe(seen, now);
        } else {
            let claimed = stand.variant.profile.map(|profile| by_profile(&profile, &seen));
            let begin = claimed.unwrap_or_else(|| start(&seen));
            let tuner = Tuner::new(TunerConfig::from_start(begin)).map_err(|error| error.to_string())?;
            let learnt = Learnt {
                tuner,
                last: seen,
                looked_at: now,
                taken_at: now,
                taken: 1,
                rejected: 0,
                claimed: claimed.is_some(),
                seen: (seen.rate, seen.rate),
                fewest_at_once: at_once(&seen),
                said: String::new(),
                answer: None,
            };
            self.0.insert(name.clone(), learnt);
        }
        Ok(())
    }

    /// The last answer for these targets, however long ago.
    pub(super) fn last(&self, variant: &str, targets: &Targets) -> Option<Answer> {
        let (of, answer) = self.0.get(variant)?.answer.as_ref()?;
        (of == targets).then_some(*answer)
    }

    /// The rate one replica of `variant` stands, or why that is not known.
    pub(super) fn answer(&mut self, variant: &str, targets: &Targets, now: Instant) -> Result<Answer, String> {
        let Some(known) = self.0.get_mut(variant) else {
            return Err("nothing was seen of it yet".to_owned());
        };
        if known.taken < LEAST_TAKEN && !known.claimed {
            return Err(format!("{} of {LEAST_TAKEN} observations are in", known.taken));
        }
        if known.rejected >= MOST_REJECTED {
            return Err(known.said.clone());
        }
        if now.since(known.taken_at) > LASTS {
            let age = crate::words::time(now.since(known.taken_at));
            return Err(format!("the last observation is {age} old"));
        }
        if let Some((of, answer)) = &known.answer
            && of == targets
        {
            return Ok(*answer);
        }
        let answer = known.size(targets)?;
        known.answer = Some((*targets, answer));
        Ok(answer)
    }
}

impl Learnt {
    fn observe(&mut self, seen: Observation, now: Instant) {
        let update = self.tuner.observe(&seen);
        self.looked_at = now;
        self.said = update.said;
        self.answer = None;
        match update.outcome {
            Outcome::Taken => {
                self.taken = self.taken.saturating_add(1);
                self.rejected = 0;
                self.taken_at = now;
            }
            // All it knew was about another world.
            Outcome::Reset | Outcome::Quickened => {
                (self.taken, self.rejected) = (1, 0);
                self.claimed = false;
                self.taken_at = now;
                self.seen = (seen.rate, seen.rate);
                self.fewest_at_once = at_once(&seen);
            }
            Outcome::Unusable | Outcome::Gated | Outcome::Impossible => {
                self.rejected = self.rejected.saturating_add(1);
                return;
            }
        }
        self.last = seen;
        let (low, high) = self.seen;
        self.fewest_at_once = at_once(&seen).min(self.fewest_at_once * (1.0 + FADES));
        self.seen = (seen.rate.min(low * (1.0 + FADES)), seen.rate.max(high * (1.0 - FADES)));
    }

    fn size(&self, targets: &Targets) -> Result<Answer, String> {
        let model = QueueModel::new(Replica {
            max_batch: self.last.max_batch,
            max_queue: self.last.max_batch.saturating_mul(10),
            service: self.tuner.service_time(),
            load: Workload {
                input_tokens: self.last.input_tokens,
                output_tokens: self.last.output_tokens,
            },
            averaging: Averaging::Busy,
        })
        .map_err(|error| error.to_string())?;
        let (low, high) = (self.seen.0 / BEYOND, self.seen.1 * BEYOND);
        let known_alone = self.fewest_at_once <= NEARLY_ALONE || self.seen.1 >= self.seen.0 * APART;
        let size = |targets: Targets| match model.size(&targets) {
            Ok(sizing) => Ok((sizing.rate, None)),
            Err(QueueError::Unreachable { target_ms, best_ms, .. })
                if known_alone && best_ms > target_ms * IN_ERROR =>
            {
                Ok((f64::INFINITY, Some(best_ms)))
            }
            Err(QueueError::Unreachable { .. }) => {
                Err("what one request alone takes shows only at other loads".to_owned())
            }
            Err(error) => Err(error.to_string()),
        };
        let none = Targets::default();
        let (ttft, ttft_alone_ms) = size(Targets {
            ttft: targets.ttft,
            ..none
        })?;
        let (itl, itl_alone_ms) = size(Targets {
            itl: targets.itl,
            ..none
        })?;
        let alone_ms = [ttft_alone_ms, itl_alone_ms];
        let rate = ttft.min(itl).min(model.max_rate());
        Ok(Answer {
            rate: rate.clamp(low, high),
            within: if alone_ms == [None; 2] { rate } else { 0.0 },
            sure: known_alone,
            claimed: self.claimed && self.taken < LEAST_TAKEN,
            served: self.last.rate,
            alone_ms,
            own_ms: own_ms(&model, targets),
            stretch: self.stretch(&model, targets),
        })
    }

    /// The promised percentiles over the means, at the rate that is served.
    fn stretch(&self, model: &QueueModel, targets: &Targets) -> [Option<f64>; 2] {
        let rate = self.last.rate.clamp(model.min_rate(), model.max_rate());
        let share = |target: Option<Target>| match target?.of {
            Statistic::Percentile(share) => Some(share),
            Statistic::Mean => None,
        };
        let Ok(mean) = model.at(rate) else { return [None; 2] };
        let over = |percentile: Result<f64, QueueError>, mean: f64| {
            let factor = percentile.ok()? / mean;
            (factor.is_finite() && factor > 0.0).then(|| factor.max(1.0))
        };
        [
            share(targets.ttft).and_then(|share| over(model.ttft_percentile(rate, share), mean.ttft_ms)),
            share(targets.itl).and_then(|share| over(model.itl_percentile(rate, share), mean.itl_ms)),
        ]
    }
}

/// Each target's figure of a request that has the replica for itself.
fn own_ms(model: &QueueModel, targets: &Targets) -> [Option<f64>; 2] {
    let rate = model.min_rate();
    let Ok(mean) = model.at(rate) else { return [None; 2] };
    let of = |target: Option<Target>, mean: f64, percentile: &dyn Fn(f64) -> Result<f64, QueueError>| match target?.of {
        Statistic::Mean => Some(mean),
        Statistic::Percentile(share) => percentile(share).ok(),
    };
    [
        of(targets.ttft, mean.ttft_ms, &|share| model.ttft_percentile(rate, share)),
        of(targets.itl, mean.itl_ms, &|share| model.itl_percentile(rate, share)),
    ]
}

/// The mean replica of a variant, as the tuner wants it.
fn observe(stand: &Stand<'_>, policy: &Policy, now: Instant) -> Result<Observation, String> {
    let mean = |what: &str, of: fn(&ReplicaView) -> &Signal<f64>| {
        let told = stand
            .ready_replicas
            .iter()
            .filter_map(|replica| heard(of(replica), policy, now));
        let (n, sum) = told.fold((0_u32, 0.0), |(n, sum), value| (n + 1, sum + value));
        if n == 0 {
            return Err(format!("no replica tells {what}"));
        }
        Ok(sum / f64::from(n))
    };
    let output_tokens = mean("the length of its answers", |replica| &replica.generated_tokens)?;
    let input = mean("the length of its prompts", |replica| &replica.prompt_tokens)?;
    let ttft_ms = mean("its time to the first token", |replica| &replica.ttft_ms)?;
    let itl_ms = mean("its time between tokens", |replica| &replica.itl_ms)?;
    let tokens = mean("the tokens it makes", |replica| &replica.token_rate)?;
    // Where nobody tells of a prefix cache, all of the prompt is computed.
    let hits = mean("", |replica| &replica.prefix_hit_share).unwrap_or(0.0).min(1.0);
    let seen = Observation {
        rate: tokens / output_tokens,
        input_tokens: input * (1.0 - hits),
        output_tokens,
        max_batch: stand.slots.round().clamp(1.0, MOST_BATCH) as u32,
        ttft_ms,
        itl_ms,
    };
    let possible = |value: f64| value.is_normal() && value > 0.0 && value < 1e9;
    if possible(seen.rate) && seen.output_tokens >= 1.0 && possible(ttft_ms) && possible(itl_ms) {
        Ok(seen)
    } else {
        Err("no requests are served that could be learnt from".to_owned())
    }
}

/// Requests at once in one replica, by Little's law.
fn at_once(seen: &Observation) -> f64 {
    seen.rate * (seen.ttft_ms + seen.output_tokens * seen.itl_ms) / 1e3
}

/// Parameters that give what the user measured, for requests as they are seen:
/// its steps grow by the request, ours by what each computes and attends to.
fn by_profile(profile: &Profile, seen: &Observation) -> [f64; 3] {
    let (i, o) = (seen.input_tokens, seen.output_tokens);
    let [alpha, per_request] = profile.decode_ms;
    let computed = (i + o) / (o + 1.0);
    let beta = profile.prefill_ms[1].min(per_request / computed);
    let gamma = (per_request - beta * computed) / (i + o / 2.0);
    [alpha, beta, gamma].map(|ms| ms.max(LEAST_MS))
}

/// Parameters that give about the first observation, most of it fixed: what a
/// batch adds shows when the load changes.
fn start(seen: &Observation) -> [f64; 3] {
    const FIXED: f64 = 0.8;
    let (i, o) = (seen.input_tokens, seen.output_tokens);
    let n = at_once(seen).clamp(1.0, f64::from(seen.max_batch));
    let rest = (1.0 - FIXED) * seen.itl_ms / 2.0;
    let by_prefill = if i > 0.0 {
        (seen.ttft_ms - 2.0 * seen.itl_ms).max(0.0) / i
    } else {
        f64::INFINITY
    };
    let beta = (rest / (n * (i + o) / (o + 1.0) + 1.0)).min(by_prefill);
    let gamma = rest / ((n + 1.0) * (i + o / 2.0));
    [FIXED * seen.itl_ms, beta, gamma].map(|ms| ms.max(LEAST_MS))
}
