//! Prometheus as a source: every replica's pages as it has recorded them.
//!
//! One query per model asks for the raw samples of all its replicas within a
//! window, whatever their number. Raw samples carry the time of their scrape,
//! so the age of a signal is its true age (an instant query stamps everything
//! with the time of the question), and rates are computed here as they are from
//! our own scrapes. The samples of one replica at one time are put together
//! again as the page they came from ([`recorded`]) and read as a scrape is.

mod client;
mod config;
mod query;
mod recorded;

pub use config::{PrometheusConfig, PrometheusError};

use crate::health::Counters;
use crate::replica::Past;
use crate::{Availability, Clock, Endpoint, Found, ReplicaSignals, SourceHealth};
use client::{Answer, Client};
use parking_lot::Mutex;
use recorded::Recording;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use units::{Instant, Source};

/// Most questions at once.
const PARALLEL: usize = 8;
/// Never more often than this.
const SHORTEST: Duration = Duration::from_secs(1);
/// How long after an expected scrape to ask: Prometheus needs a moment to take
/// the page in.
const SETTLE: Duration = Duration::from_millis(300);
/// First pause after a failure; doubles up to the fetch interval.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Clocks further apart than this are brought together.
const APART: Duration = Duration::from_secs(2);

/// A model whose replicas are asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrackedModel {
    /// Namespace of its variants.
    pub namespace: String,
    /// Name, as the engine's label has it.
    pub model: String,
}

/// The Prometheus source. Cloning shares it.
#[derive(Clone, Debug)]
pub struct PrometheusSource {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: PrometheusConfig,
    clock: Clock,
    client: Client,
    models: Mutex<BTreeMap<TrackedModel, Tracked>>,
    /// Numbers what is tracked: an answer to an older question is no answer.
    generations: AtomicU64,
    changed: Notify,
    counters: Counters,
}

/// What is known of one model.
#[derive(Debug)]
struct Tracked {
    endpoints: Vec<Endpoint>,
    replicas: BTreeMap<String, Replica>,
    availability: Availability,
    /// The newest sample, and the time between two scrapes.
    newest: Option<Instant>,
    scrape_interval: Option<Duration>,
    /// The ways of looking that found something; all are tried when `search` is due.
    ways: Vec<usize>,
    search: Instant,
    due: Instant,
    asking: bool,
    failures: u32,
    /// Answers in a row without anything new.
    in_vain: u32,
    generation: u64,
}

#[derive(Debug)]
struct Replica {
    past: Past,
    /// The newest page that was taken in.
    newest: Instant,
}

impl PrometheusSource {
    /// Starts asking, until `stop`.
    ///
    /// # Errors
    /// A configuration that cannot be used, with its key.
    pub fn start(config: PrometheusConfig, clock: Clock, stop: CancellationToken) -> Result<Self, PrometheusError> {
        config.validate()?;
        let client = Client::new(&config)?;
        let shared = Arc::new(Shared {
            config,
            clock,
            client,
            models: Mutex::default(),
            generations: AtomicU64::new(0),
            changed: Notify::new(),
            counters: Counters::default(),
        });
        tokio::spawn(run(shared.clone(), stop));
        Ok(Self { shared })
    }

    /// Sets which models are asked for, by the replicas they have now. Whatever
    /// is not named is forgotten.
    pub fn set_endpoints(&self, namespace_of: impl Fn(&Endpoint) -> String, endpoints: &[Endpoint]) {
        let mut wanted: BTreeMap<TrackedModel, Vec<Endpoint>> = BTreeMap::new();
        for endpoint in endpoints {
            let Some(model) = endpoint.model.clone() else { continue };
            let namespace = namespace_of(endpoint);
            wanted
                .entry(TrackedModel { namespace, model })
                .or_default()
                .push(endpoint.clone());
        }
        let now = self.shared.clock.now();
        let mut models = self.shared.models.lock();
        let next_generation = || self.shared.generations.fetch_add(1, Relaxed) + 1;
        models.retain(|key, _| wanted.contains_key(key));
        let mut changed = false;
        for (key, endpoints) in wanted {
            let tracked = models.entry(key).or_insert_with(|| {
                changed = true;
                Tracked::new(now, next_generation())
            });
            if tracked.endpoints != endpoints {
                // A Pod of the same name at another address is another Pod.
                let of = |endpoints: &[Endpoint], pod: &str| endpoints.iter().find(|e| e.pod == pod).cloned();
                let before = std::mem::replace(&mut tracked.endpoints, endpoints);
                let after = &tracked.endpoints;
                tracked
                    .replicas
                    .retain(|pod, _| of(after, pod).is_some() && of(after, pod) == of(&before, pod));
                tracked.generation = next_generation();
                tracked.asking = false;
                tracked.in_vain = 0;
                tracked.search = now;
                tracked.due = now;
                changed = true;
            }
        }
        drop(models);
        if changed {
            self.shared.changed.notify_one();
        }
    }

    /// What Prometheus last knew of the Pod `namespace/name` of a model; `None`
    /// if it is not asked for.
    #[must_use]
    pub fn signals(&self, model: &TrackedModel, pod: &str) -> Option<ReplicaSignals> {
        let models = self.shared.models.lock();
        let tracked = models.get(model)?;
        if let Some(replica) = tracked.replicas.get(pod) {
            return Some(replica.past.signals.clone());
        }
        let known = tracked.endpoints.iter().any(|endpoint| endpoint.pod == pod);
        known.then(|| ReplicaSignals::unknown(self.shared.clock.now(), &tracked.availability.message))
    }

    /// Whether Prometheus can be acted on for a model, with the remedy if not;
    /// `None` if the model is not asked for.
    #[must_use]
    pub fn availability(&self, model: &TrackedModel) -> Option<Availability> {
        let now = self.shared.clock.now();
        let models = self.shared.models.lock();
        let tracked = models.get(model)?;
        Some(tracked.judge(&self.shared.config, now))
    }

    /// How the source is doing.
    #[must_use]
    pub fn health(&self) -> SourceHealth {
        self.shared.counters.read()
    }
}

impl Tracked {
    fn new(now: Instant, generation: u64) -> Self {
        Self {
            endpoints: Vec::new(),
            replicas: BTreeMap::new(),
            availability: Availability::new(Found::MetricsMissing, "Prometheus has not been asked yet"),
            newest: None,
            scrape_interval: None,
            ways: Vec::new(),
            search: now,
            due: now,
            asking: false,
            failures: 0,
            in_vain: 0,
            generation,
        }
    }

    fn judge(&self, config: &PrometheusConfig, now: Instant) -> Availability {
        let Some(newest) = self.newest.filter(|_| self.availability.found == Found::MetricsFound) else {
            return self.availability.clone();
        };
        let age = now.since(newest);
        let seconds = age.as_secs();
        match age {
            age if age <= config.fresh => self.availability.clone(),
            age if age <= config.unavailable => Availability::new(
                Found::MetricsStale,
                format!(
                    "Prometheus' newest sample is {seconds} s old: are the Pods still scraped (targets up, ServiceMonitor in place)?"
                ),
            ),
            _ => Availability::new(
                Found::MetricsMissing,
                format!("Prometheus has had no sample for {seconds} s: the targets are gone or no longer scraped"),
            ),
        }
    }
}

async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(PARALLEL));
    let mut asking = JoinSet::new();
    loop {
        let (due, next) = take_due(&shared);
        for (key, endpoints, ways, generation) in due {
            let (shared, permits) = (shared.clone(), permits.clone());
            asking.spawn(async move {
                let Ok(_permit) = permits.acquire().await else { return };
                ask(&shared, &key, &endpoints, ways.as_deref(), generation).await;
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

type Due = (TrackedModel, Vec<Endpoint>, Option<Vec<usize>>, u64);

/// The models to ask for now, marked as being asked for, and the time until the next.
fn take_due(shared: &Shared) -> (Vec<Due>, Duration) {
    let now = shared.clock.now();
    let mut next = shared.config.fetch_interval;
    let mut due = Vec::new();
    for (key, tracked) in shared.models.lock().iter_mut().filter(|(_, tracked)| !tracked.asking) {
        if tracked.due <= now {
            tracked.asking = true;
            let ways = (now < tracked.search && !tracked.ways.is_empty()).then(|| tracked.ways.clone());
            due.push((key.clone(), tracked.endpoints.clone(), ways, tracked.generation));
        } else {
            next = next.min(tracked.due.since(now));
        }
    }
    (due, next.max(Duration::from_millis(10)))
}

/// Asks for a model in the `ways` that found something before, or in all.
async fn ask(shared: &Shared, key: &TrackedModel, endpoints: &[Endpoint], ways: Option<&[usize]>, generation: u64) {
    let search = ways.is_none();
    let asked_at = shared.clock.now();
    let answer = questions(shared, key, endpoints, ways).await;
    let now = shared.clock.now();
    match &answer {
        Ok(recording) => shared.counters.answered(now.since(asked_at), recording.bytes),
        Err(why) => {
            shared.counters.failed(now.since(asked_at));
            tracing::debug!(
                model = key.model,
                namespace = key.namespace,
                why,
                "no answer from Prometheus"
            );
        }
    }
    let mut models = shared.models.lock();
    let Some(tracked) = models.get_mut(key).filter(|tracked| tracked.generation == generation) else {
        return;
    };
    tracked.asking = false;
    match answer {
        Ok(recording) => {
            tracked.failures = 0;
            let before = tracked.newest;
            if search {
                tracked.search = now + shared.config.fetch_interval;
                tracked.ways.clone_from(&recording.ways);
            }
            tracked.take_in(recording, key, shared.config.window, now);
            tracked.in_vain = if tracked.newest > before {
                0
            } else {
                tracked.in_vain.saturating_add(1)
            };
            tracked.due = next_question(tracked, &shared.config, now);
        }
        Err(why) => {
            tracked.failures = tracked.failures.saturating_add(1);
            tracked.availability = Availability::new(Found::PrometheusError, why.clone());
            for replica in tracked.replicas.values_mut() {
                replica.past.fail(why.clone(), now);
            }
            let pause = FIRST_PAUSE * 2_u32.saturating_pow(tracked.failures.min(12) - 1);
            tracked.due = now + pause.min(shared.config.fetch_interval);
        }
    }
}

/// Right after the next scrape, as far as one can tell when that is. Where
/// nothing new came, the next question waits twice as long each time.
fn next_question(tracked: &Tracked, config: &PrometheusConfig, now: Instant) -> Instant {
    let latest = now + config.fetch_interval;
    if tracked.in_vain > 1 {
        let pause = SHORTEST * 2_u32.saturating_pow(tracked.in_vain.min(12) - 1);
        return (now + pause).min(latest);
    }
    let (Some(newest), Some(interval)) = (tracked.newest, tracked.scrape_interval) else {
        return latest.min(now + SHORTEST * 2);
    };
    let expected = newest + interval + SETTLE;
    expected.max(now + SHORTEST).min(latest)
}

/// Asks for a model; for replicas that are not found so, without its namespace
/// and then by their Pods, where labels were renamed on the way into Prometheus.
async fn questions(
    shared: &Shared,
    key: &TrackedModel,
    endpoints: &[Endpoint],
    ways: Option<&[usize]>,
) -> Result<Recording, String> {
    let mut all = Recording::default();
    for (way, matchers) in query::matchers(key, endpoints).into_iter().enumerate() {
        if ways.is_some_and(|ways| !ways.contains(&way)) {
            continue;
        }
        let sought: Vec<Endpoint> = endpoints
            .iter()
            .filter(|endpoint| !all.pages.contains_key(&endpoint.pod))
            .cloned()
            .collect();
        if sought.is_empty() {
            break;
        }
        let answer = ask_one(shared, &query::samples(&matchers, shared.config.window)).await?;
        all.bytes += answer.bytes;
        let mut found = Recording::of(&answer.series, &sought, &mut all.elsewhere);
        if found.pages.is_empty() {
            continue;
        }
        let info = ask_one(shared, &query::cache_config(&matchers)).await?;
        all.bytes += info.bytes;
        found = found.with_info(&info.series, &sought).shifted(shared.skew(&answer));
        all.pages.append(&mut found.pages);
        all.ways.push(way);
    }
    Ok(all)
}

async fn ask_one(shared: &Shared, question: &str) -> Result<Answer, String> {
    shared.client.query(question).await.map_err(|error| error.to_string())
}

impl Shared {
    /// How far Prometheus' clock is ahead of ours (or behind), if that is more
    /// than a question takes.
    fn skew(&self, answer: &Answer) -> Skew {
        let now = self.clock.now();
        match answer.server_time {
            Some(theirs) if theirs.since(now) > APART => Skew::Ahead(theirs.since(now)),
            Some(theirs) if now.since(theirs) > APART => Skew::Behind(now.since(theirs)),
            _ => Skew::None,
        }
    }
}

/// How Prometheus' clock differs from ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skew {
    None,
    Ahead(Duration),
    Behind(Duration),
}

impl Tracked {
    fn take_in(&mut self, recording: Recording, key: &TrackedModel, window: Duration, now: Instant) {
        let Recording { pages, elsewhere, .. } = recording;
        if pages.is_empty() {
            self.availability = Availability::new(Found::MetricsMissing, query::nothing_found(key, &elsewhere));
            return;
        }
        let mut unreadable = None;
        let mut readable = 0_usize;
        for (pod, pages) in &pages {
            let replica = self.replicas.entry(pod.clone()).or_insert_with(|| Replica {
                past: Past::new(Source::Prometheus, window, now),
                newest: Instant::ZERO,
            });
            for (at, page) in pages.iter().filter(|(at, _)| *at > replica.newest) {
                match crate::families::read(&page.as_page(), Some(&key.model)) {
                    Ok(read) => drop(replica.past.take_in(read, *at)),
                    Err(why) => replica.past.fail(why, *at),
                }
            }
            match &replica.past.signals.error {
                None => readable += 1,
                Some(why) => unreadable = Some(why.clone()),
            }
            if let Some((newest, _)) = pages.last() {
                replica.newest = replica.newest.max(*newest);
            }
        }
        self.scrape_interval = recorded::interval(&pages).or(self.scrape_interval);
        self.newest = pages.values().filter_map(|pages| pages.last()).map(|(at, _)| *at).max();
        if let (0, Some(why)) = (readable, unreadable) {
            let message =
                format!("Prometheus has samples of the replicas, and what tells their load is not among them: {why}");
            self.availability = Availability::new(Found::MetricsMissing, message);
            return;
        }
        let silent: Vec<&str> = self
            .endpoints
            .iter()
            .filter(|endpoint| !pages.contains_key(&endpoint.pod))
            .map(|endpoint| endpoint.pod.as_str())
            .collect();
        let message = if silent.is_empty() {
            format!("Prometheus has samples of all {} replicas", pages.len())
        } else {
            format!(
                "Prometheus has samples of {} replicas and none of {}",
                pages.len(),
                silent.join(", ")
            )
        };
        self.availability = Availability::new(Found::MetricsFound, message);
    }
}

#[cfg(test)]
mod tests;
