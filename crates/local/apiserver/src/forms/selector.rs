//! Selectors.
use serde_json::Value;

/// Why a selector cannot be used; answered as 400 BadRequest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);

/// A label selector.
#[derive(Debug, Clone, Default)]
pub struct Labels;

impl Labels {
    /// Reads a `labelSelector`.
    pub fn parse(_text: &str) -> Result<Self, SelectorError> {
        Ok(Self)
    }
    /// Whether the object's `metadata.labels` satisfy every requirement.
    pub fn matches(&self, _object: &Value) -> bool {
        true
    }
    /// Whether everything matches.
    pub fn is_empty(&self) -> bool {
        true
    }
}

/// A field selector.
#[derive(Debug, Clone, Default)]
pub struct Fields;

impl Fields {
    /// Reads a `fieldSelector` for one resource.
    pub fn parse(_text: &str, _group: &str, _resource: &str, _extra: &[String]) -> Result<Self, SelectorError> {
        Ok(Self)
    }
    /// Whether the object satisfies every requirement.
    pub fn matches(&self, _object: &Value) -> bool {
        true
    }
    /// Whether everything matches.
    pub fn is_empty(&self) -> bool {
        true
    }
    /// The name that `metadata.name=` asks for.
    pub fn name(&self) -> Option<&str> {
        None
    }
}
