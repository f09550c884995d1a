//! Schemas.
use super::Gvk;
use serde_json::Value;

/// One cause of an Invalid (422) answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueRequired`, `FieldValueInvalid`, `FieldValueNotSupported`, ...
    pub reason: &'static str,
    /// What is wrong, without the field path.
    pub message: String,
    /// Path of the field, such as `spec.containers[0].name`.
    pub field: String,
}

/// A schema; cheap to clone.
#[derive(Debug, Clone)]
pub struct Schema;

impl Schema {
    /// Paths of fields the schema does not know, such as `spec.foo`.
    pub fn unknown_fields(&self, _object: &Value) -> Vec<String> {
        Vec::new()
    }
    /// Removes fields the schema does not know.
    pub fn prune(&self, _object: &mut Value) {}
    /// Fills in the schema's defaults.
    pub fn default(&self, _object: &mut Value) {}
    /// Checks the object's values.
    pub fn validate(&self, _object: &Value) -> Vec<Cause> {
        Vec::new()
    }
}

/// The schema of a built-in kind; `None` for kinds without one.
pub fn builtin(_gvk: &Gvk) -> Option<Schema> {
    None
}

/// The schema of a custom kind from `openAPIV3Schema`.
pub fn from_crd(_open_api_v3_schema: &Value, _gvk: &Gvk) -> Result<Schema, Vec<Cause>> {
    Ok(Schema)
}
