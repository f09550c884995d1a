//! Which log belongs to which container, for whoever serves them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::logs;

type Key = (String, String, String);

struct Entry {
    uid: String,
    folder: PathBuf,
    run: i32,
    news: watch::Receiver<u64>,
}

/// The logs of the Pods that this kubelet runs.
#[derive(Default)]
pub(crate) struct LogIndex {
    entries: Mutex<BTreeMap<Key, Entry>>,
}

/// Why there is no log to show.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoLog {
    /// No container of that name runs or ran here.
    Container,
    /// It has not been restarted, so it has no previous run.
    Previous,
}

impl LogIndex {
    /// A run of a container has begun.
    pub(crate) fn started(&self, pod: &Pod, container: &str, folder: PathBuf, run: i32, news: watch::Receiver<u64>) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        self.entries
            .lock()
            .insert(key(pod, container), Entry { uid, folder, run, news });
    }

    /// A Pod is gone.
    pub(crate) fn remove(&self, pod: &Pod) {
        let (namespace, name, _) = key(pod, "");
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        self.entries
            .lock()
            .retain(|k, entry| k.0 != namespace || k.1 != name || entry.uid != uid);
    }

    /// The file of the current or the previous run, and what tells of new lines in it.
    pub(crate) fn find(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        previous: bool,
    ) -> Result<(PathBuf, Option<watch::Receiver<u64>>), NoLog> {
        let entries = self.entries.lock();
        let entry = entries
            .get(&(namespace.to_owned(), pod.to_owned(), container.to_owned()))
            .ok_or(NoLog::Container)?;
        if !previous {
            return Ok((logs::path(&entry.folder, entry.run), Some(entry.news.clone())));
        }
        let path = logs::path(&entry.folder, entry.run - 1);
        if path.exists() {
            Ok((path, None))
        } else {
            Err(NoLog::Previous)
        }
    }
}

fn key(pod: &Pod, container: &str) -> Key {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    (
        text(&pod.metadata.namespace),
        text(&pod.metadata.name),
        container.to_owned(),
    )
}
