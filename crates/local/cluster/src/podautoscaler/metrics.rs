//! Where the values of metrics come from.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::hpa::Reading;
use k8s_openapi::api::autoscaling::v2::MetricSpec;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Client;
use kube::core::{Selector, SelectorExt};
use serde::Deserialize;

use super::scale::said;
use crate::call::{Error, call};
use crate::quantity;

/// One series of an external metric: its labels, and its value in thousandths.
pub type Series = (BTreeMap<String, String>, i64);

/// External metrics of this process, asked with the namespace, the metric and
/// the selector. Series that the selector does not match are dropped, so the
/// answer may hold more; an empty one is a metric that is not there. It is
/// called on a task of the controllers and must not wait for anything.
pub type ExternalMetrics = Arc<dyn Fn(&str, &str, &Selector) -> Vec<Series> + Send + Sync>;

/// A reading that owns what it read.
pub(super) enum Read {
    Series(Vec<i64>),
    Failed(String),
}

impl Read {
    pub(super) fn as_reading(&self) -> Reading<'_> {
        match self {
            Self::Series(values) => Reading::Series(values),
            Self::Failed(why) => Reading::Failed(why),
        }
    }
}

/// What there is of a metric.
pub(super) async fn read(
    client: &Client,
    source: Option<&ExternalMetrics>,
    namespace: &str,
    metric: &MetricSpec,
) -> Read {
    let Some(external) = &metric.external else {
        let resource = metric.resource.is_some() || metric.container_resource.is_some();
        let why = if resource {
            "unable to fetch metrics from resource metrics API: the server could not find the requested resource \
             (get pods.metrics.k8s.io)"
        } else {
            "unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered"
        };
        return Read::Failed(why.to_owned());
    };
    let name = &external.metric.name;
    let selector = match Selector::try_from(external.metric.selector.clone().unwrap_or_default()) {
        Ok(selector) => selector,
        Err(error) => return Read::Failed(error.to_string()),
    };
    match source {
        Some(source) => {
            let series = source(namespace, name, &selector);
            let matching = series.into_iter().filter(|(labels, _)| selector.matches(labels));
            Read::Series(matching.map(|(_, milli)| milli).collect())
        }
        None => match ask(client, namespace, name, &selector).await {
            Ok(values) => Read::Series(values),
            Err(error) => {
                let said = if error.is_not_found() {
                    // A path that nobody serves is answered without words; these are Kubernetes' client's.
                    let nothing = "the server could not find the requested resource";
                    format!("{nothing} (get {name}.external.metrics.k8s.io)")
                } else {
                    said(&error)
                };
                Read::Failed(format!("unable to fetch metrics from external metrics API: {said}"))
            }
        },
    }
}

/// `ExternalMetricValueList`, as much of it as is needed.
#[derive(Deserialize)]
struct List {
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    value: Quantity,
}

async fn ask(client: &Client, namespace: &str, name: &str, selector: &Selector) -> Result<Vec<i64>, Error> {
    let invalid = |error: String| Error::Invalid(format!("external metric {name}: {error}"));
    let path = format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{name}");
    let query = if selector.selects_all() {
        String::new()
    } else {
        format!("?labelSelector={}", escaped(&selector.to_string()))
    };
    let request = http::Request::get(format!("{path}{query}")).body(Vec::new());
    let request = request.map_err(|error| invalid(error.to_string()))?;
    let list: List = call(|| format!("get external metric {name}"), client.request(request)).await?;
    let value =
        |item: &Item| quantity::milli(&item.value).ok_or_else(|| invalid(format!("{} is no quantity", item.value.0)));
    list.items.iter().map(value).collect()
}

/// A text as part of a query.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_a_query_escaped() {
        let list: List = serde_json::from_str(
            r#"{"kind":"ExternalMetricValueList","items":[{"metricName":"m","metricLabels":{},"timestamp":null,"value":"1500m"},{"value":"2"}]}"#,
        )
        .unwrap();
        let values: Vec<_> = list.items.iter().map(|item| quantity::milli(&item.value)).collect();
        assert_eq!(values, [Some(1500), Some(2000)]);
        assert_eq!(escaped("a in (b,c),d=e"), "a%20in%20%28b%2Cc%29%2Cd%3De");
    }
}
