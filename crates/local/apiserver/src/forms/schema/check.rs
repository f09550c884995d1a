//! Whether values fit the schema of a custom kind, with upstream's texts.

use super::{Cause, ListType, Node, Schema, Shape, formats};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What a schema demands beyond its type.
#[derive(Debug, Clone, Default)]
pub(super) struct Checks {
    pub(super) required: Vec<String>,
    pub(super) choices: Vec<Value>,
    pub(super) pattern: Option<(regex::Regex, String)>,
    pub(super) length: (Option<u64>, Option<u64>),
    pub(super) minimum: Option<(serde_json::Number, bool)>,
    pub(super) maximum: Option<(serde_json::Number, bool)>,
    pub(super) multiple_of: Option<serde_json::Number>,
    pub(super) items: (Option<u64>, Option<u64>),
    pub(super) properties: (Option<u64>, Option<u64>),
    pub(super) all_of: Vec<usize>,
    pub(super) any_of: Vec<usize>,
    pub(super) one_of: Vec<usize>,
    pub(super) not: Option<usize>,
}

/// Most causes one object is answered with.
const MAX_CAUSES: usize = 200;

/// Checks a whole object; `metadata` is checked by the store.
pub(super) fn validate(schema: &Schema, object: &Value, causes: &mut Vec<Cause>) {
    walk(schema, object, "", causes);
    causes.truncate(MAX_CAUSES);
}

fn walk(schema: &Schema, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    if causes.len() > MAX_CAUSES {
        return;
    }
    let node = schema.get();
    if value.is_null() && node.nullable {
        return;
    }
    type_fits(schema, value, path, causes);
    let Some(checks) = &node.checks else {
        causes.extend(out_of_range(node, value, path));
        return members(schema, value, path, causes);
    };
    composed(schema, checks, value, path, causes);
    causes.extend(out_of_range(node, value, path));
    let invalid = |shown: &Value, detail: String| Cause::invalid(path, shown, &format!("{path} in body {detail}"));
    match value {
        Value::String(text) => {
            let chars = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
            if let Some(limit) = checks.length.1.filter(|limit| chars > *limit) {
                causes.push(Cause::too_long(path, limit));
            }
            if let Some(limit) = checks.length.0.filter(|limit| chars < *limit) {
                causes.push(invalid(value, format!("should be at least {limit} chars long")));
            }
            if let Some((pattern, source)) = &checks.pattern
                && !pattern.is_match(text)
            {
                causes.push(invalid(value, format!("should match '{source}'")));
            }
        }
        Value::Number(number) => numbers(checks, number, &invalid, causes),
        Value::Array(list) => {
            if let Some(limit) = checks.items.0.filter(|limit| (list.len() as u64) < *limit) {
                causes.push(invalid(
                    &json!(list.len()),
                    format!("should have at least {limit} items"),
                ));
            }
            if let Some(limit) = checks.items.1.filter(|limit| list.len() as u64 > *limit) {
                causes.push(Cause::too_many(path, list.len(), limit));
            }
        }
        Value::Object(map) => {
            if let Some(limit) = checks.properties.0.filter(|limit| (map.len() as u64) < *limit) {
                causes.push(invalid(
                    &json!(map.len()),
                    format!("should have at least {limit} properties"),
                ));
            }
            if let Some(limit) = checks.properties.1.filter(|limit| map.len() as u64 > *limit) {
                causes.push(Cause::too_many(path, map.len(), limit));
            }
        }
        _ => {}
    }
    if !checks.choices.is_empty() && !checks.choices.contains(value) {
        let texts: Vec<String> = checks
            .choices
            .iter()
            .map(|c| c.as_str().map_or_else(|| c.to_string(), str::to_owned))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        causes.push(Cause::not_supported(path, value, &texts));
    }
    if let Value::Object(map) = value {
        for name in checks.required.iter().filter(|name| !map.contains_key(*name)) {
            causes.push(Cause::required(join(path, name), ""));
        }
    }
    members(schema, value, path, causes);
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn numbers(
    checks: &Checks,
    number: &serde_json::Number,
    invalid: &dyn Fn(&Value, String) -> Cause,
    causes: &mut Vec<Cause>,
) {
    let shown = Value::Number(number.clone());
    let value = number.as_f64().unwrap_or_default();
    let bound = |n: &serde_json::Number| n.as_f64().unwrap_or_default();
    if let Some(step) = &checks.multiple_of {
        let quotient = value / bound(step);
        if (quotient - quotient.round()).abs() > 1e-9 {
            causes.push(invalid(&shown, format!("should be a multiple of {step}")));
        }
    }
    match &checks.maximum {
        Some((limit, true)) if value >= bound(limit) => {
            causes.push(invalid(&shown, format!("should be less than {limit}")));
        }
        Some((limit, false)) if value > bound(limit) => {
            causes.push(invalid(&shown, format!("should be less than or equal to {limit}")));
        }
        _ => {}
    }
    match &checks.minimum {
        Some((limit, true)) if value <= bound(limit) => {
            causes.push(invalid(&shown, format!("should be greater than {limit}")));
        }
        Some((limit, false)) if value < bound(limit) => {
            causes.push(invalid(&shown, format!("should be greater than or equal to {limit}")));
        }
        _ => {}
    }
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() && number.as_f64().is_some_and(|n| n.fract() != 0.0) => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn type_fits(schema: &Schema, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let node = schema.get();
    let found = json_type(value);
    let wanted = match node.shape {
        Shape::Object => "object",
        Shape::Array => "array",
        Shape::String => "string",
        Shape::Integer => "integer",
        Shape::Number => "number",
        Shape::Boolean => "boolean",
        Shape::IntOrString => "integer,string",
        _ => return,
    };
    let fits = found == wanted
        || (wanted == "number" && found == "integer")
        || (wanted == "integer,string" && matches!(found, "integer" | "string"));
    if !fits {
        let detail = format!("{path} in body must be of type {wanted}: {found:?}");
        causes.push(Cause::mistyped(path, &json!(found), &detail));
        return;
    }
    if let Value::String(text) = value
        && !formats::fits(&node.format, text)
    {
        let detail = format!("{path} in body must be of type {}: {text:?}", node.format);
        causes.push(Cause::mistyped(path, value, &detail));
    }
}

/// A number that no integer of the wanted format can hold.
fn out_of_range(node: &Node, value: &Value, path: &str) -> Option<Cause> {
    let (Shape::Integer, Value::Number(number)) = (node.shape, value) else {
        return None;
    };
    // What is written with a point or an exponent may still be whole.
    let whole = |limit: f64| {
        number
            .as_f64()
            .is_some_and(|n| number.is_f64() && n.fract() == 0.0 && (-limit..limit).contains(&n))
    };
    let fits = match (number.as_i64(), node.format.as_str()) {
        (Some(number), "int32") => i32::try_from(number).is_ok(),
        (Some(_), _) => true,
        (None, "int32") => whole(2_f64.powi(31)),
        (None, _) => whole(2_f64.powi(63)),
    };
    if fits {
        return None;
    }
    let format = match node.format.as_str() {
        "" => "(default format)".to_owned(),
        name => format!("with format {name}"),
    };
    let detail = format!("Checked value must be of type integer {format} in {path}");
    Some(Cause::invalid("<nil>", &json!(""), &detail))
}

fn composed(schema: &Schema, checks: &Checks, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let against = |node: &usize| {
        let branch = Schema {
            arena: schema.arena.clone(),
            node: *node,
        };
        let mut found = Vec::new();
        walk(&branch, value, path, &mut found);
        found
    };
    let whole = |detail: &str| Cause::invalid("<nil>", &json!(""), &format!("{path:?} must {detail}"));
    if !checks.any_of.is_empty() {
        let mut results = checks.any_of.iter().map(against);
        let first = results.next().unwrap_or_default();
        if !first.is_empty() && !results.any(|r| r.is_empty()) {
            causes.push(whole("validate at least one schema (anyOf)"));
            causes.extend(first);
        }
    }
    if !checks.one_of.is_empty() {
        let mut results: Vec<Vec<Cause>> = checks.one_of.iter().map(against).collect();
        match results.iter().filter(|r| r.is_empty()).count() {
            0 => {
                causes.push(whole("validate one and only one schema (oneOf). Found none valid"));
                causes.append(&mut results[0]);
            }
            1 => {}
            valid => causes.push(whole(&format!(
                "validate one and only one schema (oneOf). Found {valid} valid alternatives"
            ))),
        }
    }
    if !checks.all_of.is_empty() {
        let results: Vec<Vec<Cause>> = checks.all_of.iter().map(against).collect();
        let valid = results.iter().filter(|r| r.is_empty()).count();
        if valid < results.len() {
            causes.extend(results.into_iter().flatten());
            let none = if valid == 0 { ". None validated" } else { "" };
            causes.push(whole(&format!("validate all the schemas (allOf){none}")));
        }
    }
    if let Some(not) = &checks.not
        && against(not).is_empty()
    {
        causes.push(whole("not validate the schema (not)"));
    }
}

/// Fields, map values and list elements.
fn members(schema: &Schema, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let node = schema.get();
    match value {
        Value::Object(map) => {
            if node.embedded {
                for name in ["apiVersion", "kind"] {
                    match map.get(name) {
                        None => causes.push(Cause::required(join(path, name), "")),
                        Some(Value::String(text)) if text.is_empty() => {
                            causes.push(Cause::required(join(path, name), "must not be empty"));
                        }
                        Some(_) => {}
                    }
                }
            }
            for (key, inner) in map {
                if let Some(field) = node.fields.get(key).or(node.values.as_ref()) {
                    walk(&schema.at(field), inner, &join(path, key), causes);
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = &node.items {
                let items = schema.at(items);
                for (position, inner) in list.iter().enumerate() {
                    walk(&items, inner, &format!("{path}[{position}]"), causes);
                }
            }
            duplicates(&node.list_type, list, path, causes);
        }
        _ => {}
    }
}

fn duplicates(list_type: &ListType, list: &[Value], path: &str, causes: &mut Vec<Cause>) {
    let mut seen = BTreeSet::new();
    for (position, element) in list.iter().enumerate() {
        let id = match list_type {
            ListType::Atomic => return,
            ListType::Set => element.clone(),
            ListType::Map(keys) => {
                let named = keys.iter().filter_map(|k| Some((k.clone(), element.get(k)?.clone())));
                Value::Object(named.collect())
            }
        };
        if id.as_object().is_some_and(serde_json::Map::is_empty) {
            continue;
        }
        if !seen.insert(id.to_string()) {
            causes.push(Cause::duplicate(format!("{path}[{position}]"), &id));
        }
    }
}
