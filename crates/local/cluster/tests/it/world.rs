//! An API, controllers and kubelets to test with, and questions about Pods and processes.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use apiserver::{Options, Running};
use cluster::podautoscaler::PodAutoscalerOptions;
use cluster::{KubeletOptions, NodeSpec, run_controllers_with, run_kubelet};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

pub(crate) fn client(address: &str) -> Client {
    Client::try_from(kube::Config::new(format!("http://{address}").parse().unwrap())).unwrap()
}

pub(crate) fn options(data_dir: &Path, range: &str) -> KubeletOptions {
    let node = |name: &str, product: &str, gpus| NodeSpec {
        name: name.to_owned(),
        gpu_type: Some(product.to_owned()),
        gpus,
        labels: [("zone".to_owned(), "here".to_owned())].into(),
        cpu: "8".to_owned(),
        memory: "16Gi".to_owned(),
    };
    let nodes = vec![node("gpu-a", "L4", 4), node("gpu-b", "H100", 2)];
    let mut options = KubeletOptions::new(nodes, data_dir.to_owned(), std::env::current_exe().unwrap());
    options.address_base = range.to_owned();
    options
}

/// An API with controllers and, if wanted, a kubelet.
pub(crate) struct World {
    pub(crate) api: Running,
    pub(crate) client: Client,
    pub(crate) data: tempfile::TempDir,
    pub(crate) range: String,
    pub(crate) stop_controllers: CancellationToken,
    pub(crate) controllers: JoinHandle<()>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(PodAutoscalerOptions::default()).await
    }

    pub(crate) async fn with(autoscaling: PodAutoscalerOptions) -> Self {
        let listen = "127.0.0.1:0".parse().unwrap();
        let api = apiserver::serve(Options { listen, data_dir: None }).await.unwrap();
        let client = client(&api.address.to_string());
        let stop_controllers = CancellationToken::new();
        let running = run_controllers_with(client.clone(), autoscaling, stop_controllers.clone());
        let controllers = tokio::spawn(async move { running.await.unwrap() });
        // Tests at the same time, of this or another checkout, keep out of each other's addresses.
        let port = u32::from(api.address.port());
        let range = format!("127.{}.{}.0/26", 100 + port / 256 % 128, port % 256);
        World {
            api,
            client,
            data: tempfile::tempdir().unwrap(),
            range,
            stop_controllers,
            controllers,
        }
    }

    pub(crate) fn kubelet(&self) -> (CancellationToken, JoinHandle<()>) {
        let stop = CancellationToken::new();
        let running = run_kubelet(
            self.client.clone(),
            options(self.data.path(), &self.range),
            stop.clone(),
        );
        (stop, tokio::spawn(async move { running.await.unwrap() }))
    }

    pub(crate) fn kubelet_process(&self) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .arg("kubelet")
            .arg(self.api.address.to_string())
            .arg(self.data.path())
            .arg(&self.range);
        command.spawn().unwrap()
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    pub(crate) async fn make<K>(&self, object: Value) -> K
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + serde::Serialize
            + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api::<K>().create(&PostParams::default(), &object).await.unwrap()
    }

    pub(crate) async fn pods(&self) -> Vec<Pod> {
        self.api::<Pod>().list(&ListParams::default()).await.unwrap().items
    }

    pub(crate) async fn patch_deployment(&self, patch: Value) {
        let params = PatchParams::default();
        self.api::<Deployment>()
            .patch("web", &params, &Patch::Merge(&patch))
            .await
            .unwrap();
    }

    /// Waits until the Deployment is as wanted: all replicas new and available.
    pub(crate) async fn rolled_out(&self, replicas: i32) -> Deployment {
        until("the Deployment is rolled out", async || {
            let deployment = self.api::<Deployment>().get("web").await.unwrap();
            let status = deployment.status.clone().unwrap_or_default();
            let counts = [status.replicas, status.updated_replicas, status.available_replicas];
            (status.observed_generation == deployment.metadata.generation && counts == [Some(replicas); 3])
                .then_some(deployment)
        })
        .await
    }

    pub(crate) async fn end(self) {
        self.stop_controllers.cancel();
        self.controllers.await.unwrap();
        self.api.shutdown().await;
    }
}

pub(crate) async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn deployment(replicas: i32, command: &[&str]) -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"terminationGracePeriodSeconds": 2, "containers": [{
                    "name": "c", "image": "none", "command": command,
                    "ports": [{"containerPort": 8000, "name": "http"}],
                    "readinessProbe": {"httpGet": {"path": "/", "port": "http"}},
                    "resources": {"limits": {"nvidia.com/gpu": "1"}},
                }]},
            },
        },
    })
}

pub(crate) fn pid(pod: &Pod) -> Option<i32> {
    let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    status.container_id.as_ref()?.strip_prefix("process://")?.parse().ok()
}

pub(crate) fn restarts(pod: &Pod) -> i32 {
    pod.status
        .as_ref()
        .and_then(|s| s.container_statuses.as_ref())
        .map_or(0, |c| c[0].restart_count)
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|c| c.type_ == "Ready" && c.status == "True")
}

pub(crate) fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Processes that have this in their environment.
pub(crate) fn carrying(entry: &str) -> Vec<i32> {
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok());
    let carries = |pid: &i32| {
        std::fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|env| env.split(|b| *b == 0).any(|e| e == entry.as_bytes()))
    };
    pids.filter(carries).collect()
}
