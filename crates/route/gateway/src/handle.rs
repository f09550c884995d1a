//! What others in the process may ask a running gateway.

use crate::fleet::Shared;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::watch;
use wire::signals::GatewaySignals;

/// A view of a running gateway; cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) moments: watch::Receiver<u64>,
}

/// How far a shut-down is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainState {
    /// Shut-down has begun.
    pub draining: bool,
    /// Requests that an endpoint is answering.
    pub in_flight: u64,
    /// Requests waiting.
    pub queued: u64,
}

impl Handle {
    /// The gateway's numbers at this moment.
    #[must_use]
    pub fn signals(&self) -> GatewaySignals {
        self.shared.signals()
    }

    /// Waits for a moment that is worth a decision at once: a request is held
    /// for a pool that has no endpoint, as the first to be or because the last
    /// endpoint left; or twice as many wait as when this was last said. Moments
    /// that passed since this handle was made or last asked count. Pending for
    /// ever once the gateway is gone.
    pub async fn changed(&mut self) {
        if self.moments.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the gateway is shutting down, and what is left.
    #[must_use]
    pub fn drain_state(&self) -> DrainState {
        let (queued, in_flight) = self.shared.load();
        DrainState {
            draining: self.shared.draining.load(Ordering::Relaxed),
            in_flight,
            queued,
        }
    }
}
