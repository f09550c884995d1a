//! Events, off the path of whoever tells them.
//!
//! The same thing told again counts up the Event that is there, and no more
//! often than [`QUIET`]; a full mailbox drops, because an Event is news, never
//! state.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::call::{create, merge};
use crate::clock;

/// The same Event is written at most once in this time.
const QUIET: Duration = Duration::from_secs(10);
/// Distinct Events remembered for counting.
const REMEMBERED: usize = 2048;
const MAILBOX: usize = 1024;

/// One thing that happened to an object.
#[derive(Clone, Debug)]
pub(crate) struct Occurrence {
    pub(crate) about: ObjectReference,
    pub(crate) warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// Where to tell what happened; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    sender: mpsc::Sender<Occurrence>,
}

impl Recorder {
    /// A recorder and its mailbox; [`write()`] empties the mailbox into the API.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Occurrence>) {
        let (sender, receiver) = mpsc::channel(MAILBOX);
        (Recorder { sender }, receiver)
    }

    /// Something as it should be.
    pub(crate) fn normal(&self, about: &ObjectReference, reason: &'static str, message: String) {
        self.tell(about, false, reason, message);
    }

    /// Something that wants a look.
    pub(crate) fn warning(&self, about: &ObjectReference, reason: &'static str, message: String) {
        self.tell(about, true, reason, message);
    }

    fn tell(&self, about: &ObjectReference, warning: bool, reason: &'static str, message: String) {
        let occurrence = Occurrence {
            about: about.clone(),
            warning,
            reason,
            message,
        };
        if let Err(error) = self.sender.try_send(occurrence) {
            tracing::debug!(%error, "an Event was dropped: the mailbox is full");
        }
    }
}

/// The object as an Event names it.
pub(crate) fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    object.object_ref(&())
}

/// The container of a Pod as an Event names it.
pub(crate) fn container_reference(pod: &ObjectReference, container: &str) -> ObjectReference {
    ObjectReference {
        field_path: Some(format!("spec.containers{{{container}}}")),
        ..pod.clone()
    }
}

struct Known {
    namespace: String,
    name: String,
    count: i32,
    unwritten: bool,
    written: Instant,
}

/// Writes Events for ever. `component` and `host` say who tells them.
pub(crate) async fn write(
    client: Client,
    component: &'static str,
    host: String,
    mut mailbox: mpsc::Receiver<Occurrence>,
) {
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    loop {
        let due = known.values().filter(|k| k.unwritten).map(|k| k.written + QUIET).min();
        let far = Instant::now() + Duration::from_secs(3600);
        tokio::select! {
            occurrence = mailbox.recv() => {
                let Some(occurrence) = occurrence else { return };
                tell(&client, component, &host, &mut known, occurrence).await;
            }
            () = tokio::time::sleep_until(due.unwrap_or(far)) => {}
        }
        let now = Instant::now();
        for event in known.values_mut().filter(|k| k.unwritten && k.written + QUIET <= now) {
            count(&client, event).await;
        }
    }
}

async fn tell(
    client: &Client,
    component: &str,
    host: &str,
    known: &mut BTreeMap<String, Known>,
    occurrence: Occurrence,
) {
    let about = &occurrence.about;
    let key = format!(
        "{}/{}/{}/{}",
        about.uid.as_deref().unwrap_or_default(),
        about.field_path.as_deref().unwrap_or_default(),
        occurrence.reason,
        occurrence.message
    );
    if let Some(event) = known.get_mut(&key) {
        event.count = event.count.saturating_add(1);
        event.unwritten = true;
        return;
    }
    if known.len() >= REMEMBERED {
        let oldest = known.iter().min_by_key(|(_, k)| k.written).map(|(key, _)| key.clone());
        known.remove(&oldest.unwrap_or_default());
    }
    let namespace = about.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let now = clock::now();
    let nanos = clock::now_micro().0.as_nanosecond();
    let event = Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{nanos:x}", about.name.as_deref().unwrap_or("unknown"))),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: about.clone(),
        reason: Some(occurrence.reason.to_owned()),
        message: Some(occurrence.message),
        type_: Some(if occurrence.warning { "Warning" } else { "Normal" }.to_owned()),
        source: Some(EventSource {
            component: Some(component.to_owned()),
            host: Some(host.to_owned()).filter(|h| !h.is_empty()),
        }),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now),
        count: Some(1),
        reporting_component: Some(component.to_owned()),
        reporting_instance: Some(host.to_owned()),
        ..Event::default()
    };
    let api = Api::<Event>::namespaced(client.clone(), &namespace);
    match create(&api, &event).await {
        Ok(event) => {
            let name = event.name_any();
            known.insert(
                key,
                Known {
                    namespace,
                    name,
                    count: 1,
                    unwritten: false,
                    written: Instant::now(),
                },
            );
        }
        Err(error) => tracing::debug!(%error, "an Event was not written"),
    }
}

async fn count(client: &Client, event: &mut Known) {
    let api = Api::<Event>::namespaced(client.clone(), &event.namespace);
    let patch = json!({"count": event.count, "lastTimestamp": clock::now()});
    event.unwritten = false;
    event.written = Instant::now();
    if let Err(error) = merge(&api, &event.name, &patch).await {
        tracing::debug!(%error, "an Event was not counted");
    }
}
