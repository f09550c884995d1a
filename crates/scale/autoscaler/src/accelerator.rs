//! What an accelerator is called: short names from the labels of the vendors.

use api::names::{AMD_GPU_PRODUCT_LABEL, GKE_ACCELERATOR_LABEL, GPU_PRODUCT_LABEL, GPU_PRODUCT_LABELS_OF_OTHERS};
use k8s_openapi::api::core::v1::PodSpec;
use std::collections::BTreeMap;

/// Node labels that name the accelerator, the most exact first.
const LABELS: [&str; 3] = [GPU_PRODUCT_LABEL, AMD_GPU_PRODUCT_LABEL, GKE_ACCELERATOR_LABEL];

/// Words that stand before the name and belong to no accelerator.
const FAMILIES: [&str; 4] = ["tesla", "geforce", "instinct", "quadro"];
/// First words that are nothing without the next.
const SERIES: [&str; 3] = ["gaudi", "rtx", "gtx"];

/// The short name of a product: `A100` of `NVIDIA-A100-PCIE-80GB`, `L4` of
/// `nvidia-l4`, `Gaudi-2` of `Intel-Gaudi-2-96GB`. A name of one word stays as
/// it is; of a name by nobody known it is the second word.
pub(crate) fn short(product: &str) -> String {
    let words: Vec<&str> = product.split(['-', '_', ' ']).filter(|word| !word.is_empty()).collect();
    let is = |word: Option<&&str>, list: &[&str]| {
        word.is_some_and(|word| list.iter().any(|known| known.eq_ignore_ascii_case(word)))
    };
    let mut rest = words.as_slice();
    if rest.len() < 2 {
        return product.to_owned();
    }
    // A vendor, or a family that stands for one (`Tesla-T4`); a word with a digit is the name itself.
    if !rest[0].chars().any(|c| c.is_ascii_digit()) {
        rest = &rest[1..];
    }
    while rest.len() > 1 && is(rest.first(), &FAMILIES) {
        rest = &rest[1..];
    }
    let taken = if rest.len() > 1 && is(rest.first(), &SERIES) {
        2
    } else {
        1
    };
    let name = rest[..taken].join("-");
    // Google writes everything small; a product is known by capitals.
    if product.chars().any(|c| c.is_ascii_uppercase()) {
        name
    } else {
        name.to_ascii_uppercase()
    }
}

/// Every label that names a product, the most exact first.
fn all_labels() -> impl Iterator<Item = &'static str> {
    LABELS.into_iter().chain(GPU_PRODUCT_LABELS_OF_OTHERS)
}

/// What labels of a node, or a selector of nodes, say.
pub(crate) fn of_labels(labels: &BTreeMap<String, String>) -> Option<String> {
    all_labels()
        .filter_map(|label| labels.get(label))
        .find(|value| !value.is_empty())
        .map(|product| short(product))
}

/// What a Pod, or a template of Pods, asks for: its node selector, else what
/// its node affinity requires, if that leaves one product only.
pub(crate) fn of_pod(spec: &PodSpec) -> Option<String> {
    let selected = spec.node_selector.as_ref().and_then(of_labels);
    selected.or_else(|| {
        let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
        let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
        let mut products = required
            .node_selector_terms
            .iter()
            .flat_map(|term| term.match_expressions.iter().flatten())
            .filter(|expression| expression.operator == "In" && all_labels().any(|label| label == expression.key))
            .flat_map(|expression| expression.values.iter().flatten())
            .map(|product| short(product));
        let first = products.next()?;
        products.all(|other| other == first).then_some(first)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn products_have_short_names() {
        for (product, name) in [
            ("NVIDIA-A100-PCIE-80GB", "A100"),
            ("NVIDIA-H100-SXM5-80GB", "H100"),
            ("NVIDIA-L40S-48GB", "L40S"),
            ("AMD-MI300X-192G", "MI300X"),
            ("AMD_Instinct_MI300X_OAM", "MI300X"),
            ("Intel-Gaudi-2-96GB", "Gaudi-2"),
            ("Tesla-T4", "T4"),
            ("A100-SXM4-40GB", "A100"),
            ("NVIDIA-GeForce-RTX-4090", "RTX-4090"),
            ("nvidia-tesla-v100", "V100"),
            ("nvidia-l4", "L4"),
            ("nvidia-h100-80gb", "H100"),
            ("Unknown-GPU-Model-123", "GPU"),
            ("L4", "L4"),
            ("mock", "mock"),
            ("NVIDIA-", "NVIDIA-"),
            ("", ""),
        ] {
            assert_eq!(short(product), name, "{product}");
        }
    }

    #[test]
    fn a_selector_or_an_affinity_for_one_product_names_it() {
        let affinity = |label: &str, values: &[&str]| {
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "zone", "operator": "In", "values": ["a"]},
                    {"key": label, "operator": "In", "values": values},
                ]}]}}}, "containers": []})
        };
        let cases = [
            (
                json!({"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4"}, "containers": []}),
                Some("L4"),
            ),
            (
                json!({"nodeSelector": {"cloud.google.com/gke-accelerator": "nvidia-l4"}, "containers": []}),
                Some("L4"),
            ),
            (json!({"nodeSelector": {"zone": "a"}, "containers": []}), None),
            (
                affinity("amd.com/gpu.product-name", &["AMD-MI300X-192G"]),
                Some("MI300X"),
            ),
            (
                affinity("amd.com/gpu.product-name", &["AMD-MI300X-192G", "AMD-MI210-64G"]),
                None,
            ),
            (affinity("amd.com/gpu.product", &["AMD-MI300X-192G"]), Some("MI300X")),
            (
                affinity("intel.com/gpu.product", &["Intel-Gaudi-2-96GB"]),
                Some("Gaudi-2"),
            ),
            (json!({"containers": []}), None),
        ];
        for (spec, expected) in cases {
            let spec: PodSpec = serde_json::from_value(spec).unwrap();
            assert_eq!(of_pod(&spec).as_deref(), expected, "{spec:?}");
        }
    }
}
