//! The world: an API server, Pods with servers in them, a Prometheus, and
//! controllers, all in one virtual time.

use super::chance::Chance;
use super::engines::Engines;
use super::history::{History, Moment};
use super::line::Line;
use super::pods::{self, Pods};
use super::prometheus::{Fault, Prometheus};
use apiserver::InProcess;
use autoscaler::configuration::{Names, Scope};
use autoscaler::{Clock, Config, Election, Policy, PrometheusConfig, Running, ScrapeConfig, Terms, Transport};
use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) const NAMESPACE: &str = "default";
pub(crate) const MODEL: &str = "llama";
/// The Deployment, and the VariantAutoscaling of it.
pub(crate) const NAME: &str = "llama-l4";
/// When every world begins, unix seconds.
const BEGIN: u64 = 1_800_000_000;
/// Servers move this far at once.
const STEP: Duration = Duration::from_millis(250);

/// By what a controller sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Eyes {
    Prometheus,
    Pods,
    Both,
}

/// How a world is to begin.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) eyes: Eyes,
    /// Prometheus scrapes every so many seconds; all Pods at once, or each at a
    /// second of its own, as a real one does.
    pub(crate) scrape_every: u64,
    pub(crate) staggered: bool,
    /// Requests per second.
    pub(crate) rate: f64,
    /// Seconds until a Pod serves.
    pub(crate) startup: f64,
    /// Replicas at the beginning, and the bounds.
    pub(crate) replicas: u32,
    pub(crate) bounds: (u32, u32),
    /// ConfigMaps that are there at the beginning: name and data.
    pub(crate) configmaps: Vec<(&'static str, Value)>,
    /// Controllers that take part in an election; one alone without.
    pub(crate) candidates: u64,
    /// Seconds that the first's clock is ahead of everybody's, and each other's
    /// of the one before; the first of several is right.
    pub(crate) apart: i64,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            eyes: Eyes::Prometheus,
            scrape_every: 10,
            staggered: false,
            rate: 8.0,
            startup: 20.0,
            replicas: 3,
            bounds: (1, 8),
            configmaps: Vec::new(),
            candidates: 0,
            apart: 0,
        }
    }
}

/// What everybody in the world shares.
pub(crate) struct Shared {
    begun: Instant,
    startup: f64,
    pub(crate) engines: Mutex<Engines>,
    pub(crate) pods: Mutex<Pods>,
    pub(crate) prometheus: Mutex<Prometheus>,
    /// Pods that answer nobody.
    pub(crate) silent: Mutex<BTreeSet<String>>,
    /// Pods that a controller cannot reach, and Prometheus can.
    pub(crate) out_of_reach: Mutex<BTreeSet<String>>,
}

impl Shared {
    /// Unix seconds.
    pub(crate) fn now(&self) -> f64 {
        BEGIN as f64 + self.begun.elapsed().as_secs_f64()
    }

    pub(crate) fn startup(&self) -> f64 {
        self.startup
    }

    /// Now, as it stands in objects.
    pub(crate) fn time(&self) -> String {
        Timestamp::from_second(self.now() as i64).unwrap().to_string()
    }

    fn page(&self, pod: &str) -> Option<String> {
        let silent = self.silent.lock().contains(pod);
        self.engines.lock().page(pod, MODEL).filter(|_| !silent)
    }

    /// What a Pod answers who asks at its address.
    fn ask_pod(&self, request: &Request<Bytes>) -> Result<Response<Bytes>, String> {
        let host = request.uri().host().unwrap();
        let pod = self.pods.lock().at(host);
        let pod = pod.filter(|pod| !self.out_of_reach.lock().contains(pod));
        let page = pod.and_then(|pod| self.page(&pod));
        page.map(|page| Response::new(Bytes::from(page)))
            .ok_or_else(|| "Connection refused (os error 111)".to_owned())
    }

    /// Scrapes the Pods whose turn it is.
    fn scrape(&self, turn: impl Fn(&str) -> bool) {
        let serving = self.pods.lock().serving();
        let pages: Vec<_> = serving
            .into_iter()
            .filter(|(pod, _)| turn(pod))
            .filter_map(|(pod, address)| {
                let page = self.page(&pod)?;
                Some((NAMESPACE.to_owned(), pod, format!("{address}:{}", pods::PORT), page))
            })
            .collect();
        self.prometheus.lock().scrape(self.now(), &pages);
    }
}

/// A controller and its line to the API server.
pub(crate) struct Scaler {
    pub(crate) line: Line,
    pub(crate) running: Running,
    pub(crate) stop: CancellationToken,
}

/// A world while a scenario plays in it.
pub(crate) struct World {
    pub(crate) shared: Arc<Shared>,
    pub(crate) chance: Mutex<Chance>,
    pub(crate) scalers: Vec<Scaler>,
    client: Client,
    server: Arc<InProcess>,
    setup: Setup,
    seed: u64,
    moments: Arc<Mutex<Vec<Moment>>>,
}

fn variant_resource() -> ApiResource {
    let gvk = GroupVersionKind::gvk("llmd.ai", "v1alpha1", "VariantAutoscaling");
    ApiResource::from_gvk_with_plural(&gvk, "variantautoscalings")
}

/// Plays a scenario, and tells every second of it.
pub(crate) fn play(seed: u64, setup: Setup, scenario: impl AsyncFnOnce(&mut World)) -> History {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::begin(seed, setup).await;
        scenario(&mut world).await;
        let moments = std::mem::take(&mut *world.moments.lock());
        History { seed, moments }
    })
}

impl World {
    async fn begin(seed: u64, setup: Setup) -> Self {
        let mut chance = Chance::new(seed);
        let begun = Instant::now();
        let server = InProcess::start(move || {
            let since = i64::try_from(begun.elapsed().as_millis()).unwrap();
            Timestamp::from_millisecond(BEGIN as i64 * 1000 + since).unwrap()
        });
        let server = Arc::new(server.await.unwrap());
        let client = Line::new(server.clone(), 0).client();
        let shared = Arc::new(Shared {
            begun,
            startup: setup.startup,
            engines: Mutex::new(Engines::new(setup.rate, chance.next())),
            pods: Mutex::default(),
            prometheus: Mutex::default(),
            silent: Mutex::default(),
            out_of_reach: Mutex::default(),
        });
        let mut world = Self {
            shared,
            chance: Mutex::new(chance),
            scalers: Vec::new(),
            client,
            server,
            setup,
            seed,
            moments: Arc::default(),
        };
        world.furnish().await;
        world.live();
        // The Pods of the beginning serve, and Prometheus has seen them, before anybody looks.
        world.pass(world.setup.startup + 60.0).await;
        world.moments.lock().clear();
        let candidates = world.setup.candidates;
        for number in 0..candidates.max(1) {
            let steps = if candidates == 0 { 1 } else { number as i64 };
            world.start(number, steps * world.setup.apart).await;
        }
        world
    }

    async fn furnish(&self) {
        let crds: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for crd in api::crds() {
            crds.create(&PostParams::default(), &crd).await.unwrap();
        }
        while self.variants().list(&ListParams::default()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for (name, data) in &self.setup.configmaps {
            self.config_map(name, data.clone()).await;
        }
        self.deploy(self.setup.replicas).await;
        let (min, max) = self.setup.bounds;
        let variant = json!({"apiVersion": "llmd.ai/v1alpha1", "kind": "VariantAutoscaling",
            "metadata": {"name": NAME}, "spec": {"modelID": MODEL, "minReplicas": min, "maxReplicas": max,
                "scaleTargetRef": {"kind": "Deployment", "name": NAME}}});
        let variant: DynamicObject = serde_json::from_value(variant).unwrap();
        self.variants().create(&PostParams::default(), &variant).await.unwrap();
    }

    /// Starts what goes on by itself.
    fn live(&self) {
        let shared = self.shared.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(STEP).await;
                shared.engines.lock().step(STEP.as_secs_f64(), shared.now());
            }
        });
        let (deployments, variants) = self.watch();
        let (shared, client, watched) = (self.shared.clone(), self.client.clone(), deployments.clone());
        tokio::spawn(async move {
            loop {
                pods::reconcile(&client, &watched, &shared).await;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
        let shared = self.shared.clone();
        let (every, staggered) = (self.setup.scrape_every, self.setup.staggered);
        tokio::spawn(async move {
            for second in 1.. {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let own = |pod: &str| pod.bytes().map(u64::from).sum::<u64>() % every;
                shared.scrape(|pod| second % every == if staggered { own(pod) } else { 0 });
            }
        });
        let (shared, moments) = (self.shared.clone(), self.moments.clone());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let deployment = deployments.get(&ObjectRef::new(NAME).within(NAMESPACE));
                let replicas = |deployment: Arc<Deployment>| deployment.spec.as_ref()?.replicas;
                let wanted = deployment.map(|deployment| i64::from(replicas(deployment).unwrap()));
                let variant = variants.state().first().map(|variant| variant.data.clone());
                let at = shared.begun.elapsed().as_secs();
                let serving = shared.pods.lock().serving().len();
                let mut moments = moments.lock();
                moments.push(Moment::new(at, wanted, serving, &variant.unwrap_or_default()));
            }
        });
    }

    /// What is there, without asking each time.
    fn watch(&self) -> (Store<Deployment>, Store<DynamicObject>) {
        let writer = reflector::store::Writer::default();
        let deployments = writer.as_reader();
        let all = watcher(self.deployments(), watcher::Config::default()).reflect(writer);
        tokio::spawn(all.for_each(|_| std::future::ready(())));
        let writer = reflector::store::Writer::new(variant_resource());
        let variants = writer.as_reader();
        let all = watcher(self.variants(), watcher::Config::default()).reflect(writer);
        tokio::spawn(all.for_each(|_| std::future::ready(())));
        (deployments, variants)
    }

    /// Starts a controller whose clock is so many seconds ahead.
    pub(crate) async fn start(&mut self, number: u64, ahead: i64) {
        let line = Line::new(self.server.clone(), self.seed ^ (number + 1));
        let stop = CancellationToken::new();
        let config = self.config(number, ahead);
        let running = autoscaler::start(line.client(), config, stop.clone()).await.unwrap();
        self.scalers.push(Scaler { line, running, stop });
    }

    fn config(&self, number: u64, ahead: i64) -> Config {
        let now = Duration::from_secs(BEGIN) + self.shared.begun.elapsed();
        let now = now.as_millis() as i64 + ahead * 1000;
        let shared = self.shared.clone();
        let ask_pods = Transport::InProcess(Arc::new(move |request: Request<Bytes>| {
            let shared = shared.clone();
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(2)).await;
                shared.ask_pod(&request)
            })
        }));
        let shared = self.shared.clone();
        let ask_prometheus = Transport::InProcess(Arc::new(move |request: Request<Bytes>| {
            let shared = shared.clone();
            Box::pin(async move {
                let takes = shared.prometheus.lock().takes();
                tokio::time::sleep(takes).await;
                shared.prometheus.lock().answer(&request, shared.now())
            })
        }));
        let eyes = self.setup.eyes;
        Config {
            namespace: Some(NAMESPACE.to_owned()),
            interval: Duration::from_secs(1),
            policy: Policy {
                assumed_startup: Duration::from_secs_f64(self.setup.startup),
                ..Policy::default()
            },
            scrape: (eyes != Eyes::Prometheus).then(|| ScrapeConfig {
                busy_interval: Duration::from_secs(2),
                transport: ask_pods,
                ..ScrapeConfig::default()
            }),
            prometheus: (eyes != Eyes::Pods).then(|| PrometheusConfig {
                transport: ask_prometheus,
                ..PrometheusConfig::new("http://localhost:9090")
            }),
            configuration: Some(Scope {
                system_namespace: NAMESPACE.to_owned(),
                names: Names::default(),
                scale_to_zero: None,
            }),
            election: (self.setup.candidates > 0).then(|| Election {
                namespace: NAMESPACE.to_owned(),
                name: "election".to_owned(),
                identity: format!("controller-{number}"),
                terms: Terms {
                    lease: Duration::from_secs(15),
                    renew: Duration::from_secs(10),
                    retry: Duration::from_secs(2),
                },
            }),
            clock: Some(Clock::start_at(Duration::from_millis(now as u64))),
            ..Config::default()
        }
    }

    /// The numbers of those that lead, as far as they know.
    pub(crate) fn leading(&self) -> Vec<usize> {
        let all = self.scalers.iter().enumerate();
        all.filter(|(_, scaler)| !scaler.stop.is_cancelled() && scaler.running.handle.leads())
            .map(|(number, _)| number)
            .collect()
    }

    /// Lets so many seconds pass.
    pub(crate) async fn pass(&self, seconds: f64) {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }

    /// Seconds since the world began, as the history counts them.
    pub(crate) fn at(&self) -> u64 {
        self.shared.begun.elapsed().as_secs()
    }

    pub(crate) fn load(&self, rate: f64) {
        self.shared.engines.lock().rate = rate;
    }

    pub(crate) fn prometheus(&self, fault: Fault) {
        let now = self.shared.now();
        self.shared.prometheus.lock().set(fault, now);
    }

    /// Prometheus' clock from now on, seconds ahead.
    pub(crate) fn prometheus_ahead(&self, seconds: f64) {
        self.shared.prometheus.lock().ahead = seconds;
    }

    /// Every second Pod that serves is out of the controller's reach.
    pub(crate) fn bar_half(&self) {
        let serving = self.shared.pods.lock().serving();
        let half = serving.into_iter().step_by(2).map(|(pod, _)| pod);
        self.shared.out_of_reach.lock().extend(half);
    }

    /// Every second Pod that serves falls silent.
    pub(crate) fn silence_half(&self) -> Vec<String> {
        let serving = self.shared.pods.lock().serving();
        let half: Vec<String> = serving.into_iter().step_by(2).map(|(pod, _)| pod).collect();
        self.shared.silent.lock().extend(half.iter().cloned());
        half
    }

    pub(crate) fn all_speak(&self) {
        self.shared.silent.lock().clear();
    }

    fn variants(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), NAMESPACE, &variant_resource())
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub(crate) async fn deploy(&self, replicas: u32) {
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": NAME}},
                "template": {
                    "metadata": {"labels": {"app": NAME}},
                    "spec": {"containers": [{"name": "engine", "image": "engine"}]},
                },
            },
        });
        let deployment: Deployment = serde_json::from_value(deployment).unwrap();
        self.deployments()
            .create(&PostParams::default(), &deployment)
            .await
            .unwrap();
    }

    pub(crate) async fn remove_deployment(&self) {
        let deleted = self.deployments().delete(NAME, &DeleteParams::default()).await;
        deleted.unwrap();
    }

    /// Changes fields of the VariantAutoscaling's spec.
    pub(crate) async fn specify(&self, spec: Value) {
        let patch = Patch::Merge(json!({ "spec": spec }));
        let patched = self.variants().patch(NAME, &PatchParams::default(), &patch).await;
        patched.unwrap();
    }

    /// Creates or changes a ConfigMap.
    pub(crate) async fn config_map(&self, name: &str, data: Value) {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), NAMESPACE);
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
        if api.get_opt(name).await.unwrap().is_some() {
            api.patch(name, &PatchParams::default(), &Patch::Merge(map))
                .await
                .unwrap();
        } else {
            let map: ConfigMap = serde_json::from_value(map).unwrap();
            api.create(&PostParams::default(), &map).await.unwrap();
        }
    }
}
