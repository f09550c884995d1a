//! Content negotiation and answers: which shape a client wants, and the HTTP
//! response that carries it.

use std::io::Write;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde_json::Value;

use crate::failure::{Failure, Outcome};
use crate::limits;

pub(crate) type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;
pub(crate) type Answer = Response<Body>;

/// The shape of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The objects themselves.
    Plain,
    /// A `meta.k8s.io/v1` Table.
    Table,
    /// Only the objects' metadata.
    Partial,
}

/// How a client wants to be answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) shape: Shape,
    pub(crate) pretty: bool,
    pub(crate) yaml: bool,
    /// The API version of tables and of metadata alone.
    pub(crate) meta_version: &'static str,
    gzip: bool,
}

const META_V1: &str = "meta.k8s.io/v1";
const AVAILABLE: &str = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml";

impl Wanted {
    /// JSON, for errors that come before negotiation.
    pub(crate) const JSON: Self = Self {
        shape: Shape::Plain,
        pretty: false,
        yaml: false,
        meta_version: META_V1,
        gzip: false,
    };

    /// Reads the request's headers.
    ///
    /// # Errors
    /// 406 when nothing the client accepts can be given.
    pub(crate) fn negotiate(headers: &HeaderMap, pretty: &str) -> Outcome<Self> {
        let text = |name| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let agent = text(USER_AGENT);
        let browser = ["curl/", "Wget/", "Mozilla/"]
            .iter()
            .any(|prefix| agent.starts_with(prefix));
        let pretty = match pretty {
            "" => browser,
            "0" | "false" => false,
            _ => true,
        };
        let gzip = text(ACCEPT_ENCODING)
            .split(',')
            .any(|coding| coding.trim().split(';').next() == Some("gzip"));
        let base = Self {
            shape: Shape::Plain,
            pretty,
            yaml: false,
            meta_version: META_V1,
            gzip,
        };
        let accept = text(ACCEPT);
        if accept.trim().is_empty() {
            return Ok(base);
        }
        accept
            .split(',')
            .find_map(|clause| {
                let Clause {
                    yaml,
                    shape,
                    meta_version,
                } = Clause::read(clause)?;
                Some(Self {
                    shape: shape?,
                    yaml,
                    meta_version,
                    ..base
                })
            })
            .ok_or_else(|| {
                if accept.split(',').any(|clause| Clause::read(clause).is_some()) {
                    return Failure::not_acceptable("application/json, application/yaml");
                }
                let mut failure = Failure::not_acceptable("");
                AVAILABLE.clone_into(&mut failure.message);
                failure.details = Some(serde_json::json!({}));
                failure
            })
    }
}

/// One clause of an `Accept` header whose media type can be given.
struct Clause {
    yaml: bool,
    /// What is asked for in it, if that is known.
    shape: Option<Shape>,
    meta_version: &'static str,
}

impl Clause {
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let yaml = match parts.next()? {
            "application/json" | "*/*" => false,
            "application/yaml" => true,
            _ => return None,
        };
        let (mut kind, mut group, mut version) = ("", "", "");
        for parameter in parts {
            match parameter.split_once('=') {
                Some(("as", value)) => kind = value,
                Some(("g", value)) => group = value,
                Some(("v", value)) => version = value,
                _ => {}
            }
        }
        let meta_version = match (group, version) {
            ("meta.k8s.io", "v1") => Some(META_V1),
            ("meta.k8s.io", "v1beta1") => Some("meta.k8s.io/v1beta1"),
            _ => None,
        };
        let shape = match kind {
            "" => Some(Shape::Plain),
            "Table" => meta_version.map(|_| Shape::Table),
            "PartialObjectMetadata" | "PartialObjectMetadataList" => meta_version.map(|_| Shape::Partial),
            _ => None,
        };
        Some(Self {
            yaml,
            shape,
            meta_version: meta_version.unwrap_or(META_V1),
        })
    }
}

/// The form of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Yaml,
    Protobuf,
}

/// The media type without parameters, lower case.
pub(crate) fn content_type(headers: &HeaderMap) -> String {
    let text = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_lowercase()
}

/// What an object's body is written in; absent means JSON.
///
/// # Errors
/// 415 for anything else.
pub(crate) fn media(content_type: &str) -> Outcome<Media> {
    match content_type {
        "" | "application/json" => Ok(Media::Json),
        "application/yaml" => Ok(Media::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(Media::Protobuf),
        _ => Err(Failure::unsupported_media_type(
            "application/json, application/yaml, application/vnd.kubernetes.protobuf",
        )),
    }
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// An answer with a body of the given type.
pub(crate) fn answer(code: u16, content_type: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

pub(crate) fn text(code: u16, text: impl Into<Bytes>) -> Answer {
    answer(code, "text/plain; charset=utf-8", full(text))
}

/// An answer without a body, and so without a type.
pub(crate) fn bare(code: u16) -> Answer {
    let mut answer = text(code, "");
    answer.headers_mut().remove(CONTENT_TYPE);
    answer
}

/// An answer that is JSON already.
pub(crate) fn json_text(code: u16, json: Vec<u8>, wanted: Wanted) -> Answer {
    if wanted.yaml || wanted.pretty {
        return match serde_json::from_slice::<Value>(&json) {
            Ok(value) => json_value(code, &value, wanted),
            Err(_) => compressed(code, "application/json", json, wanted),
        };
    }
    compressed(code, "application/json", json, wanted)
}

pub(crate) fn json_value(code: u16, value: &Value, wanted: Wanted) -> Answer {
    if wanted.yaml
        && let Ok(yaml) = serde_saphyr::to_string(value)
    {
        return compressed(code, "application/yaml", yaml.into_bytes(), wanted);
    }
    let json = if wanted.pretty {
        serde_json::to_vec_pretty(value)
    } else {
        serde_json::to_vec(value)
    };
    let mut json = json.unwrap_or_default();
    if wanted.pretty {
        json.push(b'\n');
    }
    compressed(code, "application/json", json, wanted)
}

fn compressed(code: u16, content_type: &'static str, body: Vec<u8>, wanted: Wanted) -> Answer {
    if wanted.gzip && body.len() >= limits::GZIP {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        if encoder.write_all(&body).is_ok()
            && let Ok(small) = encoder.finish()
        {
            let mut answer = answer(code, content_type, full(small));
            answer
                .headers_mut()
                .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            return answer;
        }
    }
    answer(code, content_type, full(body))
}

/// A failure as its `Status`.
pub(crate) fn failed(failure: &Failure, wanted: Wanted) -> Answer {
    let mut answer = json_value(failure.code, &failure.status(), wanted);
    if let Some(seconds) = failure.retry_after {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    warn(&mut answer, &failure.warnings);
    answer
}

/// Adds warnings to what is answered, be it a success or a failure.
pub(crate) fn warned(answered: Outcome<Answer>, warnings: &[String]) -> Outcome<Answer> {
    match answered {
        Ok(mut answer) => {
            warn(&mut answer, warnings);
            Ok(answer)
        }
        Err(failure) => Err(failure.warned(warnings)),
    }
}

/// Adds a `Warning` header before those that are there.
pub(crate) fn warn_first(answer: &mut Answer, warning: String) {
    let later: Vec<HeaderValue> = match answer.headers_mut().entry(http::header::WARNING) {
        http::header::Entry::Occupied(entry) => entry.remove_entry_mult().1.collect(),
        http::header::Entry::Vacant(_) => Vec::new(),
    };
    warn(answer, &[warning]);
    for value in later {
        answer.headers_mut().append(http::header::WARNING, value);
    }
}

/// Adds a `Warning` header for each text.
pub(crate) fn warn(answer: &mut Answer, warnings: &[String]) {
    for warning in warnings {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            answer.headers_mut().append(http::header::WARNING, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_acceptable_clause_decides() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        for (accept, expected) in [
            ("", Some(Shape::Plain)),
            ("*/*", Some(Shape::Plain)),
            (
                "application/vnd.kubernetes.protobuf,application/json",
                Some(Shape::Plain),
            ),
            (&format!("{table},application/json"), Some(Shape::Table)),
            (
                "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
                Some(Shape::Partial),
            ),
            (
                "application/json;as=Nonsense;g=meta.k8s.io;v=v1, application/json",
                Some(Shape::Plain),
            ),
            ("text/plain", None),
            ("application/json;as=Chair;v=v1;g=meta.k8s.io", None),
            ("application/vnd.kubernetes.protobuf", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
            assert_eq!(
                Wanted::negotiate(&headers, "").ok().map(|wanted| wanted.shape),
                expected,
                "{accept}"
            );
        }
    }

    #[test]
    fn big_answers_are_compressed_for_those_who_ask() {
        let body = vec![b' '; limits::GZIP];
        let asked = Wanted {
            gzip: true,
            ..Wanted::JSON
        };
        assert!(
            json_text(200, body.clone(), asked)
                .headers()
                .contains_key(CONTENT_ENCODING)
        );
        assert!(
            !json_text(200, body, Wanted::JSON)
                .headers()
                .contains_key(CONTENT_ENCODING)
        );
        assert!(
            !json_text(200, b"{}".to_vec(), asked)
                .headers()
                .contains_key(CONTENT_ENCODING)
        );
    }
}
