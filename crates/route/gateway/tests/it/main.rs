//! The gateway over real loopback sockets, in front of scripted endpoints.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod backend;
mod client;
mod rig;

mod ends;
mod limits;
mod queueing;
mod retries;
mod streaming;
