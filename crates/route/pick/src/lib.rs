//! Core: which endpoint takes a request, and why; the in-flight ledger.
//!
//! The [`Ledger`] is the gateway's own book of what it sent where and what has
//! not ended yet. It is never older than the question, so no scrape is needed
//! to pick: the endpoint with the smallest share of its slots in use wins,
//! among equals the one with fewer tokens in flight, among those the next in
//! rotation. Every pick comes with its [`Explanation`].

mod explain;
mod ledger;

pub use explain::{Considered, Explanation, Inputs};
pub use ledger::{Backoff, EndpointId, Ledger};
