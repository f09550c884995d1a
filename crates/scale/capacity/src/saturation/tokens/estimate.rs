//! What one replica can hold, seen or not.

use super::memory::{Shape, VariantKey};
use super::{CapacityFrom, Lengths, TokenMemory, TokenPolicy, TokenReplica, TokenVariant, TokenView, usable};
use crate::saturation::Mode;
use units::Instant;

/// A replica that reports.
pub(super) struct Measured {
    /// Tokens it can hold.
    pub(super) capacity: f64,
    /// Tokens it holds and has waiting.
    pub(super) demand: f64,
    /// Whether it holds all it can, or requests wait.
    pub(super) at_limit: bool,
    /// Whether nothing but its memory bounds it, as far as is known.
    pub(super) memory_only: bool,
}

pub(super) struct Estimator<'a> {
    pub(super) policy: &'a TokenPolicy,
    pub(super) mode: Mode,
    pub(super) view: &'a TokenView,
    pub(super) lengths: Lengths,
    pub(super) memory: &'a mut TokenMemory,
    pub(super) now: Instant,
}

/// Short, medium and long answers keep apart: they make different batches.
fn bucket(output: Option<f64>) -> u8 {
    match output {
        Some(tokens) if tokens >= 500.0 => 2,
        Some(tokens) if tokens >= 100.0 => 1,
        _ => 0,
    }
}

/// Prompts of a length that differs by less than a factor of four. The
/// predecessor does not ask.
fn prompts(input: Option<f64>, mode: Mode) -> u8 {
    match (mode, input) {
        (Mode::Guarded, Some(tokens)) if tokens >= 1.0 => (tokens.log2() / 2.0) as u8,
        _ => 0,
    }
}

impl Estimator<'_> {
    /// What a replica shows; None when it does not tell what it holds.
    pub(super) fn measure(&mut self, variant: &TokenVariant, replica: &TokenReplica) -> Option<Measured> {
        let positive = |value: Option<f64>| usable(value).filter(|value| *value > 0.0);
        let cache = positive(replica.cache)?;
        let (in_use, waiting) = match self.mode {
            Mode::Guarded => (usable(replica.in_use)?, usable(replica.waiting)?),
            // What is missing is 0 there.
            Mode::AsPublished => (
                usable(replica.in_use).unwrap_or(0.0),
                usable(replica.waiting).unwrap_or(0.0),
            ),
        };
        let (input, output) = match self.mode {
            Mode::Guarded => (
                positive(replica.input).or(self.lengths.input),
                positive(replica.output).or(self.lengths.output),
            ),
            Mode::AsPublished => (positive(replica.input), positive(replica.output)),
        };
        let k1 = (cache * self.policy.kv_threshold).trunc();
        let queued = waiting >= self.policy.queue_threshold.trunc();
        let key = Shape {
            model: self.view.model.clone(),
            accelerator: variant.accelerator.clone(),
            // The predecessor forgets that two GPUs do more than one.
            gpus: variant.gpus.filter(|_| self.mode == Mode::Guarded),
            variant: (self.mode == Mode::Guarded && variant.gpus.is_none()).then(|| variant.name.clone()),
            answers: bucket(output),
            prompts: prompts(input, self.mode),
        };
        let seen = queued
            && in_use > 0.0
            && match self.mode {
                Mode::AsPublished => true,
                // A burst on a cold replica waits for prefill with memory and
                // batch all but empty: that is no limit. A full cache is one,
                // and so is a batch that stays as it is while others wait.
                Mode::Guarded => {
                    let settled = self.memory.settled(
                        (self.key(variant), replica.name.clone()),
                        in_use,
                        self.now,
                        self.policy.settle_observations,
                        self.policy.settle_time,
                    );
                    in_use >= k1 || settled
                }
            };
        if !queued {
            self.memory.unsettle(&(self.key(variant), replica.name.clone()));
        }
        if self.mode == Mode::Guarded && waiting <= 0.0 {
            self.memory.disprove(&key, in_use);
        }
        if seen {
            self.memory.learn_limit(key.clone(), in_use, self.now);
        }
        let shown = if seen && self.mode == Mode::AsPublished {
            Some(in_use)
        } else {
            self.memory.limit(&key)
        };
        let k2 = shown.or_else(|| {
            let engine = variant.engine.as_ref()?;
            engine.derived_capacity(input?, output?)
        });
        let memory_only = k2.is_none();
        let k2 = k2.unwrap_or(k1);
        let capacity = k1.min(k2.trunc());
        self.memory.learn_capacity(
            self.key(variant),
            capacity,
            variant.engine.as_ref(),
            variant.accelerator.as_deref(),
            variant.gpus,
            self.now,
        );
        Some(Measured {
            capacity,
            demand: in_use + waiting * input.unwrap_or(0.0).trunc(),
            at_limit: queued || in_use >= k1,
            memory_only,
        })
    }

    /// What a replica of a variant would hold of which none reports.
    pub(super) fn unseen(&self, variant: &TokenVariant) -> (f64, CapacityFrom) {
        if let Some(tokens) = self.memory.capacity(&self.key(variant)) {
            return (tokens, CapacityFrom::Remembered);
        }
        let Some(engine) = &variant.engine else {
            return (0.0, CapacityFrom::Unknown);
        };
        let k1 = engine
            .cache_tokens()
            .map(|tokens| (tokens * self.policy.kv_threshold).trunc());
        let similar = self
            .memory
            .similar(&self.view.model, engine, variant.accelerator.as_deref(), variant.gpus);
        let derived = match (self.lengths.input, self.lengths.output) {
            (Some(input), Some(output)) => engine.derived_capacity(input, output),
            _ => None,
        };
        if let Some(derived) = derived {
            let bound = [k1, similar].into_iter().flatten().fold(derived, f64::min);
            return (bound, CapacityFrom::Derived);
        }
        match (similar, k1) {
            (Some(tokens), _) if self.mode == Mode::Guarded => (tokens, CapacityFrom::Similar),
            (None, Some(tokens)) if self.mode == Mode::Guarded => (tokens, CapacityFrom::Derived),
            _ => (engine.effective_batched_tokens() as f64, CapacityFrom::Budget),
        }
    }

    fn key(&self, variant: &TokenVariant) -> VariantKey {
        VariantKey {
            namespace: self.view.namespace.clone(),
            model: self.view.model.clone(),
            variant: variant.name.clone(),
        }
    }
}
