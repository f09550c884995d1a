//! Protobuf bodies.
use serde_json::Value;

/// Why a protobuf body cannot be read; answered as 400 BadRequest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub String);

/// Whether the body starts with the magic of Kubernetes protobuf.
pub fn is_protobuf(body: &[u8]) -> bool {
    body.starts_with(b"k8s\0")
}

/// Decodes a Kubernetes protobuf body to the JSON object it stands for.
pub fn decode(_body: &[u8]) -> Result<Value, DecodeError> {
    Err(DecodeError("not decodable".to_owned()))
}
