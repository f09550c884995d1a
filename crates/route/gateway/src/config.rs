//! What can be set, and what is in force when it is not.

use std::net::SocketAddr;
use std::time::Duration;
use thiserror::Error;

/// A gateway's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where clients connect. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where `/metrics`, `/signals` and `/healthz` are served; must be a loopback address.
    pub admin: Option<SocketAddr>,
    /// Threads that serve requests, 1 to 256.
    pub workers: usize,
    /// What is bounded, and how.
    pub limits: Limits,
    /// How long things may take.
    pub timeouts: Timeouts,
}

impl Config {
    /// The defaults on a given address: a worker per processor, four at most, no admin listener.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            listen,
            admin: None,
            workers: processors.min(4),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
        }
    }

    /// Checks what types cannot.
    ///
    /// # Errors
    /// [`ConfigError`] names the field and what it may be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if let Some(admin) = self.admin
            && !admin.ip().is_loopback()
        {
            return Err(ConfigError::AdminNotLoopback(admin));
        }
        let within = |field, value: usize, least, most| {
            let fits = (least..=most).contains(&value);
            if fits {
                Ok(())
            } else {
                Err(ConfigError::OutOfRange {
                    field,
                    value,
                    least,
                    most,
                })
            }
        };
        within("workers", self.workers, 1, 256)?;
        within("limits.head_bytes", self.limits.head_bytes, 1 << 10, 1 << 20)?;
        within("limits.body_bytes", self.limits.body_bytes, 1 << 10, 1 << 30)?;
        within("limits.attempts", self.limits.attempts as usize, 1, 100)?;
        within("limits.default_slots", self.limits.default_slots as usize, 1, 1 << 20)?;
        within("limits.connections", self.limits.connections, 1, 1 << 20)
    }
}

/// Everything that could grow, and how far it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest request body, bytes (413 beyond).
    pub body_bytes: usize,
    /// Bytes of all request bodies over 64 KiB held at once (429 beyond).
    pub buffered_bytes: usize,
    /// Longest request or response head, bytes (431 beyond). Heads hold 100 headers at most.
    pub head_bytes: usize,
    /// Client connections at once (503 beyond).
    pub connections: usize,
    /// Requests waiting per pool.
    pub queue_entries: usize,
    /// Bytes of requests waiting per pool.
    pub queue_bytes: u64,
    /// Requests sent to an endpoint at once whose Pod does not say.
    pub default_slots: u32,
    /// Times a request is sent before its failure is the client's to know.
    pub attempts: u32,
    /// Idle connections kept per worker and endpoint.
    pub idle_upstream: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 16 << 20,
            buffered_bytes: 1 << 30,
            head_bytes: 64 << 10,
            connections: 16_384,
            queue_entries: 5_000,
            queue_bytes: 512 << 20,
            default_slots: 256,
            attempts: 3,
            idle_upstream: 64,
        }
    }
}

/// How long each step may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// An idle client connection is kept.
    pub keep_alive: Duration,
    /// From the first byte of a request head to its last (408).
    pub head: Duration,
    /// For a request's body (408).
    pub body: Duration,
    /// In the queue, while the pool has an endpoint at arrival (504).
    pub queue: Duration,
    /// In the queue, when the pool has none: long enough to start one (503).
    pub queue_no_endpoint: Duration,
    /// To connect to an endpoint.
    pub connect: Duration,
    /// From sending the request to the answer's head (504).
    pub first_byte: Duration,
    /// Between two pieces of an answer (the client sees it cut).
    pub between_bytes: Duration,
    /// For a client to take what it was sent.
    pub client_stall: Duration,
    /// An idle connection to an endpoint is kept. Shorter than the five
    /// seconds after which vLLM closes it, so that it rarely closes under a request.
    pub upstream_idle: Duration,
    /// Streams may finish after shut-down began.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            keep_alive: Duration::from_secs(75),
            head: Duration::from_secs(10),
            body: Duration::from_secs(30),
            queue: Duration::from_secs(30),
            queue_no_endpoint: Duration::from_secs(120),
            connect: Duration::from_secs(2),
            first_byte: Duration::from_secs(600),
            between_bytes: Duration::from_secs(300),
            client_stall: Duration::from_secs(60),
            upstream_idle: Duration::from_secs(4),
            drain: Duration::from_secs(30),
        }
    }
}

/// A configuration that cannot work.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The admin listener tells too much to be reachable from elsewhere.
    #[error("admin: {0} is not a loopback address; use 127.0.0.1:PORT")]
    AdminNotLoopback(SocketAddr),
    /// A number outside its range.
    #[error("{field}: {value} is out of range, {least} to {most} is possible")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// What it was.
        value: usize,
        /// Its least.
        least: usize,
        /// Its most.
        most: usize,
    },
}
