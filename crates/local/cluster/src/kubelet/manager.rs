//! All Pods of this machine: who has which address and GPUs, and one task each.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::KubeletOptions;
use super::addresses::{Addresses, Gpus};
use super::container::gpus_wanted;
use super::environment::Place;
use super::logs_index::LogIndex;
use super::process::Spawner;
use super::tend;
use super::worker::{Context, Desired, Ending};
use crate::pods;
use crate::recorder::{self, Recorder};

/// Why a Pod cannot have its place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// This node will never take it.
    Refused {
        /// The reason its status shows.
        reason: String,
        /// In words.
        message: String,
    },
    /// No address is free; that may change.
    Later(String),
}

/// The kubelet's Pods.
pub(crate) struct Manager {
    pub(crate) client: Client,
    contexts: BTreeMap<String, Arc<Context>>,
    addresses: Mutex<Addresses>,
    gpus: Mutex<BTreeMap<String, Gpus>>,
    pods: Mutex<BTreeMap<String, watch::Sender<Desired>>>,
    tasks: TaskTracker,
    logs: Arc<LogIndex>,
}

impl Manager {
    pub(crate) fn new(
        client: Client,
        options: &KubeletOptions,
        data_dir: &Path,
        addresses: Addresses,
        spawner: &Spawner,
    ) -> Arc<Self> {
        let logs = Arc::new(LogIndex::default());
        let context = |node: &str| {
            let (recorder, mailbox) = Recorder::new();
            // Ends with the last recorder of this node.
            tokio::spawn(recorder::write(client.clone(), "kubelet", node.to_owned(), mailbox));
            Arc::new(Context {
                spawner: spawner.clone(),
                data_dir: data_dir.to_owned(),
                own_exe: options.own_exe.clone(),
                recorder,
                sources: Arc::new(client.clone()),
                backoff: options.backoff,
                log_limit: options.log_bytes,
                logs: logs.clone(),
            })
        };
        Arc::new(Manager {
            contexts: options
                .nodes
                .iter()
                .map(|n| (n.name.clone(), context(&n.name)))
                .collect(),
            gpus: Mutex::new(
                options
                    .nodes
                    .iter()
                    .map(|n| (n.name.clone(), Gpus::new(n.gpus)))
                    .collect(),
            ),
            addresses: Mutex::new(addresses),
            pods: Mutex::default(),
            tasks: TaskTracker::new(),
            client,
            logs,
        })
    }

    pub(crate) fn logs(&self) -> Arc<LogIndex> {
        self.logs.clone()
    }

    /// Keeps the addresses of Pods from before for them, ahead of any new Pod.
    pub(crate) fn reserve(&self, pods: &[Pod]) {
        let mut addresses = self.addresses.lock();
        for pod in pods.iter().filter(|p| !pods::is_finished(p)) {
            let address = pod
                .status
                .as_ref()
                .and_then(|s| s.pod_ip.as_deref()?.parse::<Ipv4Addr>().ok());
            if let (Some(uid), Some(address)) = (&pod.metadata.uid, address) {
                addresses.reserve(uid, address);
            }
        }
    }

    /// Gives a Pod its address and GPUs.
    pub(crate) fn place(&self, node: &str, pod: &Pod) -> Result<Place, NoPlace> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let containers = pod.spec.as_ref().map(|s| s.containers.as_slice()).unwrap_or_default();
        let init = pod
            .spec
            .as_ref()
            .and_then(|s| s.init_containers.as_ref())
            .into_iter()
            .flatten();
        let wanted = containers
            .iter()
            .map(gpus_wanted)
            .sum::<usize>()
            .max(init.map(gpus_wanted).max().unwrap_or(0));
        let gpus = self.gpus.lock().get_mut(node).and_then(|gpus| gpus.take(uid, wanted));
        let Some(gpus) = gpus else {
            return Err(NoPlace::Refused {
                reason: format!("OutOf{}", api::names::GPU_RESOURCE),
                message: format!(
                    "Pod was rejected: Node didn't have enough resource: nvidia.com/gpu, requested: {wanted}"
                ),
            });
        };
        let ports: Vec<u16> = containers
            .iter()
            .flat_map(|c| c.ports.iter().flatten())
            .filter_map(|port| u16::try_from(port.container_port).ok())
            .collect();
        let mut taken = None;
        let usable = |address: Ipv4Addr| {
            let busy = ports
                .iter()
                .chain([&0])
                .find(|port| TcpListener::bind((address, **port)).is_err());
            taken = busy.copied().or(taken);
            busy.is_none()
        };
        match self.addresses.lock().allocate(uid, usable) {
            Some(address) => Ok(Place {
                node: node.to_owned(),
                address,
                gpus,
            }),
            None => Err(NoPlace::Later(match taken {
                Some(port) => format!(
                    "port {port} is taken on every address tried: does another program listen on 0.0.0.0:{port}?"
                ),
                None => "every address of the range is held by a Pod; use a wider range".to_owned(),
            })),
        }
    }

    /// Takes back what a Pod held.
    pub(crate) fn release(&self, node: &str, uid: &str) {
        self.addresses.lock().release(uid);
        if let Some(gpus) = self.gpus.lock().get_mut(node) {
            gpus.release(uid);
        }
    }

    /// A Pod of this machine is there or has changed.
    fn on_pod(self: &Arc<Self>, node: &str, pod: Pod) {
        let (Some(uid), Some(context)) = (pod.metadata.uid.clone(), self.contexts.get(node)) else {
            return;
        };
        let ending = match pod.metadata.deletion_timestamp {
            None => Ending::No,
            Some(_) => {
                let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(30);
                Ending::Deleted(Duration::from_secs(u64::try_from(grace).unwrap_or(0)))
            }
        };
        let pod = Arc::new(pod);
        let mut pods = self.pods.lock();
        if let Some(known) = pods.get(&uid) {
            known.send_modify(|desired| {
                desired.pod = pod;
                if ending != Ending::No {
                    desired.ending = ending;
                }
            });
            return;
        }
        let (sender, desired) = watch::channel(Desired { pod, ending });
        pods.insert(uid, sender);
        drop(pods);
        self.tasks
            .spawn(tend::tend(self.clone(), context.clone(), node.to_owned(), desired));
    }

    fn on_gone(&self, uid: &str) {
        if let Some(sender) = self.pods.lock().remove(uid) {
            sender.send_modify(|desired| desired.ending = Ending::Gone);
        }
    }

    /// Pods of the node that are known but were not listed are gone.
    fn on_listed(&self, node: &str, listed: &BTreeSet<String>) {
        let of_node = |desired: &Desired| desired.pod.spec.as_ref().and_then(|s| s.node_name.as_deref()) == Some(node);
        let gone: Vec<String> = {
            let pods = self.pods.lock();
            let gone = pods
                .iter()
                .filter(|(uid, sender)| !listed.contains(*uid) && of_node(&sender.borrow()));
            gone.map(|(uid, _)| uid.clone()).collect()
        };
        for uid in gone {
            self.on_gone(&uid);
        }
    }

    /// Ends every process; returns when all are gone.
    pub(crate) async fn drain(&self, grace: Duration, remaining: Option<&watch::Sender<usize>>) {
        for sender in self.pods.lock().values() {
            sender.send_modify(|desired| desired.ending = Ending::Drain(grace));
        }
        self.tasks.close();
        let counting = async {
            let Some(remaining) = remaining else {
                return std::future::pending().await;
            };
            loop {
                let left = self.tasks.len();
                remaining.send_if_modified(|known| std::mem::replace(known, left) != left);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = self.tasks.wait() => {}
            () = counting => {}
        }
        if let Some(remaining) = remaining {
            remaining.send_replace(0);
        }
    }
}

/// Watches the Pods bound to a node for ever.
pub(crate) async fn watch_node(manager: Arc<Manager>, node: String) {
    let config = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
    let mut events = std::pin::pin!(watcher(Api::<Pod>::all(manager.client.clone()), config));
    let mut listed = BTreeSet::new();
    let mut failures = 0u32;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                failures = 0;
                match event {
                    Event::Init => listed.clear(),
                    Event::InitApply(pod) => {
                        listed.extend(pod.metadata.uid.clone());
                        manager.on_pod(&node, pod);
                    }
                    Event::InitDone => manager.on_listed(&node, &std::mem::take(&mut listed)),
                    Event::Apply(pod) => manager.on_pod(&node, pod),
                    Event::Delete(pod) => manager.on_gone(pod.metadata.uid.as_deref().unwrap_or_default()),
                }
            }
            Err(error) => {
                failures += 1;
                let pause = Duration::from_millis(50 << failures.min(8));
                tracing::warn!(node, %error, ?pause, "the watch of Pods failed; trying again");
                tokio::time::sleep(pause).await;
            }
        }
    }
}
