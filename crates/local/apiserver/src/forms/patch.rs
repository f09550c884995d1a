//! Patches.
use super::schema::Schema;
use serde_json::Value;

/// Why a patch could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PatchError {
    /// Which HTTP answer the error becomes.
    pub kind: PatchErrorKind,
    /// The answer's message.
    pub message: String,
}

/// Which HTTP answer a patch error becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchErrorKind {
    /// 400 BadRequest: the patch itself cannot be read.
    BadRequest,
    /// 422 Invalid: the patch does not fit the object.
    Invalid,
    /// 413 RequestEntityTooLarge: more operations than the limit.
    TooLarge,
}

/// Applies a JSON patch (RFC 6902).
pub fn json(_doc: &mut Value, _ops: &Value) -> Result<(), PatchError> {
    Ok(())
}

/// Applies a JSON merge patch (RFC 7396).
pub fn merge(_doc: &mut Value, _patch: &Value) {}

/// Applies a strategic merge patch.
pub fn strategic(_doc: &mut Value, _patch: &Value, _schema: &Schema) -> Result<(), PatchError> {
    Ok(())
}
