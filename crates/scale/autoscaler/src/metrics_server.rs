//! Serves `/metrics`, and what stands behind it: `/variants`, `/decisions`,
//! `/configuration` and `/leader`; and `/healthz` and `/readyz`, alone if wished.

use crate::Handle;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Most connections at once.
const CONNECTIONS: usize = 64;
/// Time a client has to send its request's head.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);

/// What an address serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pages {
    /// Everything.
    All,
    /// Only whether the process is alive and ready.
    Health,
}

/// Listens on `address` and serves until `stop`; returns the address it got.
pub(crate) async fn serve(
    address: SocketAddr,
    pages: Pages,
    handle: Handle,
    stop: CancellationToken,
) -> Result<SocketAddr, std::io::Error> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    tokio::spawn(async move {
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else {
                // Out of descriptors, most likely: others must close first.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let (handle, stop) = (handle.clone(), stop.clone());
            tokio::spawn(async move {
                let _permit = permit;
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_DEADLINE)
                    .serve_connection(
                        TokioIo::new(stream),
                        service_fn(|request| answer(&handle, pages, &request)),
                    );
                tokio::select! {
                    () = stop.cancelled() => {}
                    _ = connection => {}
                }
            });
        }
    });
    Ok(bound)
}

fn to_json(value: &impl serde::Serialize) -> String {
    // Records of strings and numbers always serialise.
    serde_json::to_string(value).unwrap_or_else(|error| format!("{{\"error\":{:?}}}", error.to_string()))
}

fn answer(
    handle: &Handle,
    pages: Pages,
    request: &Request<Incoming>,
) -> std::future::Ready<Result<Response<Full<Bytes>>, Infallible>> {
    let (text, json) = ("text/plain; version=0.0.4; charset=utf-8", "application/json");
    let (status, kind, body) = match (request.uri().path(), pages) {
        ("/healthz", _) => (StatusCode::OK, text, "ok\n".to_owned()),
        ("/readyz", _) if handle.ready() => (StatusCode::OK, text, "ok\n".to_owned()),
        ("/readyz", _) => {
            let why = "objects and configuration have not been read yet\n";
            (StatusCode::SERVICE_UNAVAILABLE, text, why.to_owned())
        }
        ("/metrics", Pages::All) => (StatusCode::OK, text, handle.metrics_text()),
        ("/variants", Pages::All) => (StatusCode::OK, json, to_json(&handle.variants())),
        ("/decisions", Pages::All) => (StatusCode::OK, json, to_json(&handle.decisions())),
        ("/leader", Pages::All) => {
            let leader = serde_json::json!({
                "leads": handle.leads(), "leader": handle.leader(), "observes": handle.observes(),
            });
            (StatusCode::OK, json, leader.to_string())
        }
        ("/gpus", Pages::All) => (StatusCode::OK, json, to_json(&handle.gpus())),
        ("/configuration", Pages::All) => (StatusCode::OK, json, to_json(&handle.configmaps())),
        (_, pages) => {
            let there = match pages {
                Pages::All => {
                    "there is /metrics, /variants, /decisions, /gpus, /configuration, /leader, /healthz and /readyz\n"
                }
                Pages::Health => "there is /healthz and /readyz\n",
            };
            (StatusCode::NOT_FOUND, text, there.to_owned())
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    std::future::ready(Ok(response))
}
