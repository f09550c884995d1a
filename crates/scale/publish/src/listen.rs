//! Accepts connections within limits and hands their requests on.

use crate::front_proxy::Peer;
use crate::tls::Tls;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Most connections at once; further ones wait in the listen queue.
const CONNECTIONS: usize = 256;
/// Time for a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Time for the head of a request, and for an idle HTTP/1 connection.
const HEAD: Duration = Duration::from_secs(30);
/// A connection that asks nothing for so long after it came is closed.
const FIRST_REQUEST: Duration = Duration::from_secs(120);
/// How often a silent HTTP/2 peer is asked whether it lives, and how long it has to answer.
const ALIVE: Duration = Duration::from_secs(20);
/// Time for requests under way when everything stops.
const DRAIN: Duration = Duration::from_secs(3);
/// Bytes and lines of a request's head.
const HEAD_BYTES: usize = 16 * 1024;
const HEAD_LINES: usize = 64;
/// Requests at once on one HTTP/2 connection: KEDA shares a connection
/// between all ScaledObjects, each with a stream that stays.
const STREAMS: u32 = 4096;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What is spoken on a listener.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Speaks {
    Http1,
    Http2,
}

/// Serves until `stop`; returns when all connections are closed.
pub(crate) async fn run<H, F, B>(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    speaks: Speaks,
    handler: H,
    stop: CancellationToken,
) where
    H: Fn(Peer, Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = async {
                // The semaphore is never closed.
                let place = places.clone().acquire_owned().await.ok();
                (place, listener.accept().await)
            } => accepted,
        };
        let (Some(place), Ok((stream, _))) = accepted else {
            // Out of descriptors, most likely: others must close first.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (tls, handler, stop) = (tls.clone(), handler.clone(), stop.clone());
        connections.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                secured = secure(stream, tls.as_deref()) => match secured {
                    Some(Secured::Plain(stream)) => converse(stream, Peer::None, speaks, handler, &stop).await,
                    Some(Secured::Tls(stream, peer)) => converse(stream, peer, speaks, handler, &stop).await,
                    None => {}
                },
            }
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

enum Secured {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>, Peer),
}

/// The handshake, if there is one.
async fn secure(stream: TcpStream, tls: Option<&Tls>) -> Option<Secured> {
    // Answers are small and each is waited for.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return Some(Secured::Plain(stream));
    };
    match tokio::time::timeout(HANDSHAKE, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => {
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let peer = shown.map_or(Peer::None, |certificate| Peer::certified(certificate));
            Some(Secured::Tls(Box::new(stream), peer))
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}

/// Speaks HTTP until the peer or `stop` ends it.
async fn converse<IO, H, F, B>(io: IO, peer: Peer, speaks: Speaks, handler: H, stop: &CancellationToken)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Peer, Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let asked = Arc::new(AtomicBool::new(false));
    let service = {
        let asked = asked.clone();
        service_fn(move |request| {
            asked.store(true, Ordering::Relaxed);
            let answered = handler(peer.clone(), request);
            async move { Ok::<_, Infallible>(answered.await) }
        })
    };
    let silent = async {
        tokio::time::sleep(FIRST_REQUEST).await;
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    // The two kinds of connection have no trait in common.
    macro_rules! drive {
        ($connection:expr) => {{
            let mut connection = std::pin::pin!($connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = silent => return,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    match tokio::time::timeout(DRAIN, connection).await {
                        Ok(ended) => ended,
                        Err(_) => return,
                    }
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended early");
            }
        }};
    }
    match speaks {
        Speaks::Http1 => drive!(
            hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .max_buf_size(HEAD_BYTES)
                .max_headers(HEAD_LINES)
                .serve_connection(TokioIo::new(io), service)
        ),
        Speaks::Http2 => drive!(
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(STREAMS)
                .max_header_list_size(HEAD_BYTES as u32)
                .keep_alive_interval(ALIVE)
                .keep_alive_timeout(ALIVE)
                .serve_connection(TokioIo::new(io), service)
        ),
    }
}
