//! What a pass costs: a thousand variants of ten replicas, all signals fresh.

use super::*;
use crate::inventory::NodeSelector;
use crate::replica_sources::Wanted;
use crate::subject::Subject;
use crate::survey::pods::PodsRead;
use crate::survey::targets::TargetsRead;
use crate::world::Health;
use crate::{GatewaySource, Limiter};
use collect::{Availability, Found, MetricsSource, ModelSignals, ReplicaSignals, Settings, SourceError, SourceHealth};
use collect::{TrackedModel, TrackedModels};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Resource;
use kube::runtime::reflector::{Store, store};
use kube::runtime::watcher::Event;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::hash::Hash;
use units::{Signal, Source};

const REPLICAS: usize = 10;
const NAMESPACES: usize = 20;
const PASSES: u32 = 10;

/// A source that has heard of every replica.
#[derive(Debug, Default)]
struct Everybody(parking_lot::Mutex<TrackedModels>);

impl Everybody {
    /// What each replica says.
    fn signals() -> ReplicaSignals {
        let seen = || Signal::observed(1.0, Instant::ZERO, Source::Replica);
        ReplicaSignals {
            found: Some("vLLM (vllm:kv_cache_usage_perc)".into()),
            kv: seen(),
            running: seen(),
            waiting: seen(),
            token_rate: seen(),
            request_rate: seen(),
            arrival_rate: seen(),
            kv_tokens: seen(),
            prompt_tokens: seen(),
            answer_tokens: seen(),
            ttft_ms: seen(),
            itl_ms: seen(),
            ..ReplicaSignals::unknown(Instant::ZERO, "nothing was observed within the window")
        }
    }
}

impl MetricsSource for Everybody {
    fn track(&self, models: &TrackedModels) {
        let mut tracked = self.0.lock();
        if *tracked != *models {
            tracked.clone_from(models);
        }
    }

    fn availability(&self, _: &TrackedModel) -> Availability {
        Availability::new(Found::MetricsFound, "everybody tells")
    }

    fn model_metrics(&self, model: &TrackedModel) -> ModelSignals {
        let endpoints = self.0.lock().get(model).cloned();
        let signals = Self::signals();
        let named = endpoints.iter().flat_map(|all| all.iter());
        let replicas = named.map(|endpoint| (endpoint.pod.as_str(), &signals));
        ModelSignals::of_replicas(replicas, Duration::from_secs(10), Instant::ZERO)
    }

    fn replica_metrics(&self, model: &TrackedModel) -> BTreeMap<String, ReplicaSignals> {
        let endpoints = self.0.lock().get(model).cloned();
        let signals = Self::signals();
        let named = endpoints.iter().flat_map(|all| all.iter());
        named.map(|endpoint| (endpoint.pod.clone(), signals.clone())).collect()
    }

    fn health(&self) -> SourceHealth {
        SourceHealth::default()
    }
}

/// A copy that was never watched.
fn copy<K>(kind: K::DynamicType, objects: impl Iterator<Item = Value>) -> Store<K>
where
    K: Resource + Clone + DeserializeOwned + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    let mut writer = store::Writer::new(kind);
    let reader = writer.as_reader();
    writer.apply_watcher_event(&Event::Init);
    for object in objects {
        writer.apply_watcher_event(&Event::InitApply(serde_json::from_value(object).unwrap()));
    }
    writer.apply_watcher_event(&Event::InitDone);
    reader
}

/// Two variants for each model, a pool for each model, a node for ten Pods.
fn world(variants: usize) -> World {
    let place = |at: usize| {
        (
            format!("team-{}", at % NAMESPACES),
            format!("model-{}-{}", at / 2, ["l4", "h100"][at % 2]),
        )
    };
    let model = |at: usize| format!("model-{}", at / 2);
    // Both variants of a model are in one namespace.
    let place = |at: usize| (place(at / 2 * 2).0, place(at).1);
    let uid = |at: usize| format!("uid-{at}");
    let subject = |at| {
        let (namespace, name) = place(at);
        json!({"apiVersion": "llmd.ai/v1alpha1", "kind": "VariantAutoscaling",
            "metadata": {"name": name, "namespace": namespace, "uid": uid(at), "generation": 1, "resourceVersion": "1",
                "labels": {"inference.optimization/acceleratorName": "L4"}},
            "spec": {"modelID": model(at), "scaleTargetRef": {"kind": "Deployment", "name": name},
                "minReplicas": 1, "maxReplicas": 20, "variantCost": "1.5"}})
    };
    let deployment = |at| {
        let (namespace, name) = place(at);
        json!({"metadata": {"name": name, "namespace": namespace, "uid": format!("d-{at}"), "generation": 1},
            "spec": {"replicas": REPLICAS, "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": {"app": name}, "annotations": {"tidegate.dev/slots": "32"}},
                    "spec": {"containers": [{"name": "engine", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}}},
            "status": {"replicas": REPLICAS}})
    };
    let pod = |number: usize| {
        let (at, replica) = (number / REPLICAS, number % REPLICAS);
        let (namespace, name) = place(at);
        json!({"metadata": {"name": format!("{name}-7d9f-{replica}"), "namespace": namespace,
                "labels": {"app": name, "model": model(at), "pod-template-hash": "7d9f"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{name}-7d9f"),
                    "uid": "r", "controller": true}]},
            "spec": {"nodeName": format!("node-{at}"), "containers": [{"name": "engine",
                "resources": {"limits": {"nvidia.com/gpu": "1"}}, "ports": [{"containerPort": 8000}]}]},
            "status": {"phase": "Running", "podIP": format!("10.{}.{}.{}", number / 65536, number / 256 % 256, number % 256),
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:00:00Z"}]}})
    };
    let pool = |at: usize| {
        let (namespace, _) = place(at * 2);
        json!({"apiVersion": "inference.networking.k8s.io/v1", "kind": "InferencePool",
            "metadata": {"name": model(at * 2), "namespace": namespace},
            "spec": {"selector": {"matchLabels": {"model": model(at * 2)}}, "targetPorts": [{"number": 8000}]}})
    };
    let node = |at| {
        json!({"metadata": {"name": format!("node-{at}"), "labels": {"nvidia.com/gpu.product": "NVIDIA-L4"}},
            "status": {"allocatable": {"nvidia.com/gpu": "12"}, "conditions": [{"type": "Ready", "status": "True"}]}})
    };
    let va = Subject::VariantAutoscaling;
    let listed = Health::default();
    listed.note::<Pod>(&Ok(Event::InitDone));
    World {
        subjects: vec![(va, copy(va.resource(), (0..variants).map(subject)))],
        deployments: copy::<Deployment>((), (0..variants).map(deployment)),
        stateful_sets: copy((), std::iter::empty()),
        pods: copy((), (0..variants * REPLICAS).map(pod)),
        pods_watch: listed.clone(),
        all_pods: true,
        pools: copy((), (0..variants / 2).map(pool)),
        services: copy((), std::iter::empty()),
        nodes: copy::<Node>((), (0..variants).map(node)),
        deployments_watch: listed.clone(),
        stateful_sets_watch: listed.clone(),
        nodes_watch: listed,
        namespaces: copy((), std::iter::empty()),
    }
}

fn controller(variants: usize) -> Controller {
    // Nothing listens there, and nothing needs to.
    let client = Client::try_from(kube::Config::new("http://127.0.0.1:9".parse().unwrap())).unwrap();
    let (clock, stop) = (Clock::start(), CancellationToken::new());
    let mut config = Config {
        limiter: Limiter {
            enabled: true,
            ..Limiter::default()
        },
        ..Config::default()
    };
    let everybody =
        |_: &Settings| -> Result<Arc<dyn MetricsSource>, SourceError> { Ok(Arc::new(Everybody::default())) };
    config.registry.register("everybody", everybody).unwrap();
    let changed = Arc::new(Notify::new());
    let wanted = Wanted {
        registry: &config.registry,
        names: &["everybody".to_owned()],
        scrape: config.scrape.clone(),
        prometheus: None,
        gateway: GatewaySource::None,
        pickers: crate::Pickers::default(),
        urgent: &changed,
    };
    Controller {
        clock,
        world: world(variants),
        configs: ConfigMaps::watch(&client, None, &config.policy, None, &changed, &stop),
        scales: Scales::new(client.clone(), clock),
        orders: Orders::default(),
        replicas: ReplicaSources::start(wanted, clock, &stop).unwrap(),
        gpus: Counter::new(client.clone(), NodeSelector::default(), stop),
        handle: Handle::new(Duration::from_secs(60)),
        writer: Writer::start(client, Leadership::alone(), clock),
        leadership: Leadership::alone(),
        config,
        models: BTreeMap::new(),
        ledger: Ledger::default(),
        last_good: LastGood::new(),
        pods_read: PodsRead::default(),
        targets_read: TargetsRead::default(),
        written: BTreeMap::new(),
        teller: Teller::default(),
        records: 0,
    }
}

/// Time this thread has run on a CPU, milliseconds.
fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
}

/// Resident memory of this process, megabytes.
fn resident_mb() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/statm").unwrap();
    stat.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4096.0 / 1e6
}

/// All replicas but some tell of a moderate load; `full` many tell that they
/// are full.
fn tell(views: &mut BTreeMap<ModelKey, ModelView>, full: usize, now: Instant) {
    for (at, view) in views.values_mut().enumerate() {
        let kv = if at < full { 0.95 } else { 0.62 };
        for replica in view.variants.iter_mut().flat_map(|variant| &mut variant.replicas) {
            let seen = |value| Signal::observed(value, now, Source::Replica);
            replica.kv = seen(kv);
            replica.running = seen(20.0);
            replica.waiting = seen(0.0);
            replica.token_rate = seen(400.0);
            replica.slots = seen(32.0);
        }
    }
}

/// Each part of a pass with its CPU time, milliseconds.
fn pass(controller: &mut Controller, full: usize, second: u64, parts: &mut BTreeMap<&'static str, f64>) {
    let mut at = cpu_ms();
    let mut lap = |part: &'static str| {
        let now = cpu_ms();
        *parts.entry(part).or_default() += now - at;
        at = now;
    };
    let now = Instant::from_secs(second);
    let _ = survey::unwatched_targets(&controller.world, None, &controller.last_good);
    controller.configs.refresh();
    let mut sources = Sources {
        world: &controller.world,
        scales: &controller.scales,
        configs: &mut controller.configs,
        pods_read: &mut controller.pods_read,
        targets_read: &mut controller.targets_read,
        pickers: controller.replicas.pickers(),
        instance: None,
    };
    let survey::Survey { variants, .. } =
        survey::take(&mut sources, &mut controller.ledger, &mut controller.last_good, now);
    lap("survey");
    let endpoints = model::endpoints(&variants, controller.replicas.tracked());
    let asked: usize = endpoints.values().map(|all| all.len()).sum();
    assert_eq!(asked, variants.len() * REPLICAS);
    controller.replicas.track(endpoints);
    controller.replicas.read();
    lap("collect");
    let reading = controller.replicas.gateways();
    let mut views = model::views(&variants, &reading, &mut controller.replicas, now);
    lap("views");
    tell(&mut views, full, now);
    lap("(telling signals)");
    controller.forget_what_was_made_anew(&variants, &views);
    let mut decisions = controller.decide(&variants, &views, now);
    lap("decide");
    let gpus = controller.limit(&variants, &views, &mut decisions, now);
    lap("limit");
    let grows = decisions.values().filter(|decision| decision.changes()).count();
    assert!(grows >= full, "{grows} of {full} grow");
    assert_eq!(gpus.accelerators.len(), 1);
    let acted = with_decisions(&variants, &decisions)
        .map(|(variant, _)| (variant.uid.clone(), Acted::Done))
        .collect();
    lap("(acting)");
    let pass = controller.report(
        &variants,
        views,
        &mut decisions,
        &Carried {
            outcomes: acted,
            late: Vec::new(),
        },
        now,
        jiff::Timestamp::now(),
    );
    lap("report");
    controller.handle.publish(Pass { gpus, ..pass });
    lap("publish");
    drop((variants, decisions));
    lap("forget");
}

/// CPU time of one pass, milliseconds, as a mean over several.
fn measure(variants: usize, full: usize) -> f64 {
    let before = resident_mb();
    let mut controller = controller(variants);
    let ours = |parts: &BTreeMap<&'static str, f64>| -> f64 {
        let ours = parts.iter().filter(|(part, _)| !part.starts_with('('));
        ours.map(|(_, ms)| ms).sum()
    };
    // The first reads every object; the others find them as they were.
    let mut parts = BTreeMap::new();
    pass(&mut controller, 0, 1000, &mut parts);
    let first = ours(&parts);
    let mut parts = BTreeMap::new();
    for at in 0..PASSES {
        pass(&mut controller, full, 1001 + u64::from(at), &mut parts);
    }
    let mean = |total: &f64| total / f64::from(PASSES);
    let all = mean(&ours(&parts));
    let page = cpu_ms();
    let text = controller.handle.metrics_text().len();
    let page = cpu_ms() - page;
    let parts: Vec<String> = parts
        .iter()
        .map(|(part, ms)| format!("{part} {:.1}", mean(ms)))
        .collect();
    println!(
        "{variants} variants of {REPLICAS} replicas, {full} models full: {all:.1} ms of CPU per pass ({}), \
         {first:.1} ms the first, metrics page {page:.1} ms for {text} bytes, {:.0} MB resident ({before:.0} before)",
        parts.join(", "),
        resident_mb()
    );
    all
}

#[tokio::test]
async fn a_pass_costs_in_proportion_to_its_variants() {
    let (few, many) = (measure(250, 20), measure(1000, 80));
    // Four times as much; sixteen were quadratic.
    assert!(many / few < 9.0, "{few:.1} ms, and {many:.1} ms for four times as many");
    assert!(
        cfg!(debug_assertions) || many <= 200.0,
        "{many:.1} ms of CPU for a pass"
    );
}
