//! Shell: the load generator (`tidegate load`).
//!
//! Its schedule ([`schedule`]) and statistics ([`report`]) are pure: the plan is
//! made before the first request is sent, and every planned request ends in
//! exactly one outcome. Latency counts from the moment a request was *meant* to
//! be sent, so a slow server cannot hide behind a client that waits for it.

mod answer;
mod args;
mod client;
pub mod report;
mod run;
pub mod schedule;
mod screen;

pub use args::{Args, Config, ConfigError};
pub use run::{LoadError, run};
