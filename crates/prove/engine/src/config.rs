//! Limits of an engine, checked before it starts.

use crate::step_time::{StepTime, StepTimeError};

/// What an engine may do at once and how long it takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EngineConfig {
    /// Tokens computed in one step at most, of prefill and decode together.
    pub max_num_batched_tokens: u32,
    /// Requests running at once at most.
    pub max_num_seqs: u32,
    /// Tokens of prompt and answer together at most.
    pub max_model_len: u32,
    /// Tokens of one KV block.
    pub block_size: u32,
    /// KV blocks, one of which is the null block that holds nothing.
    pub num_gpu_blocks: u32,
    /// Tokens one request may compute in one step at most; no limit if absent.
    pub long_prefill_token_threshold: Option<u32>,
    /// Whether a request is admitted only when its whole prompt has room
    /// (newer vLLM), rather than its first chunk.
    pub reserve_full_prompt: bool,
    /// Whether prompt blocks are found again by their hash.
    pub prefix_caching: bool,
    /// Requests alive at once at most, waiting ones included; no limit if absent.
    pub max_num_queued_reqs: Option<u32>,
    /// How long a step takes.
    pub step_time: StepTime,
}

/// A configuration that cannot serve. Each names the setting and the remedy.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// A limit that must be positive is zero.
    #[error("{setting} is 0; it must be at least 1")]
    Zero {
        /// The setting.
        setting: &'static str,
    },
    /// One request of the longest allowed length would not fit the KV cache.
    #[error(
        "max_model_len is {max_model_len} but the KV cache holds {kv_tokens} tokens; lower max_model_len to at most \
         {kv_tokens} or raise num_gpu_blocks"
    )]
    KvTooSmall {
        /// Longest request allowed, tokens.
        max_model_len: u32,
        /// Tokens the KV cache holds.
        kv_tokens: u64,
    },
    /// The step time cannot be computed.
    #[error(transparent)]
    StepTime(#[from] StepTimeError),
}

impl EngineConfig {
    /// Blocks that can hold tokens.
    #[must_use]
    pub const fn usable_blocks(&self) -> u32 {
        self.num_gpu_blocks.saturating_sub(1)
    }

    /// Tokens the KV cache holds.
    #[must_use]
    pub const fn kv_tokens(&self) -> u64 {
        self.usable_blocks() as u64 * self.block_size as u64
    }

    /// Whether an engine can run with this.
    ///
    /// # Errors
    /// A limit is zero, the longest request does not fit, or the step time is
    /// impossible. The second guarantees that every admitted request ends: the
    /// oldest one can always have all blocks.
    pub fn check(&self) -> Result<(), ConfigError> {
        for (setting, value) in [
            ("max_num_batched_tokens", self.max_num_batched_tokens),
            ("max_num_seqs", self.max_num_seqs),
            ("block_size", self.block_size),
            ("num_gpu_blocks", self.num_gpu_blocks),
            ("max_model_len", self.max_model_len),
            (
                "long_prefill_token_threshold",
                self.long_prefill_token_threshold.unwrap_or(1),
            ),
        ] {
            if value == 0 {
                return Err(ConfigError::Zero { setting });
            }
        }
        if u64::from(self.max_model_len) > self.kv_tokens() {
            return Err(ConfigError::KvTooSmall {
                max_model_len: self.max_model_len,
                kv_tokens: self.kv_tokens(),
            });
        }
        self.step_time.check()?;
        Ok(())
    }
}
