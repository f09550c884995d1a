//! Who leads: decisions about a Lease, pure.
//!
//! The rule is that of Kubernetes' own clients. Nobody compares his clock with
//! a time that somebody else wrote: a Lease is over when *this* process has not
//! seen it change for its duration. A leader stops acting a *renew deadline*
//! after his last renewal began, which is shorter than the lease; so the next
//! one begins after he has stopped, however far their clocks are apart, as long
//! as they run at the same speed.

use std::time::Duration;
use thiserror::Error;
use units::Instant;

/// How long things take in an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// A leader who does not renew for this long may be followed.
    pub lease: Duration,
    /// A leader who could not renew for this long stops acting.
    pub renew: Duration,
    /// Time between two looks at the Lease.
    pub retry: Duration,
}

impl Default for Terms {
    /// The predecessor's: 60 s, 50 s, 10 s.
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(60),
            renew: Duration::from_secs(50),
            retry: Duration::from_secs(10),
        }
    }
}

/// Terms under which two could lead at once, or nobody for long.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct TermsError(String);

impl Terms {
    /// Checks that the three go together.
    ///
    /// # Errors
    /// The first that does not, with the remedy.
    pub fn validate(&self) -> Result<(), TermsError> {
        let Self { lease, renew, retry } = *self;
        let wrong = |text: String| Err(TermsError(text));
        if lease < Duration::from_secs(1) || lease.subsec_nanos() != 0 {
            return wrong(format!(
                "the lease duration is {lease:?}: it must be whole seconds, 1 or more"
            ));
        }
        if i32::try_from(lease.as_secs()).is_err() {
            return wrong(format!(
                "the lease duration is {lease:?}: it must be shorter than 68 years"
            ));
        }
        if renew >= lease {
            return wrong(format!(
                "the renew deadline is {renew:?}: it must be shorter than the lease duration ({lease:?}), or two could lead at once"
            ));
        }
        if retry.is_zero() || retry * 6 / 5 >= renew {
            return wrong(format!(
                "the retry period is {retry:?}: it must be above 0 and, with a fifth to spare, shorter than the renew deadline ({renew:?})"
            ));
        }
        Ok(())
    }
}

/// What a Lease says. Times in it are words here, compared and never read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Who leads; empty if nobody does.
    pub(crate) holder: String,
    /// How long it holds without a renewal, if it says so.
    pub(crate) lease: Option<Duration>,
    /// When its holder says he renewed it.
    pub(crate) renewed: String,
    /// How often leaders changed.
    pub(crate) transitions: i32,
}

/// A Lease as this process has seen it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    record: Option<Record>,
    /// When it was first seen as it is.
    since: Instant,
}

impl Observed {
    /// Takes note of what the Lease says now.
    pub(crate) fn see(&mut self, record: Option<Record>, now: Instant) {
        if self.record != record {
            self.record = record;
            self.since = now;
        }
    }

    /// Who leads, as far as is known.
    pub(crate) fn holder(&self) -> &str {
        self.record.as_ref().map_or("", |record| record.holder.as_str())
    }
}

/// What to do about a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is none: make it.
    Create,
    /// Nobody holds it, or its holder has gone silent: take it.
    Take {
        /// The number of changes to write.
        transitions: i32,
    },
    /// It is ours: renew it.
    Renew {
        /// The number of changes to write.
        transitions: i32,
    },
    /// It is another's.
    Wait,
}

/// What `me` is to do about the Lease, at `now`.
pub(crate) fn decide(observed: &Observed, me: &str, terms: &Terms, now: Instant) -> Step {
    let Some(record) = &observed.record else {
        return Step::Create;
    };
    let transitions = record.transitions;
    if record.holder == me {
        return Step::Renew { transitions };
    }
    let over = now.since(observed.since) >= record.lease.unwrap_or(terms.lease);
    if record.holder.is_empty() || over {
        return Step::Take {
            transitions: transitions.saturating_add(1),
        };
    }
    Step::Wait
}

/// Whether somebody whose last renewal began at `renewed` leads at `now`.
pub(crate) fn leads(renewed: Option<Instant>, terms: &Terms, now: Instant) -> bool {
    renewed.is_some_and(|renewed| now.since(renewed) < terms.renew)
}

#[cfg(test)]
mod tests;
