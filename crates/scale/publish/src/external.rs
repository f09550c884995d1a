//! `external.metrics.k8s.io/v1beta1`: answers to requests, made from what the
//! board holds. What a HorizontalPodAutoscaler and the aggregation layer of an
//! API server ask is answered; everything else is a `Status` that says why not.

mod discovery;
mod values;

use crate::board::Board;
use crate::front_proxy::{Admission, Peer};
use crate::series::NAMES;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use serde_json::{Value, json};
use std::time::{Instant, SystemTime};

/// The group served.
const GROUP: &str = "external.metrics.k8s.io";
/// Its one version.
const VERSION: &str = "v1beta1";

/// A refusal, as a Kubernetes `Status`.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    fn body(&self) -> Value {
        json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": reason(self.status),
            "code": self.status.as_u16(),
        })
    }
}

/// The word that Kubernetes clients compare.
fn reason(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "BadRequest",
        StatusCode::UNAUTHORIZED => "Unauthorized",
        StatusCode::FORBIDDEN => "Forbidden",
        StatusCode::NOT_FOUND => "NotFound",
        StatusCode::METHOD_NOT_ALLOWED => "MethodNotAllowed",
        StatusCode::PAYLOAD_TOO_LARGE => "RequestEntityTooLarge",
        _ => "InternalError",
    }
}

/// The answer to one request of `peer`.
pub(crate) fn answer<B: Body>(
    board: &Board,
    admission: &Admission,
    peer: &Peer,
    request: &Request<B>,
) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if matches!(path, "/healthz" | "/readyz" | "/livez") && request.method() == Method::GET {
        return respond(StatusCode::OK, "text/plain; charset=utf-8", "ok".to_owned());
    }
    match admitted(board, admission, peer, request) {
        Ok(body) => respond(StatusCode::OK, "application/json", body.to_string()),
        Err(refusal) => {
            let mut response = respond(refusal.status, "application/json", refusal.body().to_string());
            if refusal.status == StatusCode::METHOD_NOT_ALLOWED {
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            }
            response
        }
    }
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn admitted<B: Body>(
    board: &Board,
    admission: &Admission,
    peer: &Peer,
    request: &Request<B>,
) -> Result<Value, Refusal> {
    admission
        .admit(peer, request.headers())
        .map_err(|(status, why)| Refusal::new(status, why))?;
    if request.method() != Method::GET {
        let why = format!("{} is not served here, only GET", request.method());
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, why));
    }
    if !request.body().is_end_stream() {
        let why = "no request here takes a body";
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, why));
    }
    let path = request.uri().path().trim_end_matches('/');
    if let Some(found) = discovery::answer(path) {
        return Ok(found);
    }
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match parts[..] {
        ["apis", GROUP, VERSION, "namespaces", namespace, metric] => {
            let query = request.uri().query().unwrap_or_default();
            values::list(board, namespace, metric, query, (Instant::now(), SystemTime::now()))
        }
        _ => Err(Refusal::new(
            StatusCode::NOT_FOUND,
            format!(
                "there is nothing at {path}; metrics are at /apis/{GROUP}/{VERSION}/namespaces/NAMESPACE/METRIC, with \
                 METRIC one of {}",
                NAMES.join(", ")
            ),
        )),
    }
}

#[cfg(test)]
mod tests;
