//! Core: the arithmetic of Kubernetes' HorizontalPodAutoscaler and of KEDA.
//!
//! [`step()`] is one pass of the controller over one `autoscaling/v2` object:
//! it takes the [`Spec`], what earlier passes left ([`State`]), what is seen
//! now ([`View`]) and the time, and returns an [`Outcome`]: the replicas, the
//! conditions, the Events and the metrics' current values, in the words of the
//! real controller of Kubernetes 1.36. [`keda`] is the other half of a
//! ScaledObject: activation, cooldown and fallback, and the HPA it generates.
//!
//! The parts can be used alone: [`calculate()`] for one metric, [`stabilise`]
//! for the windows, [`limit`] for the rate policies.
//!
//! Quantities are integers in thousandths of their unit, as the real
//! controller carries them, with the same truncations. Where a sum or a
//! conversion overflows there, it saturates here. The one difference meant: a
//! target without any Pod yet reports its whole usage as the average, where the
//! real one divides by zero.

pub mod calculate;
pub mod keda;
pub mod limit;
mod outcome;
mod spec;
pub mod stabilise;
mod step;
mod view;
mod words;

pub use calculate::{Current, Failure, Proposal, calculate};
pub use outcome::{Able, Active, Condition, Event, EventText, Limited, Outcome, Rescale};
pub use spec::{
    Behavior, Metric, Policy, PolicyKind, ResourceTarget, Rules, Select, Settings, Spec, Target, Tolerance,
};
pub use step::{State, needs_metrics, step};
pub use view::{Phase, Pod, Reading, Ready, Sample, Selection, View};

/// The most replicas there can be: the API's counts are 32 bits with a sign.
pub const MOST_REPLICAS: u32 = i32::MAX as u32;
