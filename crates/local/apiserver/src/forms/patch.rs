//! The three kinds of patch, with upstream's semantics where they differ from
//! the standards.

mod rfc6902;
mod strategic_merge;

use super::schema::Schema;
use serde_json::Value;

/// Most operations one JSON patch may hold.
pub const MAX_OPERATIONS: usize = 10_000;

/// Why a patch could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PatchError {
    /// Which HTTP answer the error becomes.
    pub kind: PatchErrorKind,
    /// The answer's message.
    pub message: String,
    /// What went wrong in detail, for logs; upstream does not tell the client.
    pub detail: String,
}

/// Which HTTP answer a patch error becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchErrorKind {
    /// 400 BadRequest: the patch itself cannot be read.
    BadRequest,
    /// 422 Invalid without causes: the patch does not fit the object.
    Invalid,
    /// 413 RequestEntityTooLarge: more operations than the limit.
    TooLarge,
    /// 500 InternalError: upstream's answer to lists that cannot be merged.
    Internal,
}

impl PatchError {
    fn bad_request(message: impl Into<String>) -> Self {
        Self {
            kind: PatchErrorKind::BadRequest,
            message: message.into(),
            detail: String::new(),
        }
    }

    fn internal(message: impl Into<String>) -> Self {
        Self {
            kind: PatchErrorKind::Internal,
            message: message.into(),
            detail: String::new(),
        }
    }

    fn does_not_fit(detail: impl Into<String>) -> Self {
        Self {
            kind: PatchErrorKind::Invalid,
            message: "the server rejected our request due to an error in our request".to_owned(),
            detail: detail.into(),
        }
    }
}

/// Applies a JSON patch (RFC 6902) with the deviations of upstream's library: a
/// `test` for null succeeds where the member is missing, `replace` adds a missing
/// member, an index below zero counts from the end. The document is unchanged
/// after an error.
///
/// # Errors
/// BadRequest when the patch is not a list of operations, TooLarge above
/// [`MAX_OPERATIONS`], Invalid when an operation does not apply.
pub fn json(doc: &mut Value, ops: &Value) -> Result<(), PatchError> {
    rfc6902::apply(doc, ops)
}

/// Applies a JSON merge patch (RFC 7396).
pub fn merge(doc: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *doc = patch.clone();
        return;
    };
    if !doc.is_object() {
        *doc = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = doc else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Applies a strategic merge patch: maps merge, lists merge by the keys that the
/// schema names or are replaced, and `$patch`, `$retainKeys`, `$setElementOrder/x`
/// and `$deleteFromPrimitiveList/x` direct. The document is unchanged after an error.
///
/// # Errors
/// BadRequest for malformed directives and for a patch that is no object;
/// Internal where upstream answers so (an element without its merge key).
pub fn strategic(doc: &mut Value, patch: &Value, schema: &Schema) -> Result<(), PatchError> {
    strategic_merge::apply(doc, patch, schema)
}

#[cfg(test)]
mod tests;
