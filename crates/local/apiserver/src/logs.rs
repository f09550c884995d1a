//! `pods/log`: a stream from the kubelet of the Pod's node.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt, BodyStream, Empty, StreamBody};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::answer::{self, Answer};
use crate::engine::{Api, Call};
use crate::failure::{Failure, Outcome};
use crate::forms::schema::Cause;
use crate::store::key;

/// Time to reach a kubelet and get its first answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Options that are handed on.
const OPTIONS: [&str; 7] = [
    "follow",
    "tailLines",
    "sinceSeconds",
    "sinceTime",
    "timestamps",
    "previous",
    "limitBytes",
];

impl Api {
    /// `GET …/pods/NAME/log`.
    pub(crate) async fn log(&self, call: &Call) -> Outcome<Answer> {
        let pods = &call.resource;
        let pod = self
            .get(pods, &call.key())
            .ok_or_else(|| Failure::not_found(pods, &call.name))?;
        let container = container(call, &pod.value)?;
        for option in ["tailLines", "sinceSeconds", "limitBytes"] {
            let number = call.query.number(option)?;
            let least = i64::from(option != "tailLines");
            if let Some(number) = number.filter(|number| *number < least) {
                let cause = Cause {
                    reason: "FieldValueInvalid",
                    message: format!("Invalid value: {number}: must be greater than or equal to {least}"),
                    field: option.to_owned(),
                };
                return Err(Failure::invalid("", "PodLogOptions", &call.name, &[cause]));
            }
        }
        let node = pod
            .value
            .pointer("/spec/nodeName")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if node.is_empty() {
            // Nothing ran yet, so nothing was written.
            return Ok(answer::bare(204));
        }
        let nodes = self.builtin("", "v1", "nodes")?;
        let found = self
            .get(&nodes, &key("", node))
            .ok_or_else(|| Failure::not_found(&nodes, node))?;
        let unreachable = |why: &dyn std::fmt::Display| {
            Failure::internal(format!(
                "the log of pod {} cannot be read from the kubelet of node {node}: {why}",
                call.name
            ))
        };
        let (host, port) = kubelet(&found.value)
            .ok_or_else(|| unreachable(&"its status has no InternalIP address or no kubelet port"))?;
        let asked: Vec<String> = OPTIONS
            .iter()
            .filter(|option| call.query.has(option))
            .map(|option| format!("{option}={}", escaped(call.query.get(option))))
            .collect();
        let path = format!(
            "/containerLogs/{}/{}/{}?{}",
            escaped(&call.namespace),
            escaped(&call.name),
            escaped(container),
            asked.join("&")
        );
        let stream = timeout(PATIENCE, TcpStream::connect((host, port)))
            .await
            .map_err(|_| unreachable(&"no answer in time"))?
            .map_err(|error| unreachable(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unreachable(&error))?;
        tokio::spawn(async move {
            // The end of the connection shows in the body.
            let _ = connection.await;
        });
        let request = Request::builder()
            .method(Method::GET)
            .uri(path)
            .header(HOST, format!("{host}:{port}"))
            .body(Empty::<Bytes>::new())
            .map_err(|error| unreachable(&error))?;
        let answered = timeout(PATIENCE, sender.send_request(request))
            .await
            .map_err(|_| unreachable(&"no answer in time"))?
            .map_err(|error| unreachable(&error))?;
        let (head, body) = answered.into_parts();
        if !head.status.is_success() {
            let text = timeout(PATIENCE, http_body_util::Limited::new(body, 4096).collect()).await;
            let text = match text {
                Ok(Ok(text)) => String::from_utf8_lossy(&text.to_bytes()).trim().to_owned(),
                _ => String::new(),
            };
            let why = if text.is_empty() { head.status.to_string() } else { text };
            return Err(match head.status.as_u16() {
                400..=499 => Failure::bad_request(why),
                _ => unreachable(&why),
            });
        }
        // A log that is followed ends with the server.
        let lines = TryStreamExt::map_err(BodyStream::new(body), Into::into)
            .take_until(Box::pin(self.stop.clone().cancelled_owned()));
        let mut answer = answer::answer(200, "text/plain", BodyExt::boxed_unsync(StreamBody::new(lines)));
        if let Some(kind) = head.headers.get(CONTENT_TYPE) {
            answer.headers_mut().insert(CONTENT_TYPE, kind.clone());
        }
        answer
            .headers_mut()
            .insert("X-Content-Type-Options", HeaderValue::from_static("nosniff"));
        Ok(answer)
    }
}

/// The container that is meant.
fn container<'a>(call: &'a Call, pod: &'a Value) -> Outcome<&'a str> {
    let names: Vec<&str> = ["initContainers", "containers", "ephemeralContainers"]
        .iter()
        .filter_map(|list| pod["spec"][*list].as_array())
        .flatten()
        .filter_map(|container| container["name"].as_str())
        .collect();
    let regular: Vec<&str> = pod["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|container| container["name"].as_str())
        .collect();
    match (call.query.get("container"), &regular[..]) {
        ("", [only]) => Ok(only),
        ("", _) => Err(Failure::bad_request(format!(
            "a container name must be specified for pod {}, choose one of: [{}]",
            call.name,
            regular.join(" ")
        ))),
        (asked, _) if names.contains(&asked) => Ok(asked),
        (asked, _) => Err(Failure::bad_request(format!(
            "container {asked} is not valid for pod {}",
            call.name
        ))),
    }
}

/// Where a node's kubelet listens.
fn kubelet(node: &Value) -> Option<(&str, u16)> {
    let port = node.pointer("/status/daemonEndpoints/kubeletEndpoint/Port")?.as_u64()?;
    let addresses = node.pointer("/status/addresses")?.as_array()?;
    let address = addresses.iter().find(|address| address["type"] == "InternalIP")?["address"].as_str()?;
    Some((address, u16::try_from(port).ok().filter(|port| *port > 0)?))
}

fn escaped(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(byte);
    text.bytes()
        .map(|byte| {
            if plain(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
