//! The store: every object of every resource, one revision counter, and the
//! recent past.
//!
//! Pure: no clock, no I/O, no async. Time comes in as milliseconds from any
//! fixed origin and serves only to forget old events.
//!
//! Invariants, each held by a property test:
//! - revisions strictly increase, one per committed change, over all resources;
//! - an object's revision is the revision of its last change;
//! - for any remembered revision r, replaying the events after r over the list
//!   at r gives the list of today;
//! - the past never grows beyond [`Memory`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::Value;

#[cfg(test)]
mod tests;

/// One version of an object, without `apiVersion` and `kind`: those depend on
/// who asks.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) value: Value,
    /// The revision of the change that made this version.
    pub(crate) revision: u64,
    json: OnceLock<Bytes>,
    /// What was written, where it is read in another form by now.
    written: Option<Value>,
}

impl Object {
    pub(crate) fn new(mut value: Value, revision: u64) -> Self {
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("resourceVersion".to_owned(), Value::String(revision.to_string()));
        }
        Self {
            value,
            revision,
            json: OnceLock::new(),
            written: None,
        }
    }

    /// A version that is answered but not stored: it keeps the resource version it has.
    pub(crate) fn unsaved(value: Value) -> Self {
        Self {
            value,
            revision: 0,
            json: OnceLock::new(),
            written: None,
        }
    }

    /// The same version in the form that `reform` makes of what was written; `None`
    /// when it is in that form.
    fn reformed(&self, reform: &dyn Fn(&mut Value)) -> Option<Arc<Self>> {
        let written = self.written.as_ref().unwrap_or(&self.value);
        let mut value = written.clone();
        reform(&mut value);
        if value == self.value {
            return None;
        }
        Some(Arc::new(Self {
            written: (value != *written).then(|| written.clone()),
            value,
            revision: self.revision,
            json: OnceLock::new(),
        }))
    }

    /// The object as JSON text; written once however many readers there are.
    pub(crate) fn json(&self) -> &Bytes {
        self.json
            .get_or_init(|| serde_json::to_vec(&self.value).unwrap_or_default().into())
    }
}

/// What a writer believes about the object it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// It does not exist.
    Absent,
    /// It exists at exactly this revision.
    Revision(u64),
}

/// Why a change was refused; nothing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It exists already.
    Exists,
    /// It does not exist.
    Missing,
    /// It is at another revision.
    Stale,
}

/// The past that was asked for is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unavailable {
    /// Forgotten: the oldest revision still known is given.
    Compacted { oldest: u64 },
    /// Not reached yet: the current revision is given.
    Future { current: u64 },
}

/// One committed change of one object.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) revision: u64,
    pub(crate) key: Arc<str>,
    /// The state before, if there was one.
    pub(crate) before: Option<Arc<Object>>,
    /// The state after; for a deletion, the last state at the deletion's revision.
    pub(crate) object: Arc<Object>,
    pub(crate) deleted: bool,
    at: u64,
}

/// How much of the past is kept, per resource.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// Events at most.
    pub(crate) events: usize,
    /// Age at most, in milliseconds.
    pub(crate) age: u64,
    /// Bytes of JSON at most.
    pub(crate) bytes: usize,
}

#[derive(Debug, Default)]
struct Table {
    objects: BTreeMap<Arc<str>, Arc<Object>>,
    log: VecDeque<Event>,
    /// Events up to this revision are forgotten.
    compacted: u64,
    /// JSON bytes of the objects in the log.
    bytes: usize,
}

/// Objects with their keys, in key order.
pub(crate) type Listed = Vec<(Arc<str>, Arc<Object>)>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Store {
    revision: u64,
    /// The revision at which this store was opened; nothing older is known.
    base: u64,
    memory: Memory,
    tables: BTreeMap<Arc<str>, Table>,
}

/// The key of an object within its resource; its order is the order of lists.
pub(crate) fn key(namespace: &str, name: &str) -> Arc<str> {
    if namespace.is_empty() {
        name.into()
    } else {
        format!("{namespace}/{name}").into()
    }
}

impl Store {
    /// A store that stands at `revision` and holds nothing yet.
    pub(crate) fn new(revision: u64, memory: Memory) -> Self {
        Self {
            revision,
            base: revision,
            memory,
            tables: BTreeMap::new(),
        }
    }

    /// Puts back an object read from disk. No event, no new revision.
    pub(crate) fn restore(&mut self, resource: &str, key: &str, value: Value) {
        let revision = value
            .pointer("/metadata/resourceVersion")
            .and_then(Value::as_str)
            .and_then(|text| text.parse().ok())
            .unwrap_or(self.revision);
        self.table(&Arc::from(resource))
            .objects
            .insert(key.into(), Arc::new(Object::new(value, revision)));
    }

    /// The revision of the last change of anything.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Number of objects of all resources.
    pub(crate) fn count(&self) -> usize {
        self.tables.values().map(|table| table.objects.len()).sum()
    }

    /// Number of objects of each resource.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&str, usize)> {
        self.tables
            .iter()
            .map(|(resource, table)| (&**resource, table.objects.len()))
    }

    pub(crate) fn get(&self, resource: &str, key: &str) -> Option<&Arc<Object>> {
        self.tables.get(resource)?.objects.get(key)
    }

    /// Creates or replaces an object and returns it as stored.
    ///
    /// # Errors
    /// [`Refused`] when the object is not what `expect` says.
    pub(crate) fn put(
        &mut self,
        resource: &Arc<str>,
        key: &Arc<str>,
        value: Value,
        expect: Expect,
        now: u64,
    ) -> Result<Arc<Object>, Refused> {
        let before = self.expect(resource, key, expect)?;
        self.revision += 1;
        let object = Arc::new(Object::new(value, self.revision));
        let table = self.table(resource);
        table.objects.insert(key.clone(), object.clone());
        self.remember(resource, key, before, &object, false, now);
        Ok(object)
    }

    /// Deletes an object and returns its last state at the deletion's revision.
    /// `last` replaces the stored state as what watchers are told, if given.
    ///
    /// # Errors
    /// [`Refused`] when the object is not at `revision`.
    pub(crate) fn delete(
        &mut self,
        resource: &Arc<str>,
        key: &Arc<str>,
        last: Option<Value>,
        revision: u64,
        now: u64,
    ) -> Result<Arc<Object>, Refused> {
        let before = self
            .expect(resource, key, Expect::Revision(revision))?
            .ok_or(Refused::Missing)?;
        self.revision += 1;
        let object = Arc::new(Object::new(last.unwrap_or_else(|| before.value.clone()), self.revision));
        self.table(resource).objects.remove(key);
        self.remember(resource, key, Some(before), &object, true, now);
        Ok(object)
    }

    /// The objects of a resource, in key order, of one namespace if given.
    pub(crate) fn list(&self, resource: &str, namespace: Option<&str>) -> Listed {
        let Some(table) = self.tables.get(resource) else {
            return Vec::new();
        };
        select(&table.objects, namespace)
    }

    /// As [`Store::list`], but as things stood at `revision`: today's state with
    /// the later events taken back.
    ///
    /// # Errors
    /// [`Unavailable`] when that revision is forgotten or in the future.
    pub(crate) fn list_at(
        &self,
        resource: &str,
        namespace: Option<&str>,
        revision: u64,
    ) -> Result<Listed, Unavailable> {
        let later = self.since(resource, revision, u64::MAX, usize::MAX)?;
        let Some(table) = self.tables.get(resource) else {
            return Ok(Vec::new());
        };
        if later.is_empty() {
            return Ok(select(&table.objects, namespace));
        }
        let mut objects = table.objects.clone();
        for event in later.into_iter().rev() {
            match event.before {
                Some(before) => objects.insert(event.key, before),
                None => objects.remove(&event.key),
            };
        }
        Ok(select(&objects, namespace))
    }

    /// Up to `most` events of a resource after revision `after` and up to `upto`.
    ///
    /// # Errors
    /// [`Unavailable`] when events after `after` are forgotten, or `after` is in
    /// the future.
    pub(crate) fn since(&self, resource: &str, after: u64, upto: u64, most: usize) -> Result<Vec<Event>, Unavailable> {
        if after > self.revision {
            return Err(Unavailable::Future { current: self.revision });
        }
        let table = self.tables.get(resource);
        let oldest = table.map_or(self.base, |table| table.compacted);
        if after < oldest {
            return Err(Unavailable::Compacted { oldest });
        }
        let Some(table) = table else { return Ok(Vec::new()) };
        let start = table.log.partition_point(|event| event.revision <= after);
        Ok(table
            .log
            .range(start..)
            .take_while(|event| event.revision <= upto)
            .take(most)
            .cloned()
            .collect())
    }

    /// From now on the objects of a resource, those of the past too, are read in the
    /// form that `reform` makes of what was written. No event, no new revision.
    pub(crate) fn reform(&mut self, resource: &str, reform: &dyn Fn(&mut Value), now: u64) {
        let memory = self.memory;
        if let Some(table) = self.tables.get_mut(resource) {
            table.reform(reform);
            table.compact(memory, now);
        }
    }

    /// Forgets a resource that is no longer served.
    pub(crate) fn forget(&mut self, resource: &str) {
        if self.tables.get(resource).is_some_and(|table| table.objects.is_empty()) {
            self.tables.remove(resource);
            // Whoever watches it must not miss what happened before.
            self.base = self.revision;
        }
    }

    /// Forgets events older than the memory allows.
    pub(crate) fn compact(&mut self, now: u64) {
        let memory = self.memory;
        for table in self.tables.values_mut() {
            table.compact(memory, now);
        }
    }

    fn table(&mut self, resource: &Arc<str>) -> &mut Table {
        let compacted = self.base;
        self.tables.entry(resource.clone()).or_insert_with(|| Table {
            compacted,
            ..Table::default()
        })
    }

    fn expect(&self, resource: &str, key: &str, expect: Expect) -> Result<Option<Arc<Object>>, Refused> {
        match (self.get(resource, key), expect) {
            (None, Expect::Absent) => Ok(None),
            (Some(_), Expect::Absent) => Err(Refused::Exists),
            (None, Expect::Revision(_)) => Err(Refused::Missing),
            (Some(object), Expect::Revision(revision)) if object.revision == revision => Ok(Some(object.clone())),
            (Some(_), Expect::Revision(_)) => Err(Refused::Stale),
        }
    }

    fn remember(
        &mut self,
        resource: &Arc<str>,
        key: &Arc<str>,
        before: Option<Arc<Object>>,
        object: &Arc<Object>,
        deleted: bool,
        now: u64,
    ) {
        let memory = self.memory;
        let event = Event {
            revision: object.revision,
            key: key.clone(),
            before,
            object: object.clone(),
            deleted,
            at: now,
        };
        let table = self.table(resource);
        table.bytes += event.object.json().len();
        table.log.push_back(event);
        table.compact(memory, now);
    }
}

impl Table {
    fn reform(&mut self, reform: &dyn Fn(&mut Value)) {
        // The log and the present share versions, and shall go on to. What was replaced
        // is kept until the end, so that no new one has its address.
        let mut done: HashMap<*const Object, (Arc<Object>, Arc<Object>)> = HashMap::new();
        let mut renew = |object: &mut Arc<Object>| {
            let (_, new) = done.entry(Arc::as_ptr(object)).or_insert_with(|| {
                let new = object.reformed(reform).unwrap_or_else(|| object.clone());
                (object.clone(), new)
            });
            let new = new.clone();
            *object = new;
        };
        self.objects.values_mut().for_each(&mut renew);
        for event in &mut self.log {
            event.before.as_mut().map(&mut renew);
            renew(&mut event.object);
        }
        self.bytes = self.log.iter().map(|event| event.object.json().len()).sum();
    }

    fn compact(&mut self, memory: Memory, now: u64) {
        while let Some(oldest) = self.log.front() {
            let young = now.saturating_sub(oldest.at) <= memory.age;
            if self.log.len() <= memory.events && self.bytes <= memory.bytes && young {
                break;
            }
            self.compacted = oldest.revision;
            self.bytes -= oldest.object.json().len();
            self.log.pop_front();
        }
    }
}

fn select(objects: &BTreeMap<Arc<str>, Arc<Object>>, namespace: Option<&str>) -> Listed {
    let pair = |(key, object): (&Arc<str>, &Arc<Object>)| (key.clone(), object.clone());
    match namespace {
        None => objects.iter().map(pair).collect(),
        Some(namespace) => {
            let first: Arc<str> = format!("{namespace}/").into();
            objects
                .range(first.clone()..)
                .take_while(|(key, _)| key.starts_with(&*first))
                .map(pair)
                .collect()
        }
    }
}
