//! A vLLM-compatible server around the engine (`tidegate sim`).
//!
//! [`start`] binds a socket and serves vLLM's HTTP interface: OpenAI
//! completions with streaming, metrics, health, sleep and wake. One thread
//! runs the engine in real time; request handlers add to it and
//! abort from it under a short lock; a stream reads how many tokens its
//! request has so far and writes the words for them.
//!
//! The words are made up. Their number, the times between them and every
//! metric come from [`engine::Engine`].

mod answer;
mod args;
mod driver;
mod http_server;
mod metrics;
mod params;
mod process;
mod prose;
mod routes;
mod settings;
mod sse;
mod tokens;

pub use args::{Args, ArgsError};
pub use http_server::{Running, run, start};

/// Why a server could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A flag has a value that cannot be served.
    #[error(transparent)]
    Args(#[from] ArgsError),
    /// The socket could not be had.
    #[error("cannot listen on {address}: {source}; choose another --host or --port")]
    Bind {
        /// The address asked for.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The engine's thread could not be started.
    #[error("cannot start the engine thread: {0}")]
    Thread(std::io::Error),
}
