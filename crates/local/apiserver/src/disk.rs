//! Durability: committed changes go to an embedded database, in batches.
//!
//! One thread owns the database. It takes every change that waits, writes all
//! of them in one transaction, and rings the [`Bell`] once the transaction is
//! on disk. A write is acknowledged, and a watcher told, only after that bell;
//! so a kill at any time loses nothing that anyone was told about. The cost of
//! the disk's flush is shared by all writers of a batch.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde_json::Value;
use tokio::sync::watch;

use crate::store::{Memory, Store};

/// "resource NUL key" to the object's JSON.
const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const REVISION: &str = "revision";
const FORMAT: &str = "format";
const FORMAT_NOW: u64 = 1;
/// The database's file in the data folder.
const FILE: &str = "objects.redb";
/// Changes in one transaction at most.
const BATCH: usize = 4096;
/// How long a start waits for a predecessor in the same process to let go.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Why the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The folder cannot be made.
    #[error("cannot make the data folder {}: {source}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process has it open.
    #[error("{} is in use by another process: stop that one, or give another data folder", file.display())]
    InUse {
        /// The database's file.
        file: PathBuf,
    },
    /// The file is damaged, foreign or unreadable.
    #[error("cannot read {}: {message}; move the file away to start empty", file.display())]
    Unreadable {
        /// The database's file.
        file: PathBuf,
        /// What the database said.
        message: String,
    },
}

/// Tells how far changes are durable, and wakes whoever waits for that.
#[derive(Debug)]
pub(crate) struct Bell {
    durable: watch::Sender<u64>,
    /// One for each listener, in the order in which they came: those of one
    /// channel would be woken in an order by chance, and a world in virtual
    /// time would not play the same twice.
    resources: Mutex<HashMap<Arc<str>, Vec<watch::Sender<u64>>>>,
    failed: OnceLock<String>,
}

impl Bell {
    pub(crate) fn new(revision: u64) -> Self {
        Self {
            durable: watch::Sender::new(revision),
            resources: Mutex::default(),
            failed: OnceLock::new(),
        }
    }

    /// Every change up to this revision is durable.
    pub(crate) fn durable(&self) -> u64 {
        *self.durable.borrow()
    }

    /// Announces that changes up to `revision`, of these resources, are durable.
    pub(crate) fn ring<'a>(&self, revision: u64, resources: impl IntoIterator<Item = &'a Arc<str>>) {
        self.durable.send_replace(revision);
        let mut known = self.resources.lock();
        for resource in resources {
            if let Some(listeners) = known.get_mut(resource) {
                listeners.retain(|listener| listener.send(revision).is_ok());
            }
        }
    }

    /// Wakes when a change of the resource became durable.
    pub(crate) fn listen(&self, resource: &Arc<str>) -> watch::Receiver<u64> {
        let (sender, receiver) = watch::channel(0);
        let mut known = self.resources.lock();
        let listeners = known.entry(resource.clone()).or_default();
        listeners.retain(|listener| !listener.is_closed());
        listeners.push(sender);
        receiver
    }

    /// Drops what belongs to a resource that is no longer served; its listeners see the end.
    pub(crate) fn forget(&self, resource: &str) {
        self.resources.lock().remove(resource);
    }

    /// Why nothing can be made durable any more, if so.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    fn fail(&self, message: String) {
        tracing::error!(%message, "the object store cannot be written any more");
        if self.failed.set(message).is_ok() {
            self.durable.send_modify(|_| {});
        }
    }

    /// Waits until changes up to `revision` are durable.
    ///
    /// # Errors
    /// The reason, when that will never happen.
    pub(crate) async fn wait(&self, revision: u64) -> Result<(), String> {
        if self.durable() < revision {
            let mut durable = self.durable.subscribe();
            // Only the number is kept: a guard held while the value is read again
            // would deadlock with a writer between the two.
            let reached = durable
                .wait_for(|now| *now >= revision || self.failed.get().is_some())
                .await
                .map(|now| *now);
            if !reached.is_ok_and(|now| now >= revision) {
                return Err(self.failure().unwrap_or("the server is shutting down").to_owned());
            }
        }
        Ok(())
    }
}

/// A change on its way to the disk.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) revision: u64,
    pub(crate) resource: Arc<str>,
    pub(crate) key: Arc<str>,
    /// The new state; `None` for a deletion.
    pub(crate) json: Option<Bytes>,
}

/// The writer's end: hand over records in the order of their revisions.
#[derive(Debug)]
pub(crate) struct Disk {
    records: Mutex<Option<mpsc::Sender<Record>>>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Disk {
    /// Hands a change over. It is durable when the bell says so.
    pub(crate) fn write(&self, record: Record) {
        if let Some(records) = &*self.records.lock() {
            // A writer that is gone has told the bell why.
            let _ = records.send(record);
        }
    }

    /// Writes what is waiting and closes the file.
    pub(crate) fn close(&self) {
        self.records.lock().take();
        if let Some(writer) = self.writer.lock().take() {
            let _ = writer.join();
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.close();
    }
}

/// Opens the data folder and reads everything in it.
///
/// # Errors
/// [`DiskError`] names the file and the remedy.
pub(crate) fn open(folder: &Path, memory: Memory) -> Result<(Store, Arc<Bell>, Disk), DiskError> {
    std::fs::create_dir_all(folder).map_err(|source| DiskError::Folder {
        folder: folder.to_owned(),
        source,
    })?;
    let file = folder.join(FILE);
    let database = open_database(&file)?;
    let store = read(&database, memory).map_err(|message| DiskError::Unreadable {
        file: file.clone(),
        message,
    })?;
    let bell = Arc::new(Bell::new(store.revision()));
    let (sender, records) = mpsc::channel();
    let writer = std::thread::Builder::new()
        .name("object-store".to_owned())
        .spawn({
            let bell = bell.clone();
            move || write_all(&database, &records, &bell)
        })
        .map_err(|source| DiskError::Folder {
            folder: folder.to_owned(),
            source,
        })?;
    let disk = Disk {
        records: Mutex::new(Some(sender)),
        writer: Mutex::new(Some(writer)),
    };
    Ok((store, bell, disk))
}

fn open_database(file: &Path) -> Result<Database, DiskError> {
    let start = Instant::now();
    loop {
        match Database::create(file) {
            Ok(database) => return Ok(database),
            Err(redb::DatabaseError::DatabaseAlreadyOpen) if start.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => return Err(DiskError::InUse { file: file.to_owned() }),
            Err(error) => {
                return Err(DiskError::Unreadable {
                    file: file.to_owned(),
                    message: error.to_string(),
                });
            }
        }
    }
}

fn read(database: &Database, memory: Memory) -> Result<Store, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let transaction = database.begin_read().map_err(|error| text(&error))?;
    let meta = match transaction.open_table(META) {
        Ok(meta) => meta,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Store::new(0, memory)),
        Err(error) => return Err(text(&error)),
    };
    let number = |name| {
        meta.get(name)
            .map(|found| found.map(|value| value.value()))
            .map_err(|error| text(&error))
    };
    match number(FORMAT)? {
        Some(FORMAT_NOW) => {}
        other => return Err(format!("its format is {other:?}, this version reads {FORMAT_NOW}")),
    }
    let mut store = Store::new(number(REVISION)?.unwrap_or(0), memory);
    let objects = transaction.open_table(OBJECTS).map_err(|error| text(&error))?;
    for entry in objects.iter().map_err(|error| text(&error))? {
        let (path, json) = entry.map_err(|error| text(&error))?;
        let (resource, key) = path.value().split_once('\0').ok_or("an object has no resource")?;
        let value: Value =
            serde_json::from_slice(json.value()).map_err(|error| format!("{resource} {key} is not JSON: {error}"))?;
        store.restore(resource, key, value);
    }
    Ok(store)
}

fn write_all(database: &Database, records: &mpsc::Receiver<Record>, bell: &Bell) {
    let mut batch = Vec::new();
    while let Ok(first) = records.recv() {
        batch.push(first);
        batch.extend(records.try_iter().take(BATCH - 1));
        if let Err(error) = write(database, &batch) {
            bell.fail(format!("the object store cannot be written: {error}"));
            return;
        }
        let revision = batch.last().map_or(0, |record| record.revision);
        bell.ring(revision, batch.iter().map(|record| &record.resource));
        batch.clear();
    }
}

fn write(database: &Database, batch: &[Record]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut objects = transaction.open_table(OBJECTS)?;
        let mut meta = transaction.open_table(META)?;
        let mut path = String::new();
        for record in batch {
            path.clear();
            path.push_str(&record.resource);
            path.push('\0');
            path.push_str(&record.key);
            match &record.json {
                Some(json) => objects.insert(&*path, &**json)?,
                None => objects.remove(&*path)?,
            };
        }
        if let Some(last) = batch.last() {
            meta.insert(FORMAT, FORMAT_NOW)?;
            meta.insert(REVISION, last.revision)?;
        }
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_writer_waits_for_the_bell_and_learns_of_failure() {
        let bell = Arc::new(Bell::new(5));
        bell.wait(5).await.unwrap();
        let waiting = tokio::spawn({
            let bell = bell.clone();
            async move { bell.wait(6).await }
        });
        bell.ring(6, []);
        waiting.await.unwrap().unwrap();
        let waiting = tokio::spawn({
            let bell = bell.clone();
            async move { bell.wait(7).await }
        });
        bell.fail("the disk is full".to_owned());
        assert_eq!(waiting.await.unwrap().unwrap_err(), "the disk is full");
        bell.wait(6).await.unwrap();
    }

    #[test]
    fn everything_handed_over_before_the_close_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory {
            events: 10,
            age: 10,
            bytes: 1000,
        };
        let (_, _, disk) = open(folder.path(), memory).unwrap();
        let pods: Arc<str> = "pods".into();
        let record = |revision, key: &str, json: Option<&'static str>| Record {
            revision,
            resource: pods.clone(),
            key: key.into(),
            json: json.map(|text| Bytes::from_static(text.as_bytes())),
        };
        disk.write(record(1, "a/x", Some(r#"{"metadata":{"resourceVersion":"1"}}"#)));
        disk.write(record(2, "a/y", Some(r#"{"metadata":{"resourceVersion":"2"}}"#)));
        disk.write(record(3, "a/x", None));
        disk.close();
        let (store, bell, _disk) = open(folder.path(), memory).unwrap();
        assert_eq!((store.revision(), store.count(), bell.durable()), (3, 1, 3));
        assert_eq!(store.get("pods", "a/y").unwrap().revision, 2);
    }
}
