//! The request engine: one set of verbs over every resource.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, Shape, Wanted};
use crate::discovery::Documents;
use crate::disk::{Bell, Disk, Record};
use crate::events;
use crate::failure::{Failure, Outcome};
use crate::object::{deleting, meta, typed_json};
use crate::query::Query;
use crate::registry::Registry;
use crate::resource::Resource;
use crate::store::{Expect, Object, Refused, Store, key};

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod read;
pub(crate) mod subresource;
pub(crate) mod update;
pub(crate) mod watch;

/// Who tells the time that is written into objects.
pub(crate) struct Wall(pub(crate) Box<dyn Fn() -> jiff::Timestamp + Send + Sync>);

impl std::fmt::Debug for Wall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wall")
    }
}

/// Everything that requests share.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) store: Mutex<Store>,
    pub(crate) disk: Option<Disk>,
    pub(crate) bell: Arc<Bell>,
    registry: RwLock<Arc<Registry>>,
    documents: RwLock<Arc<Documents>>,
    refreshing: Mutex<()>,
    started: Instant,
    wall: Wall,
    pub(crate) watches: AtomicUsize,
    pub(crate) requests: AtomicUsize,
    pub(crate) stop: CancellationToken,
}

/// One request for a resource, read and found to make sense.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) resource: Arc<Resource>,
    /// Empty for cluster-scoped resources and for all namespaces.
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) query: Query,
    pub(crate) wanted: Wanted,
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
}

impl Call {
    pub(crate) fn key(&self) -> Arc<str> {
        key(&self.namespace, &self.name)
    }
}

impl Api {
    pub(crate) fn new(store: Store, bell: Arc<Bell>, disk: Option<Disk>, stop: CancellationToken, wall: Wall) -> Self {
        Self {
            store: Mutex::new(store),
            disk,
            bell,
            registry: RwLock::new(Arc::new(Registry::builtin())),
            documents: RwLock::default(),
            refreshing: Mutex::default(),
            started: Instant::now(),
            wall,
            watches: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            stop,
        }
    }

    /// What is served right now.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        self.registry.read().clone()
    }

    /// Reads the definitions again and serves what they say. Objects are read as the
    /// schema of their stored version has them now: with its defaults, without what it
    /// does not know.
    pub(crate) fn refresh(&self) {
        // One after the other, so that the last one to read is the last one to write.
        let _alone = self.refreshing.lock();
        let definitions = self.store.lock().list(crate::crds::STORAGE, None);
        let before = self.registry();
        let next = Arc::new(before.with(definitions.iter().map(|(_, object)| &object.value)));
        *self.registry.write() = next.clone();
        *self.documents.write() = Arc::default();
        for (storage, schema) in next.new_forms(&before) {
            self.store
                .lock()
                .reform(storage, &|value| schema.settle(value), self.clock());
        }
    }

    /// The schemas of what is served right now.
    pub(crate) fn documents(&self) -> Arc<Documents> {
        self.documents.read().clone()
    }

    /// Now, as it is written into objects that are made or deleted.
    pub(crate) fn time(&self) -> String {
        crate::time::at((self.wall.0)())
    }

    /// Milliseconds since the start: the store's clock.
    pub(crate) fn clock(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A built-in resource.
    ///
    /// # Errors
    /// 500 when it is not served, which would be a mistake of this crate.
    pub(crate) fn builtin(&self, group: &str, version: &str, plural: &str) -> Outcome<Arc<Resource>> {
        let found = self.registry().find(group, version, plural).cloned();
        found.ok_or_else(|| Failure::internal(format!("{plural}.{group} is not served")))
    }

    /// The resource in whose form objects are stored: Events have two forms.
    pub(crate) fn storing(&self, resource: &Arc<Resource>) -> Outcome<Arc<Resource>> {
        if resource.group == "events.k8s.io" {
            self.builtin("", "v1", "events")
        } else {
            Ok(resource.clone())
        }
    }

    pub(crate) fn get(&self, resource: &Resource, key: &str) -> Option<Arc<Object>> {
        self.store.lock().get(&resource.storage, key).cloned()
    }

    /// Commits a new state and waits until it is durable.
    ///
    /// # Errors
    /// [`Refused`] inside when the object is not as expected; a failure when
    /// nothing can be stored any more.
    pub(crate) async fn put(
        &self,
        resource: &Resource,
        key: &Arc<str>,
        value: Value,
        expect: Expect,
    ) -> Outcome<Result<Arc<Object>, Refused>> {
        self.writable()?;
        let object = {
            let mut store = self.store.lock();
            if expect == Expect::Absent && !has_home(&store, resource, key) {
                return Ok(Err(Refused::Missing));
            }
            let object = match store.put(&resource.storage, key, value, expect, self.clock()) {
                Ok(object) => object,
                Err(refused) => return Ok(Err(refused)),
            };
            self.hand_over(resource, key, &object, false);
            self.catch_up(&mut store, resource);
            object
        };
        self.durable(object.revision).await?;
        Ok(Ok(object))
    }

    /// Removes an object and waits until that is durable.
    ///
    /// # Errors
    /// As [`Api::put`].
    pub(crate) async fn remove(
        &self,
        resource: &Resource,
        key: &Arc<str>,
        last: Value,
        revision: u64,
    ) -> Outcome<Result<Arc<Object>, Refused>> {
        self.writable()?;
        let object = {
            let mut store = self.store.lock();
            let object = match store.delete(&resource.storage, key, Some(last), revision, self.clock()) {
                Ok(object) => object,
                Err(refused) => return Ok(Err(refused)),
            };
            self.hand_over(resource, key, &object, true);
            object
        };
        self.durable(object.revision).await?;
        Ok(Ok(object))
    }

    fn writable(&self) -> Outcome<()> {
        self.bell
            .failure()
            .map_or(Ok(()), |message| Err(Failure::internal(message)))
    }

    /// Gives an object that was made by a definition as it was before the last refresh
    /// the form that all others have. Under the store's lock, so that none is missed.
    fn catch_up(&self, store: &mut Store, resource: &Resource) {
        if resource.custom.is_none() {
            return;
        }
        let registry = self.registry();
        let now = registry.find(&resource.group, &resource.version, &resource.plural);
        let same = now.is_some_and(|now| std::ptr::eq(&raw const **now, resource));
        if let Some(schema) = registry.form(&resource.storage).filter(|_| !same) {
            store.reform(&resource.storage, &|value| schema.settle(value), self.clock());
        }
    }

    /// Under the store's lock, so that the disk sees revisions in order.
    fn hand_over(&self, resource: &Resource, key: &Arc<str>, object: &Arc<Object>, deleted: bool) {
        match &self.disk {
            Some(disk) => disk.write(Record {
                revision: object.revision,
                resource: resource.storage.clone(),
                key: key.clone(),
                json: (!deleted).then(|| object.json().clone()),
            }),
            None => self.bell.ring(object.revision, [&resource.storage]),
        }
    }

    /// Waits until everything up to a revision is durable. Readers wait too: what
    /// nobody has been told may be lost, what somebody has seen may not.
    pub(crate) async fn durable(&self, revision: u64) -> Outcome<()> {
        self.bell.wait(revision).await.map_err(Failure::internal)
    }
}

/// Whether a new object may be where it wants to be. Asked under the store's lock:
/// nothing slips into a namespace or definition that is being emptied.
fn has_home(store: &Store, resource: &Resource, key: &str) -> bool {
    let open = |kind: &str, name: &str| store.get(kind, name).is_some_and(|found| !deleting(&found.value));
    let namespace = key
        .split_once('/')
        .map(|(namespace, _)| namespace)
        .filter(|_| resource.namespaced);
    namespace.is_none_or(|namespace| open("namespaces", namespace))
        && (resource.custom.is_none() || open(crate::crds::STORAGE, &resource.storage))
}

/// The object as clients of this resource see it, without its type.
pub(crate) fn presented(resource: &Resource, value: &Value) -> Value {
    if resource.group == "events.k8s.io" {
        events::to_events_group(value)
    } else {
        value.clone()
    }
}

/// The object with its type, as a value.
pub(crate) fn typed(resource: &Resource, value: &Value) -> Value {
    let mut value = presented(resource, value);
    if let Some(map) = value.as_object_mut() {
        map.insert("apiVersion".to_owned(), resource.api_version().into());
        map.insert("kind".to_owned(), resource.kind.as_str().into());
    }
    value
}

/// The object with its type, as text.
pub(crate) fn typed_text(resource: &Resource, object: &Object, out: &mut Vec<u8>) {
    let api_version = resource.api_version();
    if resource.group == "events.k8s.io" {
        let json = serde_json::to_vec(&events::to_events_group(&object.value)).unwrap_or_default();
        typed_json(&api_version, &resource.kind, &json, out);
    } else {
        typed_json(&api_version, &resource.kind, object.json(), out);
    }
}

/// Only the object's metadata, as a `PartialObjectMetadata` of the version asked for.
pub(crate) fn partial(call: &Call, value: &Value) -> Value {
    let mut partial = crate::forms::table::partial(value);
    partial["apiVersion"] = call.wanted.meta_version.into();
    partial
}

/// The answer to a request about one object.
pub(crate) fn one(code: u16, call: &Call, object: &Object) -> Answer {
    match call.wanted.shape {
        Shape::Plain => {
            let mut out = Vec::with_capacity(object.json().len() + 64);
            typed_text(&call.resource, object, &mut out);
            crate::answer::json_text(code, out, call.wanted)
        }
        Shape::Partial => crate::answer::json_value(code, &partial(call, &object.value), call.wanted),
        Shape::Table => {
            let mut table = read::table(call, &[object], true);
            table["metadata"] = serde_json::json!({"resourceVersion": meta(&object.value, "resourceVersion")});
            crate::answer::json_value(code, &table, call.wanted)
        }
    }
}
