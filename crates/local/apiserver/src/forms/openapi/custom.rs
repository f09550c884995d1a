//! The schema of a custom kind as it is published.

use super::{META, descriptions, reference};
use serde_json::{Value, json};

/// A custom kind's schema: every object has apiVersion, kind and metadata.
pub(super) fn published(schema: &Value, kind: &Value) -> Value {
    let mut published = if schema.is_object() {
        schema.clone()
    } else {
        json!({"type": "object"})
    };
    either_integer_or_string(&mut published);
    published["x-kubernetes-group-version-kind"] = json!([kind]);
    if !published["properties"].is_object() {
        published["properties"] = json!({});
    }
    let properties = &mut published["properties"];
    properties["apiVersion"] = json!({"type": "string"});
    properties["kind"] = json!({"type": "string"});
    properties["metadata"] = json!({"allOf": [reference(&format!("{META}ObjectMeta"))]});
    descriptions::add_common(&mut published);
    published
}

/// Says in the words of OpenAPI what `x-kubernetes-int-or-string` means, for clients
/// that do not know it.
fn either_integer_or_string(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    let free = !map.contains_key("anyOf") && !map.contains_key("allOf");
    if free && map.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        map.insert("anyOf".to_owned(), json!([{"type": "integer"}, {"type": "string"}]));
    }
    for place in ["items", "additionalProperties"] {
        map.get_mut(place).into_iter().for_each(either_integer_or_string);
    }
    let properties = map.get_mut("properties").and_then(Value::as_object_mut);
    properties
        .into_iter()
        .flat_map(|properties| properties.values_mut())
        .for_each(either_integer_or_string);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_number_or_a_text_says_so_wherever_it_is() {
        let own = json!({"x-kubernetes-int-or-string": true});
        let narrowed = json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": "x"});
        let schema = json!({"type": "object", "properties": {
            "port": own, "list": {"type": "array", "items": own}, "narrowed": narrowed,
            "map": {"type": "object", "additionalProperties": own}, "plain": {"type": "integer"},
        }});
        let published = published(&schema, &json!({"kind": "Car"}));
        let either = json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]});
        for (place, expected) in [
            ("/port", &either),
            ("/list/items", &either),
            ("/map/additionalProperties", &either),
            ("/narrowed", &narrowed),
            ("/plain", &json!({"type": "integer"})),
        ] {
            assert_eq!(published["properties"].pointer(place), Some(expected), "{place}");
        }
    }

    #[test]
    fn only_the_fields_that_every_object_has_are_explained() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object"}}});
        // A kind of this name is described where it is built in.
        let published = published(
            &schema,
            &json!({"group": "x.example.com", "version": "v1", "kind": "Job"}),
        );
        assert_eq!(published["properties"]["spec"], json!({"type": "object"}));
        assert!(published["properties"]["kind"]["description"].is_string());
        assert!(published.get("description").is_none());
    }
}
