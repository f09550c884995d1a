//! Core: signals become a number of replicas, with the reasons.
//!
//! [`decide()`] takes what is known of one model ([`ModelView`]), the
//! [`Policy`], what earlier passes left ([`Memory`]) and the time, and returns
//! a [`Decision`] for every variant of the model together with an
//! [`Explanation`]. It reads no clock and touches nothing else, so the same
//! function runs in a controller and in virtual time.
//!
//! What always holds:
//! - every ready replica is judged; a mean over the healthy ones hides nothing;
//! - a missing or stale signal is never 0: without full, fresh coverage
//!   nothing is taken away, while adding needs only what is known;
//! - bounds clamp the answer and never freeze it: the base of each decision is
//!   what the target has, not what was wished for before;
//! - replicas on their way count as capacity until they time out;
//! - what goes down must leave the rest well under the trigger that brings it
//!   up again, so constant load causes no movement.
//!
//! Capacity is counted in *slots*: requests served at once. Where nobody tells
//! a replica's slots, each replica counts as one and only shares (KV cache,
//! saturated replicas) and waiting requests speak.

mod decide;
mod explain;
pub mod forecast;
pub mod grant;
mod heard;
mod lessons;
mod load;
mod memory;
pub mod optimize;
mod plan;
mod policy;
pub mod queueing;
mod reason;
pub mod saturation;
pub mod throughput;
pub mod tiers;
pub mod tuner;
mod view;
mod words;

pub use decide::{Decision, VariantDecision, decide};
pub use explain::{Explanation, Input, Metrics, MetricsWord, RuleSaid, Verdict, inputs};
pub use memory::Memory;
pub use policy::{Analyzer, Policy, PolicyError};
pub use reason::Reason;
pub use view::{Demand, GatewayView, ModelView, Percentiles, Profile, ReplicaState, ReplicaView, Slo, VariantView};
