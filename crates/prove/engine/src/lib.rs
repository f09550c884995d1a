//! The physics of a model server: continuous batching, KV blocks, step time.
//!
//! [`Engine`] is a value that answers three questions, each with the time as a
//! parameter: what runs in the next step and how long it takes
//! ([`Engine::schedule`]), what the step produced ([`Engine::complete`]), and
//! what is going on ([`Engine::counters`], [`Engine::gauges`]). It follows
//! vLLM's scheduler: one token budget per step for prefill and decode alike,
//! chunked prefill, first come first served, preemption with recomputation of
//! the last one admitted, and a prefix cache of hashed prompt blocks.
//!
//! How long a step takes is [`StepTime`]: weights and KV read at memory
//! bandwidth, arithmetic at the FLOP rate, and overheads per layer, request
//! and step, from the data sheets in [`Gpu`] and the shapes in [`Model`]; or
//! the linear model used by published autoscalers.
//!
//! There is no clock, no randomness and no I/O here: the same calls give the
//! same answers, in real time and in virtual time.

mod config;
mod engine;
mod gpu;
mod kv;
mod memory;
mod model;
mod request;
mod step_time;

pub use config::{ConfigError, EngineConfig};
pub use engine::{Counters, Engine, Gauges, Iteration, Resident, SleepLevel, Step, WakeTags};
pub use gpu::{GPUS, Gpu};
pub use kv::chain_hash;
pub use memory::{KvMemory, MemoryError};
pub use model::{Dtype, MODELS, Model};
pub use request::{AddError, Event, FinishReason, RequestId, RequestSpec, Summary};
pub use step_time::{Composite, Linear, StepTime, StepTimeError, Work};
