//! What a pass says of one variant, in conditions.

use super::Acted;
use crate::status::{self, Finding, Findings};
use crate::survey::Variant;
use crate::target::NoTarget;
use api::reasons;
use capacity::{MetricsWord, Reason, VariantDecision};
use collect::Availability;

/// Reason: the API does not let it be watched, or does not answer.
const CANNOT_WATCH: &str = "CannotWatch";

/// What is known is not all there is: why it is old, where it is.
#[derive(Debug, Default)]
pub(super) struct Old {
    pub(super) pods: Option<String>,
}

/// What this pass says of one variant, in conditions.
///
/// `trouble` is what is wrong with Prometheus, where nobody else tells, and
/// `old` says why what is known of targets and of Pods is; so many Pods are too
/// `new` to have been heard of.
pub(super) fn findings(
    variant: &Variant,
    decided: Option<&VariantDecision>,
    outcome: Option<&Acted>,
    trouble: Option<&Availability>,
    old: &Old,
    new: usize,
) -> Findings {
    let target = variant.target.as_ref();
    let resolved = match (&target, &variant.target_key) {
        (Ok(_), Some(key)) => match &variant.target_is_old {
            Some(why) => {
                let says = format!("{} existed; {why}", key.for_people());
                Finding::unknown(reasons::TARGET_RESOLVED, CANNOT_WATCH, says)
            }
            None => {
                let found = format!("{} exists", key.for_people());
                Finding::new(reasons::TARGET_RESOLVED, true, reasons::TARGET_FOUND, found)
            }
        },
        (Err(NoTarget::NotSeen(why)), Some(_)) => {
            Finding::unknown(reasons::TARGET_RESOLVED, CANNOT_WATCH, why.as_str())
        }
        (Err(NoTarget::NotFound(why)), Some(_)) => {
            Finding::new(reasons::TARGET_RESOLVED, false, reasons::TARGET_NOT_FOUND, why.as_str())
        }
        (_, None) => Finding::unknown(
            reasons::TARGET_RESOLVED,
            reasons::INVALID_CONFIGURATION,
            "not looked for: the specification cannot be read",
        ),
    };
    let mut conditions = vec![resolved];
    let invalid = invalid(variant, decided.is_some());
    match (&variant.skipped, &invalid, decided, &target) {
        (Some(why), ..) => conditions.extend(status::undecided(reasons::SKIPPED_PROCESSING, why)),
        (None, Some(invalid), None, _) => {
            conditions.extend(status::undecided(reasons::INVALID_CONFIGURATION, invalid));
        }
        (None, Some(invalid), Some(decided), _) => {
            let metrics = with_new(metrics(decided, trouble, old), new);
            conditions.push(with_unseen(metrics, variant));
            conditions.push(Finding::new(
                reasons::OPTIMIZATION_READY,
                false,
                reasons::INVALID_CONFIGURATION,
                format!("{invalid}; decided by it: {}", decided.sentence),
            ));
        }
        (None, None, Some(decided), _) => {
            let metrics = with_new(metrics(decided, trouble, old), new);
            conditions.push(with_unseen(metrics, variant));
            conditions.push(optimization(decided, outcome));
        }
        (None, None, None, Err(NoTarget::NotFound(why))) => {
            conditions.extend(status::undecided(reasons::TARGET_NOT_FOUND, why));
        }
        (None, None, None, Err(NoTarget::NotSeen(why))) => conditions.extend(status::undecided(CANNOT_WATCH, why)),
        (None, None, None, Ok(_)) => {
            conditions.extend(status::undecided(
                reasons::METRICS_UNAVAILABLE,
                "no decision was taken yet",
            ));
        }
    }
    Findings {
        generation: variant.generation,
        desired: decided.map(|decided| decided.to),
        accelerator: variant.accelerator.clone(),
        applied: decided.map(|_| matches!(outcome, Some(Acted::Done | Acted::Published))),
        replicas: target.ok().map(|target| target.replicas),
        ready: variant.target.is_ok().then(|| variant.ready()),
        conditions,
    }
}

/// What of the object's own specification, or of the ConfigMaps that hold for
/// it, cannot be used. ConfigMaps matter to those that are decided on.
fn invalid(variant: &Variant, decided: bool) -> Option<String> {
    let of_maps = variant
        .config
        .iter()
        .filter(|_| decided)
        .flat_map(|config| &config.problems);
    let all: Vec<&str> = variant.invalid.iter().chain(of_maps).map(String::as_str).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// Tells of requests that may wait where nobody can see them.
fn with_unseen(mut finding: Finding, variant: &Variant) -> Finding {
    for why in variant.config.iter().flat_map(|config| &config.unseen) {
        finding.message.push_str("; ");
        finding.message.push_str(why);
    }
    finding
}

/// Tells of Pods that are ready and count as coming, as nobody has told of them.
fn with_new(mut finding: Finding, new: usize) -> Finding {
    if new > 0 {
        let more = format!("; {new} more ready, and too new to have been heard of");
        finding.message.push_str(&more);
    }
    finding
}

fn metrics(decided: &VariantDecision, trouble: Option<&Availability>, old: &Old) -> Finding {
    if let Some(why) = &old.pods {
        let message = format!("{why}; of those that were there {}", decided.metrics.says);
        return Finding::new(reasons::METRICS_AVAILABLE, false, reasons::METRICS_STALE, message);
    }
    if let Some(trouble) = trouble.filter(|_| decided.metrics.word != MetricsWord::Found) {
        let message = format!("{}; {}", trouble.message, decided.metrics.says);
        return Finding::new(reasons::METRICS_AVAILABLE, false, trouble.found.as_str(), message);
    }
    let reason = match decided.metrics.word {
        MetricsWord::Found => reasons::METRICS_FOUND,
        MetricsWord::Stale => reasons::METRICS_STALE,
        MetricsWord::Missing => reasons::METRICS_MISSING,
    };
    let found = decided.metrics.word == MetricsWord::Found;
    Finding::new(reasons::METRICS_AVAILABLE, found, reason, decided.metrics.says.as_str())
}

fn optimization(decided: &VariantDecision, outcome: Option<&Acted>) -> Finding {
    if let Some(Acted::Failed(error)) = outcome {
        let message = format!("{}; but its target could not be set: {error}", decided.sentence);
        return Finding::new(reasons::OPTIMIZATION_READY, true, "ScaleFailed", message);
    }
    let decided_on = decided.reason != Reason::MetricsUnavailable;
    Finding::new(
        reasons::OPTIMIZATION_READY,
        decided_on,
        decided.reason.as_str(),
        decided.sentence.as_str(),
    )
}
