//! The forms of Kubernetes objects, as pure functions over JSON values: how an
//! object is patched, selected, shown as a table row, checked against a schema,
//! filled with defaults, validated, described to clients and read from protobuf.
//!
//! Nothing here does I/O, reads a clock or knows the store.

pub mod kinds;
pub mod openapi;
pub mod patch;
pub mod protobuf;
pub mod quantity;
pub mod schema;
pub mod selector;
pub mod table;
pub mod words;

/// Group, version and kind of an object; the core group is the empty string.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gvk {
    /// API group, empty for core.
    pub group: String,
    /// Version within the group, such as `v1`.
    pub version: String,
    /// Kind in upper camel case, such as `Pod`.
    pub kind: String,
}

impl Gvk {
    /// Names a kind.
    pub fn new(group: impl Into<String>, version: impl Into<String>, kind: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
        }
    }

    /// The object's `apiVersion`: `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}
