//! One gateway, or picker, and what it said lately.

use crate::window::CounterWindow;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use units::Instant;
use wire::signals::{GatewaySignals, Histogram, PoolSignals};

/// Window for rates and latencies.
const WINDOW: Duration = Duration::from_secs(5);
/// Window for latencies, which need more observations.
const LATENCY_WINDOW: Duration = Duration::from_secs(15);
/// Snapshots of latencies are at least this far apart.
const LATENCY_GRAIN: Duration = Duration::from_millis(750);

/// One gateway, or picker, and its recent past.
#[derive(Debug)]
pub(super) struct Instance {
    /// Tells it from others, also from one that was of the same name.
    pub(super) id: u64,
    pub(super) name: String,
    /// The only namespace it tells of; a gateway tells of all.
    pub(super) namespace: Option<String>,
    /// Nobody has named it: what it does not say is not missed.
    pub(super) found: bool,
    pub(super) latest: Option<(Instant, GatewaySignals)>,
    pub(super) error: Option<(Instant, String)>,
    pub(super) pools: BTreeMap<String, PoolPast>,
}

#[derive(Debug)]
pub(super) struct PoolPast {
    pub(super) arrived: CounterWindow,
    pub(super) left: CounterWindow,
    pub(super) tokens: CounterWindow,
    pub(super) completed: CounterWindow,
    pub(super) prompts: CounterWindow,
    pub(super) latencies: VecDeque<(Instant, Histogram, Histogram)>,
}

impl Instance {
    pub(super) const fn new(id: u64, name: String, namespace: Option<String>) -> Self {
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
    pub(super) fn is_of(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace)
    }

    /// Whether it is one to tell of `model`: a gateway is, whatever it says. A
    /// picker names a model only once a request has come for it; until then
    /// nobody counts them, as if there were no picker. One that somebody has
    /// named is missed before its first answer, one that was found is not.
    pub(super) fn is_to_tell(&self, namespace: &str, model: &str) -> bool {
        match (&self.namespace, &self.latest) {
            (None, _) => true,
            (Some(_), None) => self.is_of(namespace) && !self.found,
            (Some(_), Some((_, signals))) => {
                self.is_of(namespace) && signals.pools_of(namespace, model).next().is_some()
            }
        }
    }

    pub(super) fn take_in(&mut self, signals: GatewaySignals, at: Instant) {
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
    pub(super) fn recent(&self, pool: &PoolSignals) -> (Histogram, Histogram) {
        match self.latencies.front() {
            Some((_, ttft, itl)) => (pool.ttft_ms.since(ttft), pool.itl_ms.since(itl)),
            None => (pool.ttft_ms.clone(), pool.itl_ms.clone()),
        }
    }
}
