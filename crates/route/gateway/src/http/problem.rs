//! Everything a client can be refused for, and how it is told.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;
use wire::scan::ScanError;

/// Why a request is not answered by an endpoint. Status, words and headers
/// are decided here and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The head is not HTTP as we accept it.
    BadHead(Cow<'static, str>),
    /// A header's value cannot be used.
    BadHeader {
        name: &'static str,
        why: Cow<'static, str>,
    },
    HeadTooLarge {
        limit: usize,
    },
    TooManyHeaders {
        limit: usize,
    },
    Unsupported(Cow<'static, str>),
    ExpectationFailed,
    HeadTimeout(Duration),
    BodyTimeout {
        got: usize,
        within: Duration,
    },
    BodyTooLarge {
        limit: usize,
    },
    BadChunking(&'static str),
    BadBody(ScanError),
    NoModel,
    UnknownModel {
        model: String,
        known: String,
    },
    UnknownPath(String),
    WrongMethod {
        allow: &'static str,
    },
    OutOfBuffers {
        limit: usize,
    },
    TooManyConnections {
        limit: usize,
    },
    QueueFull {
        refusal: flow::Refusal,
        had_endpoint: bool,
    },
    DeadlinePassed {
        had_endpoint: bool,
        waited: Duration,
    },
    ShuttingDown,
    UpstreamFailed {
        endpoint: SocketAddr,
        attempts: u32,
        why: String,
    },
    UpstreamSilent {
        endpoint: SocketAddr,
        within: Duration,
    },
}

impl Problem {
    pub(crate) const fn status(&self) -> u16 {
        match self {
            Self::BadHead(_) | Self::BadHeader { .. } | Self::BadChunking(_) | Self::BadBody(_) | Self::NoModel => 400,
            Self::UnknownModel { .. } | Self::UnknownPath(_) => 404,
            Self::WrongMethod { .. } => 405,
            Self::HeadTimeout(_) | Self::BodyTimeout { .. } => 408,
            Self::BodyTooLarge { .. } => 413,
            Self::ExpectationFailed => 417,
            Self::OutOfBuffers { .. } => 429,
            Self::QueueFull { had_endpoint, .. } => {
                if *had_endpoint {
                    429
                } else {
                    503
                }
            }
            Self::HeadTooLarge { .. } | Self::TooManyHeaders { .. } => 431,
            Self::Unsupported(_) => 501,
            Self::UpstreamFailed { .. } => 502,
            Self::ShuttingDown | Self::TooManyConnections { .. } => 503,
            Self::DeadlinePassed { had_endpoint, .. } => {
                if *had_endpoint {
                    504
                } else {
                    503
                }
            }
            Self::UpstreamSilent { .. } => 504,
        }
    }

    /// The picker's published word for the refusal, where it has one.
    pub(crate) const fn dropped_reason(&self) -> Option<&'static str> {
        match self {
            Self::QueueFull {
                had_endpoint: false, ..
            }
            | Self::DeadlinePassed {
                had_endpoint: false, ..
            } => Some("rejected-no-endpoints"),
            Self::QueueFull { .. } | Self::OutOfBuffers { .. } => Some("rejected-saturated"),
            Self::DeadlinePassed { .. } => Some("rejected-ttl-expired"),
            Self::ShuttingDown => Some("rejected-shutting-down"),
            _ => None,
        }
    }

    /// Seconds after which trying again makes sense.
    pub(crate) const fn retry_after(&self) -> Option<u32> {
        match self.status() {
            429 => Some(1),
            503 => Some(5),
            _ => None,
        }
    }

    /// The request field at fault.
    pub(crate) fn param(&self) -> Option<&str> {
        match self {
            Self::BadHeader { name, .. } => Some(name),
            Self::BadBody(error) => error.field.as_deref(),
            Self::NoModel | Self::UnknownModel { .. } => Some("model"),
            _ => None,
        }
    }

    pub(crate) const fn allow(&self) -> Option<&'static str> {
        match self {
            Self::WrongMethod { allow } => Some(allow),
            _ => None,
        }
    }

    /// A sentence with the place and the remedy.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::BadHead(why) => format!("Malformed request head: {why}."),
            Self::BadHeader { name, why } => format!("Header `{name}`: {why}."),
            Self::HeadTooLarge { limit } => {
                format!("The request head is longer than {limit} bytes; send fewer or shorter headers.")
            }
            Self::TooManyHeaders { limit } => format!("More than {limit} headers; send fewer."),
            Self::Unsupported(what) => format!("{what} is not supported."),
            Self::ExpectationFailed => "Header `expect`: only 100-continue is supported.".to_owned(),
            Self::HeadTimeout(within) => format!("The request head did not arrive within {} s.", within.as_secs_f64()),
            Self::BodyTimeout { got, within } => {
                format!(
                    "The request body did not arrive within {} s; {got} bytes of it came.",
                    within.as_secs_f64()
                )
            }
            Self::BodyTooLarge { limit } => format!(
                "The request body is longer than the limit of {limit} bytes; shorten the prompt or raise the gateway's body limit."
            ),
            Self::BadChunking(why) => format!("Malformed chunked request body: {why}."),
            Self::BadBody(error) => format!("The request body cannot be read: {error}."),
            Self::NoModel => "The field `model` is missing; GET /v1/models lists the names.".to_owned(),
            Self::UnknownModel { model, known } if known.is_empty() => {
                format!("The model `{model}` does not exist; this gateway knows no models yet.")
            }
            Self::UnknownModel { model, known } => {
                format!("The model `{model}` does not exist. Known models: {known}.")
            }
            Self::UnknownPath(path) => format!(
                "No route for `{path}`. There are POST /v1/* (with a `model` field), POST /tokenize, POST /detokenize, GET /v1/models and GET /health."
            ),
            Self::WrongMethod { allow } => format!("Method not allowed here; use {allow}."),
            Self::OutOfBuffers { limit } => {
                format!("Request bodies in progress fill the gateway's {limit} bytes of buffers; try again shortly.")
            }
            Self::TooManyConnections { limit } => {
                format!("All {limit} connections of the gateway are in use; try again shortly.")
            }
            Self::QueueFull { refusal, .. } => match refusal {
                flow::Refusal::Entries { limit } => {
                    format!("The queue is full: {limit} requests wait for this model. Try again later.")
                }
                flow::Refusal::Bytes { limit, waiting } => {
                    format!(
                        "The queue is full: {waiting} bytes of requests wait for this model, {limit} may. Try again later."
                    )
                }
                flow::Refusal::DeadlinePassed | flow::Refusal::AlreadyWaiting => {
                    "The request cannot be queued. Try again.".to_owned()
                }
            },
            Self::DeadlinePassed {
                had_endpoint: true,
                waited,
            } => {
                format!(
                    "Every endpoint was busy for {:.1} s, which was the deadline.",
                    waited.as_secs_f64()
                )
            }
            Self::DeadlinePassed {
                had_endpoint: false,
                waited,
            } => {
                format!(
                    "No endpoint became ready within {:.1} s, which was the deadline. Try again later.",
                    waited.as_secs_f64()
                )
            }
            Self::ShuttingDown => "The gateway is shutting down; connect again to reach another.".to_owned(),
            Self::UpstreamFailed {
                endpoint,
                attempts,
                why,
            } => {
                format!("No endpoint answered in {attempts} attempts; the last one, {endpoint}: {why}.")
            }
            Self::UpstreamSilent { endpoint, within } => {
                format!(
                    "Endpoint {endpoint} did not begin to answer within {} s.",
                    within.as_secs_f64()
                )
            }
        }
    }
}
