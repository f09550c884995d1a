//! The decision: which node, or why none. Pure.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{Node, NodeSelectorTerm, Pod, PodSpec, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::{pods, quantity, selector};

type Amounts = BTreeMap<String, i64>;

/// What the decision knows of a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// Cordoned.
    pub unschedulable: bool,
    /// Its condition Ready is True.
    pub ready: bool,
    /// What it has for Pods, in thousandths.
    pub allocatable: BTreeMap<String, i64>,
    /// What the Pods on it ask for, in thousandths; `pods` counts them.
    pub used: BTreeMap<String, i64>,
}

impl NodeView {
    /// A node without Pods.
    #[must_use]
    pub fn new(node: &Node) -> Self {
        let status = node.status.as_ref();
        let conditions = status.and_then(|s| s.conditions.as_ref()).into_iter().flatten();
        NodeView {
            name: node.metadata.name.clone().unwrap_or_default(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: node.spec.as_ref().and_then(|s| s.taints.clone()).unwrap_or_default(),
            unschedulable: node.spec.as_ref().is_some_and(|s| s.unschedulable == Some(true)),
            ready: conditions.clone().any(|c| c.type_ == "Ready" && c.status == "True"),
            allocatable: amounts(status.and_then(|s| s.allocatable.as_ref().or(s.capacity.as_ref()))),
            used: Amounts::new(),
        }
    }

    fn used(&self, resource: &str) -> i64 {
        self.used.get(resource).copied().unwrap_or(0)
    }

    fn free(&self, resource: &str) -> i64 {
        self.allocatable
            .get(resource)
            .copied()
            .unwrap_or(0)
            .saturating_sub(self.used(resource))
    }
}

/// All nodes with what is in use on them.
#[derive(Clone, Debug, Default)]
pub struct NodesView {
    nodes: BTreeMap<String, NodeView>,
}

impl NodesView {
    /// From the nodes and every Pod there is.
    pub fn new<'a>(nodes: impl Iterator<Item = &'a Node>, pods: impl Iterator<Item = &'a Pod>) -> Self {
        let mut nodes: BTreeMap<String, NodeView> =
            nodes.map(NodeView::new).map(|node| (node.name.clone(), node)).collect();
        for pod in pods.filter(|pod| !pods::is_finished(pod)) {
            let Some(spec) = &pod.spec else { continue };
            if let Some(node) = spec.node_name.as_ref().and_then(|name| nodes.get_mut(name)) {
                for (resource, amount) in requests(spec) {
                    let used = node.used.entry(resource).or_insert(0);
                    *used = used.saturating_add(amount);
                }
            }
        }
        NodesView { nodes }
    }
}

/// The node a Pod goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The node's name.
    pub node: String,
}

/// Why no node will do; shown, it is the message Kubernetes users know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhyNot {
    /// How many nodes there are.
    pub nodes: usize,
    /// How many nodes each reason rules out.
    pub reasons: BTreeMap<String, usize>,
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return write!(f, "no nodes available to schedule pods");
        }
        let mut reasons: Vec<String> = self
            .reasons
            .iter()
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        reasons.sort();
        write!(f, "0/{} nodes are available: {}.", self.nodes, reasons.join(", "))
    }
}

/// Chooses a node for the Pod. Among those that fit, the one with most GPUs in
/// use comes first if the Pod wants a GPU, so that whole nodes stay free for
/// large Pods, and else the one with fewest Pods; ties go by name.
///
/// # Errors
/// When no node fits: for every node each reason that rules it out.
pub fn place(pod: &Pod, view: &NodesView) -> Result<Choice, WhyNot> {
    let default = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&default);
    let wanted = requests(spec);
    let wants_gpu = wanted.get(api::names::GPU_RESOURCE).is_some_and(|amount| *amount > 0);
    let mut why = WhyNot {
        nodes: view.nodes.len(),
        reasons: BTreeMap::new(),
    };
    let mut fitting = Vec::new();
    for node in view.nodes.values() {
        let reasons = objections(spec, &wanted, node);
        if reasons.is_empty() {
            fitting.push(node);
        }
        for reason in reasons {
            *why.reasons.entry(reason).or_insert(0) += 1;
        }
    }
    let rank = |node: &&NodeView| {
        if wants_gpu {
            -node.used(api::names::GPU_RESOURCE)
        } else {
            node.used("pods")
        }
    };
    // The first of the lowest rank: nodes come in order of name.
    match fitting.into_iter().min_by_key(rank) {
        Some(node) => Ok(Choice {
            node: node.name.clone(),
        }),
        None => Err(why),
    }
}

/// What speaks against the node: the first kind that does, but every lacking resource.
fn objections(spec: &PodSpec, wanted: &Amounts, node: &NodeView) -> Vec<String> {
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    if node.unschedulable && !tolerates(tolerations, &unschedulable_taint()) {
        return vec!["node(s) were unschedulable".to_owned()];
    }
    if !node.ready {
        return vec!["node(s) were not ready".to_owned()];
    }
    let keeps_out = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    if let Some(taint) = node
        .taints
        .iter()
        .filter(keeps_out)
        .find(|taint| !tolerates(tolerations, taint))
    {
        let value = taint.value.as_deref().unwrap_or_default();
        return vec![format!("node(s) had untolerated taint {{{}: {value}}}", taint.key)];
    }
    if !is_selected(spec, node) {
        return vec!["node(s) didn't match Pod's node affinity/selector".to_owned()];
    }
    let lacking = wanted
        .iter()
        .filter(|(resource, amount)| **amount > node.free(resource));
    lacking
        .map(|(resource, _)| match resource.as_str() {
            "pods" => "Too many pods".to_owned(),
            other => format!("Insufficient {other}"),
        })
        .collect()
}

fn unschedulable_taint() -> Taint {
    Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    }
}

fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| {
        let effect = toleration
            .effect
            .as_deref()
            .is_none_or(|e| e.is_empty() || e == taint.effect);
        let key = toleration.key.as_deref().unwrap_or_default();
        let value = match toleration.operator.as_deref() {
            Some("Exists") => key.is_empty() || key == taint.key,
            None | Some("" | "Equal") => {
                key == taint.key
                    && toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
            }
            Some(_) => false,
        };
        effect && value
    })
}

fn is_selected(spec: &PodSpec, node: &NodeView) -> bool {
    let by_labels = spec
        .node_selector
        .iter()
        .flatten()
        .all(|(key, value)| node.labels.get(key) == Some(value));
    let affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    by_labels
        && required.is_none_or(|required| required.node_selector_terms.iter().any(|term| term_matches(term, node)))
}

fn term_matches(term: &NodeSelectorTerm, node: &NodeView) -> bool {
    let labels = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    // A term that says nothing selects nothing.
    if labels.is_empty() && fields.is_empty() {
        return false;
    }
    let known = BTreeMap::from([("metadata.name".to_owned(), node.name.clone())]);
    let values = |values: &Option<Vec<String>>| values.clone().unwrap_or_default();
    labels
        .iter()
        .all(|e| selector::expression(&e.key, &e.operator, &values(&e.values), &node.labels))
        && fields
            .iter()
            .all(|e| selector::expression(&e.key, &e.operator, &values(&e.values), &known))
}

fn amounts(list: Option<&BTreeMap<String, Quantity>>) -> Amounts {
    let entries = list.into_iter().flatten();
    entries
        .filter_map(|(name, quantity)| Some((name.clone(), quantity::milli(quantity)?)))
        .collect()
}

/// What a Pod asks for, in thousandths: its containers together, or its
/// hungriest init container if that is more; and its own place.
fn requests(spec: &PodSpec) -> Amounts {
    let of = |container: &k8s_openapi::api::core::v1::Container| {
        let resources = container.resources.as_ref();
        let mut wanted = amounts(resources.and_then(|r| r.limits.as_ref()));
        wanted.extend(amounts(resources.and_then(|r| r.requests.as_ref())));
        wanted
    };
    let mut total = Amounts::new();
    let mut sum = |wanted: Amounts| {
        for (resource, amount) in wanted {
            let known = total.entry(resource).or_insert(0);
            *known = known.saturating_add(amount);
        }
    };
    spec.containers.iter().map(of).for_each(&mut sum);
    sum(amounts(spec.overhead.as_ref()));
    for (resource, amount) in spec.init_containers.iter().flatten().flat_map(of) {
        let known = total.entry(resource).or_insert(0);
        *known = amount.max(*known);
    }
    total.insert("pods".to_owned(), 1000);
    total.retain(|_, amount| *amount > 0);
    total
}

#[cfg(test)]
#[path = "place/tests.rs"]
mod tests;
