//! What the scale subresource of a custom resource shows: its numbers and its selector.

use serde_json::Value;

use super::Part;
use crate::forms::schema::Cause;
use crate::resource::ScalePaths;

/// What a simple JSON path such as `.spec.replicas` points at.
pub(crate) fn at_path<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.')
        .filter(|part| !part.is_empty())
        .try_fold(value, |value, part| value.get(part))
}

/// What is wrong with the values that a write may have changed.
pub(super) fn wrong(paths: &ScalePaths, object: &Value, part: Part) -> Vec<Cause> {
    let spec = Some(&paths.spec).filter(|_| part != Part::Status);
    let numbers = spec.into_iter().chain([&paths.status]);
    let numbers = numbers.filter_map(|path| Some(cause(path, &wrong_number(object, path)?)));
    let selector = paths.selector.iter();
    let selector = selector.filter_map(|path| Some(cause(path, &wrong_text(object, path)?)));
    numbers.chain(selector).collect()
}

fn cause(path: &str, why: &str) -> Cause {
    Cause {
        reason: "FieldValueInvalid",
        message: format!("Invalid value: {why}"),
        field: path.to_owned(),
    }
}

fn wrong_number(object: &Value, path: &str) -> Option<String> {
    let limit = i64::from(i32::MAX);
    let number = walk(object, path).and_then(|found| match found {
        None => Ok(0),
        Some(value) => value.as_i64().ok_or_else(|| mistaken(path, value, "int64")),
    });
    match number {
        Err(why) => Some(format!("0: {why}")),
        Ok(number) if number < 0 => Some(format!("{number}: should be a non-negative integer")),
        Ok(number) if number > limit => Some(format!("{number}: should be less than or equal to {limit}")),
        Ok(_) => None,
    }
}

fn wrong_text(object: &Value, path: &str) -> Option<String> {
    let why = match walk(object, path) {
        Ok(Some(value)) if !value.is_string() => mistaken(path, value, "string"),
        Ok(_) => return None,
        Err(why) => why,
    };
    Some(format!("\"\": {why}"))
}

/// What a path points at, if there is something.
///
/// # Errors
/// In upstream's words, where a value on the way is no object.
fn walk<'a>(object: &'a Value, path: &str) -> Result<Option<&'a Value>, String> {
    let mut at = object;
    let mut walked = String::new();
    for part in path.split('.').filter(|part| !part.is_empty()) {
        walked = format!("{walked}.{part}");
        at = match at {
            Value::Null => return Ok(None),
            Value::Object(map) => match map.get(part) {
                Some(next) => next,
                None => return Ok(None),
            },
            other => return Err(mistaken(&walked, other, "map[string]interface{}")),
        };
    }
    Ok(Some(at))
}

fn mistaken(path: &str, value: &Value, expected: &str) -> String {
    let kind = match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    let shown = printed(value);
    format!("{path} accessor error: {shown} is of the type {kind}, expected {expected}")
}

/// A value as Go prints it in a sentence.
fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(printed).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs: Vec<_> = map
                .iter()
                .map(|(key, value)| format!("{key}:{}", printed(value)))
                .collect();
            format!("map[{}]", pairs.join(" "))
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn messages(object: &Value, part: Part) -> Vec<String> {
        let paths = ScalePaths {
            spec: ".spec.replicas".to_owned(),
            status: ".status.replicas".to_owned(),
            selector: Some(".status.selector".to_owned()),
        };
        let told = |cause: Cause| format!("{}: {}", cause.field, cause.message);
        wrong(&paths, object, part).into_iter().map(told).collect()
    }

    #[test]
    fn the_replicas_must_be_a_whole_number_that_fits() {
        for (spec, expected) in [
            (json!({"replicas": 3}), None),
            (json!({}), None),
            (json!(null), None),
            (json!({"replicas": -1}), Some("-1: should be a non-negative integer")),
            (
                json!({"replicas": 3_000_000_000_i64}),
                Some("3000000000: should be less than or equal to 2147483647"),
            ),
            (
                json!({"replicas": 1.5}),
                Some("0: .spec.replicas accessor error: 1.5 is of the type float64, expected int64"),
            ),
            (
                json!({"replicas": [1, {"a": "b"}]}),
                Some("0: .spec.replicas accessor error: [1 map[a:b]] is of the type []interface {}, expected int64"),
            ),
            (
                json!("none"),
                Some("0: .spec.replicas accessor error: none is of the type string, expected map[string]interface{}"),
            ),
        ] {
            let expected: Vec<_> = expected
                .into_iter()
                .map(|text| format!(".spec.replicas: Invalid value: {text}"))
                .collect();
            assert_eq!(messages(&json!({"spec": spec}), Part::Main), expected, "{spec}");
        }
    }

    #[test]
    fn a_write_of_the_status_answers_for_the_status_alone() {
        let object = json!({"spec": {"replicas": -1}, "status": {"replicas": -2}});
        assert_eq!(messages(&object, Part::Main).len(), 2);
        assert_eq!(
            messages(&object, Part::Status),
            [".status.replicas: Invalid value: -2: should be a non-negative integer"]
        );
    }

    #[test]
    fn the_selector_must_be_a_text() {
        for (status, expected) in [
            (json!({"selector": "a=b"}), None),
            (json!({}), None),
            (json!({"selector": 5}), Some("5 is of the type int64, expected string")),
            (
                json!({"selector": {"a": true}}),
                Some("map[a:true] is of the type map[string]interface {}, expected string"),
            ),
        ] {
            let told = |text| format!(".status.selector: Invalid value: \"\": .status.selector accessor error: {text}");
            let expected: Vec<_> = expected.into_iter().map(told).collect();
            assert_eq!(messages(&json!({"status": status}), Part::Status), expected, "{status}");
        }
    }
}
