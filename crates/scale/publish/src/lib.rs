//! Serves decisions to those who scale by them, without a metrics adapter in
//! between: `external.metrics.k8s.io/v1beta1` for the HorizontalPodAutoscaler
//! and the external scaler protocol for KEDA.
//!
//! This crate knows neither how a decision is taken nor the Kubernetes API:
//! it is given [`Decisions`] and carries them. A variant without a decision,
//! or with one older than [`Config::stale_after`], is withheld with a reason;
//! it is never a number, least of all 0.

mod board;
mod config;
mod decisions;
mod external;
mod front_proxy;
mod keda;
mod listen;
mod quantity;
mod selector;
mod series;
mod serve;
mod tls;

pub use config::{Config, ExternalMetrics, FrontProxy, Keda, KeyFiles};
pub use decisions::{Decided, Decisions, Published, Target};
pub use series::InProcess;
pub use serve::{Error, Running, serve};
