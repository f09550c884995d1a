//! What is seen of the target and of its metrics at one moment.

use std::time::Duration;
use units::Instant;

/// The target and the metrics at one moment.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// `spec.replicas` of the scale subresource.
    pub spec_replicas: u32,
    /// `status.replicas` of the scale subresource.
    pub status_replicas: u32,
    /// The Pods that its selector selects. Metrics with a target per replica
    /// ([`crate::Target::AverageValue`]) do not look at them.
    pub pods: &'a [Pod],
    /// One reading for each metric of the spec, in its order. A metric without
    /// one counts as failed.
    pub readings: &'a [Reading<'a>],
    /// Whether the selector can be used.
    pub selection: Selection<'a>,
}

impl<'a> View<'a> {
    /// A target that has what it wants: `replicas` in spec and status.
    #[must_use]
    pub const fn settled(replicas: u32, pods: &'a [Pod], readings: &'a [Reading<'a>]) -> Self {
        Self {
            spec_replicas: replicas,
            status_replicas: replicas,
            pods,
            readings,
            selection: Selection::Good,
        }
    }
}

/// What is known of the target's selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection<'a> {
    /// It selects Pods that no other HPA's target has.
    Good,
    /// The scale subresource has none.
    Missing,
    /// It does not parse; why.
    Unparsable(&'a str),
    /// Several HPAs' targets select the same Pods: what the message says after
    /// "pods by selector".
    Ambiguous(&'a str),
}

/// What was read for one metric.
#[derive(Clone, Copy, Debug)]
pub enum Reading<'a> {
    /// Of an external metric or an object's: all series that match, in
    /// thousandths. They are summed; none is a failure and never 0.
    Series(&'a [i64]),
    /// Of a resource or of a Pods metric.
    PerPod {
        /// One for each Pod of the view, in its order; `None` is missing.
        samples: &'a [Option<Sample>],
        /// Values for Pods that are no longer among those of the view, in
        /// thousandths.
        strays: &'a [i64],
        /// What each Pod requests of the resource, in thousandths and the
        /// view's order, or why that cannot be said. Only a target in percent
        /// looks at it.
        requests: Result<&'a [i64], &'a str>,
    },
    /// Nothing was read; why.
    Failed(&'a str),
}

/// The value of one Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// In thousandths.
    pub milli: i64,
    /// The end of the time it was measured over.
    pub at: Instant,
    /// The time it was measured over.
    pub window: Duration,
}

/// What is known of one Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pod {
    /// `status.phase`.
    pub phase: Phase,
    /// Whether it has a deletion timestamp.
    pub deleted: bool,
    /// The condition Ready and when it changed last.
    pub ready: Option<(Ready, Instant)>,
    /// `status.startTime`.
    pub started: Option<Instant>,
}

impl Pod {
    /// Running since `started` and ready since `ready`.
    #[must_use]
    pub const fn serving(started: Instant, ready: Instant) -> Self {
        Self {
            phase: Phase::Running,
            deleted: false,
            ready: Some((Ready::True, ready)),
            started: Some(started),
        }
    }

    /// Running since `started`, not ready yet.
    #[must_use]
    pub const fn starting(started: Instant) -> Self {
        Self {
            phase: Phase::Running,
            deleted: false,
            ready: Some((Ready::False, started)),
            started: Some(started),
        }
    }

    /// Not running yet.
    #[must_use]
    pub const fn pending() -> Self {
        Self {
            phase: Phase::Pending,
            deleted: false,
            ready: None,
            started: None,
        }
    }

    /// Whether it counts as ready for a target of the whole.
    pub(crate) fn serves(&self) -> bool {
        self.phase == Phase::Running && matches!(self.ready, Some((Ready::True, _)))
    }
}

/// `status.phase` of a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not running yet.
    Pending,
    /// Running.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Its node is silent.
    Unknown,
}

/// The status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody knows.
    Unknown,
}
