//! The page over HTTP: its assets, its events, and who may see them.
//!
//! Only loopback is served, and only to a reader who asked for it by a
//! loopback name: a page of another origin that got this address into a
//! browser (by a link, a frame, a script or a rebound DNS name) is refused.

use super::history::History;
use super::input::{Feed, Input};
use super::state::{Read, State, state};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State as Context};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Pages that may be open at once.
const WATCHERS: usize = 32;
/// States follow each other no faster, however often the feed changes.
const FASTEST: Duration = Duration::from_millis(100);

const ASSETS: [(&str, &str, &str); 8] = [
    ("/", "text/html; charset=utf-8", include_str!("assets/page.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("assets/page.css")),
    (
        "/page.js",
        "text/javascript; charset=utf-8",
        include_str!("assets/page.js"),
    ),
    (
        "/charts.js",
        "text/javascript; charset=utf-8",
        include_str!("assets/charts.js"),
    ),
    (
        "/fleet.js",
        "text/javascript; charset=utf-8",
        include_str!("assets/fleet.js"),
    ),
    (
        "/decisions.js",
        "text/javascript; charset=utf-8",
        include_str!("assets/decisions.js"),
    ),
    (
        "/dom.js",
        "text/javascript; charset=utf-8",
        include_str!("assets/dom.js"),
    ),
    ("/icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
];

/// Nothing but our own files: no inline script or style, no other host, no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Why the page cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// The listener is reachable from other machines.
    #[error("the dashboard is for this machine alone: {0} is not a loopback address; use 127.0.0.1 or [::1]")]
    NotLoopback(SocketAddr),
    /// The socket failed.
    #[error("the dashboard's listener failed: {0}")]
    Listener(#[from] std::io::Error),
}

/// What all connections share.
struct Page {
    feed: Arc<dyn Feed>,
    port: u16,
    seen: Mutex<Seen>,
    /// The number of the newest observation.
    observed: watch::Sender<u64>,
    /// The state of an observation, made by the first reader who wants it.
    latest: Mutex<Option<(u64, Arc<State>)>>,
    watchers: Arc<Semaphore>,
    over: CancellationToken,
}

struct Seen {
    history: History,
    input: Arc<Input>,
    at_unix_ms: u64,
}

/// Serves the page on `listener` until `shutdown` resolves, and keeps the
/// history filling meanwhile.
///
/// # Errors
/// [`ServeError::NotLoopback`] if the listener is bound to another address,
/// [`ServeError::Listener`] if the socket fails.
pub(crate) async fn serve(
    listener: TcpListener,
    feed: Arc<dyn Feed>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        return Err(ServeError::NotLoopback(address));
    }
    let over = CancellationToken::new();
    let page = Arc::new(Page::new(feed, address.port(), over.clone()));
    let observer = tokio::spawn(Arc::clone(&page).observe());
    let ended = over.clone();
    let served = axum::serve(listener, router(page)).with_graceful_shutdown(async move {
        shutdown.await;
        ended.cancel();
    });
    let result = served.await;
    over.cancel();
    observer.abort();
    Ok(result?)
}

fn router(page: Arc<Page>) -> Router {
    let mut router = Router::new()
        .route("/events", get(events))
        .route("/state", get(state_once));
    for (path, kind, text) in ASSETS {
        let asset = move || async move { ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], text) };
        router = router.route(path, get(asset));
    }
    router
        .fallback(|| async { (StatusCode::NOT_FOUND, "There is GET /, GET /state and GET /events.\n") })
        .layer(from_fn_with_state(Arc::clone(&page), guard))
        .with_state(page)
}

impl Page {
    fn new(feed: Arc<dyn Feed>, port: u16, over: CancellationToken) -> Self {
        let at_unix_ms = unix_ms();
        let input = Arc::new(feed.snapshot());
        let mut history = History::default();
        history.observe(&input, at_unix_ms);
        Self {
            feed,
            port,
            seen: Mutex::new(Seen {
                history,
                input,
                at_unix_ms,
            }),
            observed: watch::channel(1).0,
            latest: Mutex::new(None),
            watchers: Arc::new(Semaphore::new(WATCHERS)),
            over,
        }
    }

    /// Looks once per second, and at once when the feed says that something changed.
    async fn observe(self: Arc<Self>) {
        let mut changed = self.feed.changed();
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tells_changes = true;
        loop {
            tokio::select! {
                _ = second.tick() => {}
                told = changed.changed(), if tells_changes => {
                    tells_changes = told.is_ok();
                    if !tells_changes {
                        continue;
                    }
                }
            }
            let input = Arc::new(self.feed.snapshot());
            let now = unix_ms();
            {
                let mut seen = self.seen.lock();
                seen.history.observe(&input, now);
                seen.input = input;
                seen.at_unix_ms = now;
            }
            self.observed.send_modify(|number| *number += 1);
            tokio::time::sleep(FASTEST).await;
        }
    }

    /// The state of the newest observation, computed at most once for all readers.
    fn latest(&self) -> Arc<State> {
        let number = *self.observed.borrow();
        let mut latest = self.latest.lock();
        if let Some((of, state)) = latest.as_ref()
            && *of == number
        {
            return Arc::clone(state);
        }
        let fresh = {
            let seen = self.seen.lock();
            Arc::new(state(&seen.history, &seen.input, seen.at_unix_ms))
        };
        *latest = Some((number, Arc::clone(&fresh)));
        fresh
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

async fn state_once(Context(page): Context<Arc<Page>>) -> Response {
    let state = page.latest();
    axum::Json(state.message(Read::default()).0).into_response()
}

/// One open page: where its events are, and how far it has read.
struct Reader {
    page: Arc<Page>,
    observed: watch::Receiver<u64>,
    read: Read,
    first: bool,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    /// The next event; `None` when the server is about to end.
    async fn next(mut self) -> Option<(Result<Bytes, std::convert::Infallible>, Self)> {
        if !self.first {
            tokio::select! {
                () = self.page.over.cancelled() => return None,
                told = self.observed.changed() => told.ok()?,
            }
        }
        self.observed.borrow_and_update();
        let state = self.page.latest();
        let (message, read) = state.message(self.read);
        let json = serde_json::to_string(&message).ok()?;
        let retry = if self.first { "retry: 1000\n" } else { "" };
        self.read = read;
        self.first = false;
        Some((Ok(Bytes::from(format!("{retry}data: {json}\n\n"))), self))
    }
}

async fn events(Context(page): Context<Arc<Page>>) -> Response {
    let Ok(place) = Arc::clone(&page.watchers).try_acquire_owned() else {
        let text = format!("{WATCHERS} pages are open already. Close one.\n");
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], text).into_response();
    };
    let observed = page.observed.subscribe();
    let reader = Reader {
        page,
        observed,
        read: Read::default(),
        first: true,
        _place: place,
    };
    let body = Body::from_stream(futures::stream::unfold(reader, Reader::next));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// Lets through those who may see the page, and tells browsers what it may do.
async fn guard(Context(page): Context<Arc<Page>>, request: Request, next: Next) -> Response {
    let mut response = match refusal(request.headers(), request.uri().path(), page.port) {
        Some(why) => (StatusCode::FORBIDDEN, why).into_response(),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    response
}

/// Why a request is refused: it was not made to a loopback name, or by a page
/// that is not this one.
fn refusal(headers: &HeaderMap, path: &str, port: u16) -> Option<String> {
    let text = |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let ours = |authority: &str| {
        ["127.0.0.1", "localhost", "[::1]"].iter().any(|name| {
            let rest = authority.strip_prefix(name);
            rest == Some("") && port == 80 || rest.and_then(|rest| rest.strip_prefix(':')) == Some(&port.to_string())
        })
    };
    let host = text(header::HOST).unwrap_or("");
    if !ours(&host.to_ascii_lowercase()) {
        return Some(format!(
            "This page is at http://127.0.0.1:{port} only, not at \"{host}\".\n"
        ));
    }
    if let Some(origin) = text(header::ORIGIN)
        && !origin.strip_prefix("http://").is_some_and(ours)
    {
        return Some(format!(
            "This page answers to itself only, not to a page of \"{origin}\".\n"
        ));
    }
    // A link from elsewhere may open the page; no other page may load what is in it.
    let site = headers.get("sec-fetch-site").map(|value| value.as_bytes());
    let opened = path == "/" && headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate");
    let own = matches!(site, None | Some(b"same-origin" | b"none"));
    (!own && !opened).then(|| "This page answers to itself only, not to another page.\n".to_owned())
}

#[cfg(test)]
mod tests;
