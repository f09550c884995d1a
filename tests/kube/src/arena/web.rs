//! Requests to the gateway, as any client sends them.

use anyhow::{Context as _, Result};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use std::time::Duration;

fn client() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

fn completion(gateway: &str, model: &str, tokens: u32, stream: bool) -> Result<Request<Full<Bytes>>> {
    let body = json!({ "model": model, "prompt": "Once upon a time", "max_tokens": tokens, "stream": stream });
    Ok(Request::post(format!("{gateway}/completions"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))?)
}

/// One completion; status and body.
///
/// # Errors
/// When the connection breaks or the deadline passes.
pub async fn complete(gateway: &str, model: &str, tokens: u32, deadline: Duration) -> Result<(u16, String)> {
    let request = completion(gateway, model, tokens, false)?;
    let answering = async {
        let answer = client().request(request).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        anyhow::Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::time::timeout(deadline, answering)
        .await
        .with_context(|| format!("no answer within {deadline:?}"))?
}

/// The body of what is at `url`.
///
/// # Errors
/// When the connection breaks.
pub async fn get(url: &str) -> Result<String> {
    let request = Request::get(url).body(Full::default())?;
    let body = client().request(request).await?.into_body().collect().await?;
    Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
}

/// A streamed completion whose head has arrived.
#[derive(Debug)]
pub struct Stream {
    /// HTTP status.
    pub status: u16,
    body: Incoming,
}

impl Stream {
    /// Reads the next piece; `None` at the end.
    ///
    /// # Errors
    /// When the stream breaks off.
    pub async fn next(&mut self) -> Result<Option<String>> {
        match self.body.frame().await {
            None => Ok(None),
            Some(frame) => {
                let data = frame?.into_data().unwrap_or_default();
                Ok(Some(String::from_utf8_lossy(&data).into_owned()))
            }
        }
    }

    /// Reads to the end.
    ///
    /// # Errors
    /// When the stream breaks off.
    pub async fn rest(mut self) -> Result<String> {
        let mut text = String::new();
        while let Some(piece) = self.next().await? {
            text.push_str(&piece);
        }
        Ok(text)
    }
}

/// Starts a streamed completion.
///
/// # Errors
/// When no answer begins within 30 s.
pub async fn stream(gateway: &str, model: &str, tokens: u32) -> Result<Stream> {
    let request = completion(gateway, model, tokens, true)?;
    let answer = tokio::time::timeout(Duration::from_secs(30), client().request(request))
        .await
        .context("no answer")??;
    Ok(Stream {
        status: answer.status().as_u16(),
        body: answer.into_body(),
    })
}
