//! Asks every replica for its metrics page, often while it works and rarely
//! while it does not.

use crate::families;
use crate::get::Getter;
use crate::health::Counters;
use crate::replica::Past;
use crate::transport::Transport;
use crate::{Clock, ReplicaSignals, SourceHealth};
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
    /// Path of the metrics page.
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
    entries: Mutex<BTreeMap<String, Entry>>,
    changed: Notify,
    counters: Counters,
}

impl PodScraper {
    /// Starts asking, until `stop`.
    #[must_use]
    pub fn start(config: ScrapeConfig, clock: Clock, stop: CancellationToken) -> Self {
        let shared = Arc::new(Shared {
            config,
            clock,
            entries: Mutex::default(),
            changed: Notify::new(),
            counters: Counters::default(),
        });
        tokio::spawn(run(shared.clone(), stop));
        Self { shared }
    }

    /// Sets whom to ask. A replica that stays keeps its signals; one whose
    /// address or model changed starts anew.
    pub fn set_endpoints(&self, endpoints: Vec<Endpoint>) {
        let now = self.shared.clock.now();
        let mut entries = self.shared.entries.lock();
        let mut before = std::mem::take(&mut *entries);
        let mut changed = false;
        for endpoint in endpoints {
            let kept = before.remove(&endpoint.pod);
            let generation = kept.as_ref().map_or(0, |entry| entry.generation + 1);
            let entry = kept.filter(|entry| entry.endpoint == endpoint).unwrap_or_else(|| {
                changed = true;
                Entry {
                    past: Past::new(Source::Replica, self.shared.config.window, now),
                    due: now,
                    asking: false,
                    generation,
                    endpoint: endpoint.clone(),
                }
            });
            entries.insert(endpoint.pod, entry);
        }
        drop(entries);
        if changed {
            self.shared.changed.notify_one();
        }
    }

    /// What the Pod `namespace/name` last said; `None` if it is not asked.
    #[must_use]
    pub fn signals(&self, pod: &str) -> Option<ReplicaSignals> {
        self.shared
            .entries
            .lock()
            .get(pod)
            .map(|entry| entry.past.signals.clone())
    }

    /// How the source is doing.
    #[must_use]
    pub fn health(&self) -> SourceHealth {
        self.shared.counters.read()
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
    for entry in shared.entries.lock().values_mut().filter(|entry| !entry.asking) {
        if entry.due <= now {
            entry.asking = true;
            due.push((entry.endpoint.clone(), entry.generation));
        } else {
            next = next.min(entry.due.since(now));
        }
    }
    (due, next)
}

async fn ask(shared: &Shared, getter: &Getter, endpoint: &Endpoint, generation: u64) {
    // What the page says was true no later than when it was asked for.
    let asked_at = shared.clock.now();
    let host = if endpoint.address.contains(':') {
        format!("[{}]", endpoint.address)
    } else {
        endpoint.address.clone()
    };
    let url = format!("http://{host}:{}{}", endpoint.port, shared.config.path);
    let read = match getter.get(&url).await {
        Ok(body) => match wire::prom::parse::parse(&body) {
            Ok(page) => families::read(&page, endpoint.model.as_deref())
                .map(|page| (page, body.len()))
                .map_err(|why| format!("{url}: {why}")),
            Err(error) => Err(format!("{url} is no metrics page: {error}")),
        },
        Err(error) => Err(error.to_string()),
    };
    let now = shared.clock.now();
    match &read {
        Ok((_, bytes)) => shared.counters.answered(now.since(asked_at), *bytes),
        Err(why) => {
            shared.counters.failed(now.since(asked_at));
            tracing::debug!(pod = endpoint.pod, why, "no metrics");
        }
    }
    let mut entries = shared.entries.lock();
    if let Some(entry) = entries
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
