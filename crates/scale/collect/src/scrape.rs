//! Asks every replica for its metrics page, often while it works and rarely
//! while it does not.

use crate::families;
use crate::get::Getter;
use crate::health::Counters;
use crate::model::some_of;
use crate::replica::Past;
use crate::source::{MetricsSource, TrackedModel, TrackedModels};
use crate::transport::Transport;
use crate::{Availability, Clock, Found, ModelSignals, ReplicaSignals, SourceHealth};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use units::{Instant, Source};

/// How replicas are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrapeConfig {
    /// Path of the metrics page, where an endpoint names no other.
    pub path: String,
    /// Time for the whole answer.
    pub deadline: Duration,
    /// Most bytes of an answer.
    pub max_body: usize,
    /// Most replicas asked at once.
    pub parallel: usize,
    /// Time between questions to a replica that works, or does not answer.
    pub busy_interval: Duration,
    /// Time between questions to an idle one.
    pub idle_interval: Duration,
    /// Window for rates.
    pub window: Duration,
    /// How questions reach the replicas.
    pub transport: Transport,
}

impl Default for ScrapeConfig {
    fn default() -> Self {
        Self {
            path: "/metrics".to_owned(),
            deadline: Duration::from_secs(1),
            max_body: 8 << 20,
            parallel: 32,
            busy_interval: Duration::from_secs(1),
            idle_interval: Duration::from_secs(2),
            window: Duration::from_secs(10),
            transport: Transport::Network,
        }
    }
}

/// A replica to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `namespace/name` of its Pod.
    pub pod: String,
    /// IP address.
    pub address: String,
    /// Port of the metrics page.
    pub port: u16,
    /// Its path, if it is not the usual one.
    pub path: Option<Arc<str>>,
    /// Ports of further pages that are part of it: ranks of a data-parallel
    /// server have one each.
    pub more_ports: Arc<[u16]>,
    /// The model whose samples count; all if absent.
    pub model: Option<String>,
}

#[derive(Debug)]
struct Entry {
    endpoint: Endpoint,
    past: Past,
    due: Instant,
    asking: bool,
    /// Tells an answer that belongs to an endpoint replaced meanwhile.
    generation: u64,
}

/// The pod-scrape source. Cloning shares it.
#[derive(Clone, Debug)]
pub struct PodScraper {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: ScrapeConfig,
    clock: Clock,
    asked: Mutex<Asked>,
    changed: Notify,
    counters: Counters,
}

/// Who is asked.
#[derive(Debug, Default)]
struct Asked {
    /// By Pod.
    entries: BTreeMap<String, Entry>,
    models: TrackedModels,
}

impl PodScraper {
    /// Starts asking, until `stop`.
    #[must_use]
    pub fn start(config: ScrapeConfig, clock: Clock, stop: CancellationToken) -> Self {
        let shared = Arc::new(Shared {
            config,
            clock,
            asked: Mutex::default(),
            changed: Notify::new(),
            counters: Counters::default(),
        });
        tokio::spawn(run(shared.clone(), stop));
        Self { shared }
    }
}

impl MetricsSource for PodScraper {
    /// A replica that stays keeps its signals; one whose address or model
    /// changed starts anew.
    fn track(&self, models: &TrackedModels) {
        let now = self.shared.clock.now();
        let mut asked = self.shared.asked.lock();
        if asked.models == *models {
            return;
        }
        let mut before = std::mem::take(&mut asked.entries);
        for endpoint in models.values().flat_map(|endpoints| endpoints.iter()) {
            let kept = before.remove(&endpoint.pod);
            let generation = kept.as_ref().map_or(0, |entry| entry.generation + 1);
            let entry = kept.filter(|entry| entry.endpoint == *endpoint);
            let entry = entry.unwrap_or_else(|| Entry {
                past: Past::new(Source::Replica, self.shared.config.window, now),
                due: now,
                asking: false,
                generation,
                endpoint: endpoint.clone(),
            });
            asked.entries.insert(endpoint.pod.clone(), entry);
        }
        asked.models.clone_from(models);
        drop(asked);
        self.shared.changed.notify_one();
    }

    fn availability(&self, model: &TrackedModel) -> Availability {
        let (window, now) = (self.shared.config.window, self.shared.clock.now());
        let asked = self.shared.asked.lock();
        let replicas = asked.replicas(model);
        if replicas.is_empty() {
            return Availability::new(
                Found::MetricsMissing,
                "replica: nobody is asked, for no Pod is ready with an address",
            );
        }
        let kv = |entry: &Entry| entry.past.signals.kv.last().map(|seen| now.since(seen.at));
        let fresh = |entry: &Entry| kv(entry).is_some_and(|age| age <= window);
        let silent: Vec<&Entry> = replicas.iter().copied().filter(|entry| !fresh(entry)).collect();
        let told = replicas.len() - silent.len();
        let names = || some_of(silent.iter().map(|entry| entry.endpoint.pod.as_str()));
        if told > 0 {
            let message = if silent.is_empty() {
                format!("replica: all {told} Pods tell")
            } else {
                format!("replica: {told} Pods tell and none of {}", names())
            };
            return Availability::new(Found::MetricsFound, message);
        }
        let remedy = "do the Pods serve their metrics page, and does a NetworkPolicy let us ask?";
        let stale = silent.iter().filter_map(|entry| kv(entry)).min();
        let why = silent.iter().find_map(|entry| entry.past.signals.error.as_deref());
        let why = why.unwrap_or("not asked yet");
        match stale {
            Some(age) => Availability::new(
                Found::MetricsStale,
                format!(
                    "replica: no answer from {} for {} s: {why}; {remedy}",
                    names(),
                    age.as_secs()
                ),
            ),
            None => Availability::new(
                Found::MetricsMissing,
                format!("replica: no answer from {}: {why}; {remedy}", names()),
            ),
        }
    }

    fn model_metrics(&self, model: &TrackedModel) -> ModelSignals {
        let asked = self.shared.asked.lock();
        let replicas = asked.replicas(model).into_iter();
        let replicas = replicas.map(|entry| (entry.endpoint.pod.as_str(), &entry.past.signals));
        // A rate that is older than its window tells nothing of now.
        ModelSignals::of_replicas(replicas, self.shared.config.window, self.shared.clock.now())
    }

    fn replica_metrics(&self, model: &TrackedModel) -> BTreeMap<String, ReplicaSignals> {
        let asked = self.shared.asked.lock();
        let signals = |entry: &Entry| (entry.endpoint.pod.clone(), entry.past.signals.clone());
        asked.replicas(model).into_iter().map(signals).collect()
    }

    fn health(&self) -> SourceHealth {
        self.shared.counters.read(self.shared.clock.now())
    }
}

impl Asked {
    fn replicas(&self, model: &TrackedModel) -> Vec<&Entry> {
        let endpoints = self
            .models
            .get(model)
            .into_iter()
            .flat_map(|endpoints| endpoints.iter());
        endpoints
            .filter_map(|endpoint| self.entries.get(&endpoint.pod))
            .collect()
    }
}

async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let getter = Getter::new(
        shared.config.transport.clone(),
        shared.config.deadline,
        shared.config.max_body,
    );
    let permits = Arc::new(Semaphore::new(shared.config.parallel.max(1)));
    let mut asking = JoinSet::new();
    loop {
        let (due, next) = take_due(&shared);
        for (endpoint, generation) in due {
            let (shared, getter, permits) = (shared.clone(), getter.clone(), permits.clone());
            asking.spawn(async move {
                let Ok(_permit) = permits.acquire().await else { return };
                ask(&shared, &getter, &endpoint, generation).await;
            });
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = shared.changed.notified() => {}
            () = tokio::time::sleep(next) => {}
            Some(_) = asking.join_next() => {}
        }
    }
}

/// The replicas to ask now, marked as being asked, and the time until the next.
fn take_due(shared: &Shared) -> (Vec<(Endpoint, u64)>, Duration) {
    let now = shared.clock.now();
    let mut next = shared.config.idle_interval;
    let mut due = Vec::new();
    for entry in shared.asked.lock().entries.values_mut().filter(|entry| !entry.asking) {
        if entry.due <= now {
            entry.asking = true;
            due.push((entry.endpoint.clone(), entry.generation));
        } else {
            next = next.min(entry.due.since(now));
        }
    }
    (due, next)
}

/// Reads the pages of an endpoint as one; says how many bytes they had.
async fn read_all(
    shared: &Shared,
    getter: &Getter,
    endpoint: &Endpoint,
) -> Result<(families::ReplicaPage, usize), String> {
    let host = if endpoint.address.contains(':') {
        format!("[{}]", endpoint.address)
    } else {
        endpoint.address.clone()
    };
    let path = endpoint.path.as_deref().unwrap_or(&shared.config.path);
    let url = |port: u16| format!("http://{host}:{port}{path}");
    let ask = async |port: u16| getter.get(&url(port)).await.map_err(|error| error.to_string());
    let first = ask(endpoint.port).await?;
    let mut more = Vec::new();
    for port in &*endpoint.more_ports {
        more.push((*port, ask(*port).await?));
    }
    let parse = |port: u16, body| {
        wire::prom::parse::parse(body).map_err(|error| {
            format!(
                "{} is no metrics page: {error}; if it is elsewhere (trtllm-serve: /prometheus/metrics, Triton: port \
                 8002), tell it by the Pod's annotations prometheus.io/port and prometheus.io/path",
                url(port)
            )
        })
    };
    let mut whole = parse(endpoint.port, &first)?;
    for (port, body) in &more {
        whole.append(parse(*port, body)?);
    }
    let bytes = first.len() + more.iter().map(|(_, body)| body.len()).sum::<usize>();
    families::read(&whole, endpoint.model.as_deref())
        .map(|page| (page, bytes))
        .map_err(|why| format!("{}: {why}", url(endpoint.port)))
}

async fn ask(shared: &Shared, getter: &Getter, endpoint: &Endpoint, generation: u64) {
    // What the page says was true no later than when it was asked for.
    let asked_at = shared.clock.now();
    // All of its pages within one deadline, or none of them: half a replica is
    // not half as busy.
    let deadline = shared.config.deadline;
    let read = tokio::time::timeout(deadline, read_all(shared, getter, endpoint)).await;
    let read = read.unwrap_or_else(|_| {
        Err(format!(
            "no answer from all ports of {} within {deadline:?}",
            endpoint.pod
        ))
    });
    let now = shared.clock.now();
    match &read {
        Ok((_, bytes)) => shared.counters.answered(asked_at, now, *bytes),
        Err(why) => {
            shared.counters.failed(asked_at, now);
            tracing::debug!(pod = endpoint.pod, why, "no metrics");
        }
    }
    let mut asked = shared.asked.lock();
    if let Some(entry) = asked
        .entries
        .get_mut(&endpoint.pod)
        .filter(|entry| entry.generation == generation)
    {
        entry.asking = false;
        let busy = match read {
            Ok((page, _)) => entry.past.take_in(page, asked_at),
            Err(why) => {
                entry.past.fail(why, asked_at);
                true
            }
        };
        entry.due = asked_at
            + if busy {
                shared.config.busy_interval
            } else {
                shared.config.idle_interval
            };
    }
}

#[cfg(test)]
mod tests;
