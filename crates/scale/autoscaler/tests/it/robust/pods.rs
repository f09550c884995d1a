//! What a cluster does with a Deployment: makes its Pods, gives each an address,
//! starts a server in it, and takes them away again.

use super::world::{MODEL, NAMESPACE, Shared};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::reflector::Store;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The label of a Pod that says whose it is.
const OWNER: &str = "owner";
pub(crate) const PORT: u16 = 8000;

/// Pods there are, by name: since when, and at which address.
#[derive(Debug, Default)]
pub(crate) struct Pods {
    known: BTreeMap<String, Known>,
    made: u32,
}

#[derive(Clone, Debug)]
struct Known {
    owner: String,
    number: u32,
    since: f64,
    address: String,
    ready: bool,
}

impl Pods {
    /// Names and addresses of those that serve.
    pub(crate) fn serving(&self) -> Vec<(String, String)> {
        let ready = self.known.iter().filter(|(_, known)| known.ready);
        ready
            .map(|(name, known)| (name.clone(), known.address.clone()))
            .collect()
    }

    /// The Pod at an address, if it serves.
    pub(crate) fn at(&self, address: &str) -> Option<String> {
        let found = self
            .known
            .iter()
            .find(|(_, known)| known.address == address && known.ready);
        found.map(|(name, _)| name.clone())
    }
}

/// Brings the Pods to what the Deployments ask for.
pub(crate) async fn reconcile(client: &Client, watched: &Store<Deployment>, shared: &Arc<Shared>) {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let mut listed = watched.state();
    listed.sort_by_key(|deployment| deployment.name_any());
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let now = shared.now();

    let uids: Vec<String> = listed.iter().filter_map(|deployment| deployment.uid()).collect();
    let orphans: Vec<String> = shared.pods.lock().named(|known| !uids.contains(&known.owner));
    for name in orphans {
        end(&pods, shared, &name).await;
    }
    for deployment in listed {
        let (name, uid) = (deployment.name_any(), deployment.uid().unwrap());
        let wanted = deployment.spec.as_ref().unwrap().replicas.unwrap_or(1) as usize;
        let mine = |known: &Known| known.owner == uid;
        while shared.pods.lock().named(mine).len() < wanted {
            begin(&pods, shared, &name, &uid, now).await;
        }
        loop {
            let surplus = shared.pods.lock().surplus(&uid, wanted);
            let Some(surplus) = surplus else { break };
            end(&pods, shared, &surplus).await;
        }
        let startup = shared.startup();
        let due = shared
            .pods
            .lock()
            .named(|known| mine(known) && !known.ready && now - known.since >= startup);
        for pod in due {
            let address = {
                let mut all = shared.pods.lock();
                let known = all.known.get_mut(&pod).unwrap();
                known.ready = true;
                known.address.clone()
            };
            shared.engines.lock().begin(&pod);
            tell(&pods, &pod, "Running", Some(&address), &shared.time()).await;
        }
        let has = shared.pods.lock().named(mine).len();
        let status = Patch::Merge(json!({"status": {"replicas": has}}));
        let params = PatchParams::default();
        if deployment.status.as_ref().and_then(|status| status.replicas) != i32::try_from(has).ok() {
            match deployments.patch_status(&name, &params, &status).await {
                Ok(_) => {}
                // Deleted meanwhile.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => panic!("{name}: {error}"),
            }
        }
    }
}

impl Pods {
    fn named(&self, which: impl Fn(&Known) -> bool) -> Vec<String> {
        let chosen = self.known.iter().filter(|(_, known)| which(known));
        chosen.map(|(name, _)| name.clone()).collect()
    }

    /// The next to go when there are more than `wanted`: one that does not
    /// serve yet, else the youngest.
    fn surplus(&self, owner: &str, wanted: usize) -> Option<String> {
        let mine: Vec<_> = self.known.iter().filter(|(_, known)| known.owner == owner).collect();
        let last = mine
            .iter()
            .max_by_key(|(_, known)| (!known.ready, known.number))
            .filter(|_| mine.len() > wanted)?;
        Some(last.0.clone())
    }
}

async fn begin(pods: &Api<Pod>, shared: &Arc<Shared>, deployment: &str, owner: &str, now: f64) {
    let (name, known) = {
        let mut all = shared.pods.lock();
        all.made += 1;
        let number = all.made;
        let name = format!("{deployment}-{number:04}");
        let known = Known {
            owner: owner.to_owned(),
            number,
            since: now,
            address: format!("10.0.{}.{}", number / 250, number % 250 + 1),
            ready: false,
        };
        all.known.insert(name.clone(), known.clone());
        (name, known)
    };
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": deployment, OWNER: known.owner, "model": MODEL}},
        "spec": {"containers": [{"name": "engine", "image": "engine", "ports": [{"containerPort": PORT}]}]},
    });
    let pod: Pod = serde_json::from_value(pod).unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    tell(pods, &name, "Pending", None, &shared.time()).await;
}

async fn tell(pods: &Api<Pod>, name: &str, phase: &str, address: Option<&str>, time: &str) {
    let ready = if address.is_some() { "True" } else { "False" };
    let condition =
        |kind: &str, status: &str| -> Value { json!({"type": kind, "status": status, "lastTransitionTime": time}) };
    let mut status = json!({"status": {
        "phase": phase,
        "conditions": [condition("PodScheduled", "True"), condition("Ready", ready)],
    }});
    if let Some(address) = address {
        status["status"]["podIP"] = address.into();
        status["status"]["podIPs"] = json!([{"ip": address}]);
    }
    pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
}

async fn end(pods: &Api<Pod>, shared: &Arc<Shared>, name: &str) {
    shared.pods.lock().known.remove(name);
    shared.engines.lock().end(name);
    let now = DeleteParams::default().grace_period(0);
    match pods.delete(name, &now).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => panic!("{name}: {error}"),
    }
}
