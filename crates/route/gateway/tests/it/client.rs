//! A client that sees the bytes.

use crate::backend::header;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) inbox: Vec<u8>,
}

/// An answer; `body` is raw, with its chunk framing if it has one.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// The body came to its end.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap().to_owned()
    }
}

/// A completion request for model `m`.
pub(crate) fn completion(extra: &str) -> String {
    post(
        "/v1/completions",
        "",
        &format!(r#"{{"model":"m","prompt":"hi"{extra}}}"#),
    )
}

pub(crate) fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: test\r\n{headers}content-length: {length}\r\n\r\n{body}")
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            inbox: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    pub(crate) async fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.send(request).await;
        self.answer().await
    }

    /// Reads one answer.
    pub(crate) async fn answer(&mut self) -> Answer {
        tokio::time::timeout(PATIENCE, self.read_answer())
            .await
            .expect("an answer in time")
    }

    pub(crate) async fn head(&mut self) -> String {
        let end = loop {
            if let Some(end) = memchr::memmem::find(&self.inbox, b"\r\n\r\n") {
                break end + 4;
            }
            assert!(
                self.more().await,
                "closed in the head: {:?}",
                String::from_utf8_lossy(&self.inbox)
            );
        };
        String::from_utf8(self.inbox.drain(..end).collect()).unwrap()
    }

    async fn read_answer(&mut self) -> Answer {
        let head = self.head().await;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length: Option<usize> = header(&head, "content-length").map(|length| length.parse().unwrap());
        let chunked = header(&head, "transfer-encoding").is_some();
        let whole = loop {
            let ended = match length {
                Some(length) => self.inbox.len() >= length,
                None => chunked && self.inbox.ends_with(b"0\r\n\r\n"),
            };
            if ended {
                break true;
            }
            if !self.more().await {
                break length.is_none() && !chunked;
            }
        };
        let length = length.unwrap_or(usize::MAX).min(self.inbox.len());
        Answer {
            status,
            head,
            body: self.inbox.drain(..length).collect(),
            whole,
        }
    }

    /// Reads until `text` has come.
    pub(crate) async fn until(&mut self, text: &str) {
        let read = async {
            while memchr::memmem::find(&self.inbox, text.as_bytes()).is_none() {
                assert!(self.more().await, "closed before {text}");
            }
        };
        tokio::time::timeout(PATIENCE, read)
            .await
            .unwrap_or_else(|_| panic!("no {text} in time"));
    }

    /// False at the end of the connection.
    pub(crate) async fn more(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.inbox).await, Ok(1..))
    }
}
