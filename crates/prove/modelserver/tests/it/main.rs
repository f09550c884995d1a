//! A model server on a real socket, asked by a real client.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod client;
mod errors;
mod generation;
mod lifecycle;
mod metrics;
