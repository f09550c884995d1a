//! The OpenAI error body, which every server of ours answers with.

use serde::{Deserialize, Serialize};

/// `{"error": {...}}`, as OpenAI and vLLM send it.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct ErrorBody {
    /// The error itself.
    pub error: ErrorDetail,
}

/// What went wrong and where.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct ErrorDetail {
    /// A sentence for people, with the remedy where there is one.
    pub message: String,
    /// The class: `BadRequestError`, `NotFoundError`, `RateLimitError`, ...
    pub r#type: String,
    /// The request field at fault, if one is.
    pub param: Option<String>,
    /// The HTTP status, as vLLM repeats it.
    pub code: u16,
}

impl ErrorBody {
    /// An error body for `code` with vLLM's `type` word for it.
    #[must_use]
    pub fn new(code: u16, message: impl Into<String>, param: Option<&str>) -> Self {
        Self {
            error: ErrorDetail {
                message: message.into(),
                r#type: type_of(code).to_owned(),
                param: param.map(str::to_owned),
                code,
            },
        }
    }

    /// The body as JSON bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

const fn type_of(code: u16) -> &'static str {
    match code {
        400 | 405 | 411 | 415 | 417 | 422 | 431 | 501 | 505 => "BadRequestError",
        401 => "AuthenticationError",
        403 => "PermissionDeniedError",
        404 => "NotFoundError",
        413 => "RequestTooLargeError",
        429 => "RateLimitError",
        503 => "ServiceUnavailableError",
        408 | 504 => "TimeoutError",
        502 => "BadGatewayError",
        _ => "InternalServerError",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_the_object_clients_expect() {
        let body = ErrorBody::new(404, "The model `x` does not exist.", Some("model"));
        let json: serde_json::Value = serde_json::from_slice(&body.to_json()).unwrap();
        assert_eq!(json["error"]["type"], "NotFoundError");
        assert_eq!(json["error"]["param"], "model");
        assert_eq!(json["error"]["code"], 404);
    }
}
