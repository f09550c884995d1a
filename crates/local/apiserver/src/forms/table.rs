//! Tables.
use serde_json::{Value, json};

/// What each row carries as its `object`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Include {
    /// The object's metadata as a PartialObjectMetadata.
    #[default]
    Metadata,
    /// The whole object.
    Object,
    /// Nothing.
    None,
}

/// The columns of one resource.
#[derive(Debug, Clone)]
pub struct Columns;

impl Columns {
    /// Turns objects into a `meta.k8s.io/v1` Table. The caller adds list metadata.
    pub fn render(
        &self,
        _objects: &[&Value],
        _include: Include,
        _now: jiff::Timestamp,
        _with_definitions: bool,
    ) -> Value {
        json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "columnDefinitions": [], "rows": []})
    }
}

/// Columns of a built-in resource.
pub fn builtin(_group: &str, _resource: &str) -> Columns {
    Columns
}

/// Columns of one version entry (`spec.versions[i]`) of a CustomResourceDefinition.
pub fn for_crd(_version_spec: &Value) -> Columns {
    Columns
}
