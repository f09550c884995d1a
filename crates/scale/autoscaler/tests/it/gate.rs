//! A way to the API on which single requests are held up or refused.

#![expect(
    clippy::unwrap_used,
    reason = "what a test sets up must work, or the test ends there"
)]

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;

/// What happens to a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    Passes,
    /// It is never answered.
    Hangs,
    /// It is answered with this code.
    Refused(u16),
}

type Rule = Box<dyn Fn(&Method, &str) -> Verdict + Send + Sync>;
type Answer = Response<http_body_util::combinators::UnsyncBoxBody<Bytes, hyper::Error>>;

/// Cloning shares it.
#[derive(Clone)]
pub(crate) struct Gate {
    server: SocketAddr,
    rule: Arc<Mutex<Rule>>,
}

impl Gate {
    pub(crate) fn to(server: SocketAddr) -> Self {
        Self {
            server,
            rule: Arc::new(Mutex::new(Box::new(|_, _| Verdict::Passes))),
        }
    }

    /// Judges requests by method and path from now on.
    pub(crate) fn judge(&self, rule: impl Fn(&Method, &str) -> Verdict + Send + Sync + 'static) {
        *self.rule.lock() = Box::new(rule);
    }

    pub(crate) fn client(&self) -> kube::Client {
        let gate = self.clone();
        let service = tower::service_fn(move |request| {
            let gate = gate.clone();
            async move { gate.carry(request).await }
        });
        kube::Client::new(service, "default")
    }

    async fn carry(&self, request: Request<Body>) -> Result<Answer, Lost> {
        let (mut head, body) = request.into_parts();
        let verdict = (self.rule.lock())(&head.method, head.uri.path());
        match verdict {
            Verdict::Passes => {}
            Verdict::Hangs => std::future::pending().await,
            Verdict::Refused(code) => return Ok(refused(code)),
        }
        let body = body
            .collect()
            .await
            .map_err(|error| Lost(error.to_string()))?
            .to_bytes();
        let host = HeaderValue::from_static("127.0.0.1");
        head.headers.insert(http::header::HOST, host);
        let lost = |error: hyper::Error| Lost(error.to_string());
        let stream = TcpStream::connect(self.server)
            .await
            .map_err(|error| Lost(error.to_string()))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(lost)?;
        tokio::spawn(connection);
        let answer = sender.send_request(Request::from_parts(head, Full::new(body))).await;
        Ok(answer.map_err(lost)?.map(BodyExt::boxed_unsync))
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Lost(String);

fn refused(code: u16) -> Answer {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "not through this gate", "reason": "Refused", "code": code});
    let body = Full::new(Bytes::from(status.to_string())).map_err(|never| match never {});
    let mut answer = Response::new(body.boxed_unsync());
    *answer.status_mut() = StatusCode::from_u16(code).unwrap();
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(http::header::CONTENT_TYPE, json);
    answer
}
