//! Pods that wait for a node: what they ask for is as good as taken.

use super::{gpus_of, known_as};
use crate::accelerator;
use capacity::optimize::inventory::{Inventory, Stock};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most Pods that are looked at; beyond, the largest count.
const MOST: usize = 10_000;

/// A Pod that has no node and asks for GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    namespace: String,
    name: String,
    gpus: u64,
    /// What it must run on, if it says.
    accelerator: Option<String>,
}

/// Those that wait, the largest first.
pub(super) fn waiting(pods: &[Arc<Pod>]) -> Vec<Waiting> {
    let of = |pod: &Arc<Pod>| {
        let spec = pod.spec.as_ref().filter(|spec| spec.node_name.is_none())?;
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let gone = pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed"));
        let gpus = gpus_of(spec);
        (gpus > 0 && !gone).then(|| Waiting {
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
            gpus,
            accelerator: accelerator::of_pod(spec),
        })
    };
    let mut found: Vec<Waiting> = pods.iter().filter_map(of).collect();
    found.sort_by(|a, b| (Reverse(a.gpus), &a.namespace, &a.name).cmp(&(Reverse(b.gpus), &b.namespace, &b.name)));
    found.truncate(MOST);
    found
}

/// Takes what they are about to hold, but for those that are `ours`: what ours
/// are asked for is promised to them anyway.
pub(super) fn take(
    stocks: BTreeMap<String, Stock>,
    waiting: &[Waiting],
    ours: impl Fn(&str, &str) -> bool,
) -> BTreeMap<String, Stock> {
    let mut inventory = Inventory::Known(stocks);
    for pod in waiting.iter().filter(|pod| !ours(&pod.namespace, &pod.name)) {
        let named = pod
            .accelerator
            .as_deref()
            .and_then(|name| known_as(&inventory, Some(name)));
        let Inventory::Known(stocks) = &mut inventory else {
            break;
        };
        let stock = match (&pod.accelerator, named) {
            (Some(_), named) => named.and_then(|name| stocks.get_mut(&name)),
            // It may go anywhere; most likely where most is free.
            (None, _) => {
                let most = stocks.iter().filter(|(_, stock)| stock.pieces.fits(pod.gpus) > 0);
                let most = most.max_by_key(|(name, stock)| (stock.free(), Reverse((*name).clone())));
                most.map(|(name, _)| name.clone())
                    .and_then(|name| stocks.get_mut(&name))
            }
        };
        if let Some(stock) = stock {
            stock.wait(pod.gpus);
        }
    }
    match inventory {
        Inventory::Known(stocks) => stocks,
        Inventory::Unknown { .. } => BTreeMap::new(),
    }
}
