//! How many KV blocks fit beside the weights.

use crate::{Dtype, Gpu, Model};

const GIB: f64 = (1_u64 << 30) as f64;

/// What shares a GPU's memory, for [`KvMemory::blocks`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KvMemory {
    /// The accelerator.
    pub gpu: Gpu,
    /// The model.
    pub model: Model,
    /// Type of its weights.
    pub dtype: Dtype,
    /// GPUs the model is split over.
    pub tensor_parallel: u32,
    /// Share of each GPU the server may use, 0 to 1.
    pub utilization: f64,
    /// Tokens of one block.
    pub block_size: u32,
}

/// The model does not fit.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "{model} needs {needed_gib:.1} GiB of weights and working memory but {gpus} x {gpu} gives {given_gib:.1} GiB at \
     utilization {utilization}; use more GPUs (tensor parallel), a larger type, or fp8"
)]
pub struct MemoryError {
    /// The model's name.
    pub model: &'static str,
    /// The accelerator's name.
    pub gpu: &'static str,
    /// How many of them.
    pub gpus: u32,
    /// Weights, activations and the rest, GiB.
    pub needed_gib: f64,
    /// What the GPUs give, GiB.
    pub given_gib: f64,
    /// Share of the memory that may be used.
    pub utilization: f64,
}

impl KvMemory {
    /// Activations at the widest step, GiB. Fitted to servers whose block
    /// counts were published; once for the model, not for each GPU.
    const ACTIVATIONS_GIB: f64 = 5.5;

    /// The number of blocks, the reserved null block included.
    ///
    /// # Errors
    /// The weights leave no room for two blocks.
    pub fn blocks(&self) -> Result<u32, MemoryError> {
        let gpus = f64::from(self.tensor_parallel.max(1));
        // Contexts and communication buffers: more of them once GPUs talk.
        let runtime = if self.tensor_parallel <= 1 { 0.15 } else { 0.6 * gpus };
        let needed = self.model.parameters() * self.dtype.bytes() / GIB + Self::ACTIVATIONS_GIB + runtime;
        let given = self.gpu.memory_gib * self.utilization * gpus;
        let block = self.model.kv_bytes_per_token() * f64::from(self.block_size.max(1));
        let blocks = ((given - needed) * GIB / block).floor();
        if blocks.is_nan() || blocks < 2.0 {
            return Err(MemoryError {
                model: self.model.name,
                gpu: self.gpu.name,
                gpus: self.tensor_parallel,
                needed_gib: needed,
                given_gib: given,
                utilization: self.utilization,
            });
        }
        Ok(blocks.min(f64::from(u32::MAX)) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(gpu: &str, model: &str, tensor_parallel: u32) -> KvMemory {
        KvMemory {
            gpu: *Gpu::named(gpu).unwrap(),
            model: *Model::named(model).unwrap(),
            dtype: Dtype::Bf16,
            tensor_parallel,
            utilization: 0.9,
            block_size: 16,
        }
    }

    #[test]
    fn capacities_are_the_published_ones() {
        for (gpu, model, gpus, blocks) in [
            ("H100", "Llama-3.1-8B", 1, 26_313),
            ("L40S", "Llama-3.1-8B", 1, 11_567),
            ("H100", "Llama-2-7B", 1, 6_886),
            ("H100", "Llama-3.1-70B", 4, 30_450),
            ("H100", "Qwen2.5-7B", 1, 61_048),
        ] {
            let got = memory(gpu, model, gpus).blocks().unwrap();
            let apart = (f64::from(got) / f64::from(blocks) - 1.0).abs();
            assert!(apart < 0.002, "{model} on {gpus} x {gpu}: {got}, not {blocks}");
        }
    }

    #[test]
    fn a_model_that_does_not_fit_says_what_to_do() {
        let error = memory("L4", "Llama-3.1-70B", 1).blocks().unwrap_err().to_string();
        assert!(
            error.contains("Llama-3.1-70B") && error.contains("tensor parallel"),
            "{error}"
        );
    }
}
