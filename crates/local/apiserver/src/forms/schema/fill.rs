//! Pruning, defaulting, and the form that Go's structs give a built-in object.

use super::{Emit, Schema, Shape, builtin};
use crate::forms::quantity;
use serde_json::{Map, Value, json};

/// Removes fields that the schema does not know.
pub(super) fn prune(schema: &Schema, value: &mut Value) {
    let node = schema.get();
    match value {
        Value::Object(map) => {
            if !node.open && node.shape == Shape::Object {
                map.retain(|key, _| node.fields.contains_key(key) || node.values.is_some());
            }
            for (key, inner) in map {
                if let Some(field) = node.fields.get(key).or(node.values.as_ref()) {
                    prune(&schema.at(field), inner);
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = &node.items {
                let items = schema.at(items);
                list.iter_mut().for_each(|inner| prune(&items, inner));
            }
        }
        _ => {}
    }
}

/// Fills in defaults, before descending, so that a default's own defaults apply.
/// A null where null is not allowed counts as missing.
pub(super) fn default(schema: &Schema, value: &mut Value) {
    let node = schema.get();
    match value {
        Value::Object(map) => {
            for (key, field) in &node.fields {
                let nullable = schema.arena.nodes[field.node].nullable;
                let missing = match map.get(key) {
                    None => true,
                    Some(Value::Null) => !nullable,
                    Some(_) => false,
                };
                if let (true, Some(filled)) = (missing, &field.default) {
                    map.insert(key.clone(), filled.clone());
                }
            }
            map.retain(|key, inner| {
                let Some(field) = node.fields.get(key).or(node.values.as_ref()) else {
                    return true;
                };
                if inner.is_null() && !schema.arena.nodes[field.node].nullable {
                    // A null that may not be and has no default counts as missing.
                    let Some(filled) = &field.default else { return false };
                    *inner = filled.clone();
                }
                default(&schema.at(field), inner);
                true
            });
        }
        Value::Array(list) => {
            let Some(items) = &node.items else { return };
            for inner in list {
                if let (Value::Null, Some(filled)) = (&*inner, &items.default) {
                    *inner = filled.clone();
                }
                default(&schema.at(items), inner);
            }
        }
        _ => {}
    }
}

/// The zero value that Go writes for a field that is always there.
fn zero(shape: Shape) -> Value {
    match shape {
        Shape::String => json!(""),
        Shape::Integer | Shape::Number | Shape::IntOrString => json!(0),
        Shape::Boolean => json!(false),
        Shape::Quantity => json!("0"),
        _ => Value::Null,
    }
}

/// Whether Go takes a value for empty.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// Gives the null values of maps the zero value that Go reads them as.
pub(super) fn maps(schema: &Schema, value: &mut Value) {
    let node = schema.get();
    match value {
        Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                let Some(field) = node.fields.get(key).or(node.values.as_ref()) else {
                    continue;
                };
                if inner.is_null() && node.values.is_some() {
                    *inner = zero(schema.arena.nodes[field.node].shape);
                }
                maps(&schema.at(field), inner);
            }
        }
        Value::Array(list) => {
            let Some(items) = &node.items else { return };
            list.iter_mut().for_each(|inner| maps(&schema.at(items), inner));
        }
        _ => {}
    }
}

/// Gives a built-in object the form that decoding into Go's struct and encoding
/// again would: see [`Emit`].
pub(super) fn normalize(schema: &Schema, value: &mut Value) {
    let node = schema.get();
    match value {
        Value::Object(map) if node.shape == Shape::Object => {
            if node.values.is_none() {
                settle_fields(schema, map);
            }
            for (key, inner) in map.iter_mut() {
                let Some(field) = node.fields.get(key).or(node.values.as_ref()) else {
                    continue;
                };
                if inner.is_null() && node.values.is_some() {
                    *inner = zero(schema.arena.nodes[field.node].shape);
                }
                normalize(&schema.at(field), inner);
            }
            let definition = node.name.contains("CustomResourceDefinition");
            for (key, field) in &node.fields {
                match field.emit {
                    Emit::Omit if map.get(key).is_some_and(is_empty) => {
                        map.remove(key);
                    }
                    // Storage keeps no difference between an empty list and none, that of
                    // definitions apart: they are stored as JSON.
                    Emit::Zero if definition => {}
                    Emit::Zero if map.get(key).is_some_and(|v| v.as_array().is_some_and(Vec::is_empty)) => {
                        map.insert(key.clone(), Value::Null);
                    }
                    _ => {}
                }
            }
        }
        Value::Array(list) => {
            let Some(items) = &node.items else { return };
            let items = schema.at(items);
            for inner in list {
                if inner.is_null() && items.get().shape == Shape::Object {
                    *inner = Value::Object(Map::new());
                }
                normalize(&items, inner);
            }
        }
        Value::Number(number) if node.shape == Shape::Quantity => *value = Value::String(number.to_string()),
        _ => {}
    }
    if let (Shape::Quantity, Value::String(text)) = (node.shape, &*value)
        && let Some(canonical) = quantity::canonical(text)
    {
        *value = Value::String(canonical);
    }
}

fn settle_fields(schema: &Schema, map: &mut Map<String, Value>) {
    for (key, field) in &schema.get().fields {
        let empty = map.get(key).is_none_or(Value::is_null);
        match field.emit {
            Emit::AsGiven if empty => {
                map.remove(key);
            }
            Emit::Struct if empty => {
                map.insert(key.clone(), Value::Object(Map::new()));
            }
            Emit::Zero if empty => {
                map.insert(key.clone(), zero(schema.arena.nodes[field.node].shape));
            }
            _ => {}
        }
    }
}

/// The schema of `metadata`, which every object has whatever its schema says.
pub(super) fn metadata() -> Option<Schema> {
    builtin::named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
}
