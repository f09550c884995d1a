//! Shell: scheduler, Deployment, ReplicaSet and HPA controllers, garbage collector, endpoint slices, process kubelet: plain API clients.
//!
//! Everything here speaks to Kubernetes through `kube::Client` alone, so each
//! part runs unchanged against the embedded API and against a real control
//! plane, and each can be left out where the real controller runs. What they
//! decide is in pure functions ([`scheduler::place`], the rolling steps, the
//! victim order, the owner graph, restarts and status of the kubelet); the
//! rest watches, calls and writes.

mod call;
mod clock;
pub mod deployment;
pub mod endpointslice;
pub mod exec_child;
pub mod garbage;
mod hash;
mod informer;
pub mod kubelet;
mod nodes;
pub mod podautoscaler;
mod pods;
mod quantity;
mod queue;
mod recorder;
pub mod replicaset;
mod run;
pub mod scheduler;
mod selector;
mod supervise;

pub use call::Error;
pub use kubelet::{KubeletOptions, NodeSpec, run_kubelet};
pub use run::{run_controllers, run_controllers_with};
