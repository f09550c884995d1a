//! Decisions as series: which metrics there are, their labels and their values.

use crate::board::Board;
use crate::decisions::{Decided, Decisions, Published};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

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

/// One label of a variant's series; none if it does not have it.
pub(crate) fn label<'a>(variant: &'a Published, name: &str) -> Option<&'a str> {
    match name {
        "variant_name" => Some(&variant.name),
        "namespace" | "exported_namespace" => Some(&variant.namespace),
        "accelerator_type" => Some(variant.accelerator.as_deref().unwrap_or(UNKNOWN)),
        "controller_instance" => variant.controller_instance.as_deref(),
        "model_name" => Some(&variant.model),
        _ => None,
    }
}

/// All labels of a variant's series.
pub(crate) fn labels(variant: &Published) -> impl Iterator<Item = (&'static str, &str)> {
    LABELS.iter().filter_map(|name| Some((*name, label(variant, name)?)))
}

/// The value of one of [`NAMES`]; none if how many replicas there are is not known.
pub(crate) fn value(metric: &str, variant: &Published, decided: Decided) -> Option<f64> {
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

/// The external metrics for somebody in the same process: the same series,
/// values and rule by which they are withheld, without a server.
pub struct InProcess(Board);

impl fmt::Debug for InProcess {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("InProcess").finish_non_exhaustive()
    }
}

impl InProcess {
    /// Reads from `decisions`, each of which holds for `stale_after`.
    #[must_use]
    pub fn new(decisions: Arc<dyn Decisions>, stale_after: Duration) -> Self {
        Self(Board::new(decisions, stale_after))
    }

    /// The series of `metric` in `namespace`, labels and value in thousandths.
    /// A variant without a decision that holds has none, nor has a metric
    /// that is not served.
    #[must_use]
    pub fn series(&self, namespace: &str, metric: &str) -> Vec<(BTreeMap<String, String>, i64)> {
        if !NAMES.contains(&metric) {
            return Vec::new();
        }
        let now = Instant::now();
        let index = self.0.index();
        let one = |variant: &Published| {
            let decided = self.0.decided(variant, now).ok()?;
            let value = value(metric, variant, decided)?;
            let named = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
            #[expect(clippy::cast_possible_truncation, reason = "at most 2^32 thousandfold")]
            let milli = (value * 1000.0).round() as i64;
            Some((labels(variant).map(named).collect(), milli))
        };
        index.namespace(namespace).filter_map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::tests::{Known, variant, wanting};

    #[test]
    fn in_process_the_same_series_are_read_and_what_does_not_hold_has_none() {
        let now = Instant::now();
        let mut l4 = wanting("shop", "l4", 5, now);
        l4.current = Some(4);
        let old = now.checked_sub(Duration::from_secs(90)).unwrap();
        let all = vec![
            l4,
            variant("shop", "new"),
            wanting("shop", "old", 7, old),
            wanting("other", "l4", 9, now),
        ];
        let here = InProcess::new(Known::new(all), Duration::from_secs(60));
        for (metric, milli) in [
            ("wva_desired_replicas", 5000),
            ("wva_current_replicas", 4000),
            ("wva_desired_ratio", 1250),
        ] {
            let series = here.series("shop", metric);
            assert_eq!(series.len(), 1, "{metric}: {series:?}");
            assert_eq!((series[0].0["variant_name"].as_str(), series[0].1), ("l4", milli));
            assert_eq!(series[0].0["exported_namespace"], "shop");
        }
        assert_eq!(here.series("shop", "cpu"), Vec::new());
        assert_eq!(here.series("nowhere", "wva_desired_replicas"), Vec::new());
    }
}
