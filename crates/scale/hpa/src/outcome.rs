//! What a pass decided, and how it says so. Texts are made when they are asked
//! for: most passes in virtual time are never read.

use crate::calculate::{Current, Failure};
use crate::spec::Spec;
use crate::view::Selection;
use crate::words;
use std::borrow::Cow;

/// What one pass decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `spec.replicas` of the target as the pass found it.
    pub current: u32,
    /// What `spec.replicas` of the target should be.
    pub desired: u32,
    /// What the metrics asked for, before windows and limits.
    pub proposed: Option<u32>,
    /// Why the replicas change, if they do.
    pub rescale: Option<Rescale>,
    /// Whether the pass came to a number: else `status.desiredReplicas` stays
    /// as it was.
    pub computed: bool,
    /// The condition AbleToScale.
    pub able: Able,
    /// The condition ScalingActive; `None` leaves it as it was.
    pub active: Option<Active>,
    /// The condition ScalingLimited; `None` leaves it as it was.
    pub limited: Option<Limited>,
    /// The condition ScaledToZero, where the gate is on; `None` leaves it as it
    /// was.
    pub scaled_to_zero: Option<bool>,
    /// The usage of each metric in the spec's order, `None` for one that failed;
    /// empty when no metric was looked at.
    pub statuses: Vec<Option<Current>>,
    /// What to record.
    pub events: Vec<Event>,
}

impl Outcome {
    pub(crate) fn unchanged(current: u32) -> Self {
        Self {
            current,
            desired: current,
            proposed: None,
            rescale: None,
            computed: false,
            able: Able::SucceededGetScale,
            active: None,
            limited: None,
            scaled_to_zero: None,
            statuses: Vec::new(),
            events: Vec::new(),
        }
    }

    /// The conditions this pass sets, as the API shows them.
    #[must_use]
    pub fn conditions(&self, spec: &Spec) -> Vec<Condition> {
        let mut all = vec![self.able.condition()];
        all.extend(self.active.as_ref().map(|active| active.condition(spec)));
        all.extend(self.limited.map(Limited::condition));
        all.extend(self.scaled_to_zero.map(scaled_to_zero));
        all
    }
}

/// A condition of an HPA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `type`.
    pub kind: &'static str,
    /// Whether it holds.
    pub status: bool,
    /// `reason`.
    pub reason: &'static str,
    /// `message`.
    pub message: Cow<'static, str>,
}

fn condition(
    kind: &'static str,
    status: bool,
    reason: &'static str,
    message: impl Into<Cow<'static, str>>,
) -> Condition {
    Condition {
        kind,
        status,
        reason,
        message: message.into(),
    }
}

fn scaled_to_zero(holds: bool) -> Condition {
    if holds {
        let message = "the HPA controller scaled the workload to zero";
        condition("ScaledToZero", true, "ScaledToZero", message)
    } else {
        let message = "the HPA controller did not scale the workload to zero";
        condition("ScaledToZero", false, "NotScaledToZero", message)
    }
}

/// AbleToScale: whether the target's scale can be read and written, and whether
/// a window holds the change back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Able {
    /// The scale was read.
    SucceededGetScale,
    /// No window holds anything back.
    ReadyForNewScale,
    /// The window on the way down holds.
    ScaleDownStabilized,
    /// The window on the way up holds.
    ScaleUpStabilized,
    /// The target was changed.
    SucceededRescale {
        /// Its replicas now.
        to: u32,
    },
    /// The scale could not be read. [`crate::step()`] never says so: there is
    /// no pass then.
    FailedGetScale {
        /// What came back.
        error: String,
    },
    /// The target could not be changed.
    FailedUpdateScale {
        /// What came back.
        error: String,
    },
}

impl Able {
    /// As the API shows it.
    #[must_use]
    pub fn condition(&self) -> Condition {
        let say = |status, reason, message| condition("AbleToScale", status, reason, message);
        match self {
            Self::SucceededGetScale => say(
                true,
                "SucceededGetScale",
                Cow::from("the HPA controller was able to get the target's current scale"),
            ),
            Self::ReadyForNewScale => say(true, "ReadyForNewScale", "recommended size matches current size".into()),
            Self::ScaleDownStabilized => say(
                true,
                "ScaleDownStabilized",
                "recent recommendations were higher than current one, applying the highest recent recommendation"
                    .into(),
            ),
            Self::ScaleUpStabilized => say(
                true,
                "ScaleUpStabilized",
                "recent recommendations were lower than current one, applying the lowest recent recommendation".into(),
            ),
            Self::SucceededRescale { to } => say(
                true,
                "SucceededRescale",
                format!("the HPA controller was able to update the target scale to {to}").into(),
            ),
            Self::FailedGetScale { error } => say(
                false,
                "FailedGetScale",
                format!("the HPA controller was unable to get the target's current scale: {error}").into(),
            ),
            Self::FailedUpdateScale { error } => say(
                false,
                "FailedUpdateScale",
                format!("the HPA controller was unable to update the target scale: {error}").into(),
            ),
        }
    }
}

/// ScalingActive: whether the metrics give a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Active {
    /// They do; the number is this metric's.
    ValidMetricFound {
        /// Its place in the spec.
        metric: usize,
    },
    /// Somebody set the target to 0.
    ScalingDisabled,
    /// Metrics failed, and the others do not allow a change.
    Failed {
        /// The first that failed.
        metric: usize,
        /// How many failed.
        failed: usize,
        /// Why the first failed.
        failure: Failure,
    },
    /// The scale subresource has no selector.
    NoSelector,
    /// Its selector does not parse; why.
    UnparsableSelector(String),
    /// Several HPAs' targets select the same Pods; as the message says it.
    AmbiguousSelector(String),
}

impl Active {
    /// What a selector that cannot be used does, and the Event of its own.
    pub(crate) fn of_selection(selection: Selection<'_>) -> Option<(Option<Event>, Self)> {
        let active = match selection {
            Selection::Good => return None,
            Selection::Missing => Self::NoSelector,
            Selection::Unparsable(why) => Self::UnparsableSelector(why.to_owned()),
            Selection::Ambiguous(who) => Self::AmbiguousSelector(who.to_owned()),
        };
        Some((Some(Event::Selector(active.clone())), active))
    }

    /// As the API shows it.
    #[must_use]
    pub fn condition(&self, spec: &Spec) -> Condition {
        let say = |status, reason, message| condition("ScalingActive", status, reason, message);
        match self {
            Self::ValidMetricFound { metric } => {
                let name = words::named(spec, *metric);
                let message = format!("the HPA was able to successfully calculate a replica count from {name}");
                say(true, "ValidMetricFound", Cow::from(message))
            }
            Self::ScalingDisabled => say(
                false,
                "ScalingDisabled",
                "scaling is disabled since the replica count of the target is zero".into(),
            ),
            Self::Failed { metric, failure, .. } => {
                let error = words::failed(spec, *metric, failure);
                let message = format!("the HPA was unable to compute the replica count: {error}");
                say(false, words::reason(spec, *metric), message.into())
            }
            Self::NoSelector => say(
                false,
                "InvalidSelector",
                "the HPA target's scale is missing a selector".into(),
            ),
            Self::UnparsableSelector(why) => say(false, "InvalidSelector", words::unparsable(why).into()),
            Self::AmbiguousSelector(who) => say(false, "AmbiguousSelector", words::ambiguous(who).into()),
        }
    }
}

/// ScalingLimited: what cut the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// Nothing.
    DesiredWithinRange,
    /// The rate on the way up.
    ScaleUpLimit,
    /// The rate on the way down.
    ScaleDownLimit,
    /// `maxReplicas`.
    TooManyReplicas,
    /// `minReplicas`.
    TooFewReplicas,
}

impl Limited {
    /// As the API shows it.
    #[must_use]
    pub fn condition(self) -> Condition {
        let (reason, message) = match self {
            Self::DesiredWithinRange => ("DesiredWithinRange", "the desired count is within the acceptable range"),
            Self::ScaleUpLimit => (
                "ScaleUpLimit",
                "the desired replica count is increasing faster than the maximum scale rate",
            ),
            Self::ScaleDownLimit => (
                "ScaleDownLimit",
                "the desired replica count is decreasing faster than the maximum scale rate",
            ),
            Self::TooManyReplicas => (
                "TooManyReplicas",
                "the desired replica count is more than the maximum replica count",
            ),
            Self::TooFewReplicas => (
                "TooFewReplicas",
                "the desired replica count is less than the minimum replica count",
            ),
        };
        condition("ScalingLimited", self.cut(), reason, message)
    }
}

/// Why the replicas change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rescale {
    /// A metric is above its target.
    Above {
        /// Its place in the spec.
        metric: usize,
    },
    /// All metrics are below their targets.
    AllBelow,
    /// The target had more than `maxReplicas`.
    AboveMax,
    /// The target had fewer than `minReplicas`.
    BelowMin,
    /// The metrics ask for what is there, and an older recommendation moves it.
    Unsaid,
}

/// Something to record with the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A metric could not be had.
    FailedGet {
        /// Its place in the spec.
        metric: usize,
        /// Why.
        failure: Failure,
    },
    /// The selector cannot be used.
    Selector(Active),
    /// The pass came to no number.
    FailedCompute(Active),
    /// The target was changed.
    SuccessfulRescale {
        /// Its replicas now.
        to: u32,
        /// Why.
        why: Rescale,
    },
    /// The target could not be changed.
    FailedRescale {
        /// What it should have.
        to: u32,
        /// Why.
        why: Rescale,
        /// What came back.
        error: String,
    },
}

/// An Event as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventText {
    /// `type` is Warning, else Normal.
    pub warning: bool,
    /// `reason`.
    pub reason: &'static str,
    /// `message`.
    pub message: String,
}

impl Event {
    /// As the API shows it.
    #[must_use]
    pub fn text(&self, spec: &Spec) -> EventText {
        let (warning, reason, message) = match self {
            Self::FailedGet { metric, failure } => (
                true,
                words::reason(spec, *metric),
                words::failed(spec, *metric, failure),
            ),
            Self::Selector(active) => (true, words::selector_reason(active), words::uncomputed(spec, active)),
            Self::FailedCompute(active) => (true, "FailedComputeMetricsReplicas", words::uncomputed(spec, active)),
            Self::SuccessfulRescale { to, why } => {
                let why = words::why(spec, *why);
                (false, "SuccessfulRescale", format!("New size: {to}; reason: {why}"))
            }
            Self::FailedRescale { to, why, error } => {
                let why = words::why(spec, *why);
                let message = format!("New size: {to}; reason: {why}; error: {error}");
                (true, "FailedRescale", message)
            }
        };
        EventText {
            warning,
            reason,
            message,
        }
    }
}
