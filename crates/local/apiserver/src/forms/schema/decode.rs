//! Why Go could not decode a JSON object into a built-in type.

use super::{Schema, Shape};
use serde_json::Value;

/// The first mismatch in the order of fields, in the words of Go's decoder.
pub(super) fn mismatch(schema: &Schema, object: &Value) -> Option<String> {
    walk(schema, object, "", "")
}

fn walk(schema: &Schema, value: &Value, holder: &str, path: &str) -> Option<String> {
    let node = schema.get();
    let wrong = |found: &str, wanted: &str| {
        let place = if path.is_empty() {
            String::new()
        } else {
            format!("Go struct field {holder}.{path} of type ")
        };
        let place = if place.is_empty() {
            "Go value of type ".to_owned()
        } else {
            place
        };
        Some(format!("json: cannot unmarshal {found} into {place}{wanted}"))
    };
    match (node.shape, value) {
        (_, Value::Null) | (Shape::Any, _) => None,
        (Shape::Object, Value::Object(map)) => {
            let own = node.name.rsplit('.').next().unwrap_or_default();
            // Fields of a map keep the struct that holds the map.
            let holder = if own.is_empty() { holder } else { own };
            map.iter().find_map(|(key, inner)| {
                let field = node.fields.get(key).or(node.values.as_ref())?;
                let inner_path = match (node.values.is_some(), path.is_empty()) {
                    (true, _) => path.to_owned(),
                    (false, true) => key.clone(),
                    (false, false) => format!("{path}.{key}"),
                };
                walk(&schema.at(field), inner, holder, &inner_path)
            })
        }
        (Shape::Array, Value::Array(list)) => {
            let items = schema.at(node.items.as_ref()?);
            list.iter().find_map(|inner| walk(&items, inner, holder, path))
        }
        (Shape::String, Value::String(text)) if node.format == "byte" => {
            use base64::{Engine, engine::general_purpose::STANDARD};
            let at = STANDARD.decode(text).err().map(|e| match e {
                base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                _ => text.len() / 4 * 4,
            })?;
            Some(format!("illegal base64 data at input byte {at}"))
        }
        (Shape::String, Value::String(_)) | (Shape::Boolean, Value::Bool(_)) | (Shape::Number, Value::Number(_)) => {
            None
        }
        (Shape::Integer, Value::Number(number)) => {
            let wanted = if node.format.is_empty() { "int64" } else { &node.format };
            let fits = number
                .as_i64()
                .is_some_and(|n| node.format != "int32" || i32::try_from(n).is_ok());
            if fits {
                None
            } else {
                wrong(&format!("number {number}"), wanted)
            }
        }
        (Shape::IntOrString, Value::String(_) | Value::Number(_)) | (Shape::Quantity, Value::Number(_)) => None,
        (Shape::Quantity, Value::String(text)) if crate::forms::quantity::parse(text).is_some() => None,
        (Shape::Quantity, Value::String(_)) => Some(
            "quantities must match the regular expression \
             '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
                .to_owned(),
        ),
        (Shape::Time | Shape::MicroTime, Value::String(text)) => {
            let ok = text.parse::<jiff::Timestamp>().is_ok();
            if ok {
                return None;
            }
            let layout = if node.shape == Shape::Time {
                "2006-01-02T15:04:05Z07:00"
            } else {
                "2006-01-02T15:04:05.000000Z07:00"
            };
            Some(format!(
                "parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\""
            ))
        }
        (_, found) => wrong(kind(found), &go_type(schema)),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn go_type(schema: &Schema) -> String {
    let node = schema.get();
    match node.shape {
        Shape::Object => match &node.values {
            Some(values) => format!("map[string]{}", go_type(&schema.at(values))),
            None => node.name.clone(),
        },
        Shape::Array => match &node.items {
            Some(items) => format!("[]{}", go_type(&schema.at(items))),
            None => "[]interface {}".to_owned(),
        },
        Shape::String => "string".to_owned(),
        Shape::Integer if node.format.is_empty() => "int64".to_owned(),
        Shape::Integer => node.format.clone(),
        Shape::Number => "float64".to_owned(),
        Shape::Boolean => "bool".to_owned(),
        Shape::Any | Shape::IntOrString | Shape::Quantity | Shape::Time | Shape::MicroTime => node.name.clone(),
    }
}
