//! Endpoints that do what a test says.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One accepted connection.
pub(crate) struct Conn {
    pub(crate) stream: TcpStream,
    inbox: Vec<u8>,
}

/// A request as the endpoint saw it.
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Conn {
    /// The next request with its body; `None` when the gateway closed.
    pub(crate) async fn request(&mut self) -> Option<Request> {
        let end = loop {
            if let Some(end) = memchr::memmem::find(&self.inbox, b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8(self.inbox.drain(..end).collect()).unwrap();
        let length: usize = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        while self.inbox.len() < length {
            self.more().await?;
        }
        Some(Request {
            head,
            body: self.inbox.drain(..length).collect(),
        })
    }

    async fn more(&mut self) -> Option<()> {
        let read = self.stream.read_buf(&mut self.inbox).await.ok()?;
        (read > 0).then_some(())
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// A complete JSON answer.
    pub(crate) async fn json(&mut self, status: u16, body: &str) -> bool {
        let length = body.len();
        self.send(format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
        .await
    }

    /// The head of an event stream.
    pub(crate) async fn stream_head(&mut self) -> bool {
        self.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            .await
    }

    /// One event in a chunk of its own.
    pub(crate) async fn event(&mut self, data: &str) -> bool {
        let event = format!("data: {data}\n\n");
        self.send(format!("{:x}\r\n{event}\r\n", event.len())).await
    }

    /// Waits until the gateway closes the connection.
    pub(crate) async fn closed(&mut self) {
        let gone = async { while self.more().await.is_some() {} };
        tokio::time::timeout(Duration::from_secs(10), gone)
            .await
            .expect("the gateway closes in time");
    }
}

/// The value of a header in a head.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// A listening endpoint.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Backend {
    /// An endpoint that runs `script` on each connection, with its number from 0.
    pub(crate) async fn start<F, R>(script: F) -> Self
    where
        F: Fn(Conn, usize) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst);
                open.spawn(script(
                    Conn {
                        stream,
                        inbox: Vec::new(),
                    },
                    number,
                ));
            }
        });
        Self {
            address,
            connections,
            task,
        }
    }

    /// An endpoint that answers everything with `{"by": name}`.
    pub(crate) async fn named(name: &'static str) -> Self {
        Self::start(move |mut conn, _| async move {
            while conn.request().await.is_some() && conn.json(200, &format!(r#"{{"by":"{name}"}}"#)).await {}
        })
        .await
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An address where nothing listens.
pub(crate) async fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
