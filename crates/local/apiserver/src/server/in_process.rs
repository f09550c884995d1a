//! The server without an address: whoever wants to speak to it lives in the same process.

use std::sync::Arc;

use tokio::io::DuplexStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Error, begin, converse, memory};
use crate::disk::Bell;
use crate::engine::{Api, Wall};
use crate::store::Store;
use crate::{limits, tasks};

/// A server without an address, in memory: worlds in virtual time need one, as
/// that time would run on while a socket is waited for. It ends when dropped.
#[derive(Debug)]
pub struct InProcess {
    api: Arc<Api>,
    tasks: TaskTracker,
}

impl InProcess {
    /// Starts one on the current runtime; `now` is the time that is written
    /// into objects when they are made or deleted.
    ///
    /// # Errors
    /// When the first objects cannot be stored.
    pub async fn start(now: impl Fn() -> jiff::Timestamp + Send + Sync + 'static) -> Result<Self, Error> {
        let store = Store::new(0, memory());
        let bell = Arc::new(Bell::new(0));
        let wall = Wall(Box::new(now));
        let api = begin(Api::new(store, bell, None, CancellationToken::new(), wall)).await?;
        let tasks = TaskTracker::new();
        tasks.spawn(tasks::housekeeping(api.clone()));
        Ok(Self { api, tasks })
    }

    /// A new connection, to speak HTTP/1.1 over.
    #[must_use]
    pub fn connect(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(limits::WATCH_FRAME);
        self.tasks.spawn(converse(theirs, self.api.clone()));
        ours
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.api.stop.cancel();
    }
}
