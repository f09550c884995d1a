//! Development only: clusters for tests, fixtures, runners of the real parts.
//!
//! [`kube::ControlPlane`] is a real Kubernetes control plane on free ports,
//! [`kubectl()`] the real client; [`child`] keeps processes from outliving the
//! test that started them; [`wait_until`] replaces sleeping.

pub mod child;
pub mod kube;
mod kubectl;
mod root;
mod wait;

pub use kubectl::{Kubectl, Outcome, kubectl};
pub use root::root;
pub use wait::{wait_for, wait_until};
