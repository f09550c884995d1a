//! Why a variant has the replicas it has, in one word.

use std::fmt;

/// One word per outcome, usable as the reason of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// What runs is enough, and no replica less would be.
    CoversDemand,
    /// Replicas were added because those that serve are full.
    Saturated,
    /// Replicas were added because requests wait at the gateway.
    QueueWaiting,
    /// Replicas were added because latencies break the SLO, or soon would.
    SloAtRisk,
    /// The first replica was asked for because a request is held.
    ScaleFromZero,
    /// Replicas were added because fewer ran than the minimum.
    AtMinimum,
    /// More is needed and the maximum does not allow it, or more ran than it allows.
    AtMaximum,
    /// More is needed, and no GPU of its accelerator is free for it.
    LimitedByGpus,
    /// More is needed, and a quota of GPUs does not allow it.
    LimitedByQuota,
    /// Cheaper variants cover the demand.
    DearerThanNeeded,
    /// It breaks the SLO even with one request, and other variants serve.
    TooSlow,
    /// Replicas were taken away because the rest covers the demand.
    LessNeeded,
    /// Fewer would do, and the load has not been low for long enough yet.
    Stabilizing,
    /// Fewer may do, and not every signal that would show it is fresh.
    WaitingForCoverage,
    /// More is needed, and it is already on its way.
    Starting,
    /// More is needed, and replicas of this variant do not come up.
    NotStarting,
    /// Nothing is asked of the model.
    Idle,
    /// Nothing is known on which to decide.
    MetricsUnavailable,
}

impl Reason {
    /// The word, in CamelCase.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CoversDemand => "CoversDemand",
            Self::Saturated => "Saturated",
            Self::QueueWaiting => "QueueWaiting",
            Self::SloAtRisk => "SloAtRisk",
            Self::ScaleFromZero => "ScaleFromZero",
            Self::AtMinimum => "AtMinimum",
            Self::AtMaximum => "AtMaximum",
            Self::LimitedByGpus => "LimitedByGpus",
            Self::LimitedByQuota => "LimitedByQuota",
            Self::DearerThanNeeded => "DearerThanNeeded",
            Self::TooSlow => "TooSlow",
            Self::LessNeeded => "LessNeeded",
            Self::Stabilizing => "Stabilizing",
            Self::WaitingForCoverage => "WaitingForCoverage",
            Self::Starting => "Starting",
            Self::NotStarting => "NotStarting",
            Self::Idle => "Idle",
            Self::MetricsUnavailable => "MetricsUnavailable",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
