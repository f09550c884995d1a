//! Shell: the VariantAutoscaling controller: collects, decides, acts, reports.
//!
//! [`start`] watches VariantAutoscalings, their targets, Pods, pools, nodes
//! and namespaces; once per interval, and at once when a gateway wakes it, it
//! takes stock, asks [`capacity::decide`] once per model, and carries the
//! answers out: through the scale subresource ([`Actuator::Direct`]) or by
//! publishing gauges for HPA or KEDA ([`Actuator::Gauge`]). Status, conditions
//! and Events on each object say what was found and decided, and why;
//! [`Handle`] says the same to the process it lives in.

mod controller;
mod events;
mod gauges;
mod handle;
mod ledger;
mod metrics_server;
mod record;
mod selector;
mod settings;
mod status;
mod survey;
mod target;
mod views;
mod world;
mod writer;

pub use capacity::{Policy, PolicyError};
pub use collect::{GatewaySource, ScrapeConfig};
pub use handle::Handle;
pub use record::{DecisionRecord, ExplanationRecord, InputRecord, RuleRecord, VariantChange};
pub use views::{Measured, ReplicaRecord, VariantView};

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
    /// How replicas are asked for their metrics.
    pub scrape: ScrapeConfig,
    /// Where the gateways are.
    pub gateway: GatewaySource,
    /// Wakes it at once, for instance when a gateway holds a request.
    pub wake: Option<Arc<Notify>>,
    /// Where to serve `/metrics`, if at all.
    pub metrics_listen: Option<SocketAddr>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            namespace: None,
            actuator: Actuator::default(),
            interval: Duration::from_millis(500),
            policy: Policy::default(),
            scrape: ScrapeConfig::default(),
            gateway: GatewaySource::None,
            wake: None,
            metrics_listen: None,
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
    /// The metrics address cannot be had.
    #[error("cannot listen for metrics on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
}

/// A started autoscaler.
#[derive(Debug)]
pub struct Running {
    /// Tells what it does.
    pub handle: Handle,
    /// Where `/metrics` is served, if it is.
    pub metrics_address: Option<SocketAddr>,
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
/// A policy or interval that makes no sense, an address that is taken.
pub async fn start(client: kube::Client, config: Config, stop: CancellationToken) -> Result<Running, StartError> {
    config.policy.validate()?;
    if config.interval.is_zero() {
        return Err(StartError::Interval);
    }
    let handle = Handle::new();
    let metrics_address = match config.metrics_listen {
        None => None,
        Some(address) => Some(
            metrics_server::serve(address, handle.clone(), stop.clone())
                .await
                .map_err(|error| StartError::Listen(address, error))?,
        ),
    };
    let task = tokio::spawn(controller::run(client, config, handle.clone(), stop));
    Ok(Running {
        handle,
        metrics_address,
        task,
    })
}
