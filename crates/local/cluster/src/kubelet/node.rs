//! The Node objects: made, told of, kept alive by Leases, marked down at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Taint};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::call::{Error, absent_is_none, call, create, merge, merge_status};
use crate::{clock, quantity};

const LEASES: &str = "kube-node-lease";
const LEASE_SECONDS: i32 = 40;
const RENEW: Duration = Duration::from_secs(10);
/// The status is told again this often even if nothing changed.
const TELL_AGAIN: u32 = 30;

/// A node of this machine: real or imagined GPUs under a name.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// The Node's name.
    pub name: String,
    /// The GPU product, for the label that says it; `None` without GPUs.
    pub gpu_type: Option<String>,
    /// How many GPUs.
    pub gpus: u32,
    /// Further labels.
    pub labels: BTreeMap<String, String>,
    /// CPUs as a quantity, for example `8`.
    pub cpu: String,
    /// Memory as a quantity, for example `32Gi`.
    pub memory: String,
}

impl NodeSpec {
    /// What is wrong with it, if anything.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for (field, text) in [("cpu", &self.cpu), ("memory", &self.memory)] {
            let quantity = k8s_openapi::apimachinery::pkg::api::resource::Quantity(text.clone());
            if quantity::milli(&quantity).is_none_or(|milli| milli < 0) {
                let name = &self.name;
                return Err(Error::Invalid(format!(
                    "node {name}: {field} {text:?} is not a quantity; write it like 8 or 32Gi"
                )));
            }
        }
        Ok(())
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let mut labels = BTreeMap::from([
            ("kubernetes.io/hostname".to_owned(), self.name.clone()),
            ("kubernetes.io/os".to_owned(), "linux".to_owned()),
            ("kubernetes.io/arch".to_owned(), arch.to_owned()),
            (api::names::LOCAL_NODE_LABEL.to_owned(), "true".to_owned()),
        ]);
        if let Some(product) = &self.gpu_type {
            labels.insert(api::names::GPU_PRODUCT_LABEL.to_owned(), product.clone());
        }
        labels.extend(self.labels.clone());
        labels
    }

    fn status(&self, port: u16, ready: bool, before: Option<&Node>) -> Value {
        let resources = json!({
            "cpu": self.cpu, "memory": self.memory, "pods": "110", "ephemeral-storage": "10Gi",
            "nvidia.com/gpu": self.gpus.to_string(),
        });
        let known = |type_: &str, status: &str| {
            let conditions = before.and_then(|n| n.status.as_ref()?.conditions.as_ref());
            let same = conditions
                .into_iter()
                .flatten()
                .find(|c| c.type_ == type_ && c.status == status);
            same.and_then(|c| c.last_transition_time.clone())
                .unwrap_or_else(clock::now)
        };
        let condition = |type_: &str, status: &str, reason: &str, message: &str| {
            json!({
                "type": type_, "status": status, "reason": reason, "message": message,
                "lastHeartbeatTime": clock::now(), "lastTransitionTime": known(type_, status),
            })
        };
        let state = if ready {
            condition(
                "Ready",
                "True",
                "KubeletReady",
                "the process kubelet runs Pods as local processes",
            )
        } else {
            condition("Ready", "False", "KubeletStopped", "the process kubelet was stopped")
        };
        json!({
            "capacity": resources,
            "allocatable": resources,
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "memory is not watched"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "disks are not watched"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID", "processes are not counted"),
                state,
            ],
            // No Hostname: an API server would look it up in vain when it asks for logs.
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            "nodeInfo": {
                "architecture": self.labels()["kubernetes.io/arch"],
                "bootID": read("/proc/sys/kernel/random/boot_id"),
                "containerRuntimeVersion": concat!("process://", env!("CARGO_PKG_VERSION")),
                "kernelVersion": read("/proc/sys/kernel/osrelease"),
                "kubeProxyVersion": "",
                "kubeletVersion": concat!("v1.36.0-tidegate.", env!("CARGO_PKG_VERSION")),
                "machineID": read("/etc/machine-id"),
                "operatingSystem": "linux",
                "osImage": "local processes",
                "systemUUID": "",
            },
        })
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Makes the Node, or brings the one that is there up to date, and says that it is ready.
pub(crate) async fn register(client: &Client, spec: &NodeSpec, taints: &[Taint], port: u16) -> Result<(), Error> {
    let api = Api::<Node>::all(client.clone());
    let name = &spec.name;
    let found = absent_is_none(call(|| format!("read node {name}"), api.get(name)).await)?;
    let node = match found {
        None => {
            let mut node = Node::default();
            node.metadata.name = Some(name.clone());
            node.metadata.labels = Some(spec.labels());
            node.spec = Some(Default::default());
            if let Some(node) = &mut node.spec {
                node.taints = Some(taints.to_vec()).filter(|t| !t.is_empty());
            }
            create(&api, &node).await?
        }
        Some(node) => {
            // Taints that others set stay: a cordon or a controller's judgement.
            let mut all = node.spec.as_ref().and_then(|s| s.taints.clone()).unwrap_or_default();
            all.retain(|known| {
                !taints
                    .iter()
                    .any(|ours| ours.key == known.key && ours.effect == known.effect)
            });
            all.extend(taints.iter().cloned());
            let patch = json!({"metadata": {"labels": spec.labels()}, "spec": {"taints": all}});
            merge(&api, name, &patch).await?
        }
    };
    tell(client, spec, port, true, Some(&node)).await?;
    renew(client, name, node.metadata.uid.as_deref()).await
}

async fn tell(client: &Client, spec: &NodeSpec, port: u16, ready: bool, before: Option<&Node>) -> Result<(), Error> {
    let api = Api::<Node>::all(client.clone());
    let patch = json!({"status": spec.status(port, ready, before)});
    merge_status(&api, &spec.name, &patch).await.map(drop)
}

async fn renew(client: &Client, name: &str, uid: Option<&str>) -> Result<(), Error> {
    let api = Api::<Lease>::namespaced(client.clone(), LEASES);
    let patch = json!({"spec": {
        "holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": clock::now_micro(),
    }});
    let renewed = absent_is_none(merge(&api, name, &patch).await)?;
    if renewed.is_some() {
        return Ok(());
    }
    let owners: Vec<Value> = uid
        .iter()
        .map(|uid| json!({"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}))
        .collect();
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "namespace": LEASES, "ownerReferences": owners},
        "spec": patch["spec"],
    });
    let lease: Lease =
        serde_json::from_value(lease).map_err(|error| Error::Invalid(format!("lease of {name}: {error}")))?;
    match create(&api, &lease).await {
        // Without the namespace of leases there is nobody who would look at one.
        Err(error) if error.is_not_found() => {
            tracing::debug!(%error, "no lease is kept");
            Ok(())
        }
        made => made.map(drop),
    }
}

/// Keeps the Node alive for ever: renews its Lease, tells its status now and
/// then, and makes it anew if someone deleted it.
pub(crate) async fn keep(client: Client, spec: NodeSpec, taints: Vec<Taint>, port: u16) {
    let api = Api::<Node>::all(client.clone());
    for round in 1u32.. {
        tokio::time::sleep(RENEW).await;
        let outcome = async {
            let found = call(|| format!("read node {}", spec.name), api.get_metadata(&spec.name));
            match absent_is_none(found.await)? {
                None => register(&client, &spec, &taints, port).await,
                Some(_) if round.is_multiple_of(TELL_AGAIN) => register(&client, &spec, &taints, port).await,
                Some(node) => renew(&client, &spec.name, node.metadata.uid.as_deref()).await,
            }
        };
        if let Err(error) = outcome.await {
            tracing::warn!(node = spec.name, %error, "the node could not be kept alive; trying again");
        }
    }
}

/// Says that the Node is down.
pub(crate) async fn sign_off(client: &Client, spec: &NodeSpec, port: u16) -> Result<(), Error> {
    let api = Api::<Node>::all(client.clone());
    let node = absent_is_none(call(|| format!("read node {}", spec.name), api.get(&spec.name)).await)?;
    match node {
        Some(node) => tell(client, spec, port, false, Some(&node)).await,
        None => Ok(()),
    }
}
