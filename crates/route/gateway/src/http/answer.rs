//! Answers the gateway gives itself.

use super::problem::Problem;
use api::names;
use bytes::BytesMut;
use std::fmt::Write;
use wire::openai::ErrorBody;

/// A complete answer of our own.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    content_type: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    pub(crate) const fn new(status: u16, content_type: &'static str, body: Vec<u8>) -> Self {
        Self {
            status,
            content_type,
            headers: Vec::new(),
            body,
        }
    }

    pub(crate) const fn json(body: Vec<u8>) -> Self {
        Self::new(200, "application/json", body)
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Appends the answer as it goes over the wire.
    pub(crate) fn write(&self, out: &mut BytesMut, close: bool) {
        // Writing to a BytesMut cannot fail: it grows.
        let _ = write!(
            out,
            "HTTP/1.1 {} {}\r\ncontent-type: {}\r\ncontent-length: {}\r\n",
            self.status,
            reason(self.status),
            self.content_type,
            self.body.len()
        );
        for (name, value) in &self.headers {
            let _ = write!(out, "{name}: {value}\r\n");
        }
        out.extend_from_slice(if close { b"connection: close\r\n\r\n" } else { b"\r\n" });
        out.extend_from_slice(&self.body);
    }
}

impl From<&Problem> for Answer {
    fn from(problem: &Problem) -> Self {
        let body = ErrorBody::new(problem.status(), problem.message(), problem.param()).to_json();
        let mut answer = Self::new(problem.status(), "application/json", body);
        if let Some(seconds) = problem.retry_after() {
            answer = answer.header("retry-after", seconds.to_string());
        }
        if let Some(reason) = problem.dropped_reason() {
            answer = answer.header(names::DROPPED_REASON_HEADER, reason);
        }
        if let Some(allow) = problem.allow() {
            answer = answer.header("allow", allow);
        }
        answer
    }
}

/// The phrase that goes with a status.
pub(crate) const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}
