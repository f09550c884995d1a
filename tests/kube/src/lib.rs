//! Suites that need a real Kubernetes control plane beside ours.
//!
//! The *differential* suite tells the same stories to a real kube-apiserver
//! and to the embedded one, and compares what they answered. The *loop* suite
//! runs `tidegate up` on each of the two and watches the whole loop turn. The
//! *control* suite runs `tidegate autoscaler` with the rights of its manifests,
//! and *through-prometheus* with a Prometheus for its only source.

#![expect(
    missing_debug_implementations,
    reason = "the types of a test suite are never printed"
)]

pub mod accepted;
pub mod arena;
pub mod cases;
pub mod control;
pub mod diff;
pub mod mask;
pub mod open;
pub mod scenarios;
pub mod story;
pub mod through_prometheus;
mod transport;
