//! Decisions as external metric values.

use super::{GROUP, Refusal, VERSION};
use crate::board::Board;
use crate::decisions::{Decided, Published};
use crate::quantity::quantity;
use crate::selector::Selector;
use http::StatusCode;
use serde_json::{Map, Value, json};
use std::time::{Instant, SystemTime};

/// Replicas wanted for a variant.
const DESIRED: &str = "wva_desired_replicas";
/// Replicas a variant has.
const CURRENT: &str = "wva_current_replicas";
/// Wanted over current replicas; the wanted ones if there are none.
const RATIO: &str = "wva_desired_ratio";

/// Metrics served, by the names that they have as gauges.
pub(crate) const NAMES: [&str; 3] = [DESIRED, CURRENT, RATIO];

/// The label value where the accelerator is not known, as in the gauges.
const UNKNOWN: &str = "unknown";

/// Labels in the order in which they are written.
const LABELS: [&str; 6] = [
    "variant_name",
    "namespace",
    // What Prometheus makes of a sample's own label `namespace`: a selector
    // written for an adapter in front of Prometheus keeps working.
    "exported_namespace",
    "accelerator_type",
    "controller_instance",
    "model_name",
];

/// The values of a metric in a namespace for the variants selected by `query`.
///
/// A variant whose decision may not be acted on has no value. If that is so
/// for all selected, the answer is an error that says why: the autoscaler that
/// asked shows it in its conditions.
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
        Some(why) if items.is_empty() => Err(Refusal::new(StatusCode::NOT_FOUND, why)),
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

fn label<'a>(variant: &'a Published, name: &str) -> Option<&'a str> {
    match name {
        "variant_name" => Some(&variant.name),
        "namespace" | "exported_namespace" => Some(&variant.namespace),
        "accelerator_type" => Some(variant.accelerator.as_deref().unwrap_or(UNKNOWN)),
        "controller_instance" => variant.controller_instance.as_deref(),
        "model_name" => Some(&variant.model),
        _ => None,
    }
}

fn value(metric: &str, variant: &Published, decided: Decided) -> Option<f64> {
    let desired = f64::from(decided.replicas);
    match metric {
        DESIRED => Some(desired),
        CURRENT => variant.current.map(f64::from),
        _ => variant.current.map(|current| {
            if current == 0 {
                desired
            } else {
                desired / f64::from(current)
            }
        }),
    }
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
    let labels: Map<String, Value> = LABELS
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), label(variant, name)?.into())))
        .collect();
    json!({ "metricName": metric, "metricLabels": labels, "timestamp": timestamp, "value": value })
}
