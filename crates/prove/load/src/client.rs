//! One request on the wire: body out, answer in, timed.

use crate::answer::{Answer, Stream};
use crate::args::Config;
use crate::report::{Done, Outcome};
use crate::schedule::Planned;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client as HyperClient, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use std::time::Duration;
use units::Instant;

/// Most bytes of an error body that are kept for the report.
const ERROR_EXCERPT: usize = 300;
/// Largest answer that is read without streaming.
const LARGEST_ANSWER: usize = 64 << 20;

/// A pooled client for one server.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: HyperClient<HttpConnector, Full<Bytes>>,
    uri: http::Uri,
    models_uri: http::Uri,
    headers: Vec<(http::HeaderName, http::HeaderValue)>,
    chat: bool,
    stream: bool,
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<[Message<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<&'a str>,
    max_tokens: u32,
    ignore_eos: bool,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

/// A request that did not get as far as an answer.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: String,
    pub(crate) detail: String,
}

impl Failure {
    fn new(kind: &str, detail: &dyn std::fmt::Display) -> Self {
        Self {
            kind: kind.to_owned(),
            detail: detail.to_string(),
        }
    }
}

impl Client {
    pub(crate) fn new(config: &Config) -> Result<Self, http::Error> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(10)));
        let path = if config.chat { "chat/completions" } else { "completions" };
        let uri = |path: &str| {
            http::Uri::builder()
                .scheme("http")
                .authority(config.authority.as_str())
                .path_and_query(format!("{}/{path}", config.base_path))
                .build()
        };
        Ok(Self {
            http: HyperClient::builder(TokioExecutor::new())
                .pool_max_idle_per_host(20_000)
                .build(connector),
            uri: uri(path)?,
            models_uri: uri("models")?,
            headers: config.headers.clone(),
            chat: config.chat,
            stream: config.stream,
        })
    }

    /// Names of the models that the server serves.
    pub(crate) async fn models(&self) -> Result<Vec<String>, String> {
        let answer = self.http.get(self.models_uri.clone()).await.map_err(|e| explain(&e))?;
        let status = answer.status();
        let body = answer
            .into_body()
            .collect()
            .await
            .map_err(|e| e.to_string())?
            .to_bytes();
        if !status.is_success() {
            return Err(format!("{} answered {status}: {}", self.models_uri, excerpt(&body)));
        }
        let json: serde_json::Value = serde_json::from_slice(&body).map_err(|e| format!("{}: {e}", self.models_uri))?;
        let models = json["data"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(models
            .iter()
            .filter_map(|m| m["id"].as_str().map(str::to_owned))
            .collect())
    }

    /// The request of a plan entry.
    pub(crate) fn request(&self, model: &str, planned: &Planned) -> Result<http::Request<Full<Bytes>>, Failure> {
        let prompt = prompt(planned);
        let body = Body {
            model,
            messages: self.chat.then_some([Message {
                role: "user",
                content: &prompt,
            }]),
            prompt: (!self.chat).then_some(&prompt),
            max_tokens: planned.output_tokens,
            ignore_eos: true,
            stream: self.stream,
            stream_options: self.stream.then_some(StreamOptions { include_usage: true }),
        };
        let body = serde_json::to_vec(&body).map_err(|e| Failure::new("request", &e))?;
        let mut request = http::Request::post(self.uri.clone())
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| Failure::new("request", &e))?;
        for (name, value) in &self.headers {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        Ok(request)
    }

    /// Sends `request` and reads the answer to its end. `clock` tells the time; `gap` hears of gaps between chunks.
    pub(crate) async fn exchange(
        &self,
        request: http::Request<Full<Bytes>>,
        clock: impl Fn() -> Instant,
        mut gap: impl FnMut(Duration),
    ) -> Result<(Answer, Instant), Failure> {
        let answer = self.http.request(request).await.map_err(|e| {
            let kind = if e.is_connect() { "connect" } else { "cut" };
            Failure::new(kind, &explain(&e))
        })?;
        let status = answer.status();
        let mut body = answer.into_body();
        if !status.is_success() {
            let text = body
                .collect()
                .await
                .map(http_body_util::Collected::to_bytes)
                .unwrap_or_default();
            return Err(Failure::new(&format!("http_{}", status.as_u16()), &excerpt(&text)));
        }
        let mut stream = Stream::default();
        let mut whole = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| Failure::new("cut", &format!("the answer broke off: {e}")))?;
            let Some(data) = frame.data_ref() else { continue };
            if self.stream {
                stream.feed(data, clock(), &mut gap);
            } else if whole.len() + data.len() <= LARGEST_ANSWER {
                whole.extend_from_slice(data);
            } else {
                return Err(Failure::new(
                    "too_large",
                    &format!("an answer of more than {LARGEST_ANSWER} bytes"),
                ));
            }
        }
        let end = clock();
        let mut answer = stream.answer;
        if let Some(error) = answer.error {
            return Err(Failure::new("stream_error", &error));
        }
        if self.stream && !answer.done {
            return Err(Failure::new("cut", &"the stream ended without [DONE]"));
        }
        if !self.stream {
            answer.usage(&whole);
        }
        Ok((answer, end))
    }
}

/// The outcome of a complete answer, from the intended send time on.
pub(crate) fn done(intended: Instant, answer: &Answer, end: Instant, longest: Option<Duration>) -> Outcome {
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    let span = answer
        .first_token
        .zip(answer.last_token)
        .map(|(first, last)| ms(last.since(first)));
    let per = |n: u64| span.filter(|_| n > 1).map(|span| span / (n - 1) as f64);
    Outcome::Done(Done {
        ttft_ms: answer.first_token.map(|first| ms(first.since(intended))),
        e2e_ms: ms(end.since(intended)),
        tpot_ms: per(answer.output_tokens()),
        mean_gap_ms: per(answer.chunks),
        longest_gap_ms: longest.map(ms),
        output_tokens: answer.output_tokens(),
        prompt_tokens: answer.usage_prompt,
    })
}

/// A prompt of about `prompt_tokens` tokens: that many words of three letters
/// and a space, the first of which make it unlike every other prompt.
fn prompt(planned: &Planned) -> String {
    const WORDS: [&str; 8] = ["the", "cat", "sat", "and", "saw", "one", "big", "dog"];
    let mut text = String::with_capacity(planned.prompt_tokens as usize * 4);
    let mut state = planned.index.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    for i in 0..planned.prompt_tokens {
        if i > 0 {
            text.push(' ');
        }
        state = state
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        text.push_str(WORDS[(state >> 61) as usize]);
    }
    text
}

fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(ERROR_EXCERPT)]);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An error with its causes, for people.
fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
