//! A Deployment's ReplicaSets: which belongs to which template, their numbers
//! and marks. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use super::plan::{Limits, SetView};
use super::progress::wanted;
use crate::hash;

/// The number of a template in a Deployment's history.
pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MOST: &str = "deployment.kubernetes.io/max-replicas";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const HASH_LABEL: &str = "pod-template-hash";

fn number<T: std::str::FromStr>(set: &ReplicaSet, annotation: &str) -> Option<T> {
    set.metadata.annotations.as_ref()?.get(annotation)?.parse().ok()
}

/// The ReplicaSet's revision, 0 if it has none.
pub(crate) fn of(set: &ReplicaSet) -> i64 {
    number(set, REVISION).unwrap_or(0)
}

/// The replicas wanted of the Deployment when this ReplicaSet was last sized.
pub(crate) fn desired(set: &ReplicaSet) -> Option<i32> {
    number(set, DESIRED)
}

/// The ReplicaSet as a step of the plan sees it.
pub(crate) fn view(set: &ReplicaSet, age_rank: usize) -> SetView {
    SetView {
        wanted: wanted(set),
        available: set.status.as_ref().and_then(|s| s.available_replicas).unwrap_or(0),
        most: number(set, MOST).unwrap_or(0),
        age_rank,
    }
}

/// What a size was set for.
pub(crate) fn size_marks(limits: &Limits) -> [(&'static str, String); 2] {
    [(DESIRED, limits.desired.to_string()), (MOST, limits.most().to_string())]
}

/// Whether the ReplicaSet was made from this template.
pub(crate) fn has_template(set: &ReplicaSet, template: &PodTemplateSpec) -> bool {
    set.spec
        .as_ref()
        .and_then(|s| s.template.as_ref())
        .is_some_and(|own| content(own) == content(template))
}

/// The oldest ReplicaSet of the Deployment's present template.
pub(crate) fn find_new(deployment: &Deployment, sets: &[ReplicaSet]) -> Option<usize> {
    let template = &deployment.spec.as_ref()?.template;
    sets.iter().position(|set| has_template(set, template))
}

/// A template without what a controller adds to it.
fn content(template: &PodTemplateSpec) -> Value {
    let mut template = template.clone();
    if let Some(meta) = &mut template.metadata {
        if let Some(labels) = &mut meta.labels {
            labels.remove(HASH_LABEL);
        }
        meta.labels = meta.labels.take().filter(|labels| !labels.is_empty());
        meta.creation_timestamp = None;
        if *meta == ObjectMeta::default() {
            template.metadata = None;
        }
    }
    serde_json::to_value(&template).unwrap_or_default()
}

/// The annotations a ReplicaSet takes from its Deployment.
fn inherited(deployment: &Deployment) -> BTreeMap<String, String> {
    let skipped = [REVISION, HISTORY, DESIRED, MOST, LAST_APPLIED];
    deployment
        .annotations()
        .iter()
        .filter(|(key, _)| !skipped.contains(&key.as_str()))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

/// What must change on the ReplicaSet of the present template: its revision, if
/// it is the newest again, and what it takes from the Deployment.
pub(crate) fn marks(deployment: &Deployment, set: &ReplicaSet, next: i64) -> Option<Value> {
    let mut annotations: BTreeMap<String, String> = inherited(deployment);
    annotations.retain(|key, value| set.annotations().get(key) != Some(value));
    let current = of(set);
    if current < next {
        annotations.insert(REVISION.to_owned(), next.to_string());
        if current > 0 {
            let history = set.annotations().get(HISTORY).map(|h| format!("{h},{current}"));
            annotations.insert(HISTORY.to_owned(), history.unwrap_or_else(|| current.to_string()));
        }
    }
    let seconds = |spec: Option<i32>| spec.unwrap_or(0);
    let min_ready = seconds(deployment.spec.as_ref().and_then(|s| s.min_ready_seconds));
    let mut patch = json!({"metadata": {"annotations": annotations}});
    if min_ready != seconds(set.spec.as_ref().and_then(|s| s.min_ready_seconds)) {
        patch["spec"] = json!({"minReadySeconds": min_ready});
    } else if annotations.is_empty() {
        return None;
    }
    Some(patch)
}

/// The ReplicaSet for the Deployment's present template.
pub(crate) fn make(deployment: &Deployment, number: i64, size: i32, collisions: i32) -> ReplicaSet {
    let spec = deployment.spec.clone().unwrap_or_default();
    let text = format!("{}/{collisions}", content(&spec.template));
    let hash = hash::short(text.as_bytes(), 10);
    let mut template = spec.template.clone();
    let meta = template.metadata.get_or_insert_default();
    meta.labels
        .get_or_insert_default()
        .insert(HASH_LABEL.to_owned(), hash.clone());
    let labels = meta.labels.clone();
    let mut selector = spec.selector.clone();
    selector
        .match_labels
        .get_or_insert_default()
        .insert(HASH_LABEL.to_owned(), hash.clone());
    let mut annotations = inherited(deployment);
    annotations.insert(REVISION.to_owned(), number.to_string());
    annotations.extend(size_marks(&Limits::of(&spec)).map(|(key, value)| (key.to_owned(), value)));
    ReplicaSet {
        metadata: ObjectMeta {
            // The name must leave room for the suffixes of Pods.
            name: Some(format!(
                "{}-{hash}",
                deployment.name_any().chars().take(240).collect::<String>()
            )),
            namespace: deployment.namespace(),
            labels,
            annotations: Some(annotations),
            owner_references: deployment.controller_owner_ref(&()).map(|mut owner| {
                owner.block_owner_deletion = Some(true);
                vec![owner]
            }),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(size),
            min_ready_seconds: spec.min_ready_seconds.filter(|seconds| *seconds > 0),
            selector,
            template: Some(template),
        }),
        status: None,
    }
}

/// The old ReplicaSets to delete so that `limit` of them stay.
pub(crate) fn forgotten(sets: &[ReplicaSet], new: Option<usize>, limit: usize) -> Vec<&ReplicaSet> {
    let settled = |set: &&ReplicaSet| {
        let status = set.status.clone().unwrap_or_default();
        wanted(set) == 0
            && status.replicas == 0
            && status.observed_generation >= set.metadata.generation
            && set.metadata.deletion_timestamp.is_none()
    };
    let old: Vec<&ReplicaSet> = sets
        .iter()
        .enumerate()
        .filter(|(i, _)| Some(*i) != new)
        .map(|(_, set)| set)
        .collect();
    let surplus = old.len().saturating_sub(limit);
    let mut settled: Vec<&ReplicaSet> = old.into_iter().filter(settled).collect();
    settled.sort_by_key(|set| of(set));
    settled.truncate(surplus);
    settled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(image: &str) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": "d", "namespace": "ns", "uid": "u", "annotations": {"note": "x", REVISION: "1"}},
            "spec": {"replicas": 4, "selector": {"matchLabels": {"app": "d"}},
                     "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": image}]}}},
        }))
        .unwrap()
    }

    #[test]
    fn a_set_is_found_by_its_template_and_hashes_are_stable() {
        let (one, two) = (deployment("a:1"), deployment("a:2"));
        let sets = [make(&one, 1, 4, 0), make(&two, 2, 0, 0)];
        assert_eq!(find_new(&one, &sets), Some(0));
        assert_eq!(find_new(&two, &sets), Some(1));
        assert_eq!(find_new(&deployment("a:3"), &sets), None);
        assert_eq!(sets[0], make(&one, 1, 4, 0));
        assert_ne!(
            sets[0].metadata.name,
            make(&one, 1, 4, 1).metadata.name,
            "a collision gives another name"
        );
        let labels = sets[0].metadata.labels.as_ref().unwrap();
        assert_eq!(
            sets[0].spec.as_ref().unwrap().selector.match_labels.as_ref(),
            Some(labels)
        );
        let owner = &sets[0].metadata.owner_references.as_ref().unwrap()[0];
        assert_eq!(
            (owner.kind.as_str(), owner.controller, owner.block_owner_deletion),
            ("Deployment", Some(true), Some(true))
        );
        assert_eq!((desired(&sets[0]), of(&sets[0])), (Some(4), 1));
        assert_eq!(sets[0].annotations().get("note").map(String::as_str), Some("x"));
    }

    #[test]
    fn going_back_gives_an_old_set_a_new_number() {
        let one = deployment("a:1");
        let set = make(&one, 1, 4, 0);
        assert_eq!(marks(&one, &set, 1), None);
        let patch = marks(&one, &set, 3).unwrap();
        assert_eq!(patch["metadata"]["annotations"][REVISION], "3");
        assert_eq!(patch["metadata"]["annotations"][HISTORY], "1");
    }

    #[test]
    fn history_is_kept_to_its_limit() {
        let mut sets: Vec<ReplicaSet> = (1..=4).map(|n| make(&deployment(&format!("a:{n}")), n, 0, 0)).collect();
        sets[0].spec.as_mut().unwrap().replicas = Some(1);
        let numbers = |limit| forgotten(&sets, Some(3), limit).into_iter().map(of).collect::<Vec<_>>();
        assert_eq!(numbers(2), [2]);
        assert_eq!(numbers(0), [2, 3], "one with Pods stays");
        assert!(numbers(10).is_empty());
    }
}
