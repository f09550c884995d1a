//! The tables that `kubectl get` prints: columns and cells as upstream computes them.

mod cells;
mod columns;
mod custom;
mod human;
mod pod;

pub use human::duration as human_duration;

use jiff::Timestamp;
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

impl Include {
    /// Reads the query parameter `includeObject`; `None` when it is none of the three.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Metadata" => Some(Self::Metadata),
            "Object" => Some(Self::Object),
            "None" => Some(Self::None),
            _ => None,
        }
    }
}

/// The columns of one resource.
#[derive(Debug, Clone)]
pub struct Columns {
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Builtin(&'static columns::Table),
    Custom(Vec<custom::Column>),
}

impl Columns {
    /// Turns objects into a `meta.k8s.io/v1` Table. The caller adds the list's
    /// metadata. Without definitions (later events of a watch) they are null.
    pub fn render(&self, objects: &[&Value], include: Include, now: Timestamp, with_definitions: bool) -> Value {
        let rows: Vec<Value> = objects.iter().map(|object| self.row(object, include, now)).collect();
        json!({
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": {},
            "columnDefinitions": if with_definitions { self.definitions() } else { Value::Null },
            "rows": rows,
        })
    }

    fn row(&self, object: &Value, include: Include, now: Timestamp) -> Value {
        let cells = match &self.kind {
            Kind::Builtin(table) => (table.cells)(object, now),
            Kind::Custom(columns) => {
                let name = object["metadata"]["name"].clone();
                std::iter::once(name)
                    .chain(columns.iter().map(|column| column.cell(object, now)))
                    .collect()
            }
        };
        let carried = match include {
            Include::None => Value::Null,
            Include::Object => object.clone(),
            Include::Metadata => partial(object),
        };
        let mut row = json!({"cells": cells, "object": carried});
        if let Kind::Builtin(table) = &self.kind
            && table.is_pods
            && let Some(conditions) = pod::row_conditions(object)
        {
            row["conditions"] = conditions;
        }
        row
    }

    fn definitions(&self) -> Value {
        match &self.kind {
            Kind::Builtin(table) => table.columns.iter().map(columns::Column::definition).collect(),
            Kind::Custom(columns) => std::iter::once(columns::NAME.definition())
                .chain(columns.iter().map(custom::Column::definition))
                .collect(),
        }
    }
}

/// Only the object's metadata, as a `PartialObjectMetadata`. An annotation that
/// stands for a field of an older version is not among it.
pub fn partial(object: &Value) -> Value {
    let mut metadata = object.get("metadata").cloned().unwrap_or_default();
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove("deprecated.daemonset.template.generation");
        if annotations.is_empty()
            && let Some(metadata) = metadata.as_object_mut()
        {
            metadata.remove("annotations");
        }
    }
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

/// Columns of a built-in resource; one without a table of its own shows its name
/// and when it was created.
pub fn builtin(group: &str, resource: &str) -> Columns {
    Columns {
        kind: Kind::Builtin(columns::of(group, resource)),
    }
}

/// Columns of one version entry (`spec.versions[i]`) of a CustomResourceDefinition.
pub fn for_crd(version_spec: &Value) -> Columns {
    Columns {
        kind: Kind::Custom(custom::columns(version_spec)),
    }
}

#[cfg(test)]
mod tests;
