//! Shell: where signals come from: pod scrapes and the gateway.
//!
//! [`PodScraper`] asks each replica for its metrics page, [`GatewayReader`]
//! asks the gateways (in process or over HTTP) for their ledger. Both stamp
//! what they get with its age and keep nothing else: what is missing stays
//! missing, with a sentence that says why. Reading a page ([`families`]) and
//! turning counters into rates ([`window`]) are pure.

mod availability;
mod clock;
pub mod families;
mod gateway;
mod get;
mod health;
mod prometheus;
mod replica;
mod scrape;
mod transport;
pub mod window;

pub use availability::{Availability, Found};
pub use clock::Clock;
pub use gateway::{EndpointLedger, GatewayReader, GatewayReading, GatewaySource, ModelDemand};
pub use health::SourceHealth;
pub use prometheus::{PrometheusConfig, PrometheusError, PrometheusSource, TrackedModel};
pub use replica::ReplicaSignals;
pub use scrape::{Endpoint, PodScraper, ScrapeConfig};
pub use transport::{Answering, Transport};
