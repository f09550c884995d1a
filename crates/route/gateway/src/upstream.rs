//! Connections to endpoints, kept by each worker for itself.

use bytes::BytesMut;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// A connection to an endpoint and what was read from it beyond its answer's head.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) stream: TcpStream,
    pub(crate) inbox: BytesMut,
    /// It answered a request before: that it is closed by now is no fault of the endpoint.
    pub(crate) reused: bool,
}

/// One worker's idle connections, by endpoint.
#[derive(Debug)]
pub(crate) struct Idle {
    per_endpoint: usize,
    longest: Duration,
    waiting: Mutex<HashMap<SocketAddr, Vec<(Upstream, Instant)>>>,
}

impl Idle {
    pub(crate) fn new(per_endpoint: usize, longest: Duration) -> Self {
        Self {
            per_endpoint,
            longest,
            waiting: Mutex::default(),
        }
    }

    /// The most recently used connection to `address` that seems alive.
    pub(crate) fn take(&self, address: SocketAddr) -> Option<Upstream> {
        let mut waiting = self.waiting.lock();
        let list = waiting.get_mut(&address)?;
        let now = Instant::now();
        while let Some((upstream, since)) = list.pop() {
            if now - since < self.longest && seems_alive(&upstream.stream) {
                return Some(upstream);
            }
        }
        None
    }

    /// Keeps a connection whose answer has ended.
    pub(crate) fn give(&self, address: SocketAddr, mut upstream: Upstream) {
        if !upstream.inbox.is_empty() {
            return;
        }
        upstream.reused = true;
        let mut waiting = self.waiting.lock();
        let list = waiting.entry(address).or_default();
        if list.len() < self.per_endpoint {
            list.push((upstream, Instant::now()));
        }
    }

    /// Closes what was idle too long or was closed by the endpoint.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.waiting.lock().retain(|_, list| {
            list.retain(|(upstream, since)| now - *since < self.longest && seems_alive(&upstream.stream));
            !list.is_empty()
        });
    }
}

/// Nothing may arrive on an idle connection; if something did, it is of no use.
fn seems_alive(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0; 1]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// Connects to `address`.
pub(crate) async fn connect(address: SocketAddr, within: Duration) -> io::Result<Upstream> {
    let stream = tokio::time::timeout(within, TcpStream::connect(address))
        .await
        .map_err(|_| {
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no connection within {} ms", within.as_millis()),
            )
        })??;
    stream.set_nodelay(true)?;
    Ok(Upstream {
        stream,
        inbox: BytesMut::new(),
        reused: false,
    })
}
