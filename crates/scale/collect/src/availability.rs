//! Whether a source can be acted on, in the words of the conditions.

/// What became of looking for a model's metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// They are there and fresh.
    MetricsFound,
    /// They are not there.
    MetricsMissing,
    /// They are too old to act on.
    MetricsStale,
    /// Prometheus did not answer, or with an error.
    PrometheusError,
}

impl Found {
    /// The word, as the reason of a condition has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MetricsFound => "MetricsFound",
            Self::MetricsMissing => "MetricsMissing",
            Self::MetricsStale => "MetricsStale",
            Self::PrometheusError => "PrometheusError",
        }
    }
}

/// The same with a sentence that tells what was found, or the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Availability {
    /// In a word.
    pub found: Found,
    /// In a sentence.
    pub message: String,
}

impl Availability {
    /// `found`, told as `message`.
    #[must_use]
    pub fn new(found: Found, message: impl Into<String>) -> Self {
        Self {
            found,
            message: message.into(),
        }
    }
}
