//! The numbers of a custom resource that its scale subresource shows.

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

/// What is wrong with the numbers that a write may have changed.
pub(super) fn wrong(paths: &ScalePaths, object: &Value, part: Part) -> Vec<Cause> {
    let status = wrong_number(object, &paths.status);
    match part {
        Part::Status => status.into_iter().collect(),
        Part::Main | Part::Whole => wrong_number(object, &paths.spec).into_iter().chain(status).collect(),
    }
}

fn wrong_number(object: &Value, path: &str) -> Option<Cause> {
    let limit = i64::from(i32::MAX);
    let message = match number_at(object, path) {
        Err(why) => format!("Invalid value: 0: {why}"),
        Ok(Some(number)) if number < 0 => format!("Invalid value: {number}: should be a non-negative integer"),
        Ok(Some(number)) if number > limit => {
            format!("Invalid value: {number}: should be less than or equal to {limit}")
        }
        Ok(_) => return None,
    };
    Some(Cause {
        reason: "FieldValueInvalid",
        message,
        field: path.to_owned(),
    })
}

/// The integer that a path points at, if there is something.
///
/// # Errors
/// In upstream's words, where a value on the way is no object or the last no integer.
fn number_at(object: &Value, path: &str) -> Result<Option<i64>, String> {
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
    at.as_i64().map(Some).ok_or_else(|| mistaken(&walked, at, "int64"))
}

fn mistaken(path: &str, value: &Value, expected: &str) -> String {
    let kind = match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
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
            selector: None,
        };
        let told = |cause: Cause| format!("{}: {}", cause.field, cause.message);
        wrong(&paths, object, part).into_iter().map(told).collect()
    }

    #[test]
    fn what_the_scale_would_show_must_be_a_whole_number_that_fits() {
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
}
