//! Targets: each version of a watched one read once.

use crate::scales::Scales;
use crate::target::{self, NoTarget, Target, TargetKey};
use crate::world::World;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::runtime::reflector::ObjectRef;
use std::collections::HashMap;
use std::sync::Arc;

/// A watched target.
#[derive(Clone, Debug)]
enum Workload {
    Deployment(Arc<Deployment>),
    StatefulSet(Arc<StatefulSet>),
}

impl Workload {
    /// The place of the copy in memory.
    fn place(&self) -> usize {
        match self {
            Self::Deployment(deployment) => Arc::as_ptr(deployment).addr(),
            Self::StatefulSet(set) => Arc::as_ptr(set).addr(),
        }
    }

    fn read(&self) -> Result<Target, String> {
        match self {
            Self::Deployment(deployment) => target::of_deployment(deployment),
            Self::StatefulSet(set) => target::of_stateful_set(set),
        }
    }
}

type Read = HashMap<usize, (Workload, Result<Target, String>)>;

/// What was read of targets in the last pass: most are the same in the next.
#[derive(Debug, Default)]
pub(crate) struct TargetsRead {
    /// Of the last pass, by place. The copy is kept, so that no other can come
    /// to that place.
    before: Read,
    /// Of this one.
    now: Read,
}

impl TargetsRead {
    /// Begins a pass.
    pub(super) fn begin(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }

    /// A target as it is now.
    ///
    /// # Errors
    /// That it does not exist, cannot be used, or was never seen.
    pub(super) fn find(&mut self, world: &World, scales: &Scales, key: &TargetKey) -> Result<Target, NoTarget> {
        if let Some(why) = world.blind_to(key) {
            return Err(NoTarget::NotSeen(why));
        }
        let workload = match key.watched() {
            None => return scales.get(key),
            Some("deployments") => {
                let named = ObjectRef::new(&key.name).within(&key.namespace);
                world.deployments.get(&named).map(Workload::Deployment)
            }
            Some(_) => {
                let named = ObjectRef::new(&key.name).within(&key.namespace);
                world.stateful_sets.get(&named).map(Workload::StatefulSet)
            }
        };
        let Some(workload) = workload else {
            return Err(NoTarget::NotFound(format!("{} does not exist", key.for_people())));
        };
        let place = workload.place();
        let (_, read) = self.now.entry(place).or_insert_with(|| {
            self.before.remove(&place).unwrap_or_else(|| {
                let read = workload.read();
                (workload, read)
            })
        });
        let named = |why| NoTarget::NotFound(format!("{}: {why}", key.for_people()));
        read.clone().map_err(named)
    }
}
