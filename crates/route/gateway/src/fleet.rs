//! Everything the workers share: the table of pools, and the keeper that
//! serves those who wait when nothing else does.

mod pool;

pub(crate) use pool::{Arrival, Grant, Pool, Verdict};

use crate::clock::Clock;
use crate::config::{Limits, Timeouts};
use crate::discovery::StaticPool;
use arc_swap::ArcSwap;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use units::Instant;
use wire::signals::GatewaySignals;

/// Which pool answers for which model.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) by_model: HashMap<String, Arc<Pool>>,
    pub(crate) pools: BTreeMap<String, Arc<Pool>>,
}

impl Table {
    /// The models that exist, in order.
    pub(crate) fn models(&self) -> Vec<&str> {
        let mut models: Vec<&str> = self.by_model.keys().map(String::as_str).collect();
        models.sort_unstable();
        models
    }
}

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    pub(crate) table: ArcSwap<Table>,
    pub(crate) draining: AtomicBool,
    pub(crate) connections: AtomicUsize,
    /// Bytes of large bodies held.
    pub(crate) buffered: AtomicUsize,
    /// Requests answered with an error of ours, by status.
    pub(crate) turned_away: parking_lot::Mutex<BTreeMap<u16, u64>>,
    next_request: AtomicU64,
    next_endpoint: AtomicU64,
    /// Counts the moments that are worth a decision at once.
    moments: watch::Sender<u64>,
    /// Nanoseconds of the moment the keeper will look again.
    next_look: AtomicU64,
    look_now: Notify,
}

impl Shared {
    pub(crate) fn new(clock: Clock, limits: Limits, timeouts: Timeouts) -> (Arc<Self>, watch::Receiver<u64>) {
        let (moments, receiver) = watch::channel(0);
        let shared = Self {
            clock,
            limits,
            timeouts,
            table: ArcSwap::default(),
            draining: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            buffered: AtomicUsize::new(0),
            turned_away: parking_lot::Mutex::default(),
            next_request: AtomicU64::new(1),
            next_endpoint: AtomicU64::new(1),
            moments,
            next_look: AtomicU64::new(u64::MAX),
            look_now: Notify::new(),
        };
        (Arc::new(shared), receiver)
    }

    pub(crate) fn next_request(&self) -> u64 {
        self.next_request.fetch_add(1, Ordering::Relaxed)
    }

    /// It is worth deciding at once: see [`Arrival::Wait`].
    pub(crate) fn announce(&self) {
        self.moments.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The keeper must look no later than `at`.
    pub(crate) fn look_by(&self, at: Option<Instant>) {
        if let Some(at) = at
            && self.next_look.fetch_min(at.as_nanos(), Ordering::AcqRel) > at.as_nanos()
        {
            self.look_now.notify_one();
        }
    }

    /// Puts `pools` in force. Pools and endpoints that stay keep their books.
    pub(crate) fn set_pools(&self, pools: Vec<StaticPool>) {
        let now = self.clock.now();
        let old = self.table.load_full();
        let mut table = Table::default();
        for named in pools {
            let pool = old
                .pools
                .get(&named.name)
                .cloned()
                .unwrap_or_else(|| Arc::new(Pool::new(named.name.clone(), &self.limits)));
            for model in &named.models {
                let earlier = table.by_model.entry(model.clone()).or_insert_with(|| pool.clone());
                if earlier.name != pool.name {
                    tracing::warn!(model, first = %earlier.name, second = %pool.name, "two pools serve one model name; the first is used");
                }
            }
            let mut core = pool.core.lock();
            core.set(&named, self.limits.default_slots, || {
                self.next_endpoint.fetch_add(1, Ordering::Relaxed)
            });
            core.dispatch(now);
            let stranded = !core.queue.is_empty() && !core.ledger.has_endpoint();
            drop(core);
            if stranded {
                self.announce();
            }
            table.pools.insert(named.name, pool);
        }
        let gone: Vec<_> = old
            .pools
            .values()
            .filter(|pool| !table.pools.contains_key(&pool.name))
            .cloned()
            .collect();
        self.table.store(Arc::new(table));
        for pool in gone {
            let mut core = pool.core.lock();
            core.set(&StaticPool::default(), self.limits.default_slots, || 0);
            core.closed = true;
            core.release_all(|| Verdict::Expired { had_endpoint: false });
        }
        self.look_by(Some(now));
    }

    /// Refuses everything that waits and everything that will.
    pub(crate) fn begin_drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        for pool in self.table.load().pools.values() {
            let mut core = pool.core.lock();
            core.closed = true;
            core.release_all(|| Verdict::ShuttingDown);
        }
    }

    /// Expires what waited too long and dispatches to endpoints whose rest is
    /// over, whenever one of the two is due. Runs for ever.
    pub(crate) async fn keep(&self) {
        loop {
            self.next_look.store(u64::MAX, Ordering::Release);
            let now = self.clock.now();
            for pool in self.table.load().pools.values() {
                let mut core = pool.core.lock();
                core.expire(now);
                core.dispatch(now);
                let next = core.next_event(now);
                drop(core);
                if let Some(next) = next {
                    self.next_look.fetch_min(next.as_nanos(), Ordering::AcqRel);
                }
            }
            let at = Instant::from_nanos(self.next_look.load(Ordering::Acquire));
            tokio::select! {
                () = tokio::time::sleep_until(self.clock.timer(at)) => {}
                () = self.look_now.notified() => {}
            }
        }
    }

    /// `(queued, in flight)` over all pools.
    pub(crate) fn load(&self) -> (u64, u64) {
        self.table
            .load()
            .pools
            .values()
            .fold((0, 0), |(queued, in_flight), pool| {
                let core = pool.core.lock();
                (queued + core.queue.len() as u64, in_flight + core.ledger.in_flight())
            })
    }

    /// The same, once the count of moments is another than `after` or `within` is over.
    pub(crate) async fn signals_after(&self, after: u64, within: Duration) -> GatewaySignals {
        let began = self.clock.now();
        let mut moments = self.moments.subscribe();
        // Of no interest which of the two it was; the sender lives as long as this.
        let _ = tokio::time::timeout(within, moments.wait_for(|count| *count != after)).await;
        let waited = self.clock.now().since(began);
        GatewaySignals {
            waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
            ..self.signals()
        }
    }

    pub(crate) fn signals(&self) -> GatewaySignals {
        let now = self.clock.now();
        let table = self.table.load();
        GatewaySignals {
            started_unix_ms: self.clock.started_unix_ms,
            at_unix_ms: self.clock.unix_ms(),
            moments: Some(*self.moments.borrow()),
            waited_ms: 0,
            pools: table
                .pools
                .iter()
                .map(|(name, pool)| (name.clone(), pool.core.lock().signals(now)))
                .collect(),
        }
    }
}
