//! The built-in kinds, read once from `schemas/types.json.gz` (how it is made:
//! `schemas/generate/main.go`).

use super::{Arena, Emit, Field, ListPatch, ListType, Node, Schema, Shape};
use crate::forms::Gvk;
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    io::Read,
    sync::{Arc, LazyLock},
};

static TABLE: &[u8] = include_bytes!("../../../schemas/types.json.gz");

/// A resource of a group as discovery lists it, with subresources as `pods/log`.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// Plural name, or plural and subresource: `pods`, `pods/log`.
    pub name: String,
    /// Kind of its objects.
    pub kind: String,
    /// Group of that kind when it differs from the resource's.
    #[serde(default)]
    pub group: Option<String>,
    /// Version of that kind when it differs from the resource's.
    #[serde(default)]
    pub version: Option<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// What can be done.
    pub verbs: Vec<String>,
    /// Singular name.
    #[serde(default)]
    pub singular_name: String,
    /// Names for short.
    #[serde(default)]
    pub short_names: Vec<String>,
    /// Groupings such as `all`.
    #[serde(default)]
    pub categories: Vec<String>,
}

/// A group-version of the table.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Group {
    /// `api/v1` or `apis/GROUP/VERSION`.
    pub path: String,
    /// Its resources.
    pub resources: Vec<Resource>,
}

#[derive(serde::Deserialize, Default)]
struct Table {
    definitions: Map<String, Value>,
    groups: Vec<Group>,
}

struct Builtin {
    table: Table,
    arena: Arc<Arena>,
    by_name: BTreeMap<String, usize>,
    by_gvk: BTreeMap<Gvk, usize>,
    names: BTreeMap<usize, String>,
}

static BUILTIN: LazyLock<Builtin> = LazyLock::new(|| {
    let mut text = Vec::new();
    let table: Table = flate2::read::GzDecoder::new(TABLE)
        .read_to_end(&mut text)
        .ok()
        .and_then(|_| serde_json::from_slice(&text).ok())
        .expect("the table is a file of this crate that a test reads");
    build(table)
});

/// Every group-version of the table.
pub fn groups() -> &'static [Group] {
    &BUILTIN.table.groups
}

/// Whether a group is built in; answered without reading the table.
pub fn has_group(group: &str) -> bool {
    const DOTTED: [&str; 12] = [
        "coordination.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "rbac.authorization.k8s.io",
        "scheduling.k8s.io",
        "networking.k8s.io",
        "storage.k8s.io",
        "node.k8s.io",
        "apiextensions.k8s.io",
        "admissionregistration.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
    ];
    DOTTED.contains(&group) || matches!(group, "" | "apps" | "batch" | "autoscaling" | "policy")
}

/// An OpenAPI definition of the table by its full name, such as `io.k8s.api.core.v1.Pod`.
pub fn definition(name: &str) -> Option<&'static Value> {
    BUILTIN.table.definitions.get(name)
}

/// The full name of a kind's definition, such as `io.k8s.api.core.v1.Pod`.
pub fn definition_name(gvk: &Gvk) -> Option<&'static str> {
    let node = BUILTIN.by_gvk.get(gvk)?;
    BUILTIN.names.get(node).map(String::as_str)
}

/// The schema of a built-in kind; `None` for kinds without one.
pub fn builtin(gvk: &Gvk) -> Option<Schema> {
    if !has_group(&gvk.group) {
        return None;
    }
    let node = *BUILTIN.by_gvk.get(gvk)?;
    Some(Schema {
        arena: BUILTIN.arena.clone(),
        node,
    })
}

/// The schema of a definition by its full name.
pub(in crate::forms) fn named(name: &str) -> Option<Schema> {
    let node = *BUILTIN.by_name.get(name)?;
    Some(Schema {
        arena: BUILTIN.arena.clone(),
        node,
    })
}

fn build(table: Table) -> Builtin {
    let mut arena = Arena {
        nodes: Vec::new(),
        typed: true,
    };
    let mut by_name = BTreeMap::new();
    let mut by_gvk = BTreeMap::new();
    for (name, definition) in &table.definitions {
        let node = arena.push(Node {
            name: go_name(name),
            ..Node::default()
        });
        by_name.insert(name.clone(), node);
        let kinds = definition["x-kubernetes-group-version-kind"].as_array();
        // A type that belongs to many kinds (DeleteOptions, Status) is none by itself.
        for kind in kinds.filter(|kinds| kinds.len() == 1).into_iter().flatten() {
            let text = |key: &str| kind[key].as_str().unwrap_or_default();
            by_gvk.insert(Gvk::new(text("group"), text("version"), text("kind")), node);
        }
    }
    for (name, definition) in &table.definitions {
        let index = by_name[name.as_str()];
        let mut node = read(definition, &mut arena, &by_name);
        node.name = go_name(name);
        match name.as_str() {
            "io.k8s.apimachinery.pkg.api.resource.Quantity" => node.shape = Shape::Quantity,
            "io.k8s.apimachinery.pkg.apis.meta.v1.Time" => node.shape = Shape::Time,
            "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime" => node.shape = Shape::MicroTime,
            "io.k8s.apimachinery.pkg.util.intstr.IntOrString" => node.shape = Shape::IntOrString,
            "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1" | "io.k8s.apimachinery.pkg.runtime.RawExtension" => {
                node.shape = Shape::Any;
            }
            _ => {}
        }
        arena.nodes[index] = node;
    }
    let names = by_name.iter().map(|(name, node)| (*node, name.clone())).collect();
    Builtin {
        names,
        table,
        arena: Arc::new(arena),
        by_name,
        by_gvk,
    }
}

/// `v1.PodSpec` of `io.k8s.api.core.v1.PodSpec`.
fn go_name(name: &str) -> String {
    let mut parts = name.rsplit('.');
    let kind = parts.next().unwrap_or_default();
    format!("{}.{kind}", parts.next().unwrap_or_default())
}

fn reference(schema: &Value) -> Option<&str> {
    let target = schema["$ref"]
        .as_str()
        .or_else(|| schema["allOf"][0]["$ref"].as_str())?;
    target.rsplit('/').next()
}

fn field(schema: &Value, arena: &mut Arena, names: &BTreeMap<String, usize>) -> Field {
    let node = match reference(schema).and_then(|name| names.get(name)) {
        Some(node) => *node,
        None => {
            let node = read(schema, arena, names);
            arena.push(node)
        }
    };
    let strategy = schema["x-kubernetes-patch-strategy"].as_str().unwrap_or_default();
    let key = schema["x-kubernetes-patch-merge-key"].as_str().map(str::to_owned);
    Field {
        node,
        list_patch: if strategy.split(',').any(|s| s == "merge") {
            ListPatch::Merge { key }
        } else {
            ListPatch::Replace
        },
        replaced: strategy.split(',').any(|s| s == "replace"),
        default: None,
        emit: match schema["x-emit"].as_str() {
            Some("o") => Emit::Omit,
            Some("s") => Emit::Struct,
            Some("z") => Emit::Zero,
            _ => Emit::AsGiven,
        },
    }
}

fn read(schema: &Value, arena: &mut Arena, names: &BTreeMap<String, usize>) -> Node {
    let mut node = Node {
        format: schema["format"].as_str().unwrap_or_default().to_owned(),
        ..Node::default()
    };
    node.shape = match schema["type"].as_str() {
        Some("object") => Shape::Object,
        Some("array") => Shape::Array,
        Some("string") => Shape::String,
        Some("integer") => Shape::Integer,
        Some("number") => Shape::Number,
        Some("boolean") => Shape::Boolean,
        _ => Shape::Any,
    };
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let field = field(property, arena, names);
        node.fields.insert(name.clone(), field);
    }
    let values = &schema["additionalProperties"];
    if values.is_object() {
        node.values = Some(field(values, arena, names));
    } else if node.shape == Shape::Object && node.fields.is_empty() {
        node.open = true;
    }
    if schema["items"].is_object() {
        node.items = Some(field(&schema["items"], arena, names));
    }
    node.list_type = match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => ListType::Set,
        Some("map") => ListType::Map(Vec::new()),
        _ => ListType::Atomic,
    };
    node
}
