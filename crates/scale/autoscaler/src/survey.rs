//! Takes stock of the watched objects: every variant with its target and Pods.

use crate::accelerator;
use crate::configuration::{ConfigMaps, ModelConfig};
use crate::inventory;
use crate::ledger::Ledger;
use crate::scales::Scales;
use crate::settings::{Invalid, Settings};
use crate::subject::Subject;
use crate::target::{NoTarget, Target, TargetKey};
use crate::world::World;
use api::names::{
    ACCELERATOR_LABEL, CONFIG_ENABLED_LABEL, CONTROLLER_INSTANCE_LABEL, EXCLUDE_ANNOTATION, SLOTS_ANNOTATION,
};
use capacity::ReplicaState;
use collect::PickerSource;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::runtime::reflector::ObjectRef;
use pods::PodsRead;
use pools::{Pools, PoolsByLabel, metrics_path, metrics_ports, ports};
use progress::{phase, ready_since, state};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use targets::TargetsRead;
use units::Instant;

mod claims;
pub(crate) mod pickers;
pub(crate) mod pods;
mod pools;
mod progress;
pub(crate) mod promises;
pub(crate) mod targets;
mod zero;

/// One VariantAutoscaling, or what stands for one, and all that belongs to it.
#[derive(Clone, Debug)]
pub(crate) struct Variant {
    pub(crate) subject: Subject,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) generation: Option<i64>,
    /// The label that says which controller owns it.
    pub(crate) instance: Option<String>,
    pub(crate) object: Arc<DynamicObject>,
    /// What it asks for; the last that could be used, while `invalid` is set.
    pub(crate) settings: Option<Settings>,
    pub(crate) invalid: Option<Invalid>,
    /// What ConfigMaps say of its model.
    pub(crate) config: Option<Arc<ModelConfig>>,
    /// Why it is left alone, if it is: its namespace is somebody else's.
    pub(crate) skipped: Option<String>,
    /// Whether its name or target is another object's.
    pub(crate) refused: bool,
    pub(crate) target_key: Option<TargetKey>,
    pub(crate) target: Result<Target, NoTarget>,
    /// Why what is known of its target is old, if it is.
    pub(crate) target_is_old: Option<String>,
    pub(crate) accelerator: Option<String>,
    pub(crate) pods: Vec<Arc<PodFacts>>,
}

/// What matters of a Pod.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PodFacts {
    pub(crate) name: Arc<str>,
    /// `namespace/name`, as sources know it.
    pub(crate) full_name: String,
    pub(crate) ip: Option<String>,
    /// Where its metrics are.
    pub(crate) metrics_port: u16,
    /// Where the metrics of its further ranks are.
    pub(crate) more_metrics_ports: Arc<[u16]>,
    /// Their path, if it is not the usual one.
    pub(crate) metrics_path: Option<Arc<str>>,
    /// IP address, and the port it serves at.
    pub(crate) address: Option<Arc<str>>,
    pub(crate) state: ReplicaState,
    /// When it became ready, by its node's clock, if it is and says so.
    pub(crate) ready_since: Option<Instant>,
    /// The phase, or what a container waits for.
    pub(crate) phase: Arc<str>,
    pub(crate) slots: Option<f64>,
    /// GPUs it holds: none before it has a node.
    pub(crate) gpus: u64,
    node: Option<String>,
    gpu: Option<String>,
}

impl Variant {
    /// What a decision may be taken for: settings and target that can be used.
    pub(crate) fn decidable(&self) -> Option<(&Settings, &Target)> {
        match (&self.settings, &self.target, &self.skipped) {
            (Some(settings), Ok(target), None) => Some((settings, target)),
            _ => None,
        }
    }

    /// Whether this process is the one to tell of it, in series: who has its
    /// name, its target or its namespace tells of that.
    pub(crate) fn is_told_here(&self) -> bool {
        self.skipped.is_none() && !self.refused
    }

    pub(crate) fn ready(&self) -> u32 {
        u32::try_from(self.pods.iter().filter(|pod| pod.state == ReplicaState::Ready).count()).unwrap_or(u32::MAX)
    }
}

/// Settings that were last good, by uid.
pub(crate) type LastGood = BTreeMap<String, Good>;

/// Settings that could be used, and the version of the object that has them.
#[derive(Clone, Debug)]
pub(crate) struct Good {
    version: Option<String>,
    settings: Settings,
}

impl Good {
    /// Whether `object` is still the one that was read.
    fn is_of(&self, object: &DynamicObject) -> bool {
        self.version.is_some() && self.version == object.metadata.resource_version
    }
}

/// What there is.
#[derive(Debug)]
pub(crate) struct Survey {
    /// By namespace and name.
    pub(crate) variants: Vec<Variant>,
    /// The endpoint pickers of InferencePools.
    pub(crate) pickers: pickers::Found,
}

/// What a survey looks at.
#[derive(Debug)]
pub(crate) struct Sources<'a> {
    pub(crate) world: &'a World,
    pub(crate) scales: &'a Scales,
    pub(crate) configs: &'a mut ConfigMaps,
    pub(crate) pods_read: &'a mut PodsRead,
    pub(crate) targets_read: &'a mut TargetsRead,
    /// The endpoint pickers that are named.
    pub(crate) pickers: &'a PickerSource,
    /// The shard to look after; everything if absent.
    pub(crate) instance: Option<&'a str>,
}

/// Objects that ask for replicas, in no order.
fn asking(world: &World) -> impl Iterator<Item = (Subject, Arc<DynamicObject>)> {
    world.subjects.iter().flat_map(|(subject, store)| {
        let asks =
            |object: &Arc<DynamicObject>| object.metadata.deletion_timestamp.is_none() && subject.is_ours(object);
        let objects = store.state().into_iter().filter(asks);
        objects.map(|object| (*subject, object))
    })
}

/// Objects that ask for replicas, in the order in which they claim names and
/// targets: VariantAutoscalings first, the older before the younger.
fn subjects(world: &World) -> Vec<(Subject, Arc<DynamicObject>)> {
    let mut found: Vec<(Subject, Arc<DynamicObject>)> = asking(world).collect();
    found.sort_by(|(a_subject, a), (b_subject, b)| {
        let (a, b) = (&a.metadata, &b.metadata);
        let born = |meta: &ObjectMeta| meta.creation_timestamp.as_ref().map(|time| time.0);
        (a_subject, born(a), &a.namespace, &a.name).cmp(&(b_subject, born(b), &b.namespace, &b.name))
    });
    found
}

/// Whether an object belongs to the shard to look after.
fn of_shard(object: &DynamicObject, instance: Option<&str>) -> bool {
    let owner = object.labels().get(CONTROLLER_INSTANCE_LABEL).map(String::as_str);
    instance.is_none_or(|instance| owner == Some(instance))
}

/// Lists every variant by namespace and name. Settings that can be used are
/// remembered in `last_good`; those of objects that are gone are forgotten.
pub(crate) fn take(from: &mut Sources<'_>, ledger: &mut Ledger, last_good: &mut LastGood, now: Instant) -> Survey {
    let world = from.world;
    let subjects = subjects(world);
    let uids = subjects.iter().filter_map(|(_, object)| object.metadata.uid.as_deref());
    let uids: BTreeSet<&str> = uids.collect();
    last_good.retain(|uid, _| uids.contains(uid.as_str()));

    let pods = pods::staying(world.pods.state());
    let mut pods = pods::PodIndex::of(&pods);
    let pools = world.pools.state();
    from.pods_read.begin(&pools);
    from.targets_read.begin();
    let service = |namespace: &str, name: &str| world.services.get(&ObjectRef::new(name).within(namespace));
    let found = pickers::find(&pools, service, &mut pods, |namespace| {
        !from.pickers.finds() || from.pickers.names_those_of(namespace)
    });
    let mut promises = promises::Promises::of(&pools);
    let pools = Pools::of(pools);
    let mut claims = claims::Claims::default();
    let mut variants = Vec::with_capacity(subjects.len());
    for (subject, object) in subjects {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let uid = object.uid().unwrap_or_default();
        if !of_shard(&object, from.instance) {
            // Another's, whose target must not be taken from it.
            if let Ok(settings) = subject.read(&object) {
                let key = TargetKey::new(&namespace, &settings.target);
                let _ = claims.claim(subject, &namespace, &name, Some(&key));
            }
            continue;
        }
        let (mut settings, mut invalid) = read(subject, &object, &uid, last_good);
        let target_key = settings
            .as_ref()
            .map(|settings| TargetKey::new(&namespace, &settings.target));
        let claimed = claims.claim(subject, &namespace, &name, target_key.as_ref());
        let refused = claimed.is_err();
        if let Err(taken) = claimed {
            (settings, invalid) = (None, Some(taken));
        }
        let mut target = match &target_key {
            Some(key) => from.targets_read.find(world, from.scales, key),
            None => Err(NoTarget::NotFound("its specification cannot be read".to_owned())),
        };
        if let (Ok(target), Some(key)) = (&mut target, &target_key) {
            target.wanted = ledger.correct(key, target.wanted, &target.seen(), now);
        }
        let mut pods: Vec<Arc<PodFacts>> = match (&target, &target_key) {
            (Ok(target), Some(key)) => pods
                .select(&namespace, &target.selector)
                .filter(|pod| key.owns(target, pod))
                .map(|pod| from.pods_read.facts(pod, pools.of_namespace(&namespace)))
                .collect(),
            _ => Vec::new(),
        };
        // The copies are in no order; every pass must see the same one.
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        let accelerator = accelerator(&object, target.as_ref().ok(), &pods, world);
        let config = settings.as_ref().map(|Settings { model, .. }| {
            let said = from.configs.of_model(&namespace, model);
            let said = promises.complete(&namespace, model, said);
            let labels = target.as_ref().ok().and_then(|target| target.labels.as_deref());
            let pool = labels.and_then(|labels| pools::of_labels(labels, pools.of_namespace(&namespace)));
            match pool.and_then(|pool| found.of(&namespace, &pool.name)) {
                Some(told) => told.add_to(said),
                None => said,
            }
        });
        if let Some(settings) = &mut settings {
            price(settings, accelerator.as_deref(), from.configs);
        }
        variants.push(Variant {
            subject,
            instance: object.labels().get(CONTROLLER_INSTANCE_LABEL).cloned(),
            generation: object.metadata.generation,
            skipped: excluded(world, &namespace),
            refused,
            namespace,
            name,
            uid,
            object,
            settings,
            invalid,
            config,
            target_is_old: target_key.as_ref().and_then(|key| old(world, from.scales, key)),
            target_key,
            target,
            accelerator,
            pods,
        });
    }
    variants.sort_by(|a, b| (&a.namespace, &a.name, a.subject).cmp(&(&b.namespace, &b.name, b.subject)));
    zero::apply(&mut variants);
    Survey {
        variants,
        pickers: found,
    }
}

/// What an object asks for; of one that cannot be used, what it last asked
/// for, and why it cannot. Each version is read once.
fn read(
    subject: Subject,
    object: &DynamicObject,
    uid: &str,
    last_good: &mut LastGood,
) -> (Option<Settings>, Option<Invalid>) {
    let before = last_good.get(uid);
    if let Some(good) = before.filter(|good| good.is_of(object)) {
        return (Some(good.settings.clone()), None);
    }
    match (subject.read(object), before) {
        (Ok(settings), _) => {
            let good = Good {
                version: object.metadata.resource_version.clone(),
                settings: settings.clone(),
            };
            last_good.insert(uid.to_owned(), good);
            (Some(settings), None)
        }
        (Err(invalid), Some(good)) => {
            let message = format!("{invalid}; the last specification that could be used stays in force");
            (Some(good.settings.clone()), Some(message))
        }
        (Err(invalid), None) => (None, Some(invalid)),
    }
}

/// Takes the cost from the table of unit costs where the object says none.
fn price(settings: &mut Settings, accelerator: Option<&str>, configs: &ConfigMaps) {
    if settings.cost_is_given {
        return;
    }
    let unit = accelerator.and_then(|accelerator| Some((accelerator, configs.cost_of(accelerator)?)));
    if let Some((accelerator, cost)) = unit {
        let each = settings.accelerators.get(accelerator).copied().unwrap_or(1);
        settings.cost = cost * f64::from(each.max(1));
    }
}

/// Why what is known of a target is old, if it is.
fn old(world: &World, scales: &Scales, key: &TargetKey) -> Option<String> {
    match key.watched() {
        Some("deployments") => world.old_deployments(),
        Some(_) => world.old_stateful_sets(),
        None => scales.old(key),
    }
}

/// Targets of all variants that are not watched; of an object that cannot be
/// used, the one it last had.
pub(crate) fn unwatched_targets(world: &World, instance: Option<&str>, last_good: &LastGood) -> Vec<TargetKey> {
    let mut keys: Vec<TargetKey> = asking(world)
        .filter(|(_, object)| of_shard(object, instance) && !names_watched_kind(object))
        .filter_map(|(subject, object)| {
            let namespace = object.namespace().unwrap_or_default();
            let last = || Some(last_good.get(object.metadata.uid.as_deref()?)?.settings.clone());
            let settings = subject.read(&object).ok().or_else(last)?;
            Some(TargetKey::new(&namespace, &settings.target))
        })
        .filter(|key| key.watched().is_none())
        .collect();
    keys.sort();
    keys.dedup();
    keys
}

/// Whether an object's target is of a watched kind, seen without reading all
/// of it: most are, and there may be thousands.
fn names_watched_kind(object: &DynamicObject) -> bool {
    let target = &object.data["spec"]["scaleTargetRef"];
    matches!(target["kind"].as_str(), None | Some("Deployment" | "StatefulSet"))
        && matches!(target["apiVersion"].as_str(), None | Some("" | "apps/v1"))
}

/// Whether a namespace's own ConfigMaps matter to somebody: it has variants,
/// or says so.
pub(crate) fn configures(world: &World, variants: &[Variant], namespace: &str) -> bool {
    let asks = || {
        let found = world.namespaces.get(&ObjectRef::new(namespace))?;
        Some(found.labels().get(CONFIG_ENABLED_LABEL)? == "true")
    };
    variants
        .iter()
        .any(|variant| variant.namespace == namespace && variant.skipped.is_none())
        || asks().unwrap_or(false)
}

fn excluded(world: &World, namespace: &str) -> Option<String> {
    let found = world.namespaces.get(&ObjectRef::new(namespace))?;
    (found.annotations().get(EXCLUDE_ANNOTATION).map(String::as_str) == Some("true"))
        .then(|| format!("namespace {namespace} carries {EXCLUDE_ANNOTATION}: \"true\""))
}

/// The accelerator: what the label says, else what the Pods' nodes are, else
/// what the Pods ask for.
fn accelerator(
    object: &DynamicObject,
    target: Option<&Target>,
    pods: &[Arc<PodFacts>],
    world: &World,
) -> Option<String> {
    let labelled = object.labels().get(ACCELERATOR_LABEL).filter(|label| !label.is_empty());
    let of_node = |pod: &Arc<PodFacts>| {
        let node: Arc<Node> = world.nodes.get(&ObjectRef::new(pod.node.as_deref()?))?;
        accelerator::of_labels(node.labels())
    };
    labelled
        .cloned()
        .or_else(|| pods.iter().find_map(of_node))
        .or_else(|| pods.iter().find_map(|pod| pod.gpu.clone()))
        .or_else(|| target.and_then(|target| target.gpu.clone()))
}

fn facts(pod: &Arc<Pod>, pools: Option<&PoolsByLabel>) -> PodFacts {
    let spec = pod.spec.as_ref();
    let status = pod.status.as_ref();
    let slots = pod
        .annotations()
        .get(SLOTS_ANNOTATION)
        .and_then(|slots| slots.parse::<u32>().ok());
    let ip = status
        .and_then(|status| status.pod_ip.clone())
        .filter(|ip| !ip.is_empty());
    let serves_at = ports(pod, pools);
    let metrics = metrics_ports(pod, &serves_at);
    PodFacts {
        name: pod.name_any().into(),
        full_name: format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any()),
        address: ip.as_ref().map(|ip| format!("{ip}:{}", serves_at.first).into()),
        ip,
        metrics_port: metrics.first,
        more_metrics_ports: metrics.more,
        metrics_path: metrics_path(pod),
        state: state(pod),
        ready_since: ready_since(pod),
        phase: phase(pod).into(),
        slots: slots.filter(|slots| *slots > 0).map(f64::from),
        gpus: inventory::held_by(pod),
        node: spec.and_then(|spec| spec.node_name.clone()),
        gpu: spec.and_then(accelerator::of_pod),
    }
}

#[cfg(test)]
mod tests;
