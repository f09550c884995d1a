//! Shell: the VariantAutoscaling controller: collects, decides, acts, reports.
//!
//! [`start`] watches VariantAutoscalings (and HPAs and ScaledObjects that are
//! managed without one), their targets, Pods, pools, nodes, namespaces and the
//! [`configuration`]; once per interval, and at once when a gateway wakes it, it
//! takes stock, asks [`capacity::decide`] once per model, and carries the
//! answers out: through the scale subresource ([`Actuator::Direct`]) or by
//! publishing gauges for HPA or KEDA ([`Actuator::Gauge`]). Status, conditions
//! and Events on each object say what was found and decided, and why;
//! [`Handle`] says the same to the process it lives in. Of several that take
//! part in one [`Election`] all watch and decide, and only the leader acts.

mod accelerator;
pub mod configuration;
mod controller;
mod election;
mod engine;
mod events;
mod gauges;
mod handle;
mod inventory;
mod lease;
mod ledger;
mod metrics_server;
mod published;
mod record;
mod replica_sources;
mod scales;
mod selector;
mod settings;
mod status;
mod subject;
mod survey;
mod target;
mod views;
mod world;
mod writer;

pub use capacity::optimize::gpus::Fail;
pub use capacity::{Policy, PolicyError};
pub use collect::{Answering, Clock, GatewaySource, PrometheusConfig, PrometheusError, Registry, ScrapeConfig};
pub use collect::{Picker, PickerError, PickerToken, Pickers};
pub use collect::{SourceError, SourceHealth, Transport};
pub use election::Election;
pub use handle::Handle;
pub use inventory::{GpuRecord, InventoryRecord, NodeSelector};
pub use lease::{Terms, TermsError};
pub use record::{DecisionRecord, ExplanationRecord, InputRecord, Inputs, RuleRecord, VariantChange};
pub use views::{Measured, ModelRecord, ReplicaRecord, VariantView};

use metrics_server::Pages;
use replica_sources::{ReplicaSources, Wanted};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How decisions are carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Actuator {
    /// Sets replicas through the target's scale subresource.
    #[default]
    Direct,
    /// Only publishes the gauges; HPA or KEDA scale by them.
    Gauge,
    /// Publishes the gauges for an HPA, and sets replicas itself to and from
    /// zero: an HPA keeps at least one, and leaves a target at zero alone.
    Hpa,
    /// Decides and explains, and touches nothing: no replicas, no status, no
    /// gauge of what is wanted. Another autoscaler, or a person, sets replicas.
    Observe,
}

/// How the GPUs of the cluster limit decisions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limiter {
    /// Whether free GPUs limit every model; if not, those whose
    /// `enableLimiter` says so.
    pub enabled: bool,
    /// The nodes whose GPUs count (`WVA_NODE_SELECTOR`).
    pub nodes: NodeSelector,
    /// What to do while free GPUs are not known, where no ConfigMap says it.
    pub fail: Fail,
}

/// What the autoscaler is to do.
#[derive(Clone, Debug)]
pub struct Config {
    /// The namespace to look after; all of them if absent.
    pub namespace: Option<String>,
    /// How decisions are carried out.
    pub actuator: Actuator,
    /// Time between decisions, unless something wakes it earlier.
    pub interval: Duration,
    /// When a model is full, when it has too much, how patient to be.
    pub policy: Policy,
    /// Gauges of variants end when no pass has confirmed them for this long.
    pub decision_holds_for: Duration,
    /// How replicas are asked for their metrics, if they are.
    pub scrape: Option<ScrapeConfig>,
    /// The Prometheus that is asked for them, if one is. Without scrapes of our
    /// own, its freshness threshold says which signals are fresh.
    pub prometheus: Option<PrometheusConfig>,
    /// Where the gateways are.
    pub gateway: GatewaySource,
    /// Endpoint pickers of the field, which hold requests as a gateway does.
    pub pickers: Pickers,
    /// How sources of signals are made, by name; one from elsewhere can be
    /// registered.
    pub registry: Registry,
    /// The sources to ask, by their names in the registry; if empty, those that
    /// `scrape`, `prometheus`, `gateway` and `pickers` configure.
    pub sources: Vec<String>,
    /// Wakes it at once, for instance when a gateway holds a request.
    pub wake: Option<Arc<Notify>>,
    /// Where to serve `/metrics` and explanations, if at all.
    pub metrics_listen: Option<SocketAddr>,
    /// Where to serve `/healthz` and `/readyz` alone, if at all.
    pub health_listen: Option<SocketAddr>,
    /// The election to win before acting; without one this process is alone.
    pub election: Option<Election>,
    /// The ConfigMaps to follow; without, the policy holds for every model.
    pub configuration: Option<configuration::Scope>,
    /// What the GPUs that are there limit.
    pub limiter: Limiter,
    /// The shard to look after: objects whose label `wva.llmd.ai/controller-instance`
    /// says so; everything if absent.
    pub instance: Option<String>,
    /// The time; the system's from the start on if absent.
    pub clock: Option<Clock>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            namespace: None,
            actuator: Actuator::default(),
            interval: Duration::from_millis(500),
            policy: Policy::default(),
            decision_holds_for: Duration::from_secs(60),
            scrape: Some(ScrapeConfig::default()),
            prometheus: None,
            gateway: GatewaySource::None,
            pickers: Pickers::default(),
            registry: Registry::default(),
            sources: Vec::new(),
            wake: None,
            metrics_listen: None,
            health_listen: None,
            election: None,
            configuration: None,
            limiter: Limiter::default(),
            instance: None,
            clock: None,
        }
    }
}

/// Why the autoscaler cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The policy makes no sense.
    #[error("policy: {0}")]
    Policy(#[from] PolicyError),
    /// The interval is zero.
    #[error("interval is 0: it must be longer")]
    Interval,
    /// A source of signals is not known, or cannot be asked as configured.
    #[error(transparent)]
    Sources(#[from] SourceError),
    /// The terms of the election make no sense.
    #[error("leader election: {0}")]
    Terms(#[from] TermsError),
    /// The address of metrics or health cannot be had.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
}

/// A started autoscaler.
#[derive(Debug)]
pub struct Running {
    /// Tells what it does.
    pub handle: Handle,
    /// Where `/metrics` is served, if it is.
    pub metrics_address: Option<SocketAddr>,
    /// Where `/healthz` and `/readyz` are served, if they are.
    pub health_address: Option<SocketAddr>,
    task: JoinHandle<()>,
}

impl Running {
    /// Waits until it has stopped and finished what it was writing.
    pub async fn join(self) {
        // A panic has been printed where it happened; there is nothing to add.
        let _ = self.task.await;
    }
}

/// Starts the autoscaler; it runs until `stop`.
///
/// # Errors
/// A policy, interval or election that makes no sense, a source that is not
/// known or cannot be asked as configured, an address that is taken.
pub async fn start(client: kube::Client, mut config: Config, stop: CancellationToken) -> Result<Running, StartError> {
    config.policy.validate()?;
    if config.interval.is_zero() {
        return Err(StartError::Interval);
    }
    if let Some(election) = &config.election {
        election.terms.validate()?;
    }
    if let Some(prometheus) = &config.prometheus {
        config.policy.max_age_recorded = prometheus.fresh;
        config.policy.mean_over_recorded = prometheus.window;
    }
    let clock = config.clock.unwrap_or_else(Clock::start);
    let changed = Arc::new(Notify::new());
    let wanted = Wanted {
        registry: &config.registry,
        names: &config.sources,
        scrape: config.scrape.clone(),
        prometheus: config.prometheus.clone(),
        gateway: config.gateway.clone(),
        pickers: config.pickers.clone(),
        urgent: &changed,
    };
    let replicas = ReplicaSources::start(wanted, clock, &stop)?;
    let handle = Handle::new(config.decision_holds_for);
    let serve = async |address: Option<SocketAddr>, pages| match address {
        None => Ok(None),
        Some(address) => metrics_server::serve(address, pages, handle.clone(), stop.clone())
            .await
            .map(Some)
            .map_err(|error| StartError::Listen(address, error)),
    };
    let metrics_address = serve(config.metrics_listen, Pages::All).await?;
    let health_address = serve(config.health_listen, Pages::Health).await?;
    let task = tokio::spawn(controller::run(
        client,
        config,
        clock,
        replicas,
        changed,
        handle.clone(),
        stop,
    ));
    Ok(Running {
        handle,
        metrics_address,
        health_address,
        task,
    })
}
