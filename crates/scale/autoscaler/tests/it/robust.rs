//! The controller in a world that is not as it should be, in virtual time.
//!
//! Everything is here but machines: the embedded API, Pods whose servers write
//! vLLM's pages, a Prometheus that scrapes them, and the real controllers. Time
//! is tokio's, paused: it runs to whatever is due next, so that half an hour
//! takes seconds and the same seed gives the same history.

#![expect(
    clippy::unwrap_used,
    reason = "what a test sets up must work, or the test ends there"
)]

mod chance;
mod engines;
mod history;
mod line;
mod pods;
mod prometheus;
mod world;

mod api_server;
mod chaos;
mod leaders;
mod objects;
mod sources;
