//! Heads: what of them we act on, what goes on to the other side.

use super::answer::reason;
use super::chunked::Chunks;
use super::problem::Problem;
use api::names;
use bytes::{Buf, BytesMut};
use std::fmt::Write;
use std::time::Duration;

/// Most headers in a head.
pub(crate) const MOST_HEADERS: usize = 100;
/// Longest request id that is taken over.
const LONGEST_REQUEST_ID: usize = 128;
/// Longest wait a client may ask for, milliseconds.
const LONGEST_PATIENCE_MS: u64 = 600_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
    Other,
}

/// How long a message's body is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Framing {
    Length(u64),
    Chunked(Chunks),
    UntilClose,
}

/// A request head.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: Method,
    /// Without the query.
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) http11: bool,
    pub(crate) body: Framing,
    pub(crate) close: bool,
    pub(crate) expects_continue: bool,
    pub(crate) request_id: Option<String>,
    pub(crate) patience: Option<Duration>,
    /// It says that its body is JSON. Any other content type is not passed on.
    pub(crate) says_json: bool,
    /// Request line and headers for the endpoint, without host, framing and
    /// the empty line.
    pub(crate) forward: BytesMut,
}

/// Reads a request head off the front of `inbox`; `None` while it is incomplete.
pub(crate) fn request(inbox: &mut BytesMut, limit: usize) -> Result<Option<RequestHead>, Problem> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(inbox) {
        Ok(httparse::Status::Complete(length)) if length <= limit => length,
        Ok(httparse::Status::Partial) if inbox.len() <= limit => return Ok(None),
        Ok(_) => return Err(Problem::HeadTooLarge { limit }),
        Err(httparse::Error::TooManyHeaders) => return Err(Problem::TooManyHeaders { limit: MOST_HEADERS }),
        Err(error) => return Err(Problem::BadHead(error.to_string().into())),
    };
    let head = read_request(&parsed)?;
    inbox.advance(length);
    Ok(Some(head))
}

fn read_request(parsed: &httparse::Request<'_, '_>) -> Result<RequestHead, Problem> {
    let (method, target) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default());
    if !target.starts_with('/') {
        return Err(Problem::BadHead("the target must be a path that begins with /".into()));
    }
    let mut head = RequestHead {
        method: match method {
            "GET" => Method::Get,
            "POST" => Method::Post,
            _ => Method::Other,
        },
        path: target.split('?').next().unwrap_or_default().to_owned(),
        query: target.split_once('?').map(|(_, query)| query.to_owned()),
        http11: parsed.version == Some(1),
        body: Framing::Length(0),
        close: parsed.version != Some(1),
        expects_continue: false,
        request_id: None,
        patience: None,
        says_json: false,
        forward: BytesMut::with_capacity(512),
    };
    let _ = write!(head.forward, "{method} {target} HTTP/1.1\r\n");
    let mut length = None;
    let mut chunked = false;
    let mut hosts = 0;
    for header in parsed.headers.iter() {
        match Known::of(header.name) {
            Known::Host => hosts += 1,
            Known::ContentLength => length = Some(content_length(header.value, length)?),
            Known::TransferEncoding if header.value.eq_ignore_ascii_case(b"chunked") && !chunked && head.http11 => {
                chunked = true;
            }
            Known::TransferEncoding => {
                return Err(Problem::Unsupported(
                    "A transfer-encoding other than chunked in HTTP/1.1".into(),
                ));
            }
            Known::Connection => head.close |= has_token(header.value, b"close"),
            Known::Expect if header.value.eq_ignore_ascii_case(b"100-continue") => head.expects_continue = head.http11,
            Known::Expect => return Err(Problem::ExpectationFailed),
            Known::RequestId => head.request_id = usable_id(header.value),
            Known::Deadline => head.patience = Some(patience(header.value)?),
            Known::HopByHop | Known::Ours => {}
            Known::ContentType if is_json(header.value) && !head.says_json => {
                head.says_json = true;
                pass_on(&mut head.forward, header);
            }
            Known::ContentType => {}
            Known::No if nominated(parsed.headers, header.name) => {}
            Known::No => pass_on(&mut head.forward, header),
        }
    }
    if hosts > 1 || (hosts == 0 && head.http11) {
        return Err(Problem::BadHead("exactly one host header is required".into()));
    }
    head.body = match (length, chunked) {
        (Some(_), true) => return Err(Problem::BadHead("content-length and transfer-encoding together".into())),
        (_, true) => Framing::Chunked(Chunks::new()),
        (length, false) => Framing::Length(length.unwrap_or(0)),
    };
    Ok(head)
}

/// What we need to know of an answer's head.
#[derive(Debug)]
pub(crate) struct AnswerHead {
    pub(crate) status: u16,
    pub(crate) body: Framing,
    /// The endpoint keeps the connection open after it.
    pub(crate) keep_alive: bool,
    pub(crate) event_stream: bool,
    pub(crate) json: bool,
}

/// Reads an answer's head off the front of `inbox` and appends what goes on
/// to the client to `out`, without framing and the empty line. `None` while it
/// is incomplete; interim answers (1xx) are skipped.
pub(crate) fn answer(inbox: &mut BytesMut, out: &mut BytesMut, limit: usize) -> Result<Option<AnswerHead>, String> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut parsed = httparse::Response::new(&mut headers);
        let length = match parsed.parse(inbox) {
            Ok(httparse::Status::Complete(length)) if length <= limit => length,
            Ok(httparse::Status::Partial) if inbox.len() <= limit => return Ok(None),
            Ok(_) => return Err(format!("its head is longer than {limit} bytes")),
            Err(error) => return Err(format!("its head is malformed: {error}")),
        };
        let status = parsed.code.unwrap_or(0);
        if status == 101 || status < 100 {
            return Err(format!("unexpected status {status}"));
        }
        if status < 200 {
            inbox.advance(length);
            continue;
        }
        let head = read_answer(&parsed, status, out)?;
        inbox.advance(length);
        return Ok(Some(head));
    }
}

fn read_answer(parsed: &httparse::Response<'_, '_>, status: u16, out: &mut BytesMut) -> Result<AnswerHead, String> {
    let http11 = parsed.version == Some(1);
    let mut head = AnswerHead {
        status,
        body: Framing::UntilClose,
        keep_alive: http11,
        event_stream: false,
        json: false,
    };
    let phrase = parsed
        .reason
        .filter(|phrase| !phrase.is_empty())
        .unwrap_or_else(|| reason(status));
    let _ = write!(out, "HTTP/1.1 {status} {phrase}\r\n");
    let mut length = None;
    let mut chunked = false;
    for header in parsed.headers.iter() {
        match Known::of(header.name) {
            Known::ContentLength => {
                length = Some(content_length(header.value, length).map_err(|problem| problem.message())?);
            }
            Known::TransferEncoding if header.value.eq_ignore_ascii_case(b"chunked") => chunked = true,
            Known::TransferEncoding => return Err("its transfer-encoding is not chunked".to_owned()),
            Known::Connection => {
                head.keep_alive =
                    (head.keep_alive || has_token(header.value, b"keep-alive")) && !has_token(header.value, b"close");
            }
            Known::HopByHop | Known::Ours | Known::RequestId | Known::Deadline => {}
            known @ (Known::No | Known::Host | Known::Expect | Known::ContentType) => {
                if matches!(known, Known::ContentType) {
                    head.event_stream = starts_with(header.value, b"text/event-stream");
                    head.json = is_json(header.value);
                }
                if !nominated(parsed.headers, header.name) {
                    pass_on(out, header);
                }
            }
        }
    }
    head.body = match (length, chunked) {
        _ if status == 204 || status == 304 => Framing::Length(0),
        (_, true) => Framing::Chunked(Chunks::new()),
        (Some(length), false) => Framing::Length(length),
        (None, false) => Framing::UntilClose,
    };
    Ok(head)
}

/// Headers that mean something to us.
enum Known {
    No,
    Host,
    ContentLength,
    ContentType,
    TransferEncoding,
    Connection,
    Expect,
    RequestId,
    Deadline,
    HopByHop,
    Ours,
}

impl Known {
    fn of(name: &str) -> Self {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        // By length first: most headers are settled by one comparison of numbers.
        match name.len() {
            2 if is("te") => Self::HopByHop,
            4 if is("host") => Self::Host,
            6 if is("expect") => Self::Expect,
            7 if is("trailer") || is("upgrade") => Self::HopByHop,
            10 if is("connection") => Self::Connection,
            10 if is("keep-alive") => Self::HopByHop,
            12 if is("content-type") => Self::ContentType,
            12 if is(names::REQUEST_ID_HEADER) => Self::RequestId,
            14 if is("content-length") => Self::ContentLength,
            16 if is("proxy-connection") => Self::HopByHop,
            17 if is("transfer-encoding") => Self::TransferEncoding,
            18 if is("proxy-authenticate") => Self::HopByHop,
            19 if is("proxy-authorization") => Self::HopByHop,
            22 if is(crate::DEADLINE_HEADER) => Self::Deadline,
            11.. if name.as_bytes()[..11].eq_ignore_ascii_case(b"x-tidegate-") => Self::Ours,
            _ => Self::No,
        }
    }
}

fn pass_on(out: &mut BytesMut, header: &httparse::Header<'_>) {
    out.extend_from_slice(header.name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(header.value);
    out.extend_from_slice(b"\r\n");
}

fn starts_with(value: &[u8], prefix: &[u8]) -> bool {
    value
        .get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Whether a content type is JSON's, whatever its parameters.
fn is_json(value: &[u8]) -> bool {
    let media_type = value.split(|&byte| byte == b';').next().unwrap_or_default();
    media_type.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

fn has_token(value: &[u8], token: &[u8]) -> bool {
    tokens(value).any(|found| found.eq_ignore_ascii_case(token))
}

/// Whether a `connection` header declares `name` to be meant for one hop only.
fn nominated(headers: &[httparse::Header<'_>], name: &str) -> bool {
    headers
        .iter()
        .any(|header| header.name.eq_ignore_ascii_case("connection") && has_token(header.value, name.as_bytes()))
}

fn content_length(value: &[u8], earlier: Option<u64>) -> Result<u64, Problem> {
    let wrong = |why: &'static str| Problem::BadHeader {
        name: "content-length",
        why: why.into(),
    };
    let digits = std::str::from_utf8(value)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let length = digits
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| wrong("must be one decimal number"))?;
    if earlier.is_some_and(|earlier| earlier != length) {
        return Err(wrong("stands twice with different numbers"));
    }
    Ok(length)
}

/// A request id fit to be passed on and logged; others are replaced.
fn usable_id(value: &[u8]) -> Option<String> {
    let fits = !value.is_empty() && value.len() <= LONGEST_REQUEST_ID && value.iter().all(u8::is_ascii_graphic);
    if fits {
        std::str::from_utf8(value).ok().map(str::to_owned)
    } else {
        None
    }
}

fn patience(value: &[u8]) -> Result<Duration, Problem> {
    let millis = std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    millis
        .filter(|millis| (1..=LONGEST_PATIENCE_MS).contains(millis))
        .map(Duration::from_millis)
        .ok_or_else(|| {
            let why = format!("must be a number of milliseconds from 1 to {LONGEST_PATIENCE_MS}");
            Problem::BadHeader {
                name: crate::DEADLINE_HEADER,
                why: why.into(),
            }
        })
}

#[cfg(test)]
mod tests;
