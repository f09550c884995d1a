//! The ReplicaSet controller: as many Pods as wanted.

mod decide;

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use crate::call::{Error, call, create, merge_status};
use crate::informer::{Key, key_of};
use crate::queue::Queue;
use crate::recorder::{Recorder, reference};
use crate::run::Shared;
use crate::{clock, pods};
pub use decide::{Counts, count, victims};

/// Pods made or deleted in one pass at most.
const BURST: usize = 500;

/// Keeps ReplicaSets for ever.
pub(crate) async fn run(shared: Shared, recorder: Recorder) {
    shared.replica_sets.synced().await;
    shared.pods.synced().await;
    let queue = Queue::<Key>::new();
    let (sets, of_pods) = (queue.clone(), queue.clone());
    shared.replica_sets.listen("replicaset", move |change| {
        if let Some(set) = &change.new {
            sets.add(key_of(set.as_ref()));
        }
    });
    shared.pods.listen("replicaset", move |change| {
        for pod in change.either() {
            if let Some(owner) = pods::controller(pod.as_ref()).filter(|owner| owner.kind == "ReplicaSet") {
                of_pods.add((pod.namespace().unwrap_or_default(), owner.name.clone()));
            }
        }
    });
    let controller = Controller { shared, recorder };
    queue.run("replicaset", 4, |key| controller.sync(key)).await;
}

struct Controller {
    shared: Shared,
    recorder: Recorder,
}

impl Controller {
    async fn sync(&self, key: Key) -> Result<Option<Duration>, Error> {
        let Some(set) = self.shared.replica_sets.get(&key) else {
            return Ok(None);
        };
        let failure = if set.metadata.deletion_timestamp.is_none() {
            self.manage(&set).await
        } else {
            Ok(())
        };
        let owned = self.owned(&set);
        let counts = count(&set, owned.iter().map(AsRef::as_ref), Timestamp::now());
        self.write_status(&set, &counts, failure.as_ref().err()).await?;
        failure?;
        Ok(counts.next_available)
    }

    fn owned(&self, set: &ReplicaSet) -> Vec<std::sync::Arc<Pod>> {
        let all = self
            .shared
            .pods
            .list_in(set.metadata.namespace.as_deref().unwrap_or_default());
        let is_owner = |owner: &OwnerReference| Some(&owner.uid) == set.metadata.uid.as_ref();
        all.into_iter()
            .filter(|pod| pods::controller(pod.as_ref()).is_some_and(is_owner))
            .collect()
    }

    async fn manage(&self, set: &ReplicaSet) -> Result<(), Error> {
        let active: Vec<_> = self.owned(set).into_iter().filter(|pod| pods::is_active(pod)).collect();
        let wanted = usize::try_from(set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)).unwrap_or(0);
        if active.len() < wanted {
            self.make(set, (wanted - active.len()).min(BURST)).await
        } else {
            let surplus = (active.len() - wanted).min(BURST);
            let active: Vec<&Pod> = active.iter().map(AsRef::as_ref).collect();
            let chosen = victims(&active, surplus, Timestamp::now());
            let deleted = join_all(chosen.into_iter().map(|pod| self.delete(set, pod))).await;
            deleted.into_iter().collect()
        }
    }

    /// First one, then twice as many each time: what cannot be made is found out cheaply.
    async fn make(&self, set: &ReplicaSet, count: usize) -> Result<(), Error> {
        let (mut left, mut batch) = (count, 1);
        while left > 0 {
            let made = join_all((0..batch.min(left)).map(|_| self.make_one(set))).await;
            for made in made {
                made?;
            }
            left -= batch.min(left);
            batch *= 2;
        }
        Ok(())
    }

    async fn make_one(&self, set: &ReplicaSet) -> Result<(), Error> {
        let namespace = set.namespace().unwrap_or_default();
        let api = Api::<Pod>::namespaced(self.shared.client.clone(), &namespace);
        match create(&api, &from_template(set)).await {
            Ok(pod) => {
                let message = format!("Created pod: {}", pod.name_any());
                self.shared.pods.put(pod);
                self.recorder.normal(&reference(set), "SuccessfulCreate", message);
                Ok(())
            }
            Err(error) => {
                self.recorder
                    .warning(&reference(set), "FailedCreate", format!("Error creating: {error}"));
                Err(error)
            }
        }
    }

    async fn delete(&self, set: &ReplicaSet, pod: &Pod) -> Result<(), Error> {
        let name = pod.name_any();
        let api = Api::<Pod>::namespaced(self.shared.client.clone(), &pod.namespace().unwrap_or_default());
        let preconditions = Some(Preconditions {
            uid: pod.uid(),
            resource_version: None,
        });
        let params = DeleteParams {
            preconditions,
            ..DeleteParams::default()
        };
        match call(|| format!("delete pod {name}"), api.delete(&name, &params)).await {
            Ok(answer) => {
                match answer.left() {
                    // An answer without a deletion time is the last state of what is gone.
                    Some(going) if going.metadata.deletion_timestamp.is_some() => self.shared.pods.put(going),
                    _ => self.shared.pods.remove(pod),
                }
                self.recorder
                    .normal(&reference(set), "SuccessfulDelete", format!("Deleted pod: {name}"));
                Ok(())
            }
            Err(error) if error.is_not_found() => {
                self.shared.pods.remove(pod);
                Ok(())
            }
            Err(error) => {
                self.recorder
                    .warning(&reference(set), "FailedDelete", format!("Error deleting: {error}"));
                Err(error)
            }
        }
    }

    async fn write_status(&self, set: &ReplicaSet, counts: &Counts, failure: Option<&Error>) -> Result<(), Error> {
        let before = set.status.clone().unwrap_or_default();
        let mut conditions = before.conditions.clone().unwrap_or_default();
        let known = conditions.iter().position(|c| c.type_ == "ReplicaFailure");
        match (failure, known) {
            // A write that met a change is tried again at once and is no failure.
            (Some(error), None) if !error.is_conflict() => conditions.push(ReplicaSetCondition {
                type_: "ReplicaFailure".to_owned(),
                status: "True".to_owned(),
                reason: Some("FailedCreate".to_owned()),
                message: Some(error.to_string()),
                last_transition_time: Some(clock::now()),
            }),
            (None, Some(index)) => {
                conditions.remove(index);
            }
            _ => {}
        }
        let mut after = counts.status.clone();
        after.observed_generation = set.metadata.generation;
        after.conditions = Some(conditions).filter(|c| !c.is_empty());
        let mut same = before;
        same.conditions = same.conditions.filter(|c| !c.is_empty());
        if same == after {
            return Ok(());
        }
        let patch = json!({"metadata": {"uid": set.uid()}, "status": {
            "replicas": after.replicas,
            "fullyLabeledReplicas": after.fully_labeled_replicas,
            "readyReplicas": after.ready_replicas,
            "availableReplicas": after.available_replicas,
            "terminatingReplicas": after.terminating_replicas,
            "observedGeneration": after.observed_generation,
            "conditions": after.conditions,
        }});
        let api = Api::<ReplicaSet>::namespaced(self.shared.client.clone(), &set.namespace().unwrap_or_default());
        match merge_status(&api, &set.name_any(), &patch).await {
            Ok(set) => {
                self.shared.replica_sets.put(set);
                Ok(())
            }
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn from_template(set: &ReplicaSet) -> Pod {
    let template = set.spec.as_ref().and_then(|s| s.template.clone()).unwrap_or_default();
    let meta = template.metadata.unwrap_or_default();
    let owner = OwnerReference {
        block_owner_deletion: Some(true),
        ..set.controller_owner_ref(&()).unwrap_or_default()
    };
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", set.name_any())),
            namespace: set.namespace(),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}
