//! Plain requests, with every header in the story's hands.

use anyhow::{Context as _, Result};
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::Value;
use std::time::Duration;
use tokio::sync::mpsc;

/// The longest an answer that is not a watch may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(45);

/// Headers that belong to the contract; others (dates, audit ids, caches,
/// priority levels) differ from one request to the next.
const COMPARED: [&str; 5] = ["content-type", "warning", "retry-after", "location", "vary"];

/// A whole answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The headers that are compared, as JSON.
    pub(crate) fn compared_headers(headers: &HeaderMap) -> Value {
        let mut kept = serde_json::Map::new();
        for name in COMPARED {
            let mut values: Vec<String> = headers
                .get_all(name)
                .iter()
                .filter_map(|value| value.to_str().ok().map(str::to_owned))
                .collect();
            // Vary is a set and only ever compared as present on discovery.
            if name == "vary" || values.is_empty() {
                continue;
            }
            values.sort();
            kept.insert(name.to_owned(), values.join(" | ").into());
        }
        Value::Object(kept)
    }
}

/// Sends a request and reads the whole answer.
pub(crate) async fn exchange(client: &kube::Client, request: Request<Body>) -> Result<Answer> {
    let what = format!("{} {}", request.method(), request.uri());
    let reading = async {
        let response = client.send(request).await?;
        let (head, body) = response.into_parts();
        let bytes = body.collect().await?.to_bytes();
        anyhow::Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        })
    };
    tokio::time::timeout(ANSWER_WITHIN, reading)
        .await
        .with_context(|| format!("{what}: no answer within {ANSWER_WITHIN:?}"))?
        .with_context(|| what.clone())
}

/// A streamed answer, line by line. The channel closes when the stream ends.
pub(crate) struct Lines {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) lines: mpsc::Receiver<String>,
    reader: tokio::task::JoinHandle<()>,
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Opens a stream and keeps reading it in the background.
pub(crate) async fn stream(client: &kube::Client, request: Request<Body>) -> Result<Lines> {
    let what = format!("{} {}", request.method(), request.uri());
    let response = tokio::time::timeout(ANSWER_WITHIN, client.send(request))
        .await
        .with_context(|| format!("{what}: no answer within {ANSWER_WITHIN:?}"))??;
    let (head, mut body) = response.into_parts();
    let (sender, lines) = mpsc::channel(1024);
    let reader = tokio::spawn(async move {
        let mut rest = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            rest.extend_from_slice(&data);
            while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                if !line.is_empty() && sender.send(line).await.is_err() {
                    return;
                }
            }
        }
        let last = String::from_utf8_lossy(&rest).trim().to_owned();
        if !last.is_empty() {
            let _ = sender.send(last).await;
        }
    });
    Ok(Lines {
        status: head.status.as_u16(),
        headers: head.headers,
        lines,
        reader,
    })
}
