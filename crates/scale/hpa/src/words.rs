//! Sentences about metrics, as the real controller words them: people search
//! for them.

use crate::calculate::Failure;
use crate::outcome::{Active, Rescale};
use crate::spec::{Metric, ResourceTarget, Spec, Target};

/// A metric as conditions and Events name it.
pub(crate) fn named(spec: &Spec, metric: usize) -> String {
    let Some(metric) = spec.metrics.get(metric) else {
        return String::new();
    };
    match metric {
        Metric::Resource { name, target } => match target {
            ResourceTarget::Utilization(_) => format!("{name} resource utilization (percentage of request)"),
            ResourceTarget::AverageValue(_) => format!("{name} resource"),
        },
        Metric::ContainerResource { name, target, .. } => match target {
            ResourceTarget::Utilization(_) => {
                format!("{name} container resource utilization (percentage of request)")
            }
            ResourceTarget::AverageValue(_) => format!("{name} resource"),
        },
        Metric::Pods { name, .. } => format!("pods metric {name}"),
        Metric::Object {
            kind,
            name,
            selector,
            target,
            ..
        } => match target {
            Target::Value(_) => format!("{kind} metric {name}"),
            // So the real one names it.
            Target::AverageValue(_) => format!("external metric {name}({selector})"),
        },
        Metric::External { name, selector, .. } => format!("external metric {name}({selector})"),
    }
}

/// The reason of ScalingActive and of the Event when a metric failed.
pub(crate) fn reason(spec: &Spec, metric: usize) -> &'static str {
    match spec.metrics.get(metric) {
        Some(Metric::Resource { .. }) => "FailedGetResourceMetric",
        Some(Metric::ContainerResource { .. }) => "FailedGetContainerResourceMetric",
        Some(Metric::Pods { .. }) => "FailedGetPodsMetric",
        Some(Metric::Object { .. }) => "FailedGetObjectMetric",
        Some(Metric::External { .. }) => "FailedGetExternalMetric",
        None => "InvalidMetricSourceType",
    }
}

/// What happened to a metric, as its condition and its Event say it.
pub(crate) fn failed(spec: &Spec, metric: usize, failure: &Failure) -> String {
    let Some(metric) = spec.metrics.get(metric) else {
        return "the spec has no metric".into();
    };
    let namespace = &spec.namespace;
    let what = match failure {
        Failure::Unavailable(why) => match metric {
            Metric::Resource { name, .. } | Metric::ContainerResource { name, .. } => {
                format!("unable to get metrics for resource {name}: {why}")
            }
            Metric::Pods { name, .. } => format!("unable to get metric {name}: {why}"),
            // The order of the words is the real one's.
            Metric::Object { kind, object, name, .. } => {
                format!("unable to get metric {name}: {kind} on {namespace} {object}/{why}")
            }
            Metric::External { name, selector, .. } => {
                format!("unable to get external metric {namespace}/{name}/{selector}: {why}")
            }
        },
        Failure::NoPods => {
            let whole = matches!(metric, Metric::Object { .. } | Metric::External { .. });
            let prefix = if whole { "unable to calculate ready pods: " } else { "" };
            format!("{prefix}no pods returned by selector while calculating replica count")
        }
        Failure::NoSamples => "did not receive metrics for targeted pods (pods might be unready)".into(),
        Failure::NoMatch => "no metrics returned matched known pods".into(),
        Failure::MissingRequest(why) => why.clone(),
    };
    match metric {
        Metric::Resource { name, target } | Metric::ContainerResource { name, target, .. } => match target {
            ResourceTarget::Utilization(_) => format!("failed to get {name} utilization: {what}"),
            ResourceTarget::AverageValue(_) => format!("failed to get {name} usage: {what}"),
        },
        _ => what,
    }
}

/// Why a pass came to no number, as the Event FailedComputeMetricsReplicas says
/// it.
pub(crate) fn uncomputed(spec: &Spec, active: &Active) -> String {
    let (metric, count, failure) = match active {
        Active::Failed {
            metric,
            failed,
            failure,
        } => (*metric, *failed, failure),
        Active::NoSelector => return "selector is required".into(),
        Active::UnparsableSelector(why) => return unparsable(why),
        Active::AmbiguousSelector(who) => return ambiguous(who),
        Active::ValidMetricFound { .. } | Active::ScalingDisabled => return String::new(),
    };
    let error = failed(spec, metric, failure);
    let error = match spec.metrics.get(metric) {
        Some(Metric::Resource { name, .. }) => format!("failed to get {name} resource metric value: {error}"),
        Some(Metric::ContainerResource { container, .. }) => {
            format!("failed to get {container} container metric value: {error}")
        }
        Some(Metric::Pods { .. }) => format!("failed to get pods metric value: {error}"),
        Some(Metric::Object { name, target, .. }) => match target {
            Target::Value(_) => format!("failed to get object metric value: {error}"),
            Target::AverageValue(_) => {
                format!("failed to get object metric value: failed to get {name} object metric: {error}")
            }
        },
        Some(Metric::External { name, target, .. }) => match target {
            Target::Value(_) => {
                format!("failed to get {name} external metric value: failed to get external metric {name}: {error}")
            }
            Target::AverageValue(_) => {
                format!("failed to get {name} external metric value: failed to get {name} external metric: {error}")
            }
        },
        None => error,
    };
    let all = spec.metrics.len();
    format!("invalid metrics ({count} invalid out of {all}), first error is: {error}")
}

/// The reason of the Event about a selector that cannot be used.
pub(crate) fn selector_reason(active: &Active) -> &'static str {
    match active {
        Active::NoSelector => "SelectorRequired",
        Active::AmbiguousSelector(_) => "AmbiguousSelector",
        _ => "InvalidSelector",
    }
}

pub(crate) fn unparsable(why: &str) -> String {
    format!("couldn't convert selector into a corresponding internal selector object: {why}")
}

pub(crate) fn ambiguous(who: &str) -> String {
    format!("pods by selector {who}")
}

/// Why the replicas change.
pub(crate) fn why(spec: &Spec, why: Rescale) -> String {
    match why {
        Rescale::Above { metric } => format!("{} above target", named(spec, metric)),
        Rescale::AllBelow => "All metrics below target".into(),
        Rescale::AboveMax => "Current number of replicas above Spec.MaxReplicas".into(),
        Rescale::BelowMin => "Current number of replicas below Spec.MinReplicas".into(),
        Rescale::Unsaid => String::new(),
    }
}
