//! The line between a client and the API server, and what may be wrong with it.

use super::chance::Chance;
use apiserver::InProcess;
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How the line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Way {
    /// As it should be.
    #[default]
    Fine,
    /// Half of all requests fail: with 500, 429, 409 if they write, or no connection.
    Flaky,
    /// Every request is answered with 500.
    Failing,
    /// Every attempt to scale is answered with 409.
    Conflicting,
    /// Nobody may look at Pods.
    NoPods,
    /// Nothing gets through; what was asked is delivered when the line is better.
    Frozen,
}

/// Replicas that were asked for through a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) at: Instant,
    pub(crate) replicas: i64,
}

/// One client's line. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Line(Arc<Shared>);

struct Shared {
    server: Arc<InProcess>,
    way: Mutex<Way>,
    /// Wakes those that wait for another way, in the order in which they came.
    turned: Notify,
    /// Cancelled to break all watches that are open.
    cut: Mutex<CancellationToken>,
    chance: Mutex<Chance>,
    orders: Mutex<Vec<Order>>,
}

/// Why there is no answer, or no more of it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Broken(String);

type Answer = Response<UnsyncBoxBody<Bytes, Broken>>;

impl Line {
    pub(crate) fn new(server: Arc<InProcess>, seed: u64) -> Self {
        Self(Arc::new(Shared {
            server,
            way: Mutex::default(),
            turned: Notify::new(),
            cut: Mutex::default(),
            chance: Mutex::new(Chance::new(seed)),
            orders: Mutex::default(),
        }))
    }

    pub(crate) fn client(&self) -> kube::Client {
        let line = self.clone();
        let service = tower::service_fn(move |request| {
            let line = line.clone();
            async move {
                // What was sent arrives, even when nobody waits for the answer any more.
                let carried = tokio::spawn(async move { line.carry(request).await });
                carried.await.map_err(|error| Broken(error.to_string()))?
            }
        });
        kube::Client::new(service, "default")
    }

    pub(crate) fn set(&self, way: Way) {
        *self.0.way.lock() = way;
        self.0.turned.notify_waiters();
    }

    /// Breaks the watches that are open.
    pub(crate) fn cut_watches(&self) {
        std::mem::take(&mut *self.0.cut.lock()).cancel();
    }

    /// What was asked for and granted, by the scale subresource.
    pub(crate) fn orders(&self) -> Vec<Order> {
        self.0.orders.lock().clone()
    }

    async fn carry(&self, request: Request<Body>) -> Result<Answer, Broken> {
        let (mut head, body) = request.into_parts();
        let body = body
            .collect()
            .await
            .map_err(|error| Broken(error.to_string()))?
            .to_bytes();
        let way = self.way().await;
        if way == Way::NoPods && head.uri.path().ends_with("/pods") {
            return Ok(refused(403, "Forbidden", "pods is forbidden: no right to list"));
        }
        let writes = head.method != Method::GET;
        let chosen = match way {
            Way::Flaky => self.0.chance.lock().below(8),
            Way::Failing => 0,
            Way::Conflicting if head.uri.path().ends_with("/scale") => 2,
            Way::Conflicting | Way::NoPods | Way::Fine | Way::Frozen => 7,
        };
        match chosen {
            0 => return Ok(refused(500, "InternalError", "etcdserver: request timed out")),
            1 => return Ok(refused(429, "TooManyRequests", "too many requests")),
            2 if writes => return Ok(refused(409, "Conflict", "the object has been modified")),
            3 => return Err(Broken("connection reset by peer".to_owned())),
            _ => {}
        }
        head.headers
            .insert(http::header::HOST, HeaderValue::from_static("127.0.0.1"));
        let order = scaled(&head, &body);
        let answer = self.send(Request::from_parts(head, Full::new(body))).await?;
        if let (Some(replicas), true) = (order, answer.status().is_success()) {
            let at = Instant::now();
            self.0.orders.lock().push(Order { at, replicas });
        }
        Ok(answer)
    }

    /// How it is, once anything gets through.
    async fn way(&self) -> Way {
        loop {
            let turned = self.0.turned.notified();
            let way = *self.0.way.lock();
            if way != Way::Frozen {
                return way;
            }
            turned.await;
        }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, Broken> {
        let broken = |error: hyper::Error| Broken(error.to_string());
        let cut = self.0.cut.lock().clone();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(self.0.server.connect()))
            .await
            .map_err(broken)?;
        tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(broken)?;
        let (head, body) = answer.into_parts();
        let ended = cut.clone();
        let end = async move {
            ended
                .is_cancelled()
                .then(|| Err(Broken("connection reset by peer".to_owned())))
        };
        let frames = BodyStream::new(body)
            .map(move |frame: Result<Frame<Bytes>, _>| frame.map_err(broken))
            .take_until(cut.cancelled_owned())
            .chain(futures::stream::once(end).filter_map(std::future::ready));
        Ok(Response::from_parts(head, StreamBody::new(frames).boxed_unsync()))
    }
}

/// The replicas that a request sets, if it does.
fn scaled(head: &http::request::Parts, body: &Bytes) -> Option<i64> {
    if head.method == Method::GET || !head.uri.path().ends_with("/scale") {
        return None;
    }
    let body: Value = serde_json::from_slice(body).ok()?;
    body["spec"]["replicas"].as_i64()
}

fn refused(code: u16, reason: &str, message: &str) -> Answer {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code});
    let body = Full::new(Bytes::from(status.to_string())).map_err(|never| match never {});
    let mut answer = Response::new(body.boxed_unsync());
    *answer.status_mut() = http::StatusCode::from_u16(code).unwrap();
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(http::header::CONTENT_TYPE, json);
    answer
}
