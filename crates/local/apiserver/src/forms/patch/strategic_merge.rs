//! Strategic merge: the patch says what shall be, the schema says how lists merge.

use super::PatchError;
use crate::forms::schema::{ListPatch, Schema};
use serde_json::{Map, Value};

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

type Object = Map<String, Value>;
type Outcome<T> = Result<T, PatchError>;

pub(super) fn apply(doc: &mut Value, patch: &Value, schema: &Schema) -> Outcome<()> {
    let (Value::Object(original), Value::Object(patch)) = (&*doc, patch) else {
        return Err(PatchError::bad_request(
            "invalid JSON document: a strategic merge patch is an object",
        ));
    };
    let merged = merge_map(original.clone(), patch.clone(), Some(schema))?;
    *doc = Value::Object(merged);
    Ok(())
}

fn bad(what: &str) -> PatchError {
    PatchError::bad_request(format!("invalid patch format of {what}"))
}

fn merge_map(mut original: Object, mut patch: Object, schema: Option<&Schema>) -> Outcome<Object> {
    if let Some(directive) = patch.remove(PATCH) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Object::new()),
            Some("merge") => merge_map(original, patch, schema),
            _ => Err(PatchError::internal(format!("unknown patch type: {directive} in map"))),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    merge_ordered_lists(&mut original, &mut patch, schema)?;
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(DELETE) {
            delete_from_list(&mut original, list, &value)?;
            continue;
        }
        if key.starts_with("$deleteFromPrimitiveList") {
            return Err(bad("primitive list"));
        }
        if value.is_null() {
            original.remove(&key);
            continue;
        }
        let field = schema.and_then(|s| s.field(&key));
        match (original.remove(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                let replaced = field.as_ref().is_some_and(|f| f.is_replaced());
                let merged = if replaced {
                    new
                } else {
                    merge_map(old, new, field.as_ref().map(|f| f.schema()).as_ref())?
                };
                original.insert(key, Value::Object(merged));
            }
            (Some(Value::Array(old)), Value::Array(new)) => {
                let how = field.as_ref().map_or(ListPatch::Replace, |f| f.list_patch());
                let elements = field.as_ref().and_then(|f| f.schema().elements());
                original.insert(key, Value::Array(merge_list(old, new, &how, elements.as_ref())?));
            }
            (_, mut new) => {
                discard_nulls(&mut new);
                if let Some(kept) = without_directives(new) {
                    original.insert(key, kept);
                }
            }
        }
    }
    Ok(original)
}

/// `$retainKeys`: members of the original that the list does not name go.
fn retain_keys(original: &mut Object, patch: &mut Object) -> Outcome<()> {
    let Some(keys) = patch.remove(RETAIN) else {
        return Ok(());
    };
    let keys = keys.as_array().ok_or_else(|| bad("retainKeys"))?;
    let retained = |key: &str| keys.iter().any(|k| k.as_str() == Some(key));
    for (key, value) in patch.iter() {
        if !value.is_null() && !key.starts_with(DELETE) && !key.starts_with(ORDER) && !retained(key) {
            return Err(bad("retainKeys"));
        }
    }
    original.retain(|key, _| retained(key));
    Ok(())
}

/// `$deleteFromPrimitiveList/x`: the values named go from the list of scalars.
fn delete_from_list(original: &mut Object, list: &str, values: &Value) -> Outcome<()> {
    if values.is_null() {
        original.remove(list);
        return Ok(());
    }
    let values = values.as_array().ok_or_else(|| bad("primitive list"))?;
    if let Some(Value::Array(old)) = original.get_mut(list) {
        same_kind(old.iter().chain(values))?;
        old.retain(|v| !values.contains(v));
    }
    Ok(())
}

/// Lists with a `$setElementOrder/x` are merged and then put in that order.
fn merge_ordered_lists(original: &mut Object, patch: &mut Object, schema: Option<&Schema>) -> Outcome<()> {
    let directives: Vec<String> = patch
        .keys()
        .filter(|k| k.starts_with("$setElementOrder"))
        .cloned()
        .collect();
    for directive in directives {
        let Some(order) = patch.remove(&directive) else {
            continue;
        };
        let name = directive
            .strip_prefix(ORDER)
            .ok_or_else(|| bad("setElementOrder list"))?;
        let Value::Array(order) = order else {
            return Err(bad("setElementOrder list"));
        };
        let field = schema.and_then(|s| s.field(name));
        let how = field.as_ref().map_or(ListPatch::Replace, |f| f.list_patch());
        let key = how.key().map(str::to_owned);
        let in_patch = match patch.get(name) {
            None => None,
            Some(Value::Array(list)) => Some(list.clone()),
            Some(_) => return Err(bad("setElementOrder list")),
        };
        if let Some(list) = &in_patch {
            patch_follows_order(list, &order, key.as_deref())?;
        }
        let old = match original.get(name) {
            None => None,
            Some(Value::Array(list)) => Some(list.clone()),
            Some(_) => return Err(bad("setElementOrder list")),
        };
        let server_order = old.clone().unwrap_or_default();
        let merged = match (old, in_patch) {
            (None, None) => continue,
            (Some(old), None) => old,
            (None, Some(new)) => match without_directives(Value::Array(new)) {
                Some(Value::Array(list)) => list,
                _ => continue,
            },
            (Some(old), Some(new)) => {
                let elements = field.as_ref().and_then(|f| f.schema().elements());
                merge_list(old, new, &how, elements.as_ref())?
            }
        };
        let both = in_order(merged, &order, &server_order, key.as_deref())?;
        original.insert(name.to_owned(), Value::Array(both));
        patch.remove(name);
    }
    Ok(())
}

/// Every element of the patch must stand in the order list, in the same order.
fn patch_follows_order(list: &[Value], order: &[Value], key: Option<&str>) -> Outcome<()> {
    if order.is_empty() {
        return Ok(());
    }
    let mut rest = order.iter();
    for element in list.iter().filter(|e| e.get(PATCH).is_none()) {
        let id = identity(element, key)?;
        let mut found = false;
        for candidate in rest.by_ref() {
            if identity(candidate, key)? == id {
                found = true;
                break;
            }
        }
        if !found {
            return Err(PatchError::internal(format!(
                "The order in patch list doesn't match {} list",
                ORDER.trim_end_matches('/')
            )));
        }
    }
    Ok(())
}

/// What an element is known by: its merge key, or itself.
fn identity<'a>(element: &'a Value, key: Option<&str>) -> Outcome<&'a Value> {
    let Some(key) = key else { return Ok(element) };
    match element {
        Value::Object(map) => map
            .get(key)
            .ok_or_else(|| PatchError::internal(format!("map: {element} does not contain declared merge key: {key}"))),
        _ => Err(PatchError::internal(format!(
            "expected a map with the key {key:?}, but received {element}"
        ))),
    }
}

fn same_kind<'a>(values: impl Iterator<Item = &'a Value>) -> Outcome<Option<&'a Value>> {
    let mut first: Option<&Value> = None;
    for value in values {
        if value.is_array() {
            return Err(PatchError::does_not_fit("lists of lists are not supported"));
        }
        let alike = |other: &Value| std::mem::discriminant(other) == std::mem::discriminant(value);
        if first.is_some_and(|other| !alike(other)) {
            return Err(PatchError::internal("list element types are not identical"));
        }
        first = first.or(Some(value));
    }
    Ok(first)
}

fn merge_list(old: Vec<Value>, new: Vec<Value>, how: &ListPatch, elements: Option<&Schema>) -> Outcome<Vec<Value>> {
    let key = match how {
        ListPatch::Replace => return Ok(new),
        ListPatch::Merge { key } => key.as_deref(),
    };
    let Some(sample) = same_kind(old.iter().chain(&new))? else {
        return Ok(old);
    };
    if !sample.is_object() {
        let mut merged = old.clone();
        for value in &new {
            if !merged.contains(value) {
                merged.push(value.clone());
            }
        }
        return in_order(merged, &new, &old, None);
    }
    let Some(key) = key else {
        return Err(PatchError::internal("cannot merge lists without merge key"));
    };
    let (old, new) = apply_element_directives(old, new, key)?;
    let mut merged = old.clone();
    for element in &new {
        let id = identity(element, Some(key))?;
        match merged.iter().position(|e| e.get(key) == Some(id)) {
            Some(at) => {
                let (Value::Object(before), Value::Object(patch)) = (merged[at].take(), element.clone()) else {
                    continue;
                };
                merged[at] = Value::Object(merge_map(before, patch, elements)?);
            }
            None => merged.push(element.clone()),
        }
    }
    in_order(merged, &new, &old, Some(key))
}

/// Elements with `$patch`: `delete` takes the element of that key away, `replace`
/// anywhere makes the patch the whole list.
fn apply_element_directives(mut old: Vec<Value>, new: Vec<Value>, key: &str) -> Outcome<(Vec<Value>, Vec<Value>)> {
    let (mut plain, mut replace) = (Vec::new(), false);
    for element in new {
        match element.get(PATCH).map(|d| d.as_str().unwrap_or_default()) {
            None => plain.push(element),
            Some("delete") => {
                let id = identity(&element, Some(key))?.clone();
                old.retain(|e| e.get(key) != Some(&id));
            }
            Some("replace") => replace = true,
            Some("merge") => {
                return Err(PatchError::internal(
                    "merging lists cannot yet be specified in the patch",
                ));
            }
            Some(other) => return Err(PatchError::internal(format!("unknown patch type: {other} in map"))),
        }
    }
    Ok(if replace { (plain, Vec::new()) } else { (old, plain) })
}

/// Puts merged elements in order: those the patch names in the patch's order, the
/// server's own in the server's, woven so that the server's come first where both
/// orders allow it.
fn in_order(merged: Vec<Value>, wanted: &[Value], server: &[Value], key: Option<&str>) -> Outcome<Vec<Value>> {
    let place = |order: &[Value], element: &Value| {
        let id = key.map_or(Some(element), |k| element.get(k));
        order.iter().position(|e| key.map_or(Some(e), |k| e.get(k)) == id)
    };
    if let Some(key) = key {
        for element in merged.iter().chain(wanted) {
            identity(element, Some(key))?;
        }
    }
    let (mut named, mut own): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|element| place(wanted, element).is_some());
    named.sort_by_key(|e| place(wanted, e));
    own.sort_by_key(|e| place(server, e));
    let mut woven = Vec::with_capacity(named.len() + own.len());
    let (mut own, mut named) = (own.into_iter().peekable(), named.into_iter().peekable());
    loop {
        let own_first = match (own.peek(), named.peek()) {
            (None, None) => return Ok(woven),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(l), Some(r)) => matches!((place(server, l), place(server, r)), (Some(l), Some(r)) if l < r),
        };
        woven.extend(if own_first { own.next() } else { named.next() });
    }
}

/// A value that is new in the object: elements and members with a `$patch` do not count.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(PATCH) => None,
        Value::Object(map) => Some(Value::Object(
            map.into_iter()
                .filter_map(|(k, v)| Some((k, without_directives(v)?)))
                .collect(),
        )),
        Value::Array(list) => Some(Value::Array(list.into_iter().filter_map(without_directives).collect())),
        other => Some(other),
    }
}

fn discard_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(discard_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(discard_nulls),
        _ => {}
    }
}
