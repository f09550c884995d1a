//! What the server does by itself: ending namespaces and definitions, and
//! forgetting the old past.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::engine::Api;
use crate::failure::Outcome;
use crate::lifecycle::Part;
use crate::object::deleting;
use crate::store::{Expect, key};
use crate::{crds, lifecycle, time};

/// How often something that waits for others (finalizers, Pods that stop) is looked at again.
const BUSY: Duration = Duration::from_millis(100);
/// How often the past is tidied when nothing happens.
const IDLE: Duration = Duration::from_secs(5);
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Runs until the server stops.
pub(crate) async fn housekeeping(api: Arc<Api>) {
    let mut namespaces = api.bell.listen(&"namespaces".into());
    let mut definitions = api.bell.listen(&crds::STORAGE.into());
    loop {
        let busy = tidy(&api).await.unwrap_or_else(|failure| {
            tracing::warn!(message = failure.message, "housekeeping failed, it will be tried again");
            true
        });
        tokio::select! {
            () = api.stop.cancelled() => return,
            _ = namespaces.changed() => {}
            _ = definitions.changed() => {}
            () = tokio::time::sleep(if busy { BUSY } else { IDLE }) => {}
        }
    }
}

async fn tidy(api: &Api) -> Outcome<bool> {
    let now = api.clock();
    api.store.lock().compact(now);
    let definitions = api.clean_definitions().await?;
    let namespaces = api.clean_namespaces().await?;
    Ok(definitions || namespaces)
}

impl Api {
    /// Makes the namespaces that every cluster has.
    ///
    /// # Errors
    /// When they cannot be stored.
    pub(crate) async fn first_objects(&self) -> Outcome<()> {
        let namespaces = self.builtin("", "v1", "namespaces")?;
        for name in NAMESPACES {
            if self.get(&namespaces, name).is_none() {
                self.insert(&namespaces, json!({"metadata": {"name": name}}), false)
                    .await?;
            }
        }
        let services = self.builtin("", "v1", "services")?;
        let at = key("default", "kubernetes");
        if self.get(&services, &at).is_none() {
            let mut service = json!({
                "metadata": {
                    "name": "kubernetes", "namespace": "default",
                    "labels": {"component": "apiserver", "provider": "kubernetes"},
                },
                "spec": {
                    "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
                    "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
                },
            });
            lifecycle::created(&services, &mut service, &self.time(), &time::uid())?;
            let _ = self.put(&services, &at, service, Expect::Absent).await?;
        }
        Ok(())
    }

    /// Empties namespaces that are being deleted, and lets go of the empty ones.
    /// Returns whether any is waiting.
    async fn clean_namespaces(&self) -> Outcome<bool> {
        let namespaces = self.builtin("", "v1", "namespaces")?;
        let list = self.store.lock().list("namespaces", None);
        let mut waiting = false;
        for (name, namespace) in list {
            let held = namespace.value.pointer("/spec/finalizers").and_then(Value::as_array);
            if !deleting(&namespace.value) || held.is_none_or(Vec::is_empty) {
                continue;
            }
            let mut empty = true;
            for resource in self.registry().namespaced() {
                empty &= self.empty(&resource.group, &resource.plural, Some(&name)).await?;
            }
            if !empty {
                waiting = true;
                continue;
            }
            let finalized = self
                .modify(&namespaces, &name, Part::Whole, false, |old| {
                    let mut new = old.value.clone();
                    new["spec"] = json!({});
                    Ok(new)
                })
                .await;
            match finalized {
                Ok(_) => {}
                Err(failure) if matches!(failure.code, 404 | 409) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(waiting)
    }
}
