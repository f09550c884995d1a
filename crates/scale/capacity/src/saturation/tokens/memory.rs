//! What replicas have shown, bounded in number and in age.

use crate::saturation::engine_args::EngineArgs;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use units::Instant;

/// Observations of a limit that are averaged.
const WINDOW: usize = 10;
/// Most entries of each kind.
const MAX_ENTRIES: usize = 20_000;
/// A limit not seen again for this long is forgotten: the load has changed.
const LIMITS_FOR: Duration = Duration::from_secs(24 * 3600);
/// A capacity not reported again for this long is forgotten.
const CAPACITIES_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
/// Observations further apart say nothing about what lies between.
const STREAK_GAP: Duration = Duration::from_secs(120);
/// Tokens in use that differ by at most this share are alike.
const ALIKE: f64 = 0.10;

/// What a compute limit depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    pub(super) model: String,
    pub(super) accelerator: Option<String>,
    pub(super) gpus: Option<u32>,
    /// The variant, where it is not known whether others have as many GPUs.
    pub(super) variant: Option<String>,
    pub(super) answers: u8,
    /// Prompts of about a length: what a batch holds grows with it.
    pub(super) prompts: u8,
}

/// Which variant something is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct VariantKey {
    pub(super) namespace: String,
    pub(super) model: String,
    pub(super) variant: String,
}

#[derive(Clone, Debug, PartialEq)]
struct Limit {
    seen: VecDeque<f64>,
    at: Instant,
}

#[derive(Clone, Debug, PartialEq)]
struct Capacity {
    tokens: f64,
    engine: Option<EngineArgs>,
    accelerator: Option<String>,
    gpus: Option<u32>,
    at: Instant,
}

#[derive(Clone, Debug, PartialEq)]
struct Streak {
    in_use: f64,
    observations: u32,
    since: Instant,
    at: Instant,
}

/// What earlier passes showed of all models. It never grows beyond a bound:
/// the oldest entry goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenMemory {
    limits: BTreeMap<Shape, Limit>,
    capacities: BTreeMap<VariantKey, Capacity>,
    streaks: BTreeMap<(VariantKey, String), Streak>,
}

impl TokenMemory {
    /// Drops what is known of a variant that is gone.
    pub fn forget(&mut self, namespace: &str, model: &str, variant: &str) {
        let is = |key: &VariantKey| key.namespace == namespace && key.model == model && key.variant == variant;
        self.capacities.retain(|key, _| !is(key));
        self.streaks.retain(|(key, _), _| !is(key));
        self.limits
            .retain(|shape, _| shape.model != model || shape.variant.as_deref() != Some(variant));
    }

    pub(super) fn expire(&mut self, now: Instant) {
        self.limits.retain(|_, limit| now.since(limit.at) <= LIMITS_FOR);
        self.capacities.retain(|_, known| now.since(known.at) <= CAPACITIES_FOR);
        self.streaks.retain(|_, streak| now.since(streak.at) <= STREAK_GAP);
    }

    pub(super) fn learn_limit(&mut self, shape: Shape, tokens: f64, now: Instant) {
        let limit = self.limits.entry(shape).or_insert_with(|| Limit {
            seen: VecDeque::new(),
            at: now,
        });
        limit.at = now;
        limit.seen.push_back(tokens);
        if limit.seen.len() > WINDOW {
            limit.seen.pop_front();
        }
        bound(&mut self.limits, |limit| limit.at);
    }

    /// So many tokens were held and nothing waited: what was taken for the limit
    /// was none.
    pub(super) fn disprove(&mut self, shape: &Shape, tokens: f64) {
        if self.limit(shape).is_some_and(|limit| limit < tokens) {
            self.limits.remove(shape);
        }
    }

    /// The mean of the last observations.
    pub(super) fn limit(&self, shape: &Shape) -> Option<f64> {
        let seen = &self.limits.get(shape)?.seen;
        let mean = seen.iter().sum::<f64>() / seen.len().max(1) as f64;
        (mean > 0.0).then_some(mean)
    }

    pub(super) fn learn_capacity(
        &mut self,
        key: VariantKey,
        tokens: f64,
        engine: Option<&EngineArgs>,
        accelerator: Option<&str>,
        gpus: Option<u32>,
        now: Instant,
    ) {
        self.capacities.insert(
            key,
            Capacity {
                tokens,
                engine: engine.cloned(),
                accelerator: accelerator.map(str::to_owned),
                gpus,
                at: now,
            },
        );
        bound(&mut self.capacities, |known| known.at);
    }

    pub(super) fn capacity(&self, key: &VariantKey) -> Option<f64> {
        self.capacities
            .get(key)
            .map(|known| known.tokens)
            .filter(|tokens| *tokens > 0.0)
    }

    /// What another variant with the same model, engine and hardware showed,
    /// in any namespace; the latest, then the first by name.
    pub(super) fn similar(
        &self,
        model: &str,
        engine: &EngineArgs,
        accelerator: Option<&str>,
        gpus: Option<u32>,
    ) -> Option<f64> {
        self.capacities
            .iter()
            .filter(|(key, known)| {
                key.model == model
                    && gpus.is_some()
                    && known.gpus == gpus
                    && known.accelerator.as_deref() == accelerator
                    && known.tokens > 0.0
                    && known.engine.as_ref().is_some_and(|theirs| theirs.compatible(engine))
            })
            .max_by(|(a, x), (b, y)| x.at.cmp(&y.at).then_with(|| b.cmp(a)))
            .map(|(_, known)| known.tokens)
    }

    /// Notes that requests wait at a replica that holds `in_use` tokens;
    /// whether that has been so for long enough to be its limit.
    pub(super) fn settled(
        &mut self,
        replica: (VariantKey, String),
        in_use: f64,
        now: Instant,
        observations: u32,
        time: Duration,
    ) -> bool {
        let fresh = Streak {
            in_use,
            observations: 0,
            since: now,
            at: now,
        };
        let streak = self.streaks.entry(replica).or_insert_with(|| fresh.clone());
        if (in_use - streak.in_use).abs() > ALIKE * streak.in_use.max(in_use) {
            *streak = fresh;
        }
        // The same moment seen twice is one observation.
        if streak.observations == 0 || now > streak.at {
            streak.observations = streak.observations.saturating_add(1);
        }
        streak.at = now;
        let settled = streak.observations >= observations && now.since(streak.since) >= time;
        bound(&mut self.streaks, |streak| streak.at);
        settled
    }

    /// Notes that nothing waits at a replica.
    pub(super) fn unsettle(&mut self, replica: &(VariantKey, String)) {
        self.streaks.remove(replica);
    }
}

/// Drops the oldest entry, of equal age the first, beyond the bound.
fn bound<K: Ord + Clone, V>(entries: &mut BTreeMap<K, V>, at: impl Fn(&V) -> Instant) {
    if entries.len() > MAX_ENTRIES
        && let Some(oldest) = entries
            .iter()
            .min_by_key(|(_, value)| at(value))
            .map(|(key, _)| key.clone())
    {
        entries.remove(&oldest);
    }
}
