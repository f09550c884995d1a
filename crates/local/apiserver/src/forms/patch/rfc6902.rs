//! JSON patch as the Go library that upstream uses applies it.

use super::{MAX_OPERATIONS, PatchError};
use serde_json::{Map, Value};

/// Bytes that `copy` operations may add in all, so that a short patch cannot
/// double a document ten thousand times.
const MAX_COPIED: usize = 16 << 20;

pub(super) fn apply(doc: &mut Value, ops: &Value) -> Result<(), PatchError> {
    let unreadable = |what: &str| {
        PatchError::bad_request(format!(
            "error decoding patch: a JSON patch is a list of operations, but this is {what}"
        ))
    };
    let ops = ops.as_array().ok_or_else(|| unreadable(kind_of(ops)))?;
    if let Some(other) = ops.iter().find(|op| !op.is_object() && !op.is_null()) {
        return Err(unreadable(&format!("a list with {}", kind_of(other))));
    }
    for member in ["op", "path", "from"] {
        if let Some(other) = ops
            .iter()
            .filter_map(|op| op.get(member))
            .find(|v| !v.is_string() && !v.is_null())
        {
            return Err(PatchError::bad_request(format!(
                "error decoding patch: \"{member}\" must be a string, not {}",
                kind_of(other)
            )));
        }
    }
    if ops.len() > MAX_OPERATIONS {
        return Err(PatchError {
            kind: super::PatchErrorKind::TooLarge,
            message: format!(
                "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
                ops.len()
            ),
            detail: String::new(),
        });
    }
    let mut patched = doc.clone();
    let mut copied = 0;
    for op in ops {
        operate(&mut patched, op, &mut copied).map_err(PatchError::does_not_fit)?;
    }
    *doc = patched;
    Ok(())
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// What does not apply, in words.
type Detail = String;

fn operate(doc: &mut Value, op: &Value, copied: &mut usize) -> Result<(), Detail> {
    let text = |member: &str| {
        op.get(member)
            .and_then(Value::as_str)
            .ok_or(format!("an operation has no \"{member}\""))
    };
    let value = || op.get("value").cloned().unwrap_or(Value::Null);
    match text("op")? {
        "add" => add(doc, text("path")?, value()),
        "remove" => remove(doc, text("path")?).map(drop),
        "replace" => replace(doc, text("path")?, value()),
        "test" => test(doc, text("path")?, &value()),
        "move" => {
            let (from, to) = (text("from")?, text("path")?);
            let moved = remove(doc, from)?;
            add(doc, to, moved)
        }
        "copy" => {
            let (from, to) = (text("from")?, text("path")?);
            let copy = get(doc, from)?.cloned().unwrap_or(Value::Null);
            *copied += copy.to_string().len();
            if *copied > MAX_COPIED {
                return Err(format!("the patch copies more than {MAX_COPIED} bytes"));
            }
            add(doc, to, copy)
        }
        other => Err(format!("unknown operation {other:?}")),
    }
}

enum Holder<'a> {
    Map(&'a mut Map<String, Value>),
    List(&'a mut Vec<Value>),
}

/// The container that a path's last step names a member of, and that step.
/// What stands before the first slash is ignored, as upstream does.
fn find<'a>(doc: &'a mut Value, path: &str) -> Result<(Holder<'a>, String), Detail> {
    let missing = || format!("nothing is at {path:?}");
    let (_, steps) = path.split_once('/').ok_or_else(missing)?;
    let (parents, last) = steps.rsplit_once('/').map_or((None, steps), |(p, l)| (Some(p), l));
    let mut at = doc;
    for step in parents.into_iter().flat_map(|p| p.split('/')) {
        at = match at {
            Value::Object(map) => map.get_mut(&decode(step)).ok_or_else(missing)?,
            Value::Array(list) => {
                let index = position(step, list.len())
                    .filter(|i| *i < list.len())
                    .ok_or_else(missing)?;
                &mut list[index]
            }
            _ => return Err(missing()),
        };
    }
    match at {
        Value::Object(map) => Ok((Holder::Map(map), decode(last))),
        Value::Array(list) => Ok((Holder::List(list), decode(last))),
        _ => Err(missing()),
    }
}

fn decode(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

/// An index as Go reads it; below zero it counts from `len`.
fn position(step: &str, len: usize) -> Option<usize> {
    let index: i64 = step.parse().ok()?;
    let index = if index < 0 {
        index + i64::try_from(len).ok()?
    } else {
        index
    };
    usize::try_from(index).ok()
}

fn add(doc: &mut Value, path: &str, value: Value) -> Result<(), Detail> {
    match find(doc, path)? {
        (Holder::Map(map), key) => {
            map.insert(key, value);
        }
        (Holder::List(list), key) => {
            let places = list.len() + 1;
            let index = if key == "-" {
                Some(list.len())
            } else {
                position(&key, places)
            };
            let index = index
                .filter(|i| *i < places)
                .ok_or_else(|| format!("no place {key:?} at {path:?}"))?;
            list.insert(index, value);
        }
    }
    Ok(())
}

fn remove(doc: &mut Value, path: &str) -> Result<Value, Detail> {
    let removed = match find(doc, path)? {
        (Holder::Map(map), key) => map.remove(&key),
        (Holder::List(list), key) => position(&key, list.len())
            .filter(|i| *i < list.len())
            .map(|i| list.remove(i)),
    };
    removed.ok_or_else(|| format!("nothing to remove at {path:?}"))
}

/// The value at a path; `None` where only the map's member is missing.
fn get<'a>(doc: &'a mut Value, path: &str) -> Result<Option<&'a Value>, Detail> {
    match find(doc, path)? {
        (Holder::Map(map), key) => Ok(map.get(&key)),
        (Holder::List(list), key) => match position(&key, list.len()).filter(|i| *i < list.len()) {
            Some(index) => Ok(list.get(index)),
            None => Err(format!("no element {key:?} at {path:?}")),
        },
    }
}

fn replace(doc: &mut Value, path: &str, value: Value) -> Result<(), Detail> {
    if path.is_empty() {
        if !value.is_object() && !value.is_array() {
            return Err("the whole document can only be replaced by an object or a list".to_owned());
        }
        *doc = value;
        return Ok(());
    }
    match find(doc, path)? {
        (Holder::Map(map), key) => {
            map.insert(key, value);
        }
        (Holder::List(list), key) => {
            let index = position(&key, list.len()).filter(|i| *i < list.len());
            list[index.ok_or_else(|| format!("no element {key:?} at {path:?}"))?] = value;
        }
    }
    Ok(())
}

fn test(doc: &mut Value, path: &str, expected: &Value) -> Result<(), Detail> {
    let found = if path.is_empty() { Some(&*doc) } else { get(doc, path)? };
    if found.unwrap_or(&Value::Null) == expected {
        Ok(())
    } else {
        Err(format!("the test of {path:?} failed"))
    }
}
