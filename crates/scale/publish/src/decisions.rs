//! What is served, and the trait through which it comes.

use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// Where decisions come from.
pub trait Decisions: Send + Sync {
    /// All variants as they are known now, in any order.
    fn variants(&self) -> Arc<[Published]>;

    /// A number that differs after every change of [`Self::variants`], which
    /// includes every renewal of [`Decided::at`]. It is raised *after* the
    /// change can be read: who sees the new number reads the new variants.
    fn changed(&self) -> watch::Receiver<u64>;
}

/// One variant and what has been decided for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Namespace of the variant and of its target.
    pub namespace: String,
    /// Name of the variant.
    pub name: String,
    /// Accelerator type, if it is known.
    pub accelerator: Option<String>,
    /// The model that the variant serves.
    pub model: String,
    /// The last decision; none if there never was one.
    pub decided: Option<Decided>,
    /// Replicas the target has, if that is known.
    pub current: Option<u32>,
    /// Whether there is work for it: requests wait or run, or replicas are wanted.
    pub active: bool,
    /// The controller instance that answers for it.
    pub controller_instance: Option<String>,
    /// The workload whose replicas are meant.
    pub target: Target,
}

/// A decision and when it was last confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided {
    /// Replicas wanted.
    pub replicas: u32,
    /// When the last pass that came to this answer ended. A decision that is
    /// confirmed by every pass stays fresh, whether or not it changes.
    pub at: Instant,
}

/// A workload with a scale subresource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its kind, for example `Deployment`.
    pub kind: String,
    /// Its name.
    pub name: String,
}
