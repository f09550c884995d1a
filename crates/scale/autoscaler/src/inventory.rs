//! The GPUs of the cluster: what nodes have, and what Pods hold of it.
//!
//! Nodes that take no Pods (cordoned, not ready, not selected) count for
//! nothing, with whatever their Pods hold. On the others every Pod counts that
//! has a node and has not ended, whoever made it and even while it terminates.
//! Free GPUs are kept apart by node, for a Pod runs on one. What Pods of others
//! that wait for a node ask for is as good as taken.

use crate::survey::Variant;
use crate::world::{Health, Watched, World, keep_slim, slim};
use crate::{accelerator, selector};
use capacity::optimize::inventory::{Inventory, Stock, VENDORS, pod_gpus};
use k8s_openapi::api::core::v1::{Container, Node, Pod, PodSpec};
use kube::core::{Selector, SelectorExt};
use kube::runtime::reflector::Store;
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use units::Instant;
use waiting::Waiting;

mod waiting;

/// What GPUs are called whose node names no product.
const UNNAMED: &str = "unknown";
/// A watch that failed this often in a row, and did so lately, tells nothing.
const FAILURES: u32 = 3;
/// How lately.
const LATELY: Duration = Duration::from_secs(60);

/// Which nodes count, by their labels: `a=b,c!=d,e in (f,g)`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeSelector(Selector);

impl FromStr for NodeSelector {
    type Err = String;

    /// # Errors
    /// A sentence naming the requirement that cannot be read.
    fn from_str(text: &str) -> Result<Self, String> {
        selector::parse(text).map(Self)
    }
}

/// The cluster's GPUs, for people and gauges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InventoryRecord {
    /// By accelerator; empty while they are not known.
    pub accelerators: Vec<GpuRecord>,
    /// Why they are not known, if they are not.
    pub unknown: Option<String>,
    /// When nodes and Pods were last seen, unix milliseconds.
    pub seen_unix_ms: Option<u64>,
}

/// The GPUs of one accelerator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuRecord {
    /// Its short name.
    pub accelerator: String,
    /// GPUs of nodes that take Pods.
    pub total: u64,
    /// Those that Pods hold.
    pub used: u64,
    /// Those that nobody holds or waits for.
    pub free: u64,
}

/// Counts GPUs, anew only when something changed.
pub(crate) struct Counter {
    client: Client,
    stop: CancellationToken,
    nodes: NodeSelector,
    /// Pods of all namespaces, where only those of one are watched otherwise.
    all_pods: Option<(Store<Pod>, Health)>,
    counted: Option<Counted>,
    doubts: Doubts,
    seen: Option<Instant>,
    /// Whether people were told that nobody knows.
    told: bool,
}

/// What was counted, and at which changes of nodes and Pods.
#[derive(Debug)]
struct Counted {
    at: [u64; 2],
    stocks: BTreeMap<String, Stock>,
    waiting: Vec<Waiting>,
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counter")
            .field("nodes", &self.nodes)
            .field("counted", &self.counted)
            .field("told", &self.told)
            .finish_non_exhaustive()
    }
}

impl Counter {
    pub(crate) fn new(client: Client, nodes: NodeSelector, stop: CancellationToken) -> Self {
        Self {
            client,
            stop,
            nodes,
            all_pods: None,
            counted: None,
            doubts: Doubts::default(),
            seen: None,
            told: false,
        }
    }

    /// Sees to it that Pods of all namespaces are watched.
    pub(crate) fn look_everywhere(&mut self, world: &World) {
        if !world.all_pods && self.all_pods.is_none() {
            let health = Health::default();
            let pods = keep_slim(Api::all(self.client.clone()), &health, only_gpus, &self.stop);
            self.all_pods = Some((pods, health));
        }
    }

    /// The GPUs there are now. Pods of these variants that wait for a node
    /// count for nothing here: their replicas are promised theirs.
    pub(crate) fn count(&mut self, world: &World, variants: &[Variant], now: Instant) -> Inventory {
        let (pods, pods_watch) = match &self.all_pods {
            Some((pods, health)) => (pods, health.look()),
            None if world.all_pods => (&world.pods, world.pods_watch.look()),
            None => {
                let why = "Pods of other namespaces are not watched, for nothing is limited by GPUs";
                return Inventory::Unknown { why: why.to_owned() };
            }
        };
        let watches = [world.nodes_watch.look(), pods_watch];
        let problem = self.doubts.of(&watches, now);
        if let Some((why, waits)) = problem {
            // A first list that is on its way is no news.
            if !waits && !self.told {
                tracing::warn!(why, "free GPUs are not known");
                self.told = true;
            }
            return Inventory::Unknown { why };
        }
        if std::mem::take(&mut self.told) {
            tracing::info!("free GPUs are known again");
        }
        self.seen = Some(now);
        let changes = [watches[0].changes, watches[1].changes];
        if self.counted.as_ref().is_none_or(|counted| counted.at != changes) {
            let pods = pods.state();
            self.counted = Some(Counted {
                at: changes,
                stocks: stocks(&world.nodes.state(), &pods, &self.nodes),
                waiting: waiting::waiting(&pods),
            });
        }
        match &self.counted {
            Some(counted) if counted.waiting.is_empty() => Inventory::Known(counted.stocks.clone()),
            Some(counted) => {
                let decided = variants.iter().filter(|variant| variant.decidable().is_some());
                let ours: BTreeSet<(&str, &str)> = decided
                    .flat_map(|variant| variant.pods.iter().map(|pod| (variant.namespace.as_str(), &*pod.name)))
                    .collect();
                let ours = |namespace: &str, name: &str| ours.contains(&(namespace, name));
                Inventory::Known(waiting::take(counted.stocks.clone(), &counted.waiting, ours))
            }
            None => Inventory::Known(BTreeMap::new()),
        }
    }

    /// The same for people and gauges.
    pub(crate) fn record(&self, inventory: &Inventory) -> InventoryRecord {
        let (stocks, unknown) = match inventory {
            Inventory::Known(stocks) => (stocks.iter().collect(), None),
            Inventory::Unknown { why } => (Vec::new(), Some(why.clone())),
        };
        let of = |(name, stock): (&String, &Stock)| GpuRecord {
            accelerator: name.clone(),
            total: stock.limit,
            used: stock.used,
            free: stock.free(),
        };
        InventoryRecord {
            accelerators: stocks.into_iter().map(of).collect(),
            unknown,
            seen_unix_ms: self.seen.map(|at| at.as_nanos() / 1_000_000),
        }
    }
}

/// Whether the watches of nodes and of Pods can be believed.
#[derive(Debug, Default)]
struct Doubts {
    /// Errors of each so far, and when the last came.
    errors: [(u64, Option<Instant>); 2],
}

impl Doubts {
    /// Why they cannot, and whether that is only because they began a moment ago.
    fn of(&mut self, watches: &[Watched; 2], now: Instant) -> Option<(String, bool)> {
        let mut problem = None;
        let both = watches.iter().zip(&mut self.errors);
        for ((watch, errors), what) in both.zip(["nodes", "Pods of all namespaces"]) {
            if watch.errors != errors.0 {
                *errors = (watch.errors, Some(now));
            }
            let lately = errors.1.is_some_and(|at| now.since(at) <= LATELY);
            let failed = watch.errors_in_a_row >= FAILURES && lately;
            if failed || (!watch.listed && watch.errors_in_a_row > 0) {
                problem = problem.or(Some((format!("{what} cannot be watched: {}", watch.error), false)));
            } else if !watch.listed {
                problem = problem.or(Some((format!("{what} have not been listed yet"), true)));
            }
        }
        problem
    }
}

/// What an accelerator is called in the inventory: a label may carry the whole
/// product, or write it in another case.
pub(crate) fn known_as(inventory: &Inventory, accelerator: Option<&str>) -> Option<String> {
    let Inventory::Known(stocks) = inventory else {
        return accelerator.map(short);
    };
    match accelerator {
        Some(name) if stocks.contains_key(name) => Some(name.to_owned()),
        Some(name) => {
            let short = short(name);
            let same = |known: &&String| known.eq_ignore_ascii_case(&short);
            Some(stocks.keys().find(same).cloned().unwrap_or(short))
        }
        // Where all are of one kind there is nothing to choose.
        None if stocks.len() == 1 => stocks.keys().next().cloned(),
        None => None,
    }
}

/// A name that is short already stays: `Gaudi-2` is no vendor's `2`.
fn short(name: &str) -> String {
    let rest = accelerator::short(name);
    if rest.chars().any(|c| c.is_ascii_alphabetic()) {
        rest
    } else {
        name.to_owned()
    }
}

/// GPUs by accelerator.
fn stocks(nodes: &[Arc<Node>], pods: &[Arc<Pod>], only: &NodeSelector) -> BTreeMap<String, Stock> {
    let mut held: BTreeMap<&str, u64> = BTreeMap::new();
    for pod in pods {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        if let (Some(node), gpus @ 1..) = (node, held_by(pod)) {
            let of_node = held.entry(node).or_default();
            *of_node = of_node.saturating_add(gpus);
        }
    }
    let mut stocks: BTreeMap<String, Stock> = BTreeMap::new();
    for node in nodes
        .iter()
        .filter(|node| takes_pods(node) && only.0.matches(node.labels()))
    {
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        let gpus = VENDORS
            .iter()
            .filter_map(|vendor| allocatable?.get(&format!("{vendor}/gpu"))?.0.parse::<u64>().ok())
            .fold(0, u64::saturating_add);
        if gpus == 0 {
            continue;
        }
        let name = accelerator::of_labels(node.labels()).unwrap_or_else(|| UNNAMED.to_owned());
        let used = held.get(node.name_any().as_str()).copied().unwrap_or(0);
        stocks.entry(name).or_default().add_node(gpus, used);
    }
    stocks
}

fn takes_pods(node: &Node) -> bool {
    let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && !cordoned
}

/// GPUs that a Pod holds now: all it asks for, from when it has a node until
/// it has ended.
pub(crate) fn held_by(pod: &Pod) -> u64 {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    match &pod.spec {
        Some(spec) if spec.node_name.is_some() && !matches!(phase, Some("Succeeded" | "Failed")) => gpus_of(spec),
        _ => 0,
    }
}

/// GPUs that a Pod of this specification asks for.
pub(crate) fn gpus_of(spec: &PodSpec) -> u64 {
    let init = spec.init_containers.as_deref().unwrap_or_default();
    let (containers, init) = (requests(&spec.containers), requests(init));
    let each: Vec<_> = containers.iter().map(Vec::as_slice).collect();
    let before: Vec<_> = init.iter().map(Vec::as_slice).collect();
    pod_gpus(&each, &before)
}

/// Resources that are GPUs, of each container that asks for any.
fn requests(containers: &[Container]) -> Vec<Vec<(&'static str, u64)>> {
    const NAMES: [&str; 3] = ["nvidia.com/gpu", "amd.com/gpu", "intel.com/gpu"];
    let of = |container: &Container| {
        let resources = container.resources.as_ref()?;
        // Of extended resources the two are equal; a limit alone is a request too.
        let amount = |name: &str| {
            let of = |map: &Option<BTreeMap<_, k8s_openapi::apimachinery::pkg::api::resource::Quantity>>| {
                map.as_ref()?.get(name)?.0.parse::<u64>().ok()
            };
            of(&resources.requests).or_else(|| of(&resources.limits))
        };
        let found: Vec<_> = NAMES.iter().filter_map(|name| Some((*name, amount(name)?))).collect();
        (!found.is_empty()).then_some(found)
    };
    containers.iter().filter_map(of).collect()
}

/// Leaves of a Pod what says which GPUs it holds.
fn only_gpus(pod: &mut Pod) {
    slim(pod);
    pod.metadata.labels = None;
    pod.metadata.annotations = None;
    pod.metadata.owner_references = None;
    if let Some(status) = &mut pod.status {
        let phase = status.phase.take();
        *status = k8s_openapi::api::core::v1::PodStatus {
            phase,
            ..Default::default()
        };
    }
    let Some(spec) = &mut pod.spec else { return };
    let bare = |containers: &[Container]| -> Vec<Container> {
        let of = |container: &Container| Container {
            resources: container.resources.clone(),
            ..Container::default()
        };
        containers.iter().map(of).collect()
    };
    // One that waits for a node may say which.
    let waits = spec.node_name.is_none();
    *spec = PodSpec {
        affinity: spec.affinity.take().filter(|_| waits),
        node_selector: spec.node_selector.take().filter(|_| waits),
        node_name: spec.node_name.take(),
        containers: bare(&spec.containers),
        init_containers: spec.init_containers.as_deref().map(bare),
        ..PodSpec::default()
    };
}

#[cfg(test)]
mod tests;
