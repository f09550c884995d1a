//! What goes into an engine and what comes out.

use std::time::Duration;
use units::Instant;

/// The name of a request, given by whoever adds it; unique among those alive.
pub type RequestId = u64;

/// A request as the engine sees it: lengths, not words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestSpec {
    /// Its name.
    pub id: RequestId,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens the model would say before it ends by itself; `u32::MAX` if it
    /// would not end.
    pub natural_tokens: u32,
    /// Tokens the client allows.
    pub max_output_tokens: u32,
    /// When the server received it; not after the time it is added.
    pub arrived: Instant,
    /// Hashes of the prompt's full blocks, each chained to the one before
    /// (see [`crate::chain_hash`]); empty if they are not known.
    pub prefix: Vec<u64>,
}

/// Why a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FinishReason {
    /// The model had said all.
    Stop,
    /// The client's limit or the model's length was reached.
    Length,
    /// The client or the server gave up.
    Abort,
}

impl FinishReason {
    /// The word in answers and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Abort => "abort",
        }
    }
}

/// What a completed step brought about, in the order it happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A request gave up its blocks for older ones and will compute again what
    /// it had.
    Preempted {
        /// The request.
        id: RequestId,
    },
    /// A request produced a token.
    Token {
        /// The request.
        id: RequestId,
        /// 1 for the first token of the answer.
        index: u32,
        /// Since the token before; for the first one, since arrival.
        gap: Duration,
    },
    /// A request ended with the token just told.
    Finished {
        /// The request.
        id: RequestId,
        /// Its life in numbers.
        summary: Summary,
    },
}

/// The life of a request, in numbers. A time is absent if the request did not
/// get that far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Why it ended.
    pub reason: FinishReason,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the prompt found in the prefix cache when first admitted.
    pub cached_tokens: u32,
    /// Tokens of the answer.
    pub output_tokens: u32,
    /// Times it was preempted.
    pub preemptions: u32,
    /// From arrival to end.
    pub e2e: Duration,
    /// From being queued to first being scheduled.
    pub queue: Option<Duration>,
    /// From first being scheduled to the first token.
    pub prefill: Option<Duration>,
    /// From the first to the last token.
    pub decode: Option<Duration>,
    /// From first being scheduled to the last token.
    pub inference: Option<Duration>,
}

/// A request the engine does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// The prompt has no token.
    #[error("the prompt is empty; send at least one token")]
    EmptyPrompt,
    /// Nothing may be generated.
    #[error("the request allows no output token; allow at least 1")]
    NoOutput,
    /// The prompt leaves no room for an answer.
    #[error("the prompt has {prompt_tokens} tokens but the longest context is {max_model_len}; send at most {}", max_model_len - 1)]
    TooLong {
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Tokens of prompt and answer together at most.
        max_model_len: u32,
    },
    /// As many requests as allowed are alive.
    #[error("{limit} requests are waiting or running, which is the limit; try again later or elsewhere")]
    QueueFull {
        /// The limit.
        limit: u32,
    },
    /// The name is taken.
    #[error("a request with id {id} is alive; use another id")]
    Duplicate {
        /// The name.
        id: RequestId,
    },
}
