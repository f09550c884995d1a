//! What the autoscaler tells the process it lives in.

use crate::configuration::ConfigMapRecord;
use crate::gauges;
use crate::inventory::InventoryRecord;
use crate::published;
use crate::record::DecisionRecord;
use crate::survey::pickers::PickerPools;
use crate::views::VariantView;
use collect::SourceHealth;
use parking_lot::Mutex;
use publish::Published;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Most decisions that are remembered.
const HISTORY: usize = 1024;
/// Of them, of one model at most.
const HISTORY_OF_MODEL: usize = 128;

/// Tells what the autoscaler sees and does. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    /// How long a pass speaks for what is now.
    holds_for: Duration,
}

#[derive(Debug)]
struct State {
    leads: bool,
    leader: String,
    leader_ip: Option<IpAddr>,
    observes: bool,
    configmaps: Vec<ConfigMapRecord>,
    decisions: VecDeque<DecisionRecord>,
    variants: Vec<VariantView>,
    published: Arc<[Published]>,
    /// When the last pass ended.
    passed: Option<Instant>,
    sources: BTreeMap<String, SourceHealth>,
    gpus: InventoryRecord,
    picker_pools: PickerPools,
    /// Changes carried out, by what `wva_replica_scaling_total` is labelled with.
    scalings: BTreeMap<Scaling, u64>,
    passes: u64,
    pass_micros: u64,
    write_failures: u64,
}

/// Labels of one `wva_replica_scaling_total` series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scaling {
    pub(crate) namespace: String,
    pub(crate) variant: String,
    /// Which controller owns the variant, if a label says so.
    pub(crate) instance: Option<String>,
    pub(crate) direction: &'static str,
    pub(crate) reason: &'static str,
}

/// What one pass found.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) leads: bool,
    /// Who leads, as far as is known.
    pub(crate) leader: String,
    /// Its Pod's address, if another one leads.
    pub(crate) leader_ip: Option<IpAddr>,
    /// Whether this process never leads.
    pub(crate) observes: bool,
    pub(crate) configmaps: Vec<ConfigMapRecord>,
    pub(crate) variants: Vec<VariantView>,
    pub(crate) records: Vec<DecisionRecord>,
    pub(crate) scalings: Vec<Scaling>,
    pub(crate) sources: BTreeMap<String, SourceHealth>,
    pub(crate) gpus: InventoryRecord,
    pub(crate) picker_pools: PickerPools,
    pub(crate) took_micros: u64,
    pub(crate) write_failures: u64,
}

impl Handle {
    pub(crate) fn new(holds_for: Duration) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                leads: false,
                leader: String::new(),
                leader_ip: None,
                observes: false,
                configmaps: Vec::new(),
                decisions: VecDeque::new(),
                variants: Vec::new(),
                published: Vec::new().into(),
                passed: None,
                gpus: InventoryRecord::default(),
                picker_pools: PickerPools::default(),
                sources: BTreeMap::new(),
                scalings: BTreeMap::new(),
                passes: 0,
                pass_micros: 0,
                write_failures: 0,
            }),
            changed: watch::Sender::new(0),
            holds_for,
        }))
    }

    /// The last decisions that changed something, or newly could not, newest
    /// last; at most 1024, and 128 of one model.
    #[must_use]
    pub fn decisions(&self) -> Vec<DecisionRecord> {
        self.0.state.lock().decisions.iter().cloned().collect()
    }

    /// Every variant as of the last pass, by namespace and name.
    #[must_use]
    pub fn variants(&self) -> Vec<VariantView> {
        self.0.state.lock().variants.clone()
    }

    /// Whether this process acts, as of the last pass: it won the election, or
    /// there is none.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.0.state.lock().leads
    }

    /// Who leads, by the Lease; empty without an election.
    #[must_use]
    pub fn leader(&self) -> String {
        self.0.state.lock().leader.clone()
    }

    /// The address of the Pod that leads, if that is another one: the Pod of
    /// the Lease's namespace that is called as its holder.
    #[must_use]
    pub fn leader_ip(&self) -> Option<IpAddr> {
        self.0.state.lock().leader_ip
    }

    /// Whether this process only looks on ([`crate::Actuator::Observe`]).
    #[must_use]
    pub fn observes(&self) -> bool {
        self.0.state.lock().observes
    }

    /// The ConfigMaps that were found, and whether each is in force.
    #[must_use]
    pub fn configmaps(&self) -> Vec<ConfigMapRecord> {
        self.0.state.lock().configmaps.clone()
    }

    /// The cluster's GPUs as of the last pass.
    #[must_use]
    pub fn gpus(&self) -> InventoryRecord {
        self.0.state.lock().gpus.clone()
    }

    /// How each source of signals is doing, by name, as of the last pass.
    #[must_use]
    pub fn sources(&self) -> BTreeMap<String, SourceHealth> {
        self.0.state.lock().sources.clone()
    }

    /// Whether objects and configuration have been read and looked at once.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.0.state.lock().passes > 0
    }

    /// The variants as the last pass published them.
    pub(crate) fn published(&self) -> Arc<[Published]> {
        self.0.state.lock().published.clone()
    }

    /// Changes its number after every pass.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// The gauges and counters as a Prometheus page. Where no pass has ended
    /// for longer than decisions hold, nothing is said of variants.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        self.metrics_at(Instant::now())
    }

    pub(crate) fn metrics_at(&self, now: Instant) -> String {
        let state = self.0.state.lock();
        let holds = state
            .passed
            .is_some_and(|at| now.duration_since(at) <= self.0.holds_for);
        let variants = if holds { &state.variants[..] } else { &[] };
        gauges::page(&gauges::Facts {
            leads: state.leads,
            configmaps: &state.configmaps,
            variants,
            scalings: &state.scalings,
            sources: &state.sources,
            gpus: &state.gpus,
            picker_pools: state.picker_pools,
            passes: state.passes,
            pass_micros: state.pass_micros,
            write_failures: state.write_failures,
        })
    }

    pub(crate) fn publish(&self, pass: Pass) {
        let mut state = self.0.state.lock();
        for record in pass.records {
            remember(&mut state.decisions, record);
        }
        for scaling in pass.scalings {
            *state.scalings.entry(scaling).or_default() += 1;
        }
        // A series lives as long as its object.
        let named = pass
            .variants
            .iter()
            .map(|view| (view.namespace.as_str(), view.name.as_str()));
        let alive: BTreeSet<(&str, &str)> = named.collect();
        let lives = |scaling: &Scaling| alive.contains(&(scaling.namespace.as_str(), scaling.variant.as_str()));
        state.scalings.retain(|scaling, _| lives(scaling));
        let now = Instant::now();
        state.passed = Some(now);
        state.published = published::next(&state.published, &pass.variants, pass.leads, now);
        state.variants = pass.variants;
        state.leads = pass.leads;
        state.leader = pass.leader;
        state.leader_ip = pass.leader_ip;
        state.observes = pass.observes;
        state.configmaps = pass.configmaps;
        state.sources = pass.sources;
        state.gpus = pass.gpus;
        state.picker_pools = pass.picker_pools;
        state.passes += 1;
        state.pass_micros += pass.took_micros;
        state.write_failures = pass.write_failures;
        drop(state);
        self.0.changed.send_modify(|passes| *passes += 1);
    }
}
/// Adds a record, in place of the oldest of its model or of all where there are
/// too many: one model's wavering does not push out what is known of the others.
fn remember(decisions: &mut VecDeque<DecisionRecord>, record: DecisionRecord) {
    let of_model = |other: &DecisionRecord| (&other.namespace, &other.model) == (&record.namespace, &record.model);
    let too_many_of_model = decisions.iter().filter(|other| of_model(other)).count() >= HISTORY_OF_MODEL;
    if too_many_of_model && let Some(oldest) = decisions.iter().position(of_model) {
        decisions.remove(oldest);
    } else if decisions.len() >= HISTORY {
        decisions.pop_front();
    }
    decisions.push_back(record);
}
