//! One question to Prometheus: a bounded POST over HTTP or TLS.

use super::config::{PrometheusConfig, PrometheusError, problem};
use super::connect::Connected;
use super::recorded::Series;
use crate::bearer::Bearer;
use crate::{Clock, Transport};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderValue};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use units::Instant;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum QueryError {
    #[error("Prometheus: no answer from {0} within {1:?}")]
    Deadline(String, Duration),
    #[error("Prometheus: cannot reach {0}: {1}")]
    Unreachable(String, String),
    #[error("Prometheus: {0} answered {1}{2}")]
    Status(String, http::StatusCode, String),
    #[error("Prometheus: {0} sent more than {1} bytes: lower the window or the number of replicas per model")]
    TooLarge(String, usize),
    #[error("Prometheus: {0} broke off: {1}")]
    BrokeOff(String, String),
    #[error("Prometheus: {0} does not answer as Prometheus does: {1}")]
    Format(String, String),
    #[error("PROMETHEUS_TOKEN_PATH {0}")]
    Token(String),
}

/// An answer: raw samples, how large it was, and the server's clock.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) series: Vec<Series>,
    pub(super) bytes: usize,
    pub(super) server_time: Option<Instant>,
}

/// A client of one Prometheus.
#[derive(Debug)]
pub(super) struct Client {
    transport: Transport,
    connected: Connected,
    url: String,
    token: Bearer,
    deadline: Duration,
    max_body: usize,
}

impl Client {
    /// Reads the certificates.
    ///
    /// # Errors
    /// One of them cannot be read or used, with its key.
    pub(super) fn new(config: &PrometheusConfig) -> Result<Self, PrometheusError> {
        let token = Bearer::new(config.bearer_token.as_deref(), config.token_path.as_deref())
            .map_err(|why| problem("PROMETHEUS_BEARER_TOKEN", why))?;
        Ok(Self {
            transport: config.transport.clone(),
            connected: Connected::new(config)?,
            url: format!("{}/api/v1/query", config.base_url.trim_end_matches('/')),
            token,
            deadline: config.deadline,
            max_body: config.max_body,
        })
    }

    /// Asks one question at the present time of the server.
    pub(super) async fn query(&self, question: &str) -> Result<Answer, QueryError> {
        let url = || self.url.clone();
        let answer = async {
            match self.query_unhurried(question).await {
                // Certificates that ran out may have been replaced by now.
                Err(QueryError::Unreachable(..)) if self.connected.renew() => self.query_unhurried(question).await,
                answer => answer,
            }
        };
        tokio::time::timeout(self.deadline, answer)
            .await
            .unwrap_or_else(|_| Err(QueryError::Deadline(url(), self.deadline)))
    }

    async fn query_unhurried(&self, question: &str) -> Result<Answer, QueryError> {
        let url = || self.url.clone();
        let form: String = form_urlencoded::Serializer::new(String::new())
            .append_pair("query", question)
            .finish();
        let mut request = http::Request::post(&self.url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Bytes::from(form))
            .map_err(|error| QueryError::Unreachable(url(), error.to_string()))?;
        let token = self.token.header().await;
        if let Some(token) = token.map_err(QueryError::Token)? {
            request.headers_mut().insert(AUTHORIZATION, token);
        }
        let response = self
            .transport
            .send(&self.connected.connections(), request)
            .await
            .map_err(|why| QueryError::Unreachable(url(), why))?;
        let status = response.status();
        let server_time = response.headers().get(DATE).and_then(date);
        let body = Limited::new(response.into_body(), self.max_body)
            .collect()
            .await
            .map_err(|error| {
                if error.is::<LengthLimitError>() {
                    QueryError::TooLarge(url(), self.max_body)
                } else {
                    QueryError::BrokeOff(url(), error.to_string())
                }
            })?
            .to_bytes();
        if status != http::StatusCode::OK {
            return Err(QueryError::Status(url(), status, said(&body)));
        }
        let reply: Reply =
            serde_json::from_slice(&body).map_err(|error| QueryError::Format(url(), error.to_string()))?;
        let series = reply.series().map_err(|why| QueryError::Format(url(), why))?;
        Ok(Answer {
            series,
            bytes: body.len(),
            server_time,
        })
    }
}

/// What Prometheus says is wrong, if it says it in its way.
fn said(body: &[u8]) -> String {
    let error = serde_json::from_slice::<Reply>(body).ok().and_then(|reply| reply.error);
    error.map_or_else(String::new, |error| {
        format!(": {}", error.chars().take(300).collect::<String>())
    })
}

/// The server's clock, to the second.
fn date(value: &HeaderValue) -> Option<Instant> {
    let time = httpdate::parse_http_date(value.to_str().ok()?).ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Clock::at_unix_millis(u64::try_from(since.as_millis()).ok()?))
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    #[serde(default)]
    result: serde_json::Value,
}

#[derive(Deserialize)]
struct Row {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
    #[serde(default)]
    value: Option<(f64, String)>,
}

impl Reply {
    fn series(self) -> Result<Vec<Series>, String> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let data = self.data.ok_or("it has no data")?;
        if !matches!(data.result_type.as_str(), "matrix" | "vector") {
            return Err(format!("the result is a {}, not samples", data.result_type));
        }
        let rows: Vec<Row> = serde_json::from_value(data.result).map_err(|error| error.to_string())?;
        Ok(rows.into_iter().map(Row::series).collect())
    }
}

impl Row {
    fn series(self) -> Series {
        let samples = self.values.into_iter().chain(self.value).filter_map(|(seconds, text)| {
            // A time no clock has, or a value that is no number, is no sample.
            let sound = (0.0..1e11).contains(&seconds);
            let at = Clock::at_unix_millis((seconds * 1e3) as u64);
            sound.then_some(at).zip(text.parse().ok())
        });
        Series {
            samples: samples.collect(),
            labels: Arc::new(self.metric),
        }
    }
}
