//! Shell: the OpenAI-compatible streaming gateway.
//!
//! Walk it as a request does: [`http::serve`](self) reads head and body and
//! scans the bytes for the model; [`fleet`](self) finds the pool, whose queue
//! admits or holds and whose ledger picks; `http::proxy` sends the request
//! and passes the answer through; the `Flight` that accompanied it corrects the
//! books when it is dropped, however it ended.
//!
//! The data path is written for bytes: no JSON tree, no allocation per chunk,
//! one write for everything the endpoint had ready. Each worker is a thread
//! with its own runtime and upstream connections; what they share are the
//! pools, each behind a lock held for microseconds and never across an await.

mod admin;
mod clock;
mod config;
mod discovery;
mod fleet;
mod flight;
mod handle;
mod http;
mod index;
mod metrics;
mod run;
mod upstream;

pub use config::{Config, ConfigError, Limits, Timeouts};
pub use discovery::{Discovery, StaticEndpoint, StaticPool};
pub use handle::{DrainState, Handle};
pub use index::{Change, Index};
pub use run::{Running, StartError, start};

/// Request header: how long the request may wait in the queue, milliseconds (1 to 600000).
pub const DEADLINE_HEADER: &str = "x-tidegate-deadline-ms";
