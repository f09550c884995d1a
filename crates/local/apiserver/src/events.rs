//! Events: one set of objects, two shapes. They are stored as core/v1 has them.

use serde_json::{Value, json};

use crate::failure::{Failure, Outcome};
use crate::forms::schema::Cause;
use crate::object::meta;

/// Fields that differ: name in core/v1, name in events.k8s.io/v1.
const FIELDS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// From core/v1 to events.k8s.io/v1.
pub(crate) fn to_events_group(event: &Value) -> Value {
    let mut event = renamed(event, FIELDS);
    if let Some(map) = event.as_object_mut() {
        // core/v1 writes these even when empty.
        map.retain(|field, value| {
            !(value == "" && matches!(field.as_str(), "reportingController" | "reportingInstance"))
        });
    }
    event
}

/// From events.k8s.io/v1 to core/v1.
pub(crate) fn from_events_group(event: &Value) -> Value {
    renamed(event, FIELDS.map(|(core, group)| (group, core)))
}

/// A field selector of events.k8s.io/v1 in the names of core/v1.
pub(crate) fn core_selector(selector: &str) -> String {
    let clauses = selector.split(',').map(|clause| {
        if let Some(rest) = clause.strip_prefix("regarding.") {
            format!("involvedObject.{rest}")
        } else if let Some(rest) = clause.strip_prefix("reportingController") {
            format!("reportingComponent{rest}")
        } else {
            clause.to_owned()
        }
    });
    clauses.collect::<Vec<_>>().join(",")
}

/// What events.k8s.io/v1 asks of a new event, given as core/v1 has it.
///
/// # Errors
/// 422 with every cause.
pub(crate) fn check_new(event: &Value) -> Outcome<()> {
    let text = |field: &str| event[field].as_str().unwrap_or_default();
    let mut causes = Vec::new();
    if event["eventTime"].is_null() {
        causes.push(Cause::required("eventTime", ""));
    } else {
        for (field, shown) in [
            ("reportingComponent", "reportingController"),
            ("reportingInstance", "reportingInstance"),
            ("action", "action"),
            ("reason", "reason"),
        ] {
            if text(field).is_empty() {
                causes.push(Cause::required(shown, ""));
            }
        }
    }
    if !matches!(text("type"), "Normal" | "Warning") {
        let detail = format!("has invalid value: {}", text("type"));
        causes.push(Cause::invalid("type", &json!(""), &detail));
    }
    for field in ["firstTimestamp", "lastTimestamp", "count", "source"] {
        let set = match &event[field] {
            Value::Null => false,
            Value::Object(source) => !source.is_empty(),
            Value::Number(count) => count.as_i64() != Some(0),
            _ => true,
        };
        if set {
            causes.push(Cause::invalid(field, &json!(""), "needs to be unset"));
        }
    }
    refuse(event, &causes)
}

/// What events.k8s.io/v1 lets change: the series and metadata.
///
/// # Errors
/// 422 with every cause.
pub(crate) fn check_change(old: &Value, new: &Value) -> Outcome<()> {
    let frozen = [
        "involvedObject",
        "reason",
        "message",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "type",
        "eventTime",
        "action",
        "related",
        "reportingComponent",
        "reportingInstance",
    ];
    let same = |field: &&str| {
        let (before, after) = (&old[*field], &new[*field]);
        let empty = |value: &Value| match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::Number(count) => count.as_i64() == Some(0),
            _ => false,
        };
        before == after || (empty(before) && empty(after))
    };
    let causes: Vec<Cause> = frozen
        .iter()
        .filter(|field| !same(field))
        .map(|field| Cause::invalid(*field, &new[*field], "field is immutable"))
        .collect();
    refuse(new, &causes)
}

fn refuse(event: &Value, causes: &[Cause]) -> Outcome<()> {
    if causes.is_empty() {
        return Ok(());
    }
    Err(Failure::invalid("", "Event", meta(event, "name"), causes))
}

fn renamed(event: &Value, fields: [(&str, &str); 7]) -> Value {
    let mut event = event.clone();
    if let Some(map) = event.as_object_mut() {
        for (from, to) in fields {
            if let Some(value) = map.remove(from) {
                map.insert(to.to_owned(), value);
            }
        }
    }
    event
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_survives_the_way_there_and_back() {
        let core = json!({
            "metadata": {"name": "e"}, "involvedObject": {"name": "p"}, "message": "m", "count": 2,
            "source": {"component": "c"}, "reportingComponent": "r", "type": "Normal",
        });
        let group = to_events_group(&core);
        assert_eq!(
            (&group["regarding"]["name"], &group["note"]),
            (&json!("p"), &json!("m"))
        );
        assert_eq!(from_events_group(&group), core);
    }
}
