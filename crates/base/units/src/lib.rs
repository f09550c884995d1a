//! Words all crates share: virtual instants and signals with an age.
//!
//! This crate depends on nothing and reads nothing. A core takes an
//! [`Instant`] as a parameter; a shell makes one from its clock, virtual time
//! makes one from a counter, and neither can be told apart from inside.

mod instant;
mod signal;

pub use instant::Instant;
pub use signal::{Observed, Signal, Source};
