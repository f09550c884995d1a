//! Wire formats, and nothing that decides: OpenAI and vLLM JSON, server-sent
//! events, Prometheus text, recorded traffic, and the signals a gateway publishes.
//!
//! Everything here is a function from bytes to values or back. What does not
//! parse is an error that names the place.

pub mod openai;
pub mod prom;
pub mod scan;
pub mod signals;
pub mod sse;
pub mod trace;
pub mod vllm;
