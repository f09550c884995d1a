//! The HTTP server: connections in, requests to the engine, answers out.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer::{self, Answer, Wanted};
use crate::disk::{self, Bell, DiskError};
use crate::engine::{Api, Call, Wall};
use crate::failure::{Failure, Outcome};
use crate::lifecycle::Part;
use crate::query::{Place, Query, place};
use crate::resource::Resource;
use crate::store::{Memory, Store};
use crate::{discovery, limits, tasks};

mod in_process;

pub use in_process::InProcess;

/// How to serve.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one. There is no authentication, so
    /// this should be a loopback address.
    pub listen: SocketAddr,
    /// Where objects are kept; `None` keeps them in memory only.
    pub data_dir: Option<PathBuf>,
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The data folder cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The first objects cannot be stored.
    #[error("cannot store the first objects: {0}")]
    Store(String),
}

/// A server that runs until it is shut down or dropped.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// Number of objects that were found on disk.
    pub restored: usize,
    api: Arc<Api>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Running {
    /// Number of objects of all resources now.
    #[must_use]
    pub fn object_count(&self) -> usize {
        self.api.store.lock().count()
    }

    /// Ends watches, lets open requests finish (for at most [`limits::DRAIN`]) and
    /// makes the last batch durable.
    pub async fn shutdown(self) {
        self.stop.cancel();
        if timeout(limits::DRAIN, self.tasks.wait()).await.is_err() {
            tracing::warn!("some requests did not finish in time and are cut off");
        }
        let api = self.api.clone();
        // Joining the writer blocks for one flush of the disk.
        let _ = tokio::task::spawn_blocking(move || {
            if let Some(disk) = &api.disk {
                disk.close();
            }
        })
        .await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Starts the server; it runs on the current runtime.
///
/// # Errors
/// [`Error`] names the address or the file, and the remedy.
pub async fn serve(options: Options) -> Result<Running, Error> {
    let Options { listen, data_dir } = options;
    let listener = TcpListener::bind(listen).await.map_err(|source| Error::Listen {
        address: listen,
        source,
    })?;
    let address = listener.local_addr().map_err(|source| Error::Listen {
        address: listen,
        source,
    })?;
    let memory = memory();
    let (store, bell, disk) = match data_dir {
        None => (Store::new(0, memory), Arc::new(Bell::new(0)), None),
        Some(folder) => {
            let opened = tokio::task::spawn_blocking(move || disk::open(&folder, memory)).await;
            let (store, bell, disk) = opened.map_err(|error| Error::Store(error.to_string()))??;
            (store, bell, Some(disk))
        }
    };
    let restored = store.count();
    let stop = CancellationToken::new();
    let wall = Wall(Box::new(jiff::Timestamp::now));
    let api = begin(Api::new(store, bell, disk, stop.clone(), wall)).await?;
    let tasks = TaskTracker::new();
    tasks.spawn(tasks::housekeeping(api.clone()));
    tasks.spawn(accept(listener, api.clone(), tasks.clone()));
    tasks.close();
    Ok(Running {
        address,
        restored,
        api,
        stop,
        tasks,
    })
}

fn memory() -> Memory {
    Memory {
        events: limits::EVENTS,
        age: u64::try_from(limits::EVENT_AGE.as_millis()).unwrap_or(u64::MAX),
        bytes: limits::EVENT_BYTES,
    }
}

async fn begin(api: Api) -> Result<Arc<Api>, Error> {
    let api = Arc::new(api);
    api.refresh();
    api.first_objects()
        .await
        .map_err(|failure| Error::Store(failure.message))?;
    Ok(api)
}

async fn accept(listener: TcpListener, api: Arc<Api>, tasks: TaskTracker) {
    let room = Arc::new(Semaphore::new(limits::CONNECTIONS));
    loop {
        let permit = tokio::select! {
            () = api.stop.cancelled() => return,
            permit = room.clone().acquire_owned() => permit,
        };
        let stream = tokio::select! {
            () = api.stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, most likely: give others time to close some.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let api = api.clone();
        tasks.spawn(async move {
            let _ = stream.set_nodelay(true);
            converse(stream, api).await;
            drop(permit);
        });
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, api: Arc<Api>) {
    let stop = api.stop.clone();
    let service = service_fn(move |request| {
        let api = api.clone();
        async move { Ok::<_, std::convert::Infallible>(respond(&api, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEAD_TIME)
        .max_headers(limits::HEADERS)
        .max_buf_size(limits::HEAD)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        // A client that breaks off is no news.
        _ = connection.as_mut() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    // Whoever does not finish in time is cut off.
    let _ = timeout(limits::DRAIN, connection).await;
}

async fn respond(api: &Arc<Api>, request: Request<Incoming>) -> Answer {
    const AUDIT: HeaderName = HeaderName::from_static("audit-id");
    api.requests.fetch_add(1, Ordering::Relaxed);
    let (head, mut incoming) = request.into_parts();
    let query = Query::parse(head.uri.query().unwrap_or_default());
    let wanted = Wanted::negotiate(&head.headers, query.get("pretty"));
    let errors = *wanted.as_ref().unwrap_or(&Wanted::JSON);
    let mut answer = match route(api, &head, &mut incoming, query, wanted).await {
        Ok(answer) => answer,
        Err(failure) => answer::failed(&failure, errors),
    };
    let read = drained(&mut incoming).await;
    let headers = answer.headers_mut();
    if !read {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-cache, private"));
    if let Ok(id) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
        headers.insert(AUDIT, id);
    }
    answer
}

/// Reads what nobody asked for of a body. Whether all of it came: a connection
/// on which some is left cannot be used again, and a client that is not told
/// so loses its next request on it.
async fn drained(incoming: &mut Incoming) -> bool {
    if incoming.is_end_stream() {
        return true;
    }
    if incoming.size_hint().lower() > limits::UNASKED as u64 {
        return false;
    }
    throw_away(incoming, limits::UNASKED).await
}

/// Reads up to so many bytes of a body and keeps none. Whether it has ended.
async fn throw_away(incoming: &mut Incoming, most: usize) -> bool {
    let reading = async {
        let mut read = 0;
        while let Some(frame) = incoming.frame().await {
            read += frame.ok()?.data_ref().map_or(0, Bytes::len);
            if read > most {
                return None;
            }
        }
        Some(())
    };
    matches!(timeout(limits::UNASKED_TIME, reading).await, Ok(Some(())))
}

/// Without authentication, a web page in the user's browser must not get in: not
/// by a form or script of another site, and not by a name that points here.
fn guard(headers: &HeaderMap) -> Outcome<()> {
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if text(&ORIGIN).is_some() || site.is_some_and(|site| site != b"none" && site != b"same-origin") {
        return Err(Failure::new(403, "Forbidden", "requests from web pages are refused"));
    }
    let host = text(&HOST).unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    if name.is_empty() || name == "localhost" || name.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    Err(Failure::new(
        403,
        "Forbidden",
        format!("the host {name} is refused: use an IP address or localhost"),
    ))
}

/// The present form of a watch's deprecated path (`/api/v1/watch/...`).
fn modern(path: String, mut query: Query) -> (String, Query) {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let (root, rest) = match &parts[..] {
        ["api", version, "watch", rest @ ..] => (format!("/api/{version}"), rest),
        ["apis", group, version, "watch", rest @ ..] => (format!("/apis/{group}/{version}"), rest),
        _ => return (path, query),
    };
    let place = place(&format!("{root}/{}", rest.join("/")));
    let named = place.is_some_and(|place| !place.name.is_empty());
    let (collection, name) = match rest.split_last() {
        Some((name, collection)) if named => (collection, *name),
        _ => (rest, ""),
    };
    query.set_default("watch", "true");
    if named {
        query.set_default("fieldSelector", &format!("metadata.name={name}"));
    }
    (format!("{root}/{}", collection.join("/")), query)
}

/// A path below a known group that leads nowhere.
fn lost(custom: bool) -> Outcome<Answer> {
    if custom {
        Ok(not_found_page())
    } else {
        Err(Failure::no_resource())
    }
}

fn not_found_page() -> Answer {
    answer::text(404, "404 page not found\n")
}

async fn route(
    api: &Arc<Api>,
    head: &Parts,
    incoming: &mut Incoming,
    query: Query,
    wanted: Outcome<Wanted>,
) -> Outcome<Answer> {
    guard(&head.headers)?;
    let path = head.uri.path().to_owned();
    let (path, query) = modern(path, query);
    let trimmed = path.trim_end_matches('/');
    let parts: Vec<&str> = trimmed.split('/').skip(1).collect();
    let get = matches!(head.method, Method::GET);
    let headers = &head.headers;
    let json = || *wanted.as_ref().unwrap_or(&Wanted::JSON);
    let registry = api.registry();
    let found = match &parts[..] {
        ["healthz" | "livez" | "readyz", ..] => return Ok(health(api)),
        ["version"] => Some(answer::json_value(200, &discovery::version(), json())),
        ["metrics"] => Some(answer::text(200, metrics(api))),
        ["openapi", "v2"] => Some(discovery::older_openapi(headers, json())),
        ["openapi", "v3", rest @ ..] => {
            let path = rest.join("/");
            let documents = api.documents();
            let found = documents.answer(&registry, &path, query.get("hash"), headers, json());
            return Ok(found.unwrap_or_else(|| answer::bare(404)));
        }
        ["api"] => Some(discovery::root(&registry, true, headers, json())),
        ["apis"] => Some(discovery::root(&registry, false, headers, json())),
        ["apis", group] => match discovery::group(&registry, group) {
            Some(value) => Some(answer::json_value(200, &value, json())),
            None => return Ok(not_found_page()),
        },
        ["api", version] => Some(listed(discovery::version_resources(&registry, "", version), json())?),
        ["apis", group, version] if registry.has_group(group) => {
            Some(listed(discovery::version_resources(&registry, group, version), json())?)
        }
        ["api" | "apis", ..] => None,
        [] => Some(answer::json_value(200, &roots(&registry), json())),
        _ => return Ok(not_found_page()),
    };
    if let Some(answer) = found {
        return if get {
            Ok(answer)
        } else {
            Err(Failure::method_not_allowed())
        };
    }
    let Some(place) = place(&path) else {
        return Ok(not_found_page());
    };
    if !registry.has_group(&place.group) {
        return Ok(not_found_page());
    }
    let Some(resource) = registry.find(&place.group, &place.version, &place.resource) else {
        return lost(registry.is_custom(&place.group));
    };
    serve_resource(api, head, incoming, query, wanted, place, resource.clone()).await
}

async fn serve_resource(
    api: &Arc<Api>,
    head: &Parts,
    incoming: &mut Incoming,
    query: Query,
    wanted: Outcome<Wanted>,
    place: Place,
    resource: Arc<Resource>,
) -> Outcome<Answer> {
    let misplaced = !resource.namespaced && !place.namespace.is_empty();
    let nameless = resource.namespaced && place.namespace.is_empty() && !place.name.is_empty();
    if misplaced || nameless {
        return lost(resource.custom.is_some());
    }
    for part in [&place.namespace, &place.name] {
        if part.contains(['/', '%', '\0']) || matches!(part.as_str(), "." | "..") {
            return Err(Failure::bad_request(format!(
                "invalid resource name {part:?}: [may not contain '/' or '%', nor be '.' or '..']"
            )));
        }
    }
    let log = place.sub == "log";
    let content_type = answer::content_type(&head.headers);
    let mut call = Call {
        resource,
        namespace: place.namespace,
        name: place.name,
        query,
        // A log is text whatever the client accepts.
        wanted: if log { wanted.unwrap_or(Wanted::JSON) } else { wanted? },
        content_type,
        body: Bytes::new(),
    };
    if head.method != Method::GET {
        call.body = body(incoming).await?;
    }
    let deprecated = call.resource.custom.as_ref().and_then(|custom| custom.warning.clone());
    let answered = dispatch(api, call, &head.method, &place.sub).await;
    let Some(warning) = deprecated else { return answered };
    match answered {
        Ok(mut answer) => {
            answer::warn_first(&mut answer, warning);
            Ok(answer)
        }
        Err(failure) => Err(failure.warned(&[warning])),
    }
}

async fn body(incoming: &mut Incoming) -> Outcome<Bytes> {
    let limited = Limited::new(&mut *incoming, limits::BODY);
    match timeout(limits::BODY_TIME, limited.collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            // The client still writes, and would lose the answer with the rest
            // if the connection were closed on it.
            throw_away(incoming, limits::THROWN_AWAY).await;
            Err(Failure::too_large(limits::BODY))
        }
        Ok(Err(error)) => Err(Failure::bad_request(format!("the body broke off: {error}"))),
        Err(_) => Err(Failure::new(408, "Timeout", "the body took too long to arrive")),
    }
}

/// Finds the verb.
async fn dispatch(api: &Arc<Api>, call: Call, method: &Method, sub: &str) -> Outcome<Answer> {
    let resource = call.resource.clone();
    if !resource.verbs.contains(&"get") {
        return match (method, call.name.is_empty(), &*resource.plural) {
            (&Method::POST, true, "bindings") => api.bind(&call).await,
            (&Method::POST, true, _) => Api::review(&call),
            _ => Err(Failure::method_not_allowed()),
        };
    }
    let object = !call.name.is_empty();
    if !sub.is_empty() {
        let known = resource.sub(sub).ok_or_else(|| {
            if resource.custom.is_some() {
                Failure::not_found(&resource, &call.name)
            } else {
                Failure::no_resource()
            }
        })?;
        let verb = match *method {
            Method::GET => "get",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            _ => "",
        };
        if !known.verbs.contains(&verb) {
            return Err(Failure::method_not_allowed());
        }
        return match (sub, verb) {
            ("scale", _) => api.scale(&call, method).await,
            ("binding", _) => api.bind(&call).await,
            ("eviction", _) => api.evict(&call).await,
            ("log", _) => api.log(&call).await,
            ("finalize", _) => api.finalize(&call).await,
            (_, "get") => api.read(&call).await,
            _ => api.change(&call, method, Part::Status).await,
        };
    }
    match (method, object) {
        (&Method::GET, true) => api.read(&call).await,
        (&Method::GET, false) if call.query.flag("watch") => api.watch(call).await,
        (&Method::GET, false) => api.list(&call).await,
        (&Method::POST, false) => api.create(&call).await,
        (&Method::PUT | &Method::PATCH, true) => api.change(&call, method, Part::Main).await,
        (&Method::DELETE, true) => api.delete(&call).await,
        (&Method::DELETE, false) if resource.verbs.contains(&"deletecollection") => {
            if resource.namespaced && call.namespace.is_empty() {
                return Err(Failure::method_not_allowed());
            }
            api.delete_collection(&call).await
        }
        _ => Err(Failure::method_not_allowed()),
    }
}

fn listed(value: Option<serde_json::Value>, wanted: Wanted) -> Outcome<Answer> {
    value
        .map(|value| answer::json_value(200, &value, wanted))
        .ok_or_else(Failure::no_resource)
}

fn health(api: &Api) -> Answer {
    match api.bell.failure() {
        None => answer::text(200, "ok"),
        Some(message) => answer::text(500, message.to_owned()),
    }
}

fn metrics(api: &Api) -> String {
    use std::fmt::Write as _;
    let mut text = String::from(
        "# HELP apiserver_storage_objects Number of stored objects of each resource.\n\
         # TYPE apiserver_storage_objects gauge\n",
    );
    let store = api.store.lock();
    for (resource, count) in store.counts() {
        let _ = writeln!(text, "apiserver_storage_objects{{resource=\"{resource}\"}} {count}");
    }
    let _ = write!(
        text,
        "# HELP apiserver_storage_revision Revision of the last change.\n\
         # TYPE apiserver_storage_revision gauge\n\
         apiserver_storage_revision {}\n\
         # HELP apiserver_watches Watches that are open.\n\
         # TYPE apiserver_watches gauge\n\
         apiserver_watches {}\n\
         # HELP apiserver_requests_total Requests since the start.\n\
         # TYPE apiserver_requests_total counter\n\
         apiserver_requests_total {}\n",
        store.revision(),
        api.watches.load(Ordering::Relaxed),
        api.requests.load(Ordering::Relaxed),
    );
    text
}

fn roots(registry: &crate::registry::Registry) -> serde_json::Value {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for (group, versions) in registry.groups().into_iter().filter(|(group, _)| !group.is_empty()) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.into_iter().map(|version| format!("/apis/{group}/{version}")));
    }
    paths.extend(
        [
            "/healthz",
            "/livez",
            "/metrics",
            "/openapi/v2",
            "/openapi/v3",
            "/readyz",
            "/version",
        ]
        .map(str::to_owned),
    );
    serde_json::json!({ "paths": paths })
}
