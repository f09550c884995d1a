//! Both servers over real sockets.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod client;
mod external;
mod keda;
mod pages;
mod shop;
