//! Shell: where signals come from: Pods, Prometheus, gateways, pickers.
//!
//! Each source is a [`MetricsSource`]: [`PodScraper`] asks each replica for its
//! metrics page, [`PrometheusSource`] asks what a Prometheus has recorded of
//! them, [`GatewayReader`] asks the gateways (in process or over HTTP) for their
//! ledger, or endpoint pickers for as much of it as their metrics tell. A
//! [`Registry`] makes them by name, and a [`Composite`] takes of each signal the
//! freshest. All stamp what they get with its age and its source:
//! what is missing stays missing, with a sentence that says why. Reading a page
//! ([`families`]), turning counters into rates ([`window`]) and keeping answers
//! ([`cache`]) take the time as a parameter.

mod availability;
mod bearer;
pub mod cache;
mod clock;
mod composite;
#[cfg(test)]
mod eventually;
pub mod families;
mod gateway;
mod get;
mod health;
mod model;
mod prometheus;
mod ranks;
mod registry;
mod replica;
mod scrape;
mod source;
mod transport;
mod trust;
pub mod window;

pub use availability::{Availability, Found};
pub use clock::Clock;
pub use composite::Composite;
pub use gateway::{EndpointLedger, GatewayReader, GatewayReading, GatewaySource, ModelDemand};
pub use gateway::{Picker, PickerError, PickerSource, PickerToken, Pickers};
pub use health::SourceHealth;
pub use model::ModelSignals;
pub use prometheus::{PrometheusConfig, PrometheusError, PrometheusSource, without_user};
pub use registry::{Make, Registry, Settings, SourceError};
pub use replica::ReplicaSignals;
pub use scrape::{Endpoint, PodScraper, ScrapeConfig};
pub use source::{MetricsSource, Refresh, TrackedModel, TrackedModels, by_model};
pub use transport::{Answering, Transport};
