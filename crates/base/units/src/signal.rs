use crate::Instant;
use std::borrow::Cow;
use std::time::Duration;

/// Where a value was seen. The order is the order of trust: what we did
/// ourselves, what a replica says, what a store remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The gateway's own ledger: true at the moment it is read.
    Gateway,
    /// The metrics page of an endpoint picker: what it counted itself.
    Picker,
    /// A scrape of the replica itself.
    Replica,
    /// A Prometheus server.
    Prometheus,
}

impl Source {
    /// The name used in conditions, metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Picker => "picker",
            Self::Replica => "replica",
            Self::Prometheus => "prometheus",
        }
    }
}

/// A value that was seen, with when and where.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observed<T> {
    /// The value, in the unit its field name says.
    pub value: T,
    /// When it was true, not when it arrived.
    pub at: Instant,
    /// Who said so.
    pub source: Source,
}

/// A value that may not be known. Missing is never zero: nothing here turns a
/// missing signal into a number.
#[derive(Clone, Debug, PartialEq)]
pub enum Signal<T> {
    /// Seen, perhaps long ago: ask [`Signal::fresh`].
    Observed(Observed<T>),
    /// Not known since `since`, because of `why`.
    Missing {
        /// The first moment it was looked for and not found.
        since: Instant,
        /// A sentence for people: what was looked for and what came back.
        why: Cow<'static, str>,
    },
}

impl<T> Signal<T> {
    /// A value seen at `at` by `source`.
    pub const fn observed(value: T, at: Instant, source: Source) -> Self {
        Self::Observed(Observed { value, at, source })
    }

    /// A value that could not be had.
    pub fn missing(since: Instant, why: impl Into<Cow<'static, str>>) -> Self {
        Self::Missing { since, why: why.into() }
    }

    /// The observation, whatever its age.
    pub const fn last(&self) -> Option<&Observed<T>> {
        match self {
            Self::Observed(seen) => Some(seen),
            Self::Missing { .. } => None,
        }
    }

    /// The observation, if it is at most `max_age` old.
    pub fn fresh(&self, now: Instant, max_age: Duration) -> Option<&Observed<T>> {
        self.last().filter(|seen| now.since(seen.at) <= max_age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_signal_is_known_but_not_fresh() {
        let signal = Signal::observed(7, Instant::from_secs(10), Source::Replica);
        let now = Instant::from_secs(13);
        assert!(signal.fresh(now, Duration::from_secs(3)).is_some());
        assert!(signal.fresh(now, Duration::from_secs(2)).is_none());
        assert_eq!(signal.last().map(|seen| seen.value), Some(7));
    }

    #[test]
    fn a_missing_signal_has_no_value_at_any_age() {
        let signal: Signal<u32> = Signal::missing(Instant::ZERO, "never scraped");
        assert!(signal.fresh(Instant::ZERO, Duration::MAX).is_none());
    }
}
