//! The binary as its users have it, and the rules of the house that a machine can check.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod actuation;
mod command_line;
mod fleet;
mod house;
mod reference;
mod up;
