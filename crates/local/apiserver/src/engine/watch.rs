//! `watch`: a stream of changes, one JSON object per line.
//!
//! A watch holds nothing but a revision: it reads the store's log from there on,
//! whenever the bell rings for its resource. So a slow client costs no memory; it
//! falls out of the log at last and is told to start again (410).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::read::{Selection, namespace, table, unknown_match};
use super::{Api, Call, partial, typed_text};
use crate::answer::{self, Answer, Shape};
use crate::failure::{Failure, Outcome};
use crate::forms::schema::Cause;
use crate::limits;
use crate::store::{Event, Object, Unavailable};

/// How a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    /// With changes after this revision.
    After(u64),
    /// With an ADDED for everything that exists.
    State {
        /// And a bookmark that says where it ends.
        bookmark: bool,
    },
    /// With changes from now on.
    Now,
}

impl Api {
    /// `GET …?watch=true`.
    pub(crate) async fn watch(self: &Arc<Self>, call: Call) -> Outcome<Answer> {
        let selection = Selection::read(&call)?;
        let begin = begin(&call)?;
        if !call.namespace.is_empty() && !call.resource.namespaced {
            return Err(Failure::no_resource());
        }
        let seconds = call
            .query
            .number("timeoutSeconds")?
            .and_then(|seconds| u64::try_from(seconds).ok());
        let lifetime = match seconds {
            Some(seconds) if seconds > 0 => Duration::from_secs(seconds),
            // Spread over half an hour, so that many watches do not end together.
            _ => Duration::from_secs(1800 + u64::from(uuid::Uuid::new_v4().as_bytes()[0]) * 7),
        };
        let guard = WatchGuard::enter(self)?;
        let bell = self.bell.listen(&call.resource.storage);
        let (frames, received) = mpsc::channel(limits::WATCH_FRAMES);
        let mut stream = Stream {
            api: self.clone(),
            bookmarks: call.query.flag("allowWatchBookmarks"),
            call,
            selection,
            bell,
            out: Out {
                frames,
                buffer: Vec::new(),
            },
            at: 0,
            table_begun: false,
            end: Instant::now() + lifetime,
        };
        tokio::spawn(async move {
            let stop = stream.api.stop.clone();
            // A watch ends by timing out, by its client's leaving, by an error it has told, or with the server.
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                _ = stream.run(begin) => {}
            }
            drop(guard);
        });
        let body = StreamBody::new(
            futures::stream::unfold(received, |mut received| async move {
                received
                    .recv()
                    .await
                    .map(|bytes: Bytes| (Ok(Frame::data(bytes)), received))
            })
            .boxed(),
        );
        Ok(answer::answer(200, "application/json", BodyExt::boxed_unsync(body)))
    }
}

fn begin(call: &Call) -> Outcome<Begin> {
    let query = &call.query;
    let matching = query.get("resourceVersionMatch");
    let forbidden = |text: &str| {
        Err(Failure::invalid_options(
            "ListOptions",
            Cause {
                reason: "FieldValueForbidden",
                message: format!("Forbidden: {text}"),
                field: "resourceVersionMatch".to_owned(),
            },
        ))
    };
    let revision = query.revision("resourceVersion")?;
    if query.has("sendInitialEvents") {
        return match matching {
            "NotOlderThan" if query.flag("sendInitialEvents") => Ok(Begin::State {
                bookmark: query.flag("allowWatchBookmarks"),
            }),
            "NotOlderThan" => Ok(revision
                .filter(|revision| *revision > 0)
                .map_or(Begin::Now, Begin::After)),
            "" => forbidden("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
            "Exact" => Err(Failure::invalid(
                "meta.k8s.io",
                "ListOptions",
                "",
                &[
                    Cause {
                        reason: "FieldValueForbidden",
                        message: "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
                            .to_owned(),
                        field: "resourceVersionMatch".to_owned(),
                    },
                    Cause {
                        reason: "FieldValueNotSupported",
                        message: "Unsupported value: \"Exact\": supported values: \"NotOlderThan\"".to_owned(),
                        field: "resourceVersionMatch".to_owned(),
                    },
                ],
            )),
            other => Err(Failure::invalid_options("ListOptions", unknown_match(other))),
        };
    }
    if !matching.is_empty() {
        return forbidden("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
    }
    match revision {
        None | Some(0) => Ok(Begin::State { bookmark: false }),
        Some(revision) => Ok(Begin::After(revision)),
    }
}

/// Counts the watches that are open.
struct WatchGuard(Arc<Api>);

impl WatchGuard {
    fn enter(api: &Arc<Api>) -> Outcome<Self> {
        let guard = Self(api.clone());
        if api.watches.fetch_add(1, Ordering::Relaxed) >= limits::WATCHES {
            return Err(Failure::too_many(format!(
                "too many watches are open (limit {}): close some, or watch a whole collection instead of single objects",
                limits::WATCHES
            )));
        }
        Ok(guard)
    }
}

impl Drop for WatchGuard {
    fn drop(&mut self) {
        self.0.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The client is gone, too slow, or has been told the end.
struct Over;

struct Stream {
    api: Arc<Api>,
    call: Call,
    selection: Selection,
    bell: watch::Receiver<u64>,
    out: Out,
    /// Everything up to this revision was sent.
    at: u64,
    bookmarks: bool,
    /// Whether the column definitions were sent.
    table_begun: bool,
    end: Instant,
}

impl Stream {
    async fn run(&mut self, begin: Begin) -> Result<(), Over> {
        match begin {
            Begin::After(revision) => self.at = revision,
            Begin::Now => self.at = self.api.bell.durable(),
            Begin::State { bookmark } => self.send_state(bookmark).await?,
        }
        let mut next_bookmark = Instant::now() + limits::BOOKMARK_EVERY;
        // A last bookmark shortly before the end saves the client a relist.
        let mut last_bookmark = self
            .end
            .checked_sub(Duration::from_secs(2))
            .filter(|at| *at > Instant::now());
        loop {
            self.send_changes().await?;
            let soon = last_bookmark.map_or(next_bookmark, |last| last.min(next_bookmark));
            // The bell last: it may ring all the time.
            tokio::select! {
                biased;
                () = sleep_until(self.end) => return Ok(()),
                () = self.out.frames.closed() => return Err(Over),
                () = sleep_until(soon), if self.bookmarks => {
                    self.send_changes().await?;
                    self.send_bookmark(false).await?;
                    if last_bookmark.is_some_and(|last| last <= Instant::now()) {
                        last_bookmark = None;
                    }
                    next_bookmark = Instant::now() + limits::BOOKMARK_EVERY;
                }
                rung = self.bell.changed() => if rung.is_err() { return Err(Over) },
            }
        }
    }

    /// Everything that exists, as if it had just been made.
    async fn send_state(&mut self, bookmark: bool) -> Result<(), Over> {
        let (objects, revision) = {
            let store = self.api.store.lock();
            (self.selection.candidates(&store, &self.call), store.revision())
        };
        if self.api.durable(revision).await.is_err() {
            return Err(Over);
        }
        self.at = revision;
        for (_, object) in &objects {
            if self.selection.matches(&object.value) {
                self.line("ADDED", object);
                self.out.flush_if_full().await?;
            }
        }
        if bookmark {
            self.send_bookmark(true).await?;
        }
        self.out.flush().await
    }

    /// The durable changes since the last ones sent.
    async fn send_changes(&mut self) -> Result<(), Over> {
        const BATCH: usize = 256;
        loop {
            self.bell.borrow_and_update();
            let upto = self.api.bell.durable();
            if upto <= self.at {
                return Ok(());
            }
            let found = self
                .api
                .store
                .lock()
                .since(&self.call.resource.storage, self.at, upto, BATCH);
            let events = match found {
                Ok(events) => events,
                Err(Unavailable::Future { .. }) => return Ok(()),
                Err(Unavailable::Compacted { oldest }) => {
                    let status = Failure::expired(self.at, oldest).status();
                    self.out.line(&json!({"type": "ERROR", "object": status}));
                    self.out.flush().await?;
                    return Err(Over);
                }
            };
            let full = events.len() == BATCH;
            for event in &events {
                self.change(event);
                self.at = event.revision;
                self.out.flush_if_full().await?;
            }
            self.out.flush().await?;
            if !full {
                self.at = upto;
                return Ok(());
            }
        }
    }

    /// A change as the watcher sees it: entering the selection is an addition,
    /// leaving it a deletion.
    fn change(&mut self, event: &Event) {
        if namespace(&self.call)
            .is_some_and(|wanted| !event.key.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('/')))
        {
            return;
        }
        let was = event
            .before
            .as_ref()
            .is_some_and(|before| self.selection.matches(&before.value));
        let is = !event.deleted && self.selection.matches(&event.object.value);
        match (was, is) {
            (false, true) => self.line("ADDED", &event.object),
            (true, true) => self.line("MODIFIED", &event.object),
            (true, false) if event.deleted => self.line("DELETED", &event.object),
            (true, false) => {
                // The state that was selected, at the revision at which it no longer is.
                let before = event
                    .before
                    .as_ref()
                    .map(|before| before.value.clone())
                    .unwrap_or_default();
                self.line("DELETED", &Object::new(before, event.revision));
            }
            (false, false) => {}
        }
    }

    fn line(&mut self, kind: &str, object: &Object) {
        match self.call.wanted.shape {
            Shape::Plain => {
                let buffer = &mut self.out.buffer;
                buffer.extend_from_slice(format!("{{\"type\":\"{kind}\",\"object\":").as_bytes());
                typed_text(&self.call.resource, object, buffer);
                buffer.extend_from_slice(b"}\n");
            }
            Shape::Partial => self
                .out
                .line(&json!({"type": kind, "object": partial(&self.call, &object.value)})),
            Shape::Table => {
                let mut table = table(&self.call, &[object], !self.table_begun);
                if self.table_begun {
                    table["columnDefinitions"] = Value::Null;
                }
                self.table_begun = true;
                table["metadata"] = json!({"resourceVersion": super::read::version(object)});
                self.out.line(&json!({"type": kind, "object": table}));
            }
        }
    }

    async fn send_bookmark(&mut self, initial_events_end: bool) -> Result<(), Over> {
        let mut metadata = json!({"resourceVersion": self.at.to_string()});
        if initial_events_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let resource = &self.call.resource;
        let object = match self.call.wanted.shape {
            Shape::Plain => json!({"kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata}),
            Shape::Partial => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": self.call.wanted.meta_version, "metadata": metadata})
            }
            Shape::Table => {
                let row = json!({"kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata});
                let mut table = table(&self.call, &[], !self.table_begun);
                if self.table_begun {
                    table["columnDefinitions"] = Value::Null;
                }
                self.table_begun = true;
                table["metadata"] = json!({"resourceVersion": self.at.to_string()});
                let cells: Vec<Value> = Vec::new();
                table["rows"] = json!([{"cells": cells, "object": row}]);
                table
            }
        };
        self.out.line(&json!({"type": "BOOKMARK", "object": object}));
        self.out.flush().await
    }
}

/// Lines on their way to the client, several to a frame.
struct Out {
    frames: mpsc::Sender<Bytes>,
    buffer: Vec<u8>,
}

impl Out {
    fn line(&mut self, value: &Value) {
        if serde_json::to_writer(&mut self.buffer, value).is_ok() {
            self.buffer.push(b'\n');
        }
    }

    async fn flush_if_full(&mut self) -> Result<(), Over> {
        if self.buffer.len() >= limits::WATCH_FRAME {
            self.flush().await
        } else {
            Ok(())
        }
    }

    /// Hands the lines over; gives up on a client that takes none for too long.
    async fn flush(&mut self) -> Result<(), Over> {
        if self.buffer.is_empty() {
            return if self.frames.is_closed() { Err(Over) } else { Ok(()) };
        }
        let frame = Bytes::from(std::mem::take(&mut self.buffer));
        match timeout(limits::WATCH_PATIENCE, self.frames.send(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Over),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Wanted;
    use crate::disk::Bell;
    use crate::query::Query;
    use crate::store::{Expect, Memory, Store, key};

    /// A watch of ConfigMaps from revision 1 on, of a server that remembers two events.
    async fn watch_after(puts: usize) -> Vec<Value> {
        let memory = Memory {
            events: 2,
            age: u64::MAX,
            bytes: usize::MAX,
        };
        let stop = tokio_util::sync::CancellationToken::new();
        let wall = crate::engine::Wall(Box::new(jiff::Timestamp::now));
        let api = Arc::new(Api::new(
            Store::new(0, memory),
            Arc::new(Bell::new(0)),
            None,
            stop,
            wall,
        ));
        let resource = api.builtin("", "v1", "configmaps").unwrap();
        for n in 0..puts {
            let mut store = api.store.lock();
            let value = json!({"metadata": {"name": n.to_string(), "namespace": "a"}});
            let object = store
                .put(&resource.storage, &key("a", &n.to_string()), value, Expect::Absent, 0)
                .unwrap();
            api.bell.ring(object.revision, [&resource.storage]);
        }
        let call = Call {
            resource,
            namespace: "a".to_owned(),
            name: String::new(),
            query: Query::parse("watch=true&resourceVersion=1&timeoutSeconds=1"),
            wanted: Wanted::JSON,
            content_type: String::new(),
            body: Bytes::new(),
        };
        let body = api
            .watch(call)
            .await
            .unwrap()
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes();
        body.split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    #[tokio::test]
    async fn who_asks_for_the_forgotten_past_is_told_to_start_again() {
        let lines = watch_after(4).await;
        assert_eq!(lines.len(), 1);
        assert_eq!(
            (
                &lines[0]["type"],
                &lines[0]["object"]["code"],
                &lines[0]["object"]["reason"]
            ),
            (&json!("ERROR"), &json!(410), &json!("Expired"))
        );
    }

    #[tokio::test]
    async fn who_asks_for_what_is_remembered_gets_it() {
        let lines = watch_after(3).await;
        let names: Vec<_> = lines
            .iter()
            .map(|line| line["object"]["metadata"]["name"].clone())
            .collect();
        assert_eq!(names, ["1", "2"]);
    }
}
