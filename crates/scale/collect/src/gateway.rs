//! Asks the gateways for their ledger: true arrivals, queue, work in flight; and
//! endpoint pickers for as much of it as their metrics tell.

mod picker;
mod poll;
mod source;

pub use picker::{Picker, PickerError, PickerSource, PickerToken, Pickers};

use crate::health::Counters;
use crate::source::TrackedModels;
use crate::window::CounterWindow;
use crate::{Clock, Endpoint};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use units::{Instant, Signal, Source};
use wire::signals::{GatewaySignals, Histogram, PoolSignals};

/// Where the gateways are.
#[derive(Clone)]
pub enum GatewaySource {
    /// In this process: asked whenever a decision is taken.
    InProcess(Arc<dyn Fn() -> GatewaySignals + Send + Sync>),
    /// Base URLs of admin addresses; each is asked for `/signals`.
    Http(Vec<String>),
    /// Nowhere: only replicas tell the load.
    None,
}

impl fmt::Debug for GatewaySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InProcess(_) => f.write_str("InProcess"),
            Self::Http(urls) => f.debug_tuple("Http").field(urls).finish(),
            Self::None => f.write_str("None"),
        }
    }
}

/// Window for rates and latencies.
const WINDOW: Duration = Duration::from_secs(5);
/// Window for latencies, which need more observations.
const LATENCY_WINDOW: Duration = Duration::from_secs(15);
/// Snapshots of latencies are at least this far apart.
const LATENCY_GRAIN: Duration = Duration::from_millis(750);
/// What all gateways together say of one model, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelDemand {
    /// Requests accepted since start (counter).
    pub arrived: u64,
    /// Requests waiting now.
    pub queued: u64,
    /// How long the oldest of them has waited.
    pub oldest_wait: Option<Duration>,
    /// Requests at endpoints now.
    pub in_flight: u64,
    /// Requests per second, over the last 5 s.
    pub arrival_rate: Option<f64>,
    /// Requests per second that left an endpoint, over the last 5 s.
    pub completion_rate: Option<f64>,
    /// Generated tokens per second, over the last 5 s.
    pub token_rate: Option<f64>,
    /// Time to first token, median and 99th percentile of the last 15 s, milliseconds.
    pub ttft_ms: Option<(f64, f64)>,
    /// Inter-token latency, the same.
    pub itl_ms: Option<(f64, f64)>,
    /// Means of both over the same time, milliseconds.
    pub mean_ttft_ms: Option<f64>,
    /// See [`Self::mean_ttft_ms`].
    pub mean_itl_ms: Option<f64>,
    /// Tokens of a prompt and of an answer, mean of the requests that were
    /// completed within the last 5 s.
    pub mean_tokens: Option<(f64, f64)>,
    /// By endpoint `ip:port`.
    pub endpoints: BTreeMap<String, EndpointLedger>,
}

/// One endpoint in the gateways' ledgers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointLedger {
    /// The Pod behind it.
    pub pod: String,
    /// Requests sent and not ended.
    pub in_flight: u64,
    /// Most requests sent at once.
    pub slots: u64,
}

/// Who counts the demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Gateway,
    Picker,
}

impl Kind {
    const fn source(self) -> Source {
        match self {
            Self::Gateway => Source::Gateway,
            Self::Picker => Source::Picker,
        }
    }
}

/// The gateways as a source, or the endpoint pickers. Cloning shares it.
#[derive(Clone, Debug)]
pub struct GatewayReader {
    kind: Kind,
    source: GatewaySource,
    clock: Clock,
    instances: Arc<Mutex<Vec<Instance>>>,
    tracked: Arc<Mutex<TrackedModels>>,
    counters: Arc<Counters>,
}

/// One gateway, or picker, and its recent past.
#[derive(Debug)]
struct Instance {
    /// Tells it from others, also from one that was of the same name.
    id: u64,
    name: String,
    /// The only namespace it tells of; a gateway tells of all.
    namespace: Option<String>,
    /// Nobody has named it: what it does not say is not missed.
    found: bool,
    latest: Option<(Instant, GatewaySignals)>,
    error: Option<(Instant, String)>,
    pools: BTreeMap<String, PoolPast>,
}

#[derive(Debug)]
struct PoolPast {
    arrived: CounterWindow,
    left: CounterWindow,
    tokens: CounterWindow,
    completed: CounterWindow,
    prompts: CounterWindow,
    latencies: VecDeque<(Instant, Histogram, Histogram)>,
}

/// All gateways and pickers, read at one moment.
#[derive(Debug)]
pub struct GatewayReading {
    parts: Vec<(Kind, Arc<Mutex<Vec<Instance>>>)>,
}

impl GatewayReader {
    /// Starts asking those over HTTP, until `stop`. One that tells of a moment
    /// worth a decision at once notifies `urgent`.
    #[must_use]
    pub fn start(source: GatewaySource, clock: Clock, urgent: &Arc<Notify>, stop: &CancellationToken) -> Self {
        let names = match &source {
            GatewaySource::InProcess(_) => vec!["this process".to_owned()],
            GatewaySource::Http(urls) => urls.iter().map(|url| url.trim_end_matches('/').to_owned()).collect(),
            GatewaySource::None => Vec::new(),
        };
        let instances = (0..).zip(&names);
        let instances = instances
            .map(|(id, name)| Instance::new(id, name.clone(), None))
            .collect();
        let reader = Self::over(Kind::Gateway, source, instances, clock);
        if matches!(reader.source, GatewaySource::Http(_)) {
            for (id, name) in (0..).zip(names) {
                let url = format!("{name}/signals");
                tokio::spawn(poll::poll(reader.clone(), id, url, urgent.clone(), stop.clone()));
            }
        }
        reader
    }

    fn over(kind: Kind, source: GatewaySource, instances: Vec<Instance>, clock: Clock) -> Self {
        Self {
            kind,
            source,
            clock,
            instances: Arc::new(Mutex::new(instances)),
            tracked: Arc::default(),
            counters: Arc::default(),
        }
    }

    /// Takes in what the instance `id` answered when it was asked at
    /// `asked`: what was true at `at`, and how many bytes it took; or why not.
    /// Whoever is to be `woken` by it reads it: the notice comes after it.
    fn heard(
        &self,
        id: u64,
        answer: Result<(GatewaySignals, usize), String>,
        (asked, at): (Instant, Instant),
        woken: Option<&Notify>,
    ) {
        self.keep(id, answer, asked, at);
        if let Some(woken) = woken {
            woken.notify_one();
        }
    }

    fn keep(&self, id: u64, answer: Result<(GatewaySignals, usize), String>, asked: Instant, at: Instant) {
        let now = self.clock.now();
        let mut instances = self.instances.lock();
        let Some(instance) = instances.iter_mut().find(|instance| instance.id == id) else {
            return;
        };
        match answer {
            Ok((signals, bytes)) => {
                self.counters.answered(asked, now, bytes);
                instance.take_in(signals, at);
            }
            Err(why) => {
                self.counters.failed(asked, now);
                let since = instance.error.take().map_or(asked, |(since, _)| since);
                instance.error = Some((since, why));
            }
        }
    }

    /// Whether anybody is configured.
    #[must_use]
    pub fn configured(&self) -> bool {
        !self.instances.lock().is_empty()
    }

    /// Reads all gateways: the one in this process now, others as last heard.
    #[must_use]
    pub fn read(&self) -> GatewayReading {
        self.ask();
        self.reading()
    }

    /// All gateways as last heard.
    #[must_use]
    pub fn reading(&self) -> GatewayReading {
        GatewayReading {
            parts: vec![(self.kind, self.instances.clone())],
        }
    }

    /// Asks the gateway in this process, if there is one.
    fn ask(&self) {
        let GatewaySource::InProcess(ask) = &self.source else {
            return;
        };
        let asked = self.clock.now();
        let signals = ask();
        self.counters.answered(asked, self.clock.now(), 0);
        if let Some(instance) = self.instances.lock().first_mut() {
            instance.take_in(signals, asked);
        }
    }
}

impl Instance {
    const fn new(id: u64, name: String, namespace: Option<String>) -> Self {
        Self {
            id,
            name,
            namespace,
            found: false,
            latest: None,
            error: None,
            pools: BTreeMap::new(),
        }
    }

    /// Whether it is asked about models of `namespace`.
    fn is_of(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace)
    }

    /// Whether it is one to tell of `model`: a gateway is, whatever it says. A
    /// picker names a model only once a request has come for it; until then
    /// nobody counts them, as if there were no picker. One that somebody has
    /// named is missed before its first answer, one that was found is not.
    fn is_to_tell(&self, namespace: &str, model: &str) -> bool {
        match (&self.namespace, &self.latest) {
            (None, _) => true,
            (Some(_), None) => self.is_of(namespace) && !self.found,
            (Some(_), Some((_, signals))) => {
                self.is_of(namespace) && signals.pools_of(namespace, model).next().is_some()
            }
        }
    }

    fn take_in(&mut self, signals: GatewaySignals, at: Instant) {
        let restarted = self
            .latest
            .as_ref()
            .is_some_and(|(_, before)| before.started_unix_ms != signals.started_unix_ms);
        if restarted {
            self.pools.clear();
        }
        self.pools.retain(|name, _| signals.pools.contains_key(name));
        for (name, pool) in &signals.pools {
            self.pools
                .entry(name.clone())
                .or_insert_with(PoolPast::new)
                .take_in(pool, at);
        }
        self.latest = Some((at, signals));
        self.error = None;
    }
}

impl PoolPast {
    fn new() -> Self {
        let window = || CounterWindow::new(WINDOW);
        Self {
            arrived: window(),
            left: window(),
            tokens: window(),
            completed: window(),
            prompts: window(),
            latencies: VecDeque::new(),
        }
    }

    fn take_in(&mut self, pool: &PoolSignals, at: Instant) {
        // Only what was at an endpoint can have left one: refused and expired
        // requests never were.
        let at_endpoints = |outcome: &str| matches!(outcome, "cancelled" | "upstream_error");
        let failed: u64 = pool
            .failed
            .iter()
            .filter(|(why, _)| at_endpoints(why))
            .map(|(_, n)| *n)
            .sum();
        self.arrived.push(at, pool.arrived as f64);
        self.left.push(at, (pool.completed + failed) as f64);
        self.tokens.push(at, pool.output_tokens as f64);
        self.completed.push(at, pool.completed as f64);
        self.prompts.push(at, pool.prompt_tokens as f64);
        if self
            .latencies
            .back()
            .is_none_or(|(last, ..)| at.since(*last) >= LATENCY_GRAIN)
        {
            self.latencies
                .push_back((at, pool.ttft_ms.clone(), pool.itl_ms.clone()));
        }
        while self
            .latencies
            .get(1)
            .is_some_and(|(second, ..)| at.since(*second) >= LATENCY_WINDOW)
        {
            self.latencies.pop_front();
        }
    }

    /// Observations since the left edge of the window.
    fn recent(&self, pool: &PoolSignals) -> (Histogram, Histogram) {
        match self.latencies.front() {
            Some((_, ttft, itl)) => (pool.ttft_ms.since(ttft), pool.itl_ms.since(itl)),
            None => (pool.ttft_ms.clone(), pool.itl_ms.clone()),
        }
    }
}

impl GatewayReading {
    /// This, and what others say.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.parts.extend(others.parts);
        self
    }

    /// Who tells of `model` in `namespace`: a gateway, or pickers alone.
    #[must_use]
    pub fn source(&self, namespace: &str, model: &str) -> Option<Source> {
        let tells = |instances: &Mutex<Vec<Instance>>| {
            let instances = instances.lock();
            instances.iter().any(|one| one.is_to_tell(namespace, model))
        };
        let telling = self.parts.iter().filter(|(_, instances)| tells(instances));
        telling.map(|(kind, _)| kind.source()).min()
    }

    /// What all together say of `model` in `namespace`, with the names of those
    /// that say nothing. As old as the oldest of the answers.
    #[must_use]
    pub fn demand(&self, namespace: &str, model: &str, now: Instant) -> (Signal<ModelDemand>, Vec<String>) {
        let mut demand = ModelDemand::default();
        let mut latencies = (Histogram::default(), Histogram::default());
        let (mut completed, mut prompts) = (None, None);
        let (mut at, mut found, mut silent, mut why) = (now, None, Vec::new(), None);
        let locked: Vec<_> = self
            .parts
            .iter()
            .map(|(kind, instances)| (*kind, instances.lock()))
            .collect();
        let all = locked
            .iter()
            .flat_map(|(kind, instances)| instances.iter().map(move |instance| (*kind, instance)));
        for (kind, instance) in all.filter(|(_, instance)| instance.is_to_tell(namespace, model)) {
            let failed = instance.error.as_ref().map(|(_, error)| error);
            let Some((seen_at, signals)) = &instance.latest else {
                silent.push(instance.name.clone());
                why = why.or_else(|| failed.cloned());
                continue;
            };
            if let Some(error) = failed {
                silent.push(instance.name.clone());
                why = why.or_else(|| Some(error.clone()));
            }
            for (name, pool) in signals.pools_of(namespace, model) {
                found = found.max(Some(kind.source()));
                at = at.min(*seen_at);
                demand.add(pool);
                if let Some(past) = instance.pools.get(name) {
                    let add = |sum: &mut Option<f64>, rate: Option<f64>| {
                        if let Some(rate) = rate {
                            *sum = Some(sum.unwrap_or(0.0) + rate);
                        }
                    };
                    add(&mut demand.arrival_rate, past.arrived.per_second());
                    add(&mut demand.completion_rate, past.left.per_second());
                    add(&mut demand.token_rate, past.tokens.per_second());
                    add(&mut completed, past.completed.per_second());
                    add(&mut prompts, past.prompts.per_second());
                    let (ttft, itl) = past.recent(pool);
                    merge(&mut latencies.0, &ttft);
                    merge(&mut latencies.1, &itl);
                }
            }
        }
        let Some(source) = found else {
            let mut pickers = locked.iter().filter(|(kind, _)| *kind == Kind::Picker);
            let of_namespace = pickers.find_map(|(_, instances)| {
                let mut here = instances.iter().filter(|instance| instance.is_of(namespace));
                here.find_map(|instance| instance.error.as_ref().map(|(_, error)| error.clone()))
            });
            let why = why.or(of_namespace).unwrap_or_else(|| {
                if self.parts.iter().all(|(kind, _)| *kind == Kind::Picker) && silent.is_empty() {
                    format!(
                        "no picker has counted a request for model {model} in namespace {namespace} yet; is its flow \
                         control on?"
                    )
                } else if silent.is_empty() {
                    format!("no pool serves model {model} in namespace {namespace}; does an InferencePool name it?")
                } else {
                    "not heard of yet".to_owned()
                }
            });
            return (Signal::missing(now, why), silent);
        };
        let quantiles = |latency: &Histogram| Some((latency.quantile_ms(0.5)?, latency.quantile_ms(0.99)?));
        demand.ttft_ms = quantiles(&latencies.0);
        demand.itl_ms = quantiles(&latencies.1);
        let mean = |latency: &Histogram| Some(latency.sum_ms / latency.count() as f64).filter(|mean| mean.is_finite());
        demand.mean_ttft_ms = mean(&latencies.0);
        demand.mean_itl_ms = mean(&latencies.1);
        demand.mean_tokens = match (completed, prompts, demand.token_rate) {
            (Some(completed), Some(prompts), Some(tokens)) if completed > 0.0 => {
                Some((prompts / completed, tokens / completed))
            }
            _ => None,
        };
        (Signal::observed(demand, at, source), silent)
    }
}

impl ModelDemand {
    /// What the ledger has of a Pod, by its address, else by its name: of all its
    /// ports together, as ranks have one each.
    fn ledger_of(&self, endpoint: &Endpoint) -> Option<EndpointLedger> {
        let host = match endpoint.address.contains(':') {
            true => format!("[{}]:", endpoint.address),
            false => format!("{}:", endpoint.address),
        };
        let sum = |all: &mut dyn Iterator<Item = &EndpointLedger>| {
            all.cloned().reduce(|sum, next| EndpointLedger {
                pod: sum.pod,
                in_flight: sum.in_flight.saturating_add(next.in_flight),
                slots: sum.slots.saturating_add(next.slots),
            })
        };
        let at_host = self.endpoints.range(host.clone()..);
        let at_host = at_host.take_while(|(address, _)| address.starts_with(&host));
        let name = endpoint.pod.rsplit('/').next().unwrap_or(&endpoint.pod);
        sum(&mut at_host.map(|(_, ledger)| ledger)).or_else(|| {
            let all = self.endpoints.values();
            sum(&mut all.filter(|ledger| ledger.pod == endpoint.pod || ledger.pod == name))
        })
    }

    fn add(&mut self, pool: &PoolSignals) {
        self.arrived = self.arrived.saturating_add(pool.arrived);
        self.queued = self.queued.saturating_add(pool.queued);
        self.in_flight = self.in_flight.saturating_add(pool.in_flight);
        let waited = pool
            .oldest_wait_ms
            .filter(|_| pool.queued > 0)
            .map(Duration::from_millis);
        self.oldest_wait = self.oldest_wait.max(waited);
        for (address, endpoint) in &pool.endpoints {
            let ledger = self.endpoints.entry(address.clone()).or_default();
            ledger.pod.clone_from(&endpoint.pod);
            ledger.in_flight = ledger.in_flight.saturating_add(endpoint.in_flight);
            // Each gateway has slots of its own at the same replica; the
            // replica has as many as the most generous one sends.
            ledger.slots = ledger.slots.max(endpoint.slots);
        }
    }
}

fn merge(into: &mut Histogram, from: &Histogram) {
    if into.counts.len() < from.counts.len() {
        into.counts.resize(from.counts.len(), 0);
    }
    for (sum, count) in into.counts.iter_mut().zip(&from.counts) {
        *sum += count;
    }
    into.sum_ms += from.sum_ms;
}

#[cfg(test)]
mod tests;
