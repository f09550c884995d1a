//! Decisions as external metric values.

use super::{GROUP, Refusal, VERSION};
use crate::board::Board;
use crate::decisions::{Decided, Published};
use crate::quantity::quantity;
use crate::selector::Selector;
use crate::series::{NAMES, label, labels, value};
use http::StatusCode;
use serde_json::{Map, Value, json};
use std::time::{Instant, SystemTime};

/// The values of a metric in a namespace for the variants selected by `query`.
///
/// A variant whose decision may not be acted on has no value. If one that was
/// selected has none, the answer is an error that says why, which the autoscaler
/// that asked shows in its conditions: it sums values up, and what is missing
/// would count as 0. Who selects nothing looks around, and sees what there is.
pub(super) fn list(
    board: &Board,
    namespace: &str,
    metric: &str,
    query: &str,
    (now, wall): (Instant, SystemTime),
) -> Result<Value, Refusal> {
    if !NAMES.contains(&metric) {
        let why = format!("there is no metric {metric:?}; there are {}", NAMES.join(", "));
        return Err(Refusal::new(StatusCode::NOT_FOUND, why));
    }
    let selector = selector(query).map_err(|why| Refusal::new(StatusCode::BAD_REQUEST, why))?;
    let index = board.index();
    let mut items = Vec::new();
    let mut withheld = None;
    for variant in index.namespace(namespace) {
        if !selector.matches(|name| label(variant, name)) {
            continue;
        }
        match board.decided(variant, now) {
            Ok(decided) => match value(metric, variant, decided).and_then(quantity) {
                Some(value) => items.push(item(metric, variant, &value, &at(decided, now, wall))),
                None => {
                    let why = || {
                        format!(
                            "variant {namespace}/{}: how many replicas it has is not known",
                            variant.name
                        )
                    };
                    withheld.get_or_insert_with(why);
                }
            },
            Err(why) => {
                withheld.get_or_insert_with(|| why.to_string());
            }
        }
    }
    match withheld {
        Some(why) if selector.selects() || items.is_empty() => Err(Refusal::new(StatusCode::NOT_FOUND, why)),
        _ => Ok(json!({
            "kind": "ExternalMetricValueList",
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "metadata": {},
            "items": items,
        })),
    }
}

/// The selector in a query string.
fn selector(query: &str) -> Result<Selector, String> {
    let mut selector = None;
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "labelSelector" if selector.is_some() => return Err("labelSelector is given twice".to_owned()),
            "labelSelector" => selector = Some(Selector::parse(&value)?),
            // To ignore one of these would answer another question than was asked.
            "fieldSelector" | "watch" if !matches!(&*value, "" | "false" | "0") => {
                return Err(format!(
                    "{key} is not served for metrics; use labelSelector and ask again"
                ));
            }
            _ => {}
        }
    }
    Ok(selector.unwrap_or_default())
}

/// The time of a decision by the clock on the wall, in whole seconds.
fn at(decided: Decided, now: Instant, wall: SystemTime) -> String {
    let age = now.saturating_duration_since(decided.at);
    let time = wall.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
    jiff::Timestamp::try_from(time)
        .unwrap_or_default()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

fn item(metric: &str, variant: &Published, value: &str, timestamp: &str) -> Value {
    let labels: Map<String, Value> = labels(variant)
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    json!({ "metricName": metric, "metricLabels": labels, "timestamp": timestamp, "value": value })
}
