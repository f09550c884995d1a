//! The Prometheus page: the predecessor's gauges, then our own numbers.

use crate::configuration::ConfigMapRecord;
use crate::handle::Scaling;
use crate::inventory::InventoryRecord;
use crate::survey::pickers::PickerPools;
use crate::views::VariantView;
use api::names::{CURRENT_REPLICAS_METRIC, DESIRED_RATIO_METRIC, DESIRED_REPLICAS_METRIC, SCALING_TOTAL_METRIC};
use collect::SourceHealth;
use std::collections::BTreeMap;
use wire::prom::write::{Kind, Writer};

mod sources;

/// What the page is made of.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    /// Only the leader speaks of variants: two voices would be summed up.
    pub(crate) leads: bool,
    pub(crate) configmaps: &'a [ConfigMapRecord],
    pub(crate) variants: &'a [VariantView],
    pub(crate) scalings: &'a BTreeMap<Scaling, u64>,
    pub(crate) sources: &'a BTreeMap<String, SourceHealth>,
    pub(crate) gpus: &'a InventoryRecord,
    pub(crate) picker_pools: PickerPools,
    pub(crate) passes: u64,
    pub(crate) pass_micros: u64,
    pub(crate) write_failures: u64,
}

/// The label value where the accelerator is not known: a series without it
/// would be missed by everybody who sums over it.
const UNKNOWN: &str = "unknown";

/// Writes the page.
pub(crate) fn page(facts: &Facts<'_>) -> String {
    let mut page = Writer::default();
    let variants: Vec<&VariantView> = facts
        .variants
        .iter()
        .filter(|view| facts.leads && view.in_series)
        .collect();
    let per_variant = |page: &mut Writer, name: &str, help: &str, value: &dyn Fn(&VariantView) -> Option<f64>| {
        page.family(name, Kind::Gauge, help);
        for view in &variants {
            if let Some(value) = value(view) {
                page.sample(name, &labels(view), value);
            }
        }
    };
    per_variant(
        &mut page,
        DESIRED_REPLICAS_METRIC,
        "Replicas wanted for a variant.",
        &|view| view.desired.map(f64::from),
    );
    per_variant(&mut page, CURRENT_REPLICAS_METRIC, "Replicas a variant has.", &|view| {
        view.current.map(f64::from)
    });
    per_variant(
        &mut page,
        DESIRED_RATIO_METRIC,
        "Wanted over current replicas; wanted ones if there are none.",
        &|view| {
            let (desired, current) = (f64::from(view.desired?), f64::from(view.current?));
            Some(if current > 0.0 { desired / current } else { desired })
        },
    );

    page.family(SCALING_TOTAL_METRIC, Kind::Counter, "Decisions that changed a variant.");
    for (scaling, count) in facts.scalings.iter().filter(|_| facts.leads) {
        let mut labels = vec![
            ("variant_name", scaling.variant.as_str()),
            ("namespace", &scaling.namespace),
            ("direction", scaling.direction),
            ("reason", scaling.reason),
        ];
        labels.extend(instance_label(scaling.instance.as_deref()));
        page.sample(SCALING_TOTAL_METRIC, &labels, *count as f64);
    }

    per_variant(
        &mut page,
        "tidegate_variant_ready_replicas",
        "Replicas of a variant that are ready.",
        &|view| Some(f64::from(view.ready)),
    );
    per_variant(
        &mut page,
        "tidegate_variant_silent_replicas",
        "Ready replicas without a fresh signal.",
        &|view| Some(view.replicas.iter().filter(|replica| replica.missing.is_some()).count() as f64),
    );
    page.family(
        "tidegate_variant_reason",
        Kind::Gauge,
        "Why a variant has its replicas: 1 for the reason that holds.",
    );
    for view in &variants {
        let mut labels = vec![
            ("variant_name", view.name.as_str()),
            ("namespace", &view.namespace),
            ("reason", &view.reason),
        ];
        labels.extend(instance_label(view.controller_instance.as_deref()));
        page.sample("tidegate_variant_reason", &labels, 1.0);
    }

    page.family(
        "tidegate_picker_pools",
        Kind::Gauge,
        "InferencePools with an endpoint picker to be found: those where it is asked, those where it cannot be.",
    );
    for (state, count) in [
        ("asked", facts.picker_pools.asked),
        ("unseen", facts.picker_pools.unseen),
    ] {
        page.sample("tidegate_picker_pools", &[("state", state)], count as f64);
    }

    page.family(
        "tidegate_gpus",
        Kind::Gauge,
        "GPUs of nodes that take Pods, by accelerator; absent while they are not known.",
    );
    for gpus in facts.gpus.accelerators.iter().filter(|_| facts.leads) {
        for (state, count) in [("total", gpus.total), ("used", gpus.used), ("free", gpus.free)] {
            let labels = [("accelerator", gpus.accelerator.as_str()), ("state", state)];
            page.sample("tidegate_gpus", &labels, count as f64);
        }
    }
    page.family(
        "tidegate_leader",
        Kind::Gauge,
        "1 if this process acts, 0 if another one does.",
    );
    page.sample("tidegate_leader", &[], if facts.leads { 1.0 } else { 0.0 });
    page.family(
        "tidegate_config_valid",
        Kind::Gauge,
        "1 if what a ConfigMap says is in force, 0 if it was refused.",
    );
    for map in facts.configmaps {
        let valid = if map.valid { 1.0 } else { 0.0 };
        page.sample("tidegate_config_valid", &[("configmap", map.configmap.as_str())], valid);
    }

    sources::write(&mut page, facts.sources);

    let mut single = |name: &str, help: &str, value: f64| {
        page.family(name, Kind::Counter, help);
        page.sample(name, &[], value);
    };
    single(
        "tidegate_autoscaler_passes_total",
        "Times all models were decided on.",
        facts.passes as f64,
    );
    let seconds = facts.pass_micros as f64 / 1e6;
    single(
        "tidegate_autoscaler_pass_seconds_total",
        "Time spent deciding, without waiting for the API.",
        seconds,
    );
    let failures = facts.write_failures as f64;
    single(
        "tidegate_autoscaler_write_failures_total",
        "Status and event writes that failed.",
        failures,
    );
    page.finish()
}

/// The predecessor's labels.
fn labels(view: &VariantView) -> Vec<(&'static str, &str)> {
    let mut labels = vec![
        ("variant_name", view.name.as_str()),
        ("namespace", view.namespace.as_str()),
        ("accelerator_type", view.accelerator.as_deref().unwrap_or(UNKNOWN)),
    ];
    labels.extend(instance_label(view.controller_instance.as_deref()));
    labels
}

/// Only a variant that is one instance's has this label.
fn instance_label(instance: Option<&str>) -> Option<(&'static str, &str)> {
    instance.map(|instance| ("controller_instance", instance))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::inventory::GpuRecord;

    pub(crate) fn view(name: &str) -> VariantView {
        VariantView {
            kind: "VariantAutoscaling",
            slo: None,
            configured: Vec::new().into(),
            name: name.to_owned(),
            namespace: "shop".to_owned(),
            model: "m".to_owned(),
            accelerator: Some("NVIDIA-\"L4\"".to_owned()),
            controller_instance: None,
            target_kind: "Deployment".to_owned(),
            target_name: name.to_owned(),
            cost: Some(1.0),
            min: Some(0),
            max: Some(4),
            in_series: true,
            current: Some(0),
            ready: 0,
            desired: Some(2),
            reason: "QueueWaiting".to_owned(),
            sentence: String::new(),
            replicas: Vec::new(),
            model_signals: None,
            explanation: None,
        }
    }

    #[test]
    fn the_predecessors_series_are_there_with_its_labels() {
        let undecided = VariantView {
            desired: None,
            current: None,
            accelerator: None,
            ..view("none")
        };
        let scaling = Scaling {
            namespace: "shop".into(),
            variant: "m-l4".into(),
            instance: Some("blue".into()),
            direction: "up",
            reason: "QueueWaiting",
        };
        let refused = ConfigMapRecord {
            configmap: "shop/thresholds".into(),
            valid: false,
            error: None,
        };
        let gpus = InventoryRecord {
            accelerators: vec![GpuRecord {
                accelerator: "L4".to_owned(),
                total: 8,
                used: 5,
                free: 3,
            }],
            ..InventoryRecord::default()
        };
        let facts = Facts {
            leads: true,
            configmaps: &[refused],
            variants: &[view("m-l4"), undecided],
            scalings: &[(scaling, 3)].into(),
            sources: &[(
                "replica".to_owned(),
                SourceHealth {
                    asked: 5,
                    ..SourceHealth::default()
                },
            )]
            .into(),
            gpus: &gpus,
            picker_pools: PickerPools { asked: 2, unseen: 1 },
            passes: 1,
            pass_micros: 0,
            write_failures: 0,
        };
        let text = page(&facts);
        let read = wire::prom::parse::parse(text.as_bytes()).unwrap();
        let variant = [
            ("variant_name", "m-l4"),
            ("namespace", "shop"),
            ("accelerator_type", "NVIDIA-\"L4\""),
        ];
        for (name, value) in [
            ("wva_desired_replicas", 2.0),
            ("wva_current_replicas", 0.0),
            ("wva_desired_ratio", 2.0),
        ] {
            let values: Vec<f64> = read.select(name, &variant).map(|sample| sample.value).collect();
            assert_eq!(values, [value], "{name}");
            assert_eq!(
                read.select(name, &[]).count(),
                1,
                "{name}: nothing decided is no sample, not 0"
            );
        }
        let up = [
            ("variant_name", "m-l4"),
            ("direction", "up"),
            ("reason", "QueueWaiting"),
            ("controller_instance", "blue"),
        ];
        assert_eq!(read.select("wva_replica_scaling_total", &up).next().unwrap().value, 3.0);
        for (name, value) in [("tidegate_leader", 1.0), ("tidegate_config_valid", 0.0)] {
            assert_eq!(read.select(name, &[]).next().unwrap().value, value, "{name}");
        }
        let free = [("accelerator", "L4"), ("state", "free")];
        assert_eq!(read.select("tidegate_gpus", &free).next().unwrap().value, 3.0);
        let unseen = [("state", "unseen")];
        assert_eq!(read.select("tidegate_picker_pools", &unseen).next().unwrap().value, 1.0);
    }

    #[test]
    fn one_that_does_not_lead_says_so_and_nothing_of_variants() {
        let scaling = Scaling {
            namespace: "shop".into(),
            variant: "m-l4".into(),
            instance: Some("blue".into()),
            direction: "up",
            reason: "QueueWaiting",
        };
        let facts = Facts {
            leads: false,
            configmaps: &[],
            variants: &[view("m-l4")],
            scalings: &[(scaling, 3)].into(),
            sources: &BTreeMap::new(),
            gpus: &InventoryRecord::default(),
            picker_pools: PickerPools::default(),
            passes: 1,
            pass_micros: 0,
            write_failures: 0,
        };
        let text = page(&facts);
        assert!(
            text.contains("tidegate_leader 0") && !text.contains("variant_name="),
            "{text}"
        );
    }
}
