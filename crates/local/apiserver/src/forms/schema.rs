//! Schemas of built-in and custom kinds: which fields exist, how they merge, what
//! their values may be.
//!
//! A schema is a node in an arena that clones share. Built-in kinds share one arena,
//! read once from the table in `schemas/`; every custom kind has an arena of its own.
//! CEL rules (`x-kubernetes-validations`) are kept by the store but not evaluated.

mod builtin;
mod check;
mod crd;
mod decode;
mod fill;
mod formats;

pub use builtin::{Group, Resource, builtin, definition, definition_name, groups, has_group};
pub use crd::from_crd;

use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// One cause of an Invalid (422) answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueRequired`, `FieldValueInvalid`, `FieldValueNotSupported`, ...
    pub reason: &'static str,
    /// What is wrong, without the field path: `Required value`, `Invalid value: ...`.
    pub message: String,
    /// Path of the field, such as `spec.containers[0].name`.
    pub field: String,
}

impl Cause {
    /// A field that must be there; `detail` may be empty.
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        Self::detailed("FieldValueRequired", "Required value".to_owned(), field, detail)
    }

    /// A value that is wrong.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self::detailed(
            "FieldValueInvalid",
            format!("Invalid value: {}", shown(value)),
            field,
            detail,
        )
    }

    /// A value of the wrong type.
    pub fn mistyped(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self {
            reason: "FieldValueTypeInvalid",
            ..Self::invalid(field, value, detail)
        }
    }

    /// A value outside a closed set.
    pub fn not_supported(field: impl Into<String>, value: &Value, supported: &[&str]) -> Self {
        let quoted: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        let detail = if quoted.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", quoted.join(", "))
        };
        Self::detailed(
            "FieldValueNotSupported",
            format!("Unsupported value: {}", shown(value)),
            field,
            &detail,
        )
    }

    /// A value that may stand only once.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self::detailed(
            "FieldValueDuplicate",
            format!("Duplicate value: {}", shown(value)),
            field,
            "",
        )
    }

    /// A field that may not be set or changed.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self::detailed("FieldValueForbidden", "Forbidden".to_owned(), field, detail)
    }

    /// More bytes than allowed.
    pub fn too_long(field: impl Into<String>, limit: u64) -> Self {
        let unit = if limit == 1 { "byte" } else { "bytes" };
        Self::detailed(
            "FieldValueTooLong",
            "Too long".to_owned(),
            field,
            &format!("may not be more than {limit} {unit}"),
        )
    }

    /// More items than allowed.
    pub fn too_many(field: impl Into<String>, count: usize, limit: u64) -> Self {
        let unit = if limit == 1 { "item" } else { "items" };
        let detail = format!("must have at most {limit} {unit}");
        Self::detailed("FieldValueTooMany", format!("Too many: {count}"), field, &detail)
    }

    fn detailed(reason: &'static str, message: String, field: impl Into<String>, detail: &str) -> Self {
        let message = if detail.is_empty() {
            message
        } else {
            format!("{message}: {detail}")
        };
        Self {
            reason,
            message,
            field: field.into(),
        }
    }
}

/// A value as error messages show it: text quoted, the rest as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

/// How a strategic merge patch treats a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ListPatch {
    /// The patch's list takes the place of the old one.
    #[default]
    Replace,
    /// Elements merge by their key, or as a set of scalars without one.
    Merge {
        /// The member that identifies an element.
        key: Option<String>,
    },
}

impl ListPatch {
    /// The member that identifies an element.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Merge { key } => key.as_deref(),
            Self::Replace => None,
        }
    }
}

/// What JSON a node stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Shape {
    /// Anything at all.
    #[default]
    Any,
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    IntOrString,
    Quantity,
    Time,
    MicroTime,
}

/// How Go writes a field whose value is its zero value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Emit {
    /// As the object has it (a pointer).
    #[default]
    AsGiven,
    /// Left out.
    Omit,
    /// An object, always there.
    Struct,
    /// Always there with its zero value.
    Zero,
}

/// A field of an object, the values of a map or the elements of a list.
#[derive(Debug, Clone, Default)]
struct Field {
    node: usize,
    list_patch: ListPatch,
    replaced: bool,
    default: Option<Value>,
    emit: Emit,
}

/// What kind of list a node is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum ListType {
    #[default]
    Atomic,
    Set,
    Map(Vec<String>),
}

#[derive(Debug, Clone, Default)]
struct Node {
    /// The Go type's name, for messages about built-in kinds.
    name: String,
    shape: Shape,
    format: String,
    fields: BTreeMap<String, Field>,
    values: Option<Field>,
    items: Option<Field>,
    /// Unknown fields are kept.
    open: bool,
    /// The object is a whole Kubernetes object of some kind.
    embedded: bool,
    nullable: bool,
    list_type: ListType,
    checks: Option<Box<check::Checks>>,
}

#[derive(Debug, Default)]
struct Arena {
    nodes: Vec<Node>,
    /// Of a built-in kind: values are normalised as Go's structs would.
    typed: bool,
}

impl Arena {
    fn push(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }
}

/// A schema; cheap to clone.
#[derive(Debug, Clone)]
pub struct Schema {
    arena: Arc<Arena>,
    node: usize,
}

/// A field's schema and how patches treat it.
#[derive(Debug, Clone)]
pub struct FieldSchema {
    schema: Schema,
    list_patch: ListPatch,
    replaced: bool,
}

impl FieldSchema {
    /// The schema of the field's value.
    pub fn schema(&self) -> Schema {
        self.schema.clone()
    }

    /// How a strategic merge patch treats the field when it is a list.
    pub fn list_patch(&self) -> ListPatch {
        self.list_patch.clone()
    }

    /// Whether a strategic merge patch replaces the field when it is an object.
    pub fn is_replaced(&self) -> bool {
        self.replaced
    }
}

impl Schema {
    fn get(&self) -> &Node {
        &self.arena.nodes[self.node]
    }

    fn at(&self, field: &Field) -> Self {
        Self {
            arena: self.arena.clone(),
            node: field.node,
        }
    }

    /// The field of an object or the values of a map; `None` when unknown.
    pub fn field(&self, name: &str) -> Option<FieldSchema> {
        let node = self.get();
        let field = node.fields.get(name).or(node.values.as_ref())?;
        Some(FieldSchema {
            schema: self.at(field),
            list_patch: field.list_patch.clone(),
            replaced: field.replaced,
        })
    }

    /// The schema of a list's elements.
    pub fn elements(&self) -> Option<Self> {
        self.get().items.as_ref().map(|field| self.at(field))
    }

    /// Paths of fields the schema does not know, such as `spec.foo`.
    pub fn unknown_fields(&self, object: &Value) -> Vec<String> {
        let mut found = Vec::new();
        self.find_unknown(object, "", &mut found);
        found
    }

    fn find_unknown(&self, value: &Value, path: &str, found: &mut Vec<String>) {
        let node = self.get();
        match value {
            Value::Object(map) => {
                for (key, inner) in map {
                    let path = if path.is_empty() {
                        key.clone()
                    } else {
                        format!("{path}.{key}")
                    };
                    match node.fields.get(key).or(node.values.as_ref()) {
                        Some(field) => self.at(field).find_unknown(inner, &path, found),
                        None if node.open || node.shape == Shape::Any => {}
                        None if node.shape == Shape::Object => found.push(path),
                        None => {}
                    }
                }
            }
            Value::Array(list) => {
                let Some(items) = &node.items else { return };
                for (position, inner) in list.iter().enumerate() {
                    self.at(items)
                        .find_unknown(inner, &format!("{path}[{position}]"), found);
                }
            }
            _ => {}
        }
    }

    /// Removes what the schema does not know. For a built-in kind the object then
    /// also has the form Go gives it: nulls and empty optional fields are gone,
    /// structs that are always written are there.
    pub fn prune(&self, object: &mut Value) {
        fill::prune(self, object);
        if self.arena.typed {
            fill::normalize(self, object);
        }
    }

    /// Gives the null values of maps the zero value that they are read as.
    pub fn fill_maps(&self, object: &mut Value) {
        fill::maps(self, object);
    }

    /// Fills in the schema's defaults; only custom kinds have them here, built-in
    /// kinds get theirs from [`kinds::default`](super::kinds::default).
    pub fn default(&self, object: &mut Value) {
        if !self.arena.typed {
            fill::default(self, object);
        }
    }

    /// Prunes, then fills in defaults.
    pub fn settle(&self, object: &mut Value) {
        self.prune(object);
        self.default(object);
    }

    /// Checks the object's values against the schema of a custom kind.
    pub fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        if !self.arena.typed {
            check::validate(self, object, &mut causes);
        }
        causes
    }

    /// As [`Schema::validate`], of one member of the object alone: sentences begin at
    /// the member, fields still at the object.
    pub fn validate_member(&self, object: &Value, name: &str) -> Vec<Cause> {
        let (Some(value), Some(field)) = (object.get(name), self.get().fields.get(name)) else {
            return Vec::new();
        };
        let within = |cause: Cause| {
            let field = match cause.field.as_str() {
                "" | "<nil>" => name.to_owned(),
                list if list.starts_with('[') => format!("{name}{list}"),
                inner => format!("{name}.{inner}"),
            };
            Cause { field, ..cause }
        };
        self.at(field).validate(value).into_iter().map(within).collect()
    }

    /// Why an object of a built-in kind cannot be read at all: upstream answers 400
    /// `K in version "v1" cannot be handled as a K: ` followed by this text.
    pub fn decode_error(&self, object: &Value) -> Option<String> {
        if self.arena.typed {
            decode::mismatch(self, object)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests;
