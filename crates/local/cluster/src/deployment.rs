//! The Deployment controller: one ReplicaSet per template, Pods moved from the
//! old to the new at the pace the strategy allows.

mod plan;
mod progress;
mod revision;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::call::{Error, call, create, merge, merge_status};
use crate::informer::{Key, key_of};
use crate::queue::Queue;
use crate::recorder::{Recorder, reference};
use crate::run::Shared;
use crate::{clock, pods, selector};
pub use plan::{Limits, SetView, new_wanted, old_wanted, proportional};
use progress::{Deed, wanted};

/// Keeps Deployments for ever.
pub(crate) async fn run(shared: Shared, recorder: Recorder) {
    shared.deployments.synced().await;
    shared.replica_sets.synced().await;
    shared.pods.synced().await;
    let queue = Queue::<Key>::new();
    let (own, of_sets, of_pods) = (queue.clone(), queue.clone(), queue.clone());
    shared.deployments.listen("deployment", move |change| {
        if let Some(deployment) = &change.new {
            own.add(key_of(deployment.as_ref()));
        }
    });
    let owner_of = |object: &ReplicaSet| {
        let owner = pods::controller(object).filter(|owner| owner.kind == "Deployment")?;
        Some((object.namespace().unwrap_or_default(), owner.name.clone()))
    };
    shared.replica_sets.listen("deployment", move |change| {
        for set in change.either() {
            if let Some(key) = owner_of(set) {
                of_sets.add(key);
            }
        }
    });
    // Recreate waits for the last old Pod to be gone.
    let sets = shared.replica_sets.clone();
    shared.pods.listen("deployment", move |change| {
        if let (None, Some(pod)) = (&change.new, &change.old)
            && let Some(owner) = pods::controller(pod.as_ref()).filter(|owner| owner.kind == "ReplicaSet")
            && let Some(set) = sets.get(&(pod.namespace().unwrap_or_default(), owner.name.clone()))
            && let Some(key) = owner_of(&set)
        {
            of_pods.add(key);
        }
    });
    let controller = Controller { shared, recorder };
    queue.run("deployment", 2, |key| controller.sync(key)).await;
}

struct Controller {
    shared: Shared,
    recorder: Recorder,
}

impl Controller {
    async fn sync(&self, key: Key) -> Result<Option<Duration>, Error> {
        let Some(deployment) = self.shared.deployments.get(&key) else {
            return Ok(None);
        };
        let Some(spec) = &deployment.spec else { return Ok(None) };
        if selector::is_empty(&spec.selector) {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            self.recorder
                .warning(&reference(deployment.as_ref()), "SelectingAll", message.to_owned());
            return Ok(None);
        }
        let mut sets = self.owned(&deployment);
        let mut deployment = deployment.as_ref().clone();
        let mut deed = Deed::None;
        if deployment.metadata.deletion_timestamp.is_none() {
            let paused = spec.paused == Some(true);
            let scaled = self.is_scaled(spec, &sets);
            deed = self.settle_new(&mut deployment, &mut sets, !paused && !scaled).await?;
            let new = revision::find_new(&deployment, &sets);
            if paused || scaled {
                self.scale(&deployment, &mut sets, new).await?;
            } else if Limits::of(spec).recreate {
                self.recreate(&mut deployment, &mut sets, &mut deed).await?;
            } else {
                self.roll(&deployment, &mut sets, new).await?;
            }
        }
        let new = revision::find_new(&deployment, &sets);
        let again = self.write_status(&deployment, &sets, new, deed).await?;
        self.forget_oldest(&deployment, &sets, new).await?;
        Ok(again)
    }

    /// The Deployment's ReplicaSets, oldest first.
    fn owned(&self, deployment: &Deployment) -> Vec<ReplicaSet> {
        let all = self
            .shared
            .replica_sets
            .list_in(deployment.metadata.namespace.as_deref().unwrap_or_default());
        let is_owner = |owner: &OwnerReference| Some(&owner.uid) == deployment.metadata.uid.as_ref();
        let owned = all
            .into_iter()
            .filter(|set| pods::controller(set.as_ref()).is_some_and(is_owner));
        let mut sets: Vec<ReplicaSet> = owned.map(|set| set.as_ref().clone()).collect();
        sets.sort_by(|a, b| {
            let (a, b) = (&a.metadata, &b.metadata);
            a.creation_timestamp
                .cmp(&b.creation_timestamp)
                .then_with(|| a.name.cmp(&b.name))
        });
        sets
    }

    /// Whether the wish for replicas changed since the sizes were last set.
    fn is_scaled(&self, spec: &DeploymentSpec, sets: &[ReplicaSet]) -> bool {
        let desired = spec.replicas.unwrap_or(1);
        sets.iter()
            .filter(|set| wanted(set) > 0)
            .any(|set| revision::desired(set).is_some_and(|known| known != desired))
    }

    /// Finds the ReplicaSet of the present template, brings its marks up to
    /// date, or makes it if `may_make`.
    async fn settle_new(
        &self,
        deployment: &mut Deployment,
        sets: &mut Vec<ReplicaSet>,
        may_make: bool,
    ) -> Result<Deed, Error> {
        let found = revision::find_new(deployment, sets);
        let last = sets
            .iter()
            .enumerate()
            .filter(|(i, _)| Some(*i) != found)
            .map(|(_, set)| revision::of(set))
            .max();
        let next = last.unwrap_or(0) + 1;
        if let Some(index) = found {
            if let Some(patch) = revision::marks(deployment, &sets[index], next) {
                sets[index] = self.merge_set(&sets[index], patch).await?;
            }
            self.mark(deployment, revision::of(&sets[index])).await?;
            return Ok(Deed::Found);
        }
        // The old way of Recreate: none is made while Pods of another template are wanted.
        let recreate = deployment.spec.as_ref().is_some_and(|spec| Limits::of(spec).recreate);
        if !may_make || recreate {
            return Ok(Deed::None);
        }
        let total: i32 = sets.iter().map(wanted).sum();
        self.make_new(deployment, sets, next, total).await?;
        Ok(Deed::Created)
    }

    async fn make_new(
        &self,
        deployment: &mut Deployment,
        sets: &mut Vec<ReplicaSet>,
        number: i64,
        total: i32,
    ) -> Result<(), Error> {
        let Some(spec) = &deployment.spec else { return Ok(()) };
        let size = new_wanted(&Limits::of(spec), 0, total);
        let collisions = deployment.status.as_ref().and_then(|s| s.collision_count).unwrap_or(0);
        let set = revision::make(deployment, number, size, collisions);
        let api =
            Api::<ReplicaSet>::namespaced(self.shared.client.clone(), &deployment.namespace().unwrap_or_default());
        match create(&api, &set).await {
            Ok(set) => {
                self.shared.replica_sets.put(set.clone());
                if size > 0 {
                    self.tell_scaled(deployment, &set, 0, size);
                }
                sets.push(set);
            }
            Err(error) if error.is_already_exists() => {
                let there = call(
                    || format!("read replicaset {}", set.name_any()),
                    api.get(&set.name_any()),
                )
                .await?;
                let ours = pods::controller(&there).is_some_and(|o| Some(&o.uid) == deployment.metadata.uid.as_ref());
                if ours && revision::has_template(&there, &spec.template) {
                    self.shared.replica_sets.put(there.clone());
                    sets.push(there);
                } else {
                    let status =
                        json!({"metadata": {"uid": deployment.uid()}, "status": {"collisionCount": collisions + 1}});
                    *deployment = self.write(deployment, &status).await?;
                    return Err(error);
                }
            }
            Err(error) => {
                self.recorder.warning(
                    &reference(deployment),
                    "ReplicaSetCreateError",
                    format!("Failed to create new replica set: {error}"),
                );
                return Err(error);
            }
        }
        self.mark(deployment, number).await
    }

    /// Writes the revision on the Deployment.
    async fn mark(&self, deployment: &mut Deployment, number: i64) -> Result<(), Error> {
        let number = number.to_string();
        if deployment.annotations().get(revision::REVISION) == Some(&number) {
            return Ok(());
        }
        let api =
            Api::<Deployment>::namespaced(self.shared.client.clone(), &deployment.namespace().unwrap_or_default());
        let patch = json!({"metadata": {"uid": deployment.uid(), "annotations": {revision::REVISION: number}}});
        *deployment = merge(&api, &deployment.name_any(), &patch).await?;
        self.shared.deployments.put(deployment.clone());
        Ok(())
    }

    async fn roll(&self, deployment: &Deployment, sets: &mut [ReplicaSet], new: Option<usize>) -> Result<(), Error> {
        let (Some(spec), Some(new)) = (&deployment.spec, new) else {
            return Ok(());
        };
        let limits = Limits::of(spec);
        let total = sets.iter().map(wanted).sum();
        let size = new_wanted(&limits, wanted(&sets[new]), total);
        self.resize(deployment, &mut sets[new], size).await?;
        let old: Vec<usize> = (0..sets.len()).filter(|i| *i != new).collect();
        let views: Vec<SetView> = old.iter().map(|i| revision::view(&sets[*i], *i)).collect();
        let sizes = old_wanted(&limits, &revision::view(&sets[new], new), &views);
        for (index, size) in old.into_iter().zip(sizes) {
            self.resize(deployment, &mut sets[index], size).await?;
        }
        Ok(())
    }

    async fn recreate(
        &self,
        deployment: &mut Deployment,
        sets: &mut Vec<ReplicaSet>,
        deed: &mut Deed,
    ) -> Result<(), Error> {
        let new = revision::find_new(deployment, sets);
        let (mut going, mut last) = (false, 0);
        for (index, set) in sets.iter_mut().enumerate() {
            if Some(index) != new {
                going |= wanted(set) > 0 || self.has_pods(set);
                last = last.max(revision::of(set));
                self.resize(deployment, set, 0).await?;
            }
        }
        if going {
            return Ok(());
        }
        let desired = deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
        match new {
            Some(index) => self.resize(deployment, &mut sets[index], desired).await,
            None => {
                *deed = Deed::Created;
                self.make_new(deployment, sets, last + 1, 0).await
            }
        }
    }

    fn has_pods(&self, set: &ReplicaSet) -> bool {
        let of_set =
            |pod: &Arc<Pod>| pods::controller(pod.as_ref()).is_some_and(|o| Some(&o.uid) == set.metadata.uid.as_ref());
        let pods = self
            .shared
            .pods
            .list_in(set.metadata.namespace.as_deref().unwrap_or_default());
        pods.iter().any(|pod| of_set(pod) && !pods::is_finished(pod))
    }

    /// The wish for replicas changed: the sizes follow without a roll.
    async fn scale(&self, deployment: &Deployment, sets: &mut [ReplicaSet], new: Option<usize>) -> Result<(), Error> {
        let Some(spec) = &deployment.spec else { return Ok(()) };
        let limits = Limits::of(spec);
        let active: Vec<usize> = (0..sets.len()).filter(|i| wanted(&sets[*i]) > 0).collect();
        let only = match active[..] {
            [] => new.or(sets.len().checked_sub(1)),
            [one] => Some(one),
            _ => None,
        };
        if let Some(only) = only {
            return self.resize(deployment, &mut sets[only], limits.desired).await;
        }
        let available = |set: &ReplicaSet| set.status.as_ref().and_then(|s| s.available_replicas).unwrap_or(0);
        let saturated = new.is_some_and(|i| {
            wanted(&sets[i]) == limits.desired
                && revision::desired(&sets[i]) == Some(limits.desired)
                && available(&sets[i]) == limits.desired
        });
        if saturated {
            for index in active.into_iter().filter(|i| Some(*i) != new) {
                self.resize(deployment, &mut sets[index], 0).await?;
            }
        } else if !limits.recreate {
            let views: Vec<SetView> = active.iter().map(|i| revision::view(&sets[*i], *i)).collect();
            for (index, size) in active.into_iter().zip(proportional(&limits, &views)) {
                self.resize(deployment, &mut sets[index], size).await?;
            }
        }
        Ok(())
    }

    /// Sets a ReplicaSet's size and writes down what it was set for.
    async fn resize(&self, deployment: &Deployment, set: &mut ReplicaSet, size: i32) -> Result<(), Error> {
        let Some(spec) = &deployment.spec else { return Ok(()) };
        let before = wanted(set);
        let marks = revision::size_marks(&Limits::of(spec));
        let known = marks
            .iter()
            .all(|(key, value)| set.annotations().get(*key) == Some(value));
        if before == size && known {
            return Ok(());
        }
        let annotations: serde_json::Map<String, Value> = marks
            .into_iter()
            .map(|(key, value)| (key.to_owned(), Value::String(value)))
            .collect();
        let patch = json!({"metadata": {"annotations": annotations}, "spec": {"replicas": size}});
        *set = self.merge_set(set, patch).await?;
        if before != size {
            self.tell_scaled(deployment, set, before, size);
        }
        Ok(())
    }

    /// Merges into a ReplicaSet, provided it is as it was seen.
    async fn merge_set(&self, set: &ReplicaSet, mut patch: Value) -> Result<ReplicaSet, Error> {
        patch["metadata"]["uid"] = json!(set.uid());
        patch["metadata"]["resourceVersion"] = json!(set.resource_version());
        let api = Api::<ReplicaSet>::namespaced(self.shared.client.clone(), &set.namespace().unwrap_or_default());
        let set = merge(&api, &set.name_any(), &patch).await?;
        self.shared.replica_sets.put(set.clone());
        Ok(set)
    }

    fn tell_scaled(&self, deployment: &Deployment, set: &ReplicaSet, from: i32, to: i32) {
        let way = if to > from { "up" } else { "down" };
        let message = format!("Scaled {way} replica set {} from {from} to {to}", set.name_any());
        self.recorder
            .normal(&reference(deployment), "ScalingReplicaSet", message);
    }

    async fn write_status(
        &self,
        deployment: &Deployment,
        sets: &[ReplicaSet],
        new: Option<usize>,
        deed: Deed,
    ) -> Result<Option<Duration>, Error> {
        let old: Vec<&ReplicaSet> = sets
            .iter()
            .enumerate()
            .filter(|(i, _)| Some(*i) != new)
            .map(|(_, set)| set)
            .collect();
        let (status, again) = progress::status(deployment, new.map(|i| &sets[i]), &old, deed, &clock::now());
        if progress::same(&status, &deployment.status.clone().unwrap_or_default()) {
            return Ok(again);
        }
        let patch = json!({"metadata": {"uid": deployment.uid()}, "status": progress::patch(&status)});
        match self.write(deployment, &patch).await {
            Ok(_) => Ok(again),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn write(&self, deployment: &Deployment, patch: &Value) -> Result<Deployment, Error> {
        let api =
            Api::<Deployment>::namespaced(self.shared.client.clone(), &deployment.namespace().unwrap_or_default());
        let written = merge_status(&api, &deployment.name_any(), patch).await?;
        self.shared.deployments.put(written.clone());
        Ok(written)
    }

    /// Old ReplicaSets beyond the history limit go, oldest first.
    async fn forget_oldest(
        &self,
        deployment: &Deployment,
        sets: &[ReplicaSet],
        new: Option<usize>,
    ) -> Result<(), Error> {
        let limit = deployment
            .spec
            .as_ref()
            .and_then(|s| s.revision_history_limit)
            .unwrap_or(10);
        for set in revision::forgotten(sets, new, usize::try_from(limit).unwrap_or(0)) {
            let api = Api::<ReplicaSet>::namespaced(self.shared.client.clone(), &set.namespace().unwrap_or_default());
            let preconditions = Preconditions {
                uid: set.uid(),
                resource_version: set.resource_version(),
            };
            let params = DeleteParams::background().preconditions(preconditions);
            match call(
                || format!("delete replicaset {}", set.name_any()),
                api.delete(&set.name_any(), &params),
            )
            .await
            {
                Ok(_) => self.shared.replica_sets.remove(set),
                Err(error) if error.is_not_found() || error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
