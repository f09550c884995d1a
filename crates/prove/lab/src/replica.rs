//! What a request costs a replica, from the physics of the engine.

use engine::{Composite, Dtype, Gpu, Model, StepTime, Work};
use thiserror::Error;

/// Requests in the batch of a replica that is as full as it may be.
const BATCH: u32 = 32;

/// A model on an accelerator, one GPU per replica.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Replica {
    step: StepTime,
    /// The accelerator's name.
    pub gpu: &'static str,
    /// The model's name.
    pub model: &'static str,
}

/// A name nobody knows, with those that are known.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{what} {name:?} is not known; known are {known}")]
pub struct UnknownName {
    what: &'static str,
    name: String,
    known: String,
}

impl Replica {
    /// `model` in bfloat16 on one `gpu`, by their names.
    ///
    /// # Errors
    /// One of the names is not known.
    pub fn named(gpu: &str, model: &str) -> Result<Self, UnknownName> {
        let unknown = |what, name: &str, known: Vec<&str>| UnknownName {
            what,
            name: name.to_owned(),
            known: known.join(", "),
        };
        let gpu =
            Gpu::named(gpu).ok_or_else(|| unknown("GPU", gpu, engine::GPUS.iter().map(|gpu| gpu.name).collect()))?;
        let model = Model::named(model)
            .ok_or_else(|| unknown("model", model, engine::MODELS.iter().map(|model| model.name).collect()))?;
        Ok(Self {
            step: StepTime::Composite(Composite::new(gpu, model, Dtype::Bf16, 1)),
            gpu: gpu.name,
            model: model.name,
        })
    }

    /// Seconds of a full replica that one request takes: its prefill, which no
    /// other request shares, and its part of the decode steps of a full batch.
    #[must_use]
    pub fn work_s(&self, prompt_tokens: u32, generated_tokens: u32) -> f64 {
        let mut prefill = Work::default();
        prefill.add(prompt_tokens.max(2), 0);
        let mut decode = Work::default();
        for _ in 0..BATCH {
            decode.add(1, prompt_tokens.saturating_add(generated_tokens / 2));
        }
        let share = self.step.of(&decode).as_secs_f64() / f64::from(BATCH);
        self.step.of(&prefill).as_secs_f64() + share * f64::from(generated_tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_costs_what_its_tokens_take() {
        let replica = Replica::named("H100", "llama-3.1-8b").unwrap();
        let (short, long_prompt, long_answer) = (
            replica.work_s(100, 10),
            replica.work_s(10_000, 10),
            replica.work_s(100, 1_000),
        );
        assert!(short > 0.0 && short < 0.05, "{short}");
        assert!(long_prompt > 10.0 * short, "{long_prompt} {short}");
        assert!(long_answer > 5.0 * short, "{long_answer} {short}");
        let slower = Replica::named("L4", "llama-3.1-8b").unwrap();
        assert!(slower.work_s(1_000, 100) > 3.0 * replica.work_s(1_000, 100));
    }

    #[test]
    fn a_name_nobody_knows_is_refused_with_those_that_are_known() {
        let error = Replica::named("Abacus", "llama-3.1-8b").unwrap_err().to_string();
        assert!(error.contains("Abacus") && error.contains("H100,"), "{error}");
    }
}
