//! The garbage collector: what has lost its owners goes too.
//!
//! Metadata-only watches of the kinds that own or are owned, and of every
//! custom resource, feed a [`graph`]; whatever it says to look at is read live
//! before anything is done, so a stale view deletes nothing.

mod graph;
mod kinds;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;

use crate::call::{Error, absent_is_none, call};
use crate::queue::Queue;
use graph::{FOREGROUND, ORPHAN};
pub use graph::{Graph, Item, KindId, OwnerState, Verdict, judge};
use kinds::{Kind, Kinds, Meta};

/// Collects for ever.
pub(crate) async fn run(client: Client) {
    let queue = Queue::<String>::new();
    let collector = Arc::new(Collector {
        client,
        graph: Mutex::default(),
        kinds: Mutex::new(Kinds::default()),
        queue: queue.clone(),
    });
    let built_in = collector.kinds.lock().add_built_in();
    let _watches: Vec<_> = built_in.into_iter().map(|id| collector.watch(id)).collect();
    let _custom = AbortOnDropHandle::new(tokio::spawn(kinds::watch_custom(collector.clone())));
    queue.run("garbage-collector", 4, |uid| collector.look(uid)).await;
}

/// What the collector knows and does.
pub(crate) struct Collector {
    client: Client,
    graph: Mutex<Graph>,
    kinds: Mutex<Kinds>,
    queue: Arc<Queue<String>>,
}

impl Collector {
    /// Watches the objects of a kind until the handle is dropped.
    fn watch(self: &Arc<Self>, id: KindId) -> AbortOnDropHandle<()> {
        let collector = self.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            let Some(kind) = collector.kinds.lock().get(id) else {
                return;
            };
            let api = Api::<Meta>::all_with(collector.client.clone(), &kind.resource);
            let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
            let (mut listed, mut failures) = (std::collections::BTreeSet::new(), 0u32);
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => {
                        failures = 0;
                        match event {
                            Event::Init => listed.clear(),
                            Event::InitApply(object) => {
                                listed.extend(object.uid());
                                collector.observe(id, &object);
                            }
                            Event::InitDone => {
                                let known = collector.graph.lock().of_kind(id);
                                known
                                    .iter()
                                    .filter(|uid| !listed.contains(*uid))
                                    .for_each(|uid| collector.gone(uid));
                                listed.clear();
                            }
                            Event::Apply(object) => collector.observe(id, &object),
                            Event::Delete(object) => collector.gone(&object.uid().unwrap_or_default()),
                        }
                    }
                    Err(error) => {
                        failures += 1;
                        // A kind that this API does not serve may come, but is not waited for eagerly.
                        let pause = Duration::from_millis(50 << failures.min(10));
                        tracing::debug!(kind = kind.resource.kind, %error, ?pause, "watch failed; trying again");
                        tokio::time::sleep(pause).await;
                    }
                }
            }
        }))
    }

    fn observe(&self, kind: KindId, object: &Meta) {
        let uid = object.uid().unwrap_or_default();
        let look = self.graph.lock().observe(&uid, &Item::new(kind, &object.metadata));
        look.into_iter().for_each(|uid| self.queue.add(uid));
    }

    fn gone(&self, uid: &str) {
        let look = self.graph.lock().remove(uid);
        look.into_iter().for_each(|uid| self.queue.add(uid));
    }

    fn api(&self, kind: &Kind, namespace: &str) -> Api<Meta> {
        if kind.namespaced {
            Api::namespaced_with(self.client.clone(), namespace, &kind.resource)
        } else {
            Api::all_with(self.client.clone(), &kind.resource)
        }
    }

    /// Looks at one object, as it is now.
    async fn look(&self, uid: String) -> Result<Option<Duration>, Error> {
        let Some(item) = self.graph.lock().get(&uid).cloned() else {
            return Ok(None);
        };
        let Some(kind) = self.kinds.lock().get(item.kind) else {
            return Ok(None);
        };
        let api = self.api(&kind, &item.namespace);
        let what = || format!("read {} {}", kind.resource.kind, item.name);
        let live = absent_is_none(call(what, api.get_metadata(&item.name)).await)?;
        let Some(live) = live.filter(|live| live.uid().as_deref() == Some(uid.as_str())) else {
            self.gone(&uid);
            return Ok(None);
        };
        let item = Item::new(item.kind, &live.metadata);
        if item.lets_go() {
            self.let_go(&uid).await?;
            return self
                .without_finalizer(&api, &item, &live.metadata, ORPHAN)
                .await
                .map(|()| None);
        }
        if item.waits_for_dependents() {
            let blocking = self.graph.lock().blocking(&uid);
            if blocking.is_empty() {
                self.without_finalizer(&api, &item, &live.metadata, FOREGROUND).await?;
            }
            let idle = self.graph.lock().idle_dependents(&uid);
            idle.into_iter().for_each(|uid| self.queue.add(uid));
            return Ok(None);
        }
        if item.deleting {
            return Ok(None);
        }
        let mut states = Vec::new();
        for owner in &item.owners {
            match self.owner_state(owner, &item, kind.namespaced).await? {
                Some(state) => states.push(state),
                // What cannot be found out keeps the object.
                None => return Ok(None),
            }
        }
        let has_dependents = !self.graph.lock().dependents(&uid).is_empty();
        match judge(&item, &states, has_dependents) {
            Verdict::Keep => {}
            Verdict::Unlink(gone) => {
                let rest = item.owners.iter().filter(|o| !gone.contains(&o.uid)).cloned().collect();
                self.set_owners(&api, &item, &live.metadata, rest).await?;
            }
            verdict => {
                let policy = if verdict == Verdict::DeleteForeground || item.finalizers.iter().any(|f| f == FOREGROUND)
                {
                    PropagationPolicy::Foreground
                } else if item.finalizers.iter().any(|f| f == ORPHAN) {
                    PropagationPolicy::Orphan
                } else {
                    PropagationPolicy::Background
                };
                self.delete(&kind, &live.metadata, policy).await?;
            }
        }
        Ok(None)
    }

    async fn delete(&self, kind: &Kind, live: &ObjectMeta, policy: PropagationPolicy) -> Result<(), Error> {
        let name = live.name.clone().unwrap_or_default();
        let preconditions = Preconditions {
            uid: live.uid.clone(),
            resource_version: live.resource_version.clone(),
        };
        let params = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(preconditions),
            ..Default::default()
        };
        // The answer may be the object or a Status, so it is asked for whole.
        let whole: Api<DynamicObject> = match &live.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &kind.resource),
            None => Api::all_with(self.client.clone(), &kind.resource),
        };
        tracing::debug!(kind = kind.resource.kind, name, "deleting: its owners are gone");
        match call(
            || format!("delete {} {name}", kind.resource.kind),
            whole.delete(&name, &params),
        )
        .await
        {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The state of an owner; `None` when its kind cannot be found out.
    async fn owner_state(
        &self,
        owner: &OwnerReference,
        item: &Item,
        namespaced: bool,
    ) -> Result<Option<OwnerState>, Error> {
        if let Some(known) = self.graph.lock().get(&owner.uid) {
            let state = if known.waits_for_dependents() {
                OwnerState::Waiting
            } else {
                OwnerState::There
            };
            return Ok(Some(state));
        }
        let known = self.kinds.lock().find(&owner.api_version, &owner.kind);
        let kind = match known {
            Some(kind) => kind,
            None => match kinds::discover(&self.client, owner).await? {
                Some(kind) => kind,
                None => {
                    tracing::debug!(
                        kind = owner.kind,
                        name = owner.name,
                        "an owner of a kind that is not served; its dependents stay"
                    );
                    return Ok(None);
                }
            },
        };
        if kind.namespaced && !namespaced {
            tracing::warn!(
                name = item.name,
                owner = owner.name,
                "a cluster-scoped object cannot have an owner in a namespace; it stays"
            );
            return Ok(None);
        }
        let api = self.api(&kind, &item.namespace);
        let what = || format!("read the owner {} {}", owner.kind, owner.name);
        let live = absent_is_none(call(what, api.get_metadata(&owner.name)).await)?;
        Ok(Some(match live {
            Some(live) if live.uid().as_deref() == Some(owner.uid.as_str()) => {
                let live = Item::new(0, &live.metadata);
                if live.waits_for_dependents() {
                    OwnerState::Waiting
                } else {
                    OwnerState::There
                }
            }
            _ => OwnerState::Absent,
        }))
    }

    /// Takes the owner off all its dependents.
    async fn let_go(&self, uid: &str) -> Result<(), Error> {
        let dependents: Vec<(String, Item)> = self
            .graph
            .lock()
            .dependents(uid)
            .into_iter()
            .map(|(uid, item)| (uid, item.clone()))
            .collect();
        for (dependent, item) in dependents {
            let Some(kind) = self.kinds.lock().get(item.kind) else {
                continue;
            };
            let api = self.api(&kind, &item.namespace);
            let what = || format!("read {} {}", kind.resource.kind, item.name);
            let Some(live) = absent_is_none(call(what, api.get_metadata(&item.name)).await)? else {
                continue;
            };
            if live.uid().as_deref() != Some(dependent.as_str()) {
                continue;
            }
            let item = Item::new(item.kind, &live.metadata);
            let rest: Vec<_> = item.owners.iter().filter(|o| o.uid != uid).cloned().collect();
            if rest.len() < item.owners.len() {
                self.set_owners(&api, &item, &live.metadata, rest).await?;
            }
        }
        Ok(())
    }

    async fn set_owners(
        &self,
        api: &Api<Meta>,
        item: &Item,
        live: &ObjectMeta,
        owners: Vec<OwnerReference>,
    ) -> Result<(), Error> {
        let patch = json!({"metadata": {
            "uid": live.uid, "resourceVersion": live.resource_version,
            "ownerReferences": Some(owners).filter(|o| !o.is_empty()),
        }});
        self.patch(api, item, &patch).await
    }

    async fn without_finalizer(
        &self,
        api: &Api<Meta>,
        item: &Item,
        live: &ObjectMeta,
        finalizer: &str,
    ) -> Result<(), Error> {
        let rest: Vec<&String> = item.finalizers.iter().filter(|f| *f != finalizer).collect();
        let patch = json!({"metadata": {
            "uid": live.uid, "resourceVersion": live.resource_version,
            "finalizers": Some(rest).filter(|f| !f.is_empty()),
        }});
        self.patch(api, item, &patch).await
    }

    async fn patch(&self, api: &Api<Meta>, item: &Item, patch: &serde_json::Value) -> Result<(), Error> {
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        match call(
            || format!("patch {}", item.name),
            api.patch_metadata(&item.name, &params, &patch),
        )
        .await
        {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}
