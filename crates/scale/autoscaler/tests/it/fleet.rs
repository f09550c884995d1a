//! A fleet for tests: an embedded API, Deployments nobody rolls out, Pods that
//! are only objects, and a metrics server for each.

#![expect(
    clippy::unwrap_used,
    reason = "what a test sets up must work, or the test ends there"
)]

use crate::gate::Gate;
use autoscaler::{Config, Running};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Namespace, Node, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

const NAMESPACE: &str = "default";
/// Longest time anything here may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// Ends with the test.
pub(crate) struct Fleet {
    client: Client,
    api: apiserver::Running,
    stop: CancellationToken,
    _stops: DropGuard,
}

/// A Pod's metrics, set from the test.
pub(crate) struct FakePod(Arc<parking_lot::Mutex<Option<String>>>);

impl FakePod {
    /// What the page says from now on.
    pub(crate) fn tell(&self, kv: f64, running: u32, waiting: u32) {
        self.tell_of("llama", kv, running, waiting);
    }

    /// The same of another model.
    pub(crate) fn tell_of(&self, model: &str, kv: f64, running: u32, waiting: u32) {
        let page = format!(
            "# TYPE vllm:kv_cache_usage_perc gauge\n\
             vllm:kv_cache_usage_perc{{engine=\"0\",model_name=\"{model}\"}} {kv}\n\
             vllm:num_requests_running{{engine=\"0\",model_name=\"{model}\"}} {running}\n\
             vllm:num_requests_waiting{{engine=\"0\",model_name=\"{model}\"}} {waiting}\n\
             vllm:generation_tokens_total{{engine=\"0\",model_name=\"{model}\"}} 100\n"
        );
        *self.0.lock() = Some(page);
    }

    /// Answers 503 from now on.
    pub(crate) fn fall_silent(&self) {
        *self.0.lock() = None;
    }
}

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

impl Fleet {
    pub(crate) async fn start() -> Self {
        let fleet = Self::without_kinds().await;
        fleet.install_kinds().await;
        fleet
    }

    /// Brings the kinds that Tidegate defines.
    pub(crate) async fn install_kinds(&self) {
        let crds: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for crd in api::crds() {
            crds.create(&PostParams::default(), &crd).await.unwrap();
        }
        let served = async || self.variants().list(&ListParams::default()).await.is_ok();
        self.until("the kind", served).await;
    }

    /// Brings another kind, whose objects can be scaled.
    pub(crate) async fn install_kind(&self, crd: Value) {
        let crds: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        crds.create(&PostParams::default(), &read(crd)).await.unwrap();
    }

    /// One whose API knows only what every cluster knows.
    pub(crate) async fn without_kinds() -> Self {
        let options = apiserver::Options {
            listen: ([127, 0, 0, 1], 0).into(),
            data_dir: None,
        };
        let api = apiserver::serve(options).await.unwrap();
        let uri = format!("http://{}", api.address).parse().unwrap();
        let client = Client::try_from(kube::Config::new(uri)).unwrap();
        let stop = CancellationToken::new();
        Self {
            client,
            api,
            _stops: stop.clone().drop_guard(),
            stop,
        }
    }

    /// A way to its API that can be barred.
    pub(crate) fn gate(&self) -> Gate {
        Gate::to(self.api.address)
    }

    pub(crate) async fn autoscaler(&self, config: Config) -> Running {
        self.autoscaler_until(config, self.stop.child_token()).await
    }

    /// One that ends when told to.
    pub(crate) async fn autoscaler_until(&self, config: Config, stop: CancellationToken) -> Running {
        self.autoscaler_by(self.client.clone(), config, stop).await
    }

    /// One that reaches the API through a gate.
    pub(crate) async fn autoscaler_through(&self, gate: &Gate, config: Config) -> Running {
        self.autoscaler_by(gate.client(), config, self.stop.child_token()).await
    }

    /// One that looks after all namespaces.
    pub(crate) async fn autoscaler_of_all(&self, config: Config) -> Running {
        autoscaler::start(self.client.clone(), config, self.stop.child_token())
            .await
            .unwrap()
    }

    async fn autoscaler_by(&self, client: Client, config: Config, stop: CancellationToken) -> Running {
        let config = Config {
            namespace: Some(NAMESPACE.to_owned()),
            ..config
        };
        autoscaler::start(client, config, stop).await.unwrap()
    }

    fn variants(&self) -> Api<DynamicObject> {
        let gvk = GroupVersionKind::gvk("llmd.ai", "v1alpha1", "VariantAutoscaling");
        let resource = ApiResource::from_gvk_with_plural(&gvk, "variantautoscalings");
        Api::namespaced_with(self.client.clone(), NAMESPACE, &resource)
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub(crate) async fn deployment(&self, name: &str, replicas: i32) {
        self.gpu_deployment(name, replicas, 0).await;
    }

    /// A Deployment whose Pods ask for so many GPUs each.
    pub(crate) async fn gpu_deployment(&self, name: &str, replicas: i32, gpus: u32) {
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {
                        "nodeSelector": {"nvidia.com/gpu.product": "L4"},
                        "containers": [{"name": "engine", "image": "engine",
                            "resources": {"limits": {"nvidia.com/gpu": gpus.to_string()}}}],
                    },
                },
            },
        });
        self.deployments()
            .create(&PostParams::default(), &read(deployment))
            .await
            .unwrap();
    }

    /// Creates or replaces an object of any kind.
    pub(crate) async fn apply(&self, object: Value) {
        let api = self.untyped(&object);
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        match api.get_opt(&name).await.unwrap() {
            None => drop(api.create(&PostParams::default(), &read(object)).await.unwrap()),
            Some(_) => drop(
                api.patch(&name, &PatchParams::default(), &Patch::Merge(object))
                    .await
                    .unwrap(),
            ),
        }
    }

    /// Creates an object of a kind that may only be about to be served.
    pub(crate) async fn until_applied(&self, object: Value) {
        let api = self.untyped(&object);
        let object: DynamicObject = read(object);
        let created = async || api.create(&PostParams::default(), &object).await.is_ok();
        self.until("the object", created).await;
    }

    /// Creates a Node, or a Pod in the namespace it names.
    pub(crate) async fn apply_anywhere(&self, object: Value) {
        let created = if object["kind"] == "Node" {
            let api: Api<Node> = Api::all(self.client.clone());
            api.create(&PostParams::default(), &read(object)).await.map(drop)
        } else {
            let namespace = object["metadata"]["namespace"].as_str().unwrap();
            let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
            api.create(&PostParams::default(), &read(object)).await.map(drop)
        };
        created.unwrap();
    }

    pub(crate) async fn patch_node_status(&self, name: &str, status: Value) {
        let api: Api<Node> = Api::all(self.client.clone());
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(status))
            .await
            .unwrap();
    }

    /// Deletes a Pod at once.
    pub(crate) async fn delete_pod(&self, namespace: &str, name: &str) {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        api.delete(name, &DeleteParams::default().grace_period(0))
            .await
            .unwrap();
    }

    /// Deletes an object of any kind.
    pub(crate) async fn delete(&self, api_version: &str, kind: &str, name: &str) {
        let api = self.untyped(&json!({"apiVersion": api_version, "kind": kind}));
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// An object of any kind.
    pub(crate) async fn object(&self, api_version: &str, kind: &str, name: &str) -> Value {
        let api = self.untyped(&json!({"apiVersion": api_version, "kind": kind}));
        serde_json::to_value(api.get(name).await.unwrap()).unwrap()
    }

    fn untyped(&self, object: &Value) -> Api<DynamicObject> {
        let (api_version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.client.clone(), NAMESPACE, &resource)
    }

    /// One of the ConfigMaps the autoscaler follows.
    pub(crate) async fn config_map(&self, name: &str, data: Value) {
        self.apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}))
            .await;
    }

    /// A VariantAutoscaling for the Deployment of its name.
    pub(crate) async fn variant(&self, name: &str, model: &str, more: Value) {
        let mut spec = json!({"modelID": model, "scaleTargetRef": {"kind": "Deployment", "name": name}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let object = json!({"apiVersion": "llmd.ai/v1alpha1", "kind": "VariantAutoscaling",
            "metadata": {"name": name}, "spec": spec});
        self.variants()
            .create(&PostParams::default(), &read(object))
            .await
            .unwrap();
    }

    pub(crate) async fn patch(&self, name: &str, patch: Value) {
        self.variants()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    pub(crate) async fn patch_namespace(&self, patch: Value) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces
            .patch(NAMESPACE, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    pub(crate) async fn remove_variant(&self, name: &str) {
        self.variants().delete(name, &DeleteParams::default()).await.unwrap();
    }

    pub(crate) async fn get(&self, name: &str) -> Value {
        serde_json::to_value(self.variants().get(name).await.unwrap()).unwrap()
    }

    pub(crate) async fn replicas(&self, deployment: &str) -> i32 {
        self.deployments()
            .get(deployment)
            .await
            .unwrap()
            .spec
            .unwrap()
            .replicas
            .unwrap_or(0)
    }

    /// A ready Pod of a Deployment, with a metrics server of its own.
    pub(crate) async fn pod(&self, app: &str, name: &str) -> FakePod {
        static NEXT: AtomicU16 = AtomicU16::new(1);
        let page = Arc::new(parking_lot::Mutex::new(None));
        let address = [127, 77, 0, u8::try_from(NEXT.fetch_add(1, SeqCst)).unwrap()];
        let listener = TcpListener::bind(SocketAddr::from((address, 0))).await.unwrap();
        let bound = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, page.clone(), self.stop.clone()));

        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": app}},
            "spec": {"containers": [{"name": "engine", "image": "engine",
                "ports": [{"containerPort": bound.port()}]}]},
        });
        pods.create(&PostParams::default(), &read(pod)).await.unwrap();
        let status = json!({"status": {
            "phase": "Running", "podIP": bound.ip().to_string(), "podIPs": [{"ip": bound.ip().to_string()}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }});
        pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status))
            .await
            .unwrap();
        FakePod(page)
    }

    /// Reason and message of the Events on the object of this name.
    pub(crate) async fn events(&self, variant: &str) -> Vec<(String, String)> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), NAMESPACE);
        let about = |event: &Event| event.involved_object.name.as_deref() == Some(variant);
        let listed = events.list(&ListParams::default()).await.unwrap();
        let ours = listed.items.into_iter().filter(about);
        ours.map(|event| (event.reason.unwrap_or_default(), event.message.unwrap_or_default()))
            .collect()
    }

    /// Waits until `holds`, and not for ever.
    pub(crate) async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let wait = async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(DEADLINE, wait).await.is_err() {
            let listed = self.variants().list(&ListParams::default()).await;
            let variants = listed.map(|listed| serde_json::to_string_pretty(&listed.items).unwrap());
            panic!("waited in vain for {what}: {}", variants.unwrap_or_default());
        }
    }
}

/// A condition of an object; null if it has none of this type.
pub(crate) fn condition(object: &Value, kind: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions
        .into_iter()
        .find(|condition| condition["type"] == kind)
        .unwrap_or_default()
}

/// The body of a GET, read until the server closes.
pub(crate) async fn fetch(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Answers every request with the page, or 503 without one.
async fn serve(listener: TcpListener, page: Arc<parking_lot::Mutex<Option<String>>>, stop: CancellationToken) {
    loop {
        let (mut stream, _) = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted.unwrap(),
        };
        let page = page.clone();
        tokio::spawn(async move {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let page = page.lock().clone();
            let (status, body) = page.map_or(("503 Service Unavailable", String::new()), |page| ("200 OK", page));
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        });
    }
}
