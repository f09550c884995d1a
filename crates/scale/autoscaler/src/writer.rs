//! Writes status and events, beside the decisions: a slow API server must not
//! hold up the next one.

use crate::election::Leadership;
use crate::subject::Subject;
use collect::Clock;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Event;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Most writes that wait.
const WAITING: usize = 1024;
/// Most writes at once.
const AT_ONCE: usize = 16;
/// Time for one write.
const DEADLINE: Duration = Duration::from_secs(5);
/// Time for those that wait at the end.
const DRAIN: Duration = Duration::from_secs(3);

#[derive(Debug)]
enum Write {
    Status {
        uid: String,
        namespace: String,
        name: String,
        patch: Value,
    },
    Event(Box<Event>),
}

/// Takes writes and carries them out in the background.
#[derive(Debug)]
pub(crate) struct Writer {
    sender: mpsc::Sender<Write>,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Objects whose status is being written.
    busy: Mutex<BTreeSet<String>>,
    /// Objects whose status could not be written.
    failed: Mutex<BTreeSet<String>>,
    failures: AtomicU64,
}

impl Writer {
    /// Starts it. What waited until somebody else led is not written any more:
    /// he writes.
    pub(crate) fn start(client: Client, leadership: Leadership, clock: Clock) -> Self {
        let (sender, mut receiver) = mpsc::channel(WAITING);
        let shared = Arc::new(Shared::default());
        let done = shared.clone();
        let task = tokio::spawn(async move {
            futures::stream::poll_fn(move |context| receiver.poll_recv(context))
                .for_each_concurrent(AT_ONCE, |write| async {
                    if leadership.leads(clock.now()) {
                        carry_out(&client, &done, write).await;
                    } else if let Write::Status { uid, .. } = write {
                        done.busy.lock().remove(&uid);
                    }
                })
                .await;
        });
        Self { sender, shared, task }
    }

    /// Writes a status, unless one of the same object is still being written;
    /// says whether it will be. The next pass tries again.
    pub(crate) fn status(&self, uid: &str, namespace: &str, name: &str, patch: Value) -> bool {
        if !self.shared.busy.lock().insert(uid.to_owned()) {
            return false;
        }
        let write = Write::Status {
            uid: uid.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            patch,
        };
        let taken = self.sender.try_send(write).is_ok();
        if !taken {
            self.shared.busy.lock().remove(uid);
            self.shared.failures.fetch_add(1, Relaxed);
        }
        taken
    }

    /// Writes an event, if there is room for it.
    pub(crate) fn event(&self, event: Event) {
        if self.sender.try_send(Write::Event(Box::new(event))).is_err() {
            self.shared.failures.fetch_add(1, Relaxed);
        }
    }

    /// Objects whose status could not be written since this was last asked.
    pub(crate) fn take_failed(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.shared.failed.lock())
    }

    /// Writes that failed or found no room.
    pub(crate) fn failures(&self) -> u64 {
        self.shared.failures.load(Relaxed)
    }

    /// Finishes what waits, within a few seconds.
    pub(crate) async fn finish(self) {
        drop(self.sender);
        let abort = self.task.abort_handle();
        if tokio::time::timeout(DRAIN, self.task).await.is_err() {
            abort.abort();
        }
    }
}

async fn carry_out(client: &Client, shared: &Shared, write: Write) {
    let result = match &write {
        Write::Status {
            namespace, name, patch, ..
        } => {
            let api: Api<DynamicObject> =
                Api::namespaced_with(client.clone(), namespace, &Subject::VariantAutoscaling.resource());
            let params = PatchParams::default();
            let patch = Patch::Merge(patch);
            let written = api.patch_status(name, &params, &patch);
            tokio::time::timeout(DEADLINE, written)
                .await
                .map(|written| written.map(drop))
        }
        Write::Event(event) => {
            let namespace = event.metadata.namespace.as_deref().unwrap_or("default");
            let api: Api<Event> = Api::namespaced(client.clone(), namespace);
            let params = PostParams::default();
            let written = api.create(&params, event);
            tokio::time::timeout(DEADLINE, written)
                .await
                .map(|written| written.map(drop))
        }
    };
    let trouble = match result {
        Ok(Ok(())) => None,
        // The object went away meanwhile: nothing is left to tell.
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer within {DEADLINE:?}")),
    };
    if let Some(trouble) = &trouble {
        shared.failures.fetch_add(1, Relaxed);
        tracing::warn!(%trouble, "cannot write status or event");
    }
    if let Write::Status { uid, .. } = write {
        if trouble.is_some() {
            shared.failed.lock().insert(uid.clone());
        }
        shared.busy.lock().remove(&uid);
    }
}
