//! Events: one set of objects, two shapes. They are stored as core/v1 has them.

use serde_json::Value;

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
