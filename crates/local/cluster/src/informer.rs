//! A watched kind in memory: one watch, many listeners.
//!
//! What a controller has just written it puts in itself ([`Informer::put`]), so
//! that its next decision does not rest on a view from before the write.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource, ResourceExt};
use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// Namespace and name; the namespace is empty for cluster-scoped objects.
pub(crate) type Key = (String, String);

/// Deleted objects remembered, so that a late answer to a write does not bring one back.
const TOMBSTONES: usize = 1024;

/// The key of an object.
pub(crate) fn key_of<K: ResourceExt>(object: &K) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// An object before and after: made, changed or gone.
#[derive(Debug)]
pub(crate) struct Change<K> {
    /// The last state known before.
    pub(crate) old: Option<Arc<K>>,
    /// The state now; `None` when the object is gone.
    pub(crate) new: Option<Arc<K>>,
}

impl<K> Change<K> {
    /// The object, newest state first.
    pub(crate) fn either(&self) -> impl Iterator<Item = &Arc<K>> {
        self.new.iter().chain(self.old.iter())
    }
}

type Listener<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;

/// The objects of one kind, kept current by [`Informer::run`].
pub(crate) struct Informer<K> {
    objects: RwLock<BTreeMap<Key, Arc<K>>>,
    tombstones: Mutex<VecDeque<String>>,
    listeners: Mutex<BTreeMap<&'static str, Listener<K>>>,
    synced: watch::Sender<bool>,
}

impl<K> Informer<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Default,
{
    /// An empty one.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Informer {
            objects: RwLock::default(),
            tombstones: Mutex::default(),
            listeners: Mutex::default(),
            synced: watch::channel(false).0,
        })
    }

    /// Calls `listener` for every object there is and for every change from now
    /// on. A listener of the same name is replaced, so a restarted controller
    /// takes its own place.
    pub(crate) fn listen(&self, name: &'static str, listener: impl Fn(&Change<K>) + Send + Sync + 'static) {
        let mut listeners = self.listeners.lock();
        for object in self.list() {
            listener(&Change {
                old: None,
                new: Some(object),
            });
        }
        listeners.insert(name, Box::new(listener));
    }

    /// Watches for ever; errors are logged and tried again with a growing pause.
    pub(crate) async fn run(self: Arc<Self>, api: Api<K>, config: watcher::Config) {
        let kind = K::kind(&Default::default()).into_owned();
        let mut events = std::pin::pin!(watcher(api, config));
        let mut fresh: BTreeMap<Key, Arc<K>> = BTreeMap::new();
        let mut failures = 0u32;
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    failures = 0;
                    match event {
                        Event::Init => fresh.clear(),
                        Event::InitApply(object) => {
                            fresh.insert(key_of(&object), Arc::new(object));
                        }
                        Event::InitDone => {
                            self.replace(std::mem::take(&mut fresh));
                            self.synced.send_replace(true);
                        }
                        Event::Apply(object) => self.put(object),
                        Event::Delete(object) => self.remove(&object),
                    }
                }
                Err(error) => {
                    failures += 1;
                    let pause = Duration::from_millis(50 << failures.min(8));
                    tracing::warn!(kind, %error, ?pause, "watch failed; trying again");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Waits for the first complete list.
    pub(crate) async fn synced(&self) {
        let mut synced = self.synced.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        let _ = synced.wait_for(|done| *done).await;
    }

    /// The object, if there.
    pub(crate) fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.objects.read().get(key).cloned()
    }

    /// Every object, in order of namespace and name.
    pub(crate) fn list(&self) -> Vec<Arc<K>> {
        self.objects.read().values().cloned().collect()
    }

    /// Every object of a namespace, in order of name.
    pub(crate) fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        let objects = self.objects.read();
        let from = (namespace.to_owned(), String::new());
        objects
            .range(from..)
            .take_while(|((ns, _), _)| ns == namespace)
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// Takes in a state seen on the watch or returned by a write, unless a newer one is known.
    pub(crate) fn put(&self, object: K) {
        if object
            .meta()
            .uid
            .as_ref()
            .is_some_and(|uid| self.tombstones.lock().contains(uid))
        {
            return;
        }
        let new = Arc::new(object);
        let old = {
            let mut objects = self.objects.write();
            let key = key_of(new.as_ref());
            if let Some(known) = objects.get(&key)
                && version(known.as_ref()) > version(new.as_ref())
            {
                return;
            }
            objects.insert(key, new.clone())
        };
        self.tell(&Change { old, new: Some(new) });
    }

    /// Takes in that an object is gone.
    pub(crate) fn remove(&self, object: &K) {
        if let Some(uid) = &object.meta().uid {
            let mut tombstones = self.tombstones.lock();
            tombstones.push_back(uid.clone());
            if tombstones.len() > TOMBSTONES {
                tombstones.pop_front();
            }
        }
        let old = {
            let mut objects = self.objects.write();
            let key = key_of(object);
            match objects.get(&key) {
                Some(known) if known.meta().uid == object.meta().uid => objects.remove(&key),
                _ => return,
            }
        };
        self.tell(&Change { old, new: None });
    }

    fn replace(&self, fresh: BTreeMap<Key, Arc<K>>) {
        let before = std::mem::replace(&mut *self.objects.write(), fresh.clone());
        for (key, old) in &before {
            if !fresh.contains_key(key) {
                self.tell(&Change {
                    old: Some(old.clone()),
                    new: None,
                });
            }
        }
        for (key, new) in fresh {
            self.tell(&Change {
                old: before.get(&key).cloned(),
                new: Some(new),
            });
        }
    }

    fn tell(&self, change: &Change<K>) {
        for listener in self.listeners.lock().values() {
            listener(change);
        }
    }
}

/// Resource versions order the states of one object; one that is no number counts as oldest.
fn version<K: ResourceExt>(object: &K) -> u64 {
    object
        .meta()
        .resource_version
        .as_deref()
        .and_then(|v| v.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    fn object(uid: &str, version: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.name = Some("a".into());
        object.metadata.namespace = Some("ns".into());
        object.metadata.uid = Some(uid.into());
        object.metadata.resource_version = Some(version.into());
        object
    }

    #[test]
    fn a_late_answer_neither_sets_back_nor_revives() {
        let informer = Informer::<ConfigMap>::new();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        informer.listen("test", move |change| {
            log.lock().push(change.new.as_ref().map(|o| version(o.as_ref())));
        });
        informer.put(object("u1", "5"));
        informer.put(object("u1", "4"));
        informer.put(object("u1", "7"));
        informer.remove(&object("u1", "8"));
        informer.put(object("u1", "7"));
        informer.put(object("u2", "9"));
        informer.remove(&object("u1", "8"));
        assert_eq!(*seen.lock(), [Some(5), Some(7), None, Some(9)]);
        assert_eq!(informer.list_in("ns").len(), 1);
        assert!(informer.list_in("n").is_empty());
    }
}
