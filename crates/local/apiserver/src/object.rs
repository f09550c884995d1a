//! Reading and writing the few fields of an object that every kind has.

use serde_json::{Map, Value};

/// A string below `metadata`, empty when absent.
pub(crate) fn meta<'a>(object: &'a Value, field: &str) -> &'a str {
    object
        .get("metadata")
        .and_then(|metadata| metadata.get(field))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub(crate) fn set_meta(object: &mut Value, field: &str, value: impl Into<Value>) {
    metadata(object).insert(field.to_owned(), value.into());
}

pub(crate) fn unset_meta(object: &mut Value, field: &str) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove(field);
    }
}

/// `metadata`, made when absent or not an object.
pub(crate) fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    map(child(map(object), "metadata"))
}

/// The member `field`, made as null when absent.
pub(crate) fn child<'a>(parent: &'a mut Map<String, Value>, field: &str) -> &'a mut Value {
    parent.entry(field.to_owned()).or_insert(Value::Null)
}

/// The value as a map; anything else is replaced by an empty one.
pub(crate) fn map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was just made an object")
}

pub(crate) fn generation(object: &Value) -> i64 {
    object
        .pointer("/metadata/generation")
        .and_then(Value::as_i64)
        .unwrap_or(0)
}

pub(crate) fn deleting(object: &Value) -> bool {
    !meta(object, "deletionTimestamp").is_empty()
}

/// Seconds of grace of a deletion under way.
pub(crate) fn grace(object: &Value) -> Option<i64> {
    object
        .pointer("/metadata/deletionGracePeriodSeconds")
        .and_then(Value::as_i64)
}

pub(crate) fn finalizers(object: &Value) -> Vec<&str> {
    strings(object.pointer("/metadata/finalizers"))
}

pub(crate) fn set_finalizers(object: &mut Value, finalizers: Vec<String>) {
    if finalizers.is_empty() {
        unset_meta(object, "finalizers");
    } else {
        set_meta(object, "finalizers", finalizers);
    }
}

pub(crate) fn strings(value: Option<&Value>) -> Vec<&str> {
    value
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

/// Copies the member `field` of `from`, or its absence.
pub(crate) fn copy(from: &Value, to: &mut Value, field: &str) {
    let to = map(to);
    match from.get(field) {
        Some(value) => to.insert(field.to_owned(), value.clone()),
        None => to.remove(field),
    };
}

/// Copies a member of `metadata` of `from`, or its absence.
pub(crate) fn copy_meta(from: &Value, to: &mut Value, field: &str) {
    match from.get("metadata").and_then(|metadata| metadata.get(field)) {
        Some(value) => set_meta(to, field, value.clone()),
        None => unset_meta(to, field),
    }
}

/// The object with its type in front, as JSON text. The object is stored
/// without type, so this is a prefix and no new rendering.
pub(crate) fn typed_json(api_version: &str, kind: &str, json: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"apiVersion\":\"");
    out.extend_from_slice(api_version.as_bytes());
    out.extend_from_slice(b"\",\"kind\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.push(b'"');
    match json {
        [b'{', b'}'] => out.push(b'}'),
        [b'{', rest @ ..] => {
            out.push(b',');
            out.extend_from_slice(rest);
        }
        _ => out.push(b'}'),
    }
}

/// Drops null members everywhere: a typed object cannot hold them.
pub(crate) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_type_is_put_in_front_without_parsing() {
        let mut out = Vec::new();
        typed_json("v1", "Pod", br#"{"metadata":{"name":"x"}}"#, &mut out);
        let value: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            value,
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}})
        );
        out.clear();
        typed_json("v1", "Pod", b"{}", &mut out);
        assert_eq!(out, br#"{"apiVersion":"v1","kind":"Pod"}"#);
    }
}
