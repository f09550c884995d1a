//! How long one step takes.
//!
//! The composite model adds what must happen: every weight is read once per
//! step or multiplied once per token, whichever takes longer; each decoding
//! request reads its whole KV cache; each prefill chunk attends to what came
//! before it; and there are costs per layer, per request and per step. Two
//! efficiencies (0.70 of the bandwidth, 0.67 of the FLOP rate) put profiled
//! kernels of seven pairs of GPU and model within a tenth; the overheads and
//! the KV factor are those fitted by the BLIS simulator.

use crate::{Dtype, Gpu, Model};
use std::time::Duration;

/// What one step has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Tokens computed, of prefill and decode.
    pub tokens: u32,
    /// Requests that take part.
    pub requests: u32,
    /// Requests among them that compute one token.
    pub decodes: u32,
    /// Sum over those of the tokens they attend to, themselves included.
    pub decode_context: u64,
    /// Tokens of prefill chunks.
    pub prefill_tokens: u32,
    /// Sum over prefill chunks of pairs of tokens: `t * (c + t / 2)` for `t`
    /// tokens after `c` computed before.
    pub prefill_pairs: f64,
}

impl Work {
    /// Adds a request that computes `tokens` after `computed` others.
    pub fn add(&mut self, tokens: u32, computed: u32) {
        self.tokens = self.tokens.saturating_add(tokens);
        self.requests += 1;
        if tokens == 1 {
            self.decodes += 1;
            self.decode_context += u64::from(computed) + 1;
        } else {
            self.prefill_tokens = self.prefill_tokens.saturating_add(tokens);
            let chunk = f64::from(tokens);
            self.prefill_pairs += chunk * (f64::from(computed) + chunk / 2.0);
        }
    }
}

/// The model of step time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StepTime {
    /// From hardware and model.
    Composite(Composite),
    /// Linear in batch and tokens.
    Linear(Linear),
}

/// Step time from what hardware and model make necessary. Every field may be
/// changed after [`Composite::new`]; [`StepTime::check`] says if it may not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Composite {
    /// Seconds to read the weights of one GPU once.
    pub weights_s: f64,
    /// Seconds of arithmetic per token, attention aside.
    pub token_s: f64,
    /// Seconds per KV token read by a decoding request.
    pub kv_token_s: f64,
    /// Seconds per pair of tokens in a prefill chunk.
    pub pair_s: f64,
    /// Seconds of overhead per step: per layer and fixed.
    pub step_s: f64,
    /// Seconds of overhead per request in the step.
    pub request_s: f64,
    /// Seconds of all-reduce per token.
    pub all_reduce_token_s: f64,
}

impl Composite {
    /// Share of the data sheet's memory bandwidth that kernels reach.
    pub const BANDWIDTH_EFFICIENCY: f64 = 0.70;
    /// Share of the data sheet's FLOP rate that kernels reach.
    pub const FLOPS_EFFICIENCY: f64 = 0.67;
    const KV_FACTOR: f64 = 1.947_107_71;
    const LAYER_S: f64 = 32.095_467_17e-6;
    const REQUEST_S: f64 = 4.416_844_44e-6;
    const FIXED_S: f64 = 126.024_825e-6;
    const ALL_REDUCE_FACTOR: f64 = 0.752_037;

    /// The parameters for `model` with weights of type `dtype`, split over
    /// `tensor_parallel` GPUs.
    #[must_use]
    pub fn new(gpu: &Gpu, model: &Model, dtype: Dtype, tensor_parallel: u32) -> Self {
        let gpus = f64::from(tensor_parallel.max(1));
        let layers = f64::from(model.layers);
        let parameters = model.block_parameters() / gpus;
        let flops = Self::FLOPS_EFFICIENCY * gpu.flops(dtype);
        // Attention itself runs in bfloat16 whatever the weights are.
        let attention_flops = Self::FLOPS_EFFICIENCY * gpu.bf16_flops;
        let attention = 4.0 * f64::from(model.heads) * f64::from(model.head_dim) * layers / gpus;
        // Two all-reduces per layer (after attention, after the MLP), each a
        // ring that moves 2 (n - 1) / n of the activations over every link.
        let ring = 2.0 * (gpus - 1.0) / gpus;
        let all_reduce_bytes = 2.0 * layers * f64::from(model.hidden) * 2.0 * ring;
        Self {
            weights_s: parameters * dtype.bytes() / (Self::BANDWIDTH_EFFICIENCY * gpu.bandwidth),
            token_s: 2.0 * parameters / flops,
            kv_token_s: Self::KV_FACTOR * model.kv_bytes_per_token() / gpus / gpu.bandwidth,
            pair_s: attention / attention_flops,
            step_s: Self::LAYER_S * layers + Self::FIXED_S,
            request_s: Self::REQUEST_S,
            all_reduce_token_s: Self::ALL_REDUCE_FACTOR * all_reduce_bytes / gpu.link,
        }
    }

    fn seconds(&self, work: &Work) -> f64 {
        self.weights_s.max(self.token_s * f64::from(work.tokens))
            + self.kv_token_s * work.decode_context as f64
            + self.pair_s * work.prefill_pairs
            + self.step_s
            + self.request_s * f64::from(work.requests)
            + self.all_reduce_token_s * f64::from(work.tokens)
    }
}

/// The linear model of published autoscalers: a decode step takes
/// `alpha + beta * batch`, a prefill step `gamma + delta * tokens`. A step
/// with both takes the larger constant and both slopes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    /// Decode constant, seconds.
    pub alpha_s: f64,
    /// Seconds per decoding request.
    pub beta_s: f64,
    /// Prefill constant, seconds.
    pub gamma_s: f64,
    /// Seconds per prefill token.
    pub delta_s: f64,
}

impl Linear {
    fn seconds(&self, work: &Work) -> f64 {
        let decode = if work.decodes > 0 { self.alpha_s } else { 0.0 };
        let prefill = if work.prefill_tokens > 0 { self.gamma_s } else { 0.0 };
        decode.max(prefill) + self.beta_s * f64::from(work.decodes) + self.delta_s * f64::from(work.prefill_tokens)
    }
}

/// A parameter no step time can be made of.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("step time: {parameter} is {value}; it must be a finite number of seconds, not below 0")]
pub struct StepTimeError {
    /// The parameter's name.
    pub parameter: &'static str,
    /// Its value.
    pub value: f64,
}

impl StepTime {
    /// Shortest step. A step that took no time would let a virtual clock stand still.
    const SHORTEST_S: f64 = 1e-6;
    /// Longest step, so that no parameter makes a server hang for ever.
    const LONGEST_S: f64 = 3600.0;

    /// Whether every parameter is usable.
    ///
    /// # Errors
    /// One is negative, infinite or not a number.
    pub fn check(&self) -> Result<(), StepTimeError> {
        let parameters: &[(&'static str, f64)] = match self {
            Self::Composite(c) => &[
                ("weights", c.weights_s),
                ("token", c.token_s),
                ("kv token", c.kv_token_s),
                ("pair", c.pair_s),
                ("step", c.step_s),
                ("request", c.request_s),
                ("all-reduce", c.all_reduce_token_s),
            ],
            Self::Linear(l) => &[
                ("alpha", l.alpha_s),
                ("beta", l.beta_s),
                ("gamma", l.gamma_s),
                ("delta", l.delta_s),
            ],
        };
        match parameters.iter().find(|(_, value)| !value.is_finite() || *value < 0.0) {
            Some(&(parameter, value)) => Err(StepTimeError { parameter, value }),
            None => Ok(()),
        }
    }

    /// How long a step with `work` takes, to the nanosecond.
    #[must_use]
    pub fn of(&self, work: &Work) -> Duration {
        let seconds = match self {
            Self::Composite(composite) => composite.seconds(work),
            Self::Linear(linear) => linear.seconds(work),
        };
        Duration::from_nanos((seconds.clamp(Self::SHORTEST_S, Self::LONGEST_S) * 1e9).round() as u64)
    }
}

#[cfg(test)]
mod tests;
