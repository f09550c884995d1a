//! The kubelet's own HTTP server on loopback: container logs, for the API to
//! pass on. A real API server speaks TLS to it and the embedded one does not,
//! so the first byte decides.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::logs::{self, Wanted};
use super::logs_index::{LogIndex, NoLog};
use crate::call::Error;

/// Connections at once; further ones wait in the listen queue.
const CONNECTIONS: usize = 256;
const HANDSHAKE: Duration = Duration::from_secs(5);
/// The first byte of a TLS record that opens a connection.
const TLS_HANDSHAKE: u8 = 0x16;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Binds the server's port.
pub(crate) async fn bind(address: SocketAddr) -> Result<(TcpListener, u16), Error> {
    let what = || format!("listen on {address} for container logs");
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| Error::Io { what: what(), source })?;
    let port = listener
        .local_addr()
        .map_err(|source| Error::Io { what: what(), source })?
        .port();
    Ok((listener, port))
}

/// A certificate of its own making: an API server that verifies kubelets needs
/// `--kubelet-certificate-authority`, and without that takes any.
pub(crate) fn tls() -> Result<TlsAcceptor, Error> {
    let wrong =
        |error: &dyn std::fmt::Display| Error::Invalid(format!("the kubelet's certificate cannot be made: {error}"));
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])
        .map_err(|error| wrong(&error))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .map_err(|error| wrong(&error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves for ever.
pub(crate) async fn serve(listener: TcpListener, tls: TlsAcceptor, index: Arc<LogIndex>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let (tls, index) = (tls.clone(), index.clone());
                connections.spawn(async move {
                    connect(stream, tls, index).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a connection for logs was lost");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connect(stream: TcpStream, tls: TlsAcceptor, index: Arc<LogIndex>) {
    let mut first = [0u8; 1];
    let Ok(Ok(1)) = tokio::time::timeout(HANDSHAKE, stream.peek(&mut first)).await else {
        return;
    };
    if first[0] != TLS_HANDSHAKE {
        return speak(stream, index).await;
    }
    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
        speak(stream, index).await;
    }
}

async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin, index: Arc<LogIndex>) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = answer(&request, &index);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(60));
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection for logs ended early");
    }
}

fn answer<B>(request: &Request<B>, index: &LogIndex) -> Response<Body> {
    if request.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n".to_owned());
    }
    let parts: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
    match parts[..] {
        ["healthz"] => text(StatusCode::OK, "ok".to_owned()),
        ["containerLogs", namespace, pod, container] => {
            let wanted = match wanted(request.uri().query().unwrap_or_default(), Timestamp::now()) {
                Ok(wanted) => wanted,
                Err(why) => return text(StatusCode::BAD_REQUEST, why),
            };
            match index.find(namespace, pod, container, wanted.previous) {
                Ok((path, news)) => {
                    let (to, from) = mpsc::channel(16);
                    tokio::spawn(logs::send(path, wanted, news, to));
                    let frames = tokio_stream(from).map(|piece| piece.map(Frame::data));
                    plain(StatusCode::OK, StreamBody::new(frames).boxed_unsync())
                }
                Err(NoLog::Container) => {
                    let why = format!("container {container:?} in pod {pod:?} is waiting to start or not of this node");
                    text(StatusCode::BAD_REQUEST, why)
                }
                Err(NoLog::Previous) => {
                    let why = format!("previous terminated container {container:?} in pod {pod:?} not found");
                    text(StatusCode::BAD_REQUEST, why)
                }
            }
        }
        _ => text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned()),
    }
}

fn tokio_stream<T: Send>(from: mpsc::Receiver<T>) -> impl futures::Stream<Item = T> + Send {
    futures::stream::unfold(
        from,
        |mut from| async move { from.recv().await.map(|item| (item, from)) },
    )
}

fn text(code: StatusCode, message: String) -> Response<Body> {
    plain(
        code,
        Full::new(Bytes::from(message))
            .map_err(|never| match never {})
            .boxed_unsync(),
    )
}

fn plain(code: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
    response
}

/// The query of a log request. Unknown parameters are let pass, as the API adds some.
fn wanted(query: &str, now: Timestamp) -> Result<Wanted, String> {
    let mut wanted = Wanted::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = value
            .replace("%3A", ":")
            .replace("%3a", ":")
            .replace("%2B", "+")
            .replace("%2b", "+");
        let wrong = || format!("query parameter {name}: {value:?} is not what it takes\n");
        let number = || value.parse::<u64>().map_err(|_| wrong());
        let switch = || match value.as_str() {
            "true" | "1" => Ok(true),
            "false" | "0" | "" => Ok(false),
            _ => Err(wrong()),
        };
        match name {
            "follow" => wanted.follow = switch()?,
            "previous" => wanted.previous = switch()?,
            "timestamps" => wanted.timestamps = switch()?,
            "tailLines" => wanted.tail = Some(usize::try_from(number()?).unwrap_or(usize::MAX)),
            "limitBytes" => wanted.limit_bytes = Some(usize::try_from(number()?).unwrap_or(usize::MAX)),
            "sinceSeconds" => {
                let back = SignedDuration::from_secs(i64::try_from(number()?).map_err(|_| wrong())?);
                wanted.since = Some(now.checked_sub(back).unwrap_or(Timestamp::MIN));
            }
            "sinceTime" => wanted.since = Some(value.parse().map_err(|_| wrong())?),
            _ => {}
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_read_and_wrong_values_are_named() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let read = wanted(
            "follow=true&tailLines=5&sinceTime=2026-01-01T00%3A00%3A00Z&x=y&limitBytes=9",
            now,
        )
        .unwrap();
        let since = "2026-01-01T00:00:00Z".parse().ok();
        let want = Wanted {
            follow: true,
            tail: Some(5),
            since,
            limit_bytes: Some(9),
            ..Wanted::default()
        };
        assert_eq!(read, want);
        assert_eq!(wanted("sinceSeconds=60", now).unwrap().since, since);
        for bad in [
            "tailLines=x",
            "tailLines=-1",
            "follow=maybe",
            "sinceTime=noon",
            "sinceSeconds=99999999999999999999",
        ] {
            let name = bad.split('=').next().unwrap();
            assert!(wanted(bad, now).unwrap_err().contains(name), "{bad}");
        }
        assert_eq!(
            wanted("sinceSeconds=9999999999999", now).unwrap().since,
            Some(Timestamp::MIN)
        );
    }

    #[test]
    fn a_container_that_is_not_here_is_named() {
        let index = LogIndex::default();
        let request = Request::get("/containerLogs/ns/pod/c").body(()).unwrap();
        assert_eq!(answer(&request, &index).status(), StatusCode::BAD_REQUEST);
        let request = Request::get("/exec/ns/pod/c").body(()).unwrap();
        assert_eq!(answer(&request, &index).status(), StatusCode::NOT_FOUND);
    }
}
