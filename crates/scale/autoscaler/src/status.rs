//! The status of a VariantAutoscaling: what was found and decided.
//!
//! Pure: the status before, the findings and the time make the status after.

use api::{Actuation, DesiredAllocation, VariantAutoscalingStatus, reasons};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::{Value, json};
use std::time::Duration;

/// A status in which nothing but times and sentences would change is written
/// at most this often.
const REFRESH: Duration = Duration::from_secs(60);

/// A condition before it has a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) kind: &'static str,
    pub(crate) status: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Finding {
    pub(crate) fn new(kind: &'static str, holds: bool, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            status: if holds { "True" } else { "False" },
            reason,
            message: message.into(),
        }
    }

    pub(crate) fn unknown(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            status: "Unknown",
            reason,
            message: message.into(),
        }
    }
}

/// What one pass found of one variant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Findings {
    pub(crate) generation: Option<i64>,
    /// Replicas decided, if anything was.
    pub(crate) desired: Option<u32>,
    pub(crate) accelerator: Option<String>,
    /// Whether the target has been set so (or the gauge says so).
    pub(crate) applied: Option<bool>,
    /// Replicas the target has.
    pub(crate) replicas: Option<u32>,
    pub(crate) ready: Option<u32>,
    pub(crate) conditions: Vec<Finding>,
}

/// The status to write, or `None` if the one that stands will do.
pub(crate) fn next(
    before: &VariantAutoscalingStatus,
    findings: &Findings,
    now: Timestamp,
) -> Option<VariantAutoscalingStatus> {
    let count = |replicas: Option<u32>| replicas.map(|replicas| i32::try_from(replicas).unwrap_or(i32::MAX));
    let earlier = before.desired_optimized_alloc.as_ref();
    let after = VariantAutoscalingStatus {
        // The predecessor's; nobody would ever bring it up to date.
        current_alloc: None,
        // What was decided stays known while nothing can be.
        desired_optimized_alloc: match count(findings.desired) {
            Some(num_replicas) => Some(DesiredAllocation {
                last_run_time: Some(Time(whole_second(now))),
                accelerator: findings.accelerator.clone(),
                num_replicas,
            }),
            None => earlier.cloned(),
        },
        actuation: findings
            .applied
            .map(|applied| Actuation { applied })
            .or_else(|| before.actuation.clone()),
        replicas: count(findings.replicas),
        ready_replicas: count(findings.ready),
        conditions: conditions(&before.conditions, findings, now),
    };
    let last_run = earlier.and_then(|earlier| earlier.last_run_time.as_ref());
    let due = match last_run {
        Some(Time(last)) => now.duration_since(*last).unsigned_abs() >= REFRESH && findings.desired.is_some(),
        None => false,
    };
    (due || !same(&after, before)).then_some(after)
}

/// The merge patch that makes `status` stand, absent fields included.
pub(crate) fn patch(status: &VariantAutoscalingStatus) -> Value {
    let mut value = serde_json::to_value(status).unwrap_or_default();
    for (field, absent) in [
        ("replicas", status.replicas.is_none()),
        ("readyReplicas", status.ready_replicas.is_none()),
        ("currentAlloc", status.current_alloc.is_none()),
    ] {
        if absent {
            value[field] = Value::Null;
        }
    }
    if let Some(desired) = value.get_mut("desiredOptimizedAlloc").and_then(Value::as_object_mut) {
        desired.entry("accelerator").or_insert(Value::Null);
    }
    json!({ "status": value })
}

/// Whether two statuses are the same but for times and most sentences: a
/// sentence tells the load of the moment and would differ every time. What is
/// wrong is told at once, though: of such a sentence only the numbers are left out.
fn same(after: &VariantAutoscalingStatus, before: &VariantAutoscalingStatus) -> bool {
    let condition = |(after, before): (&Condition, &Condition)| {
        (&after.type_, &after.status, &after.reason, after.observed_generation)
            == (
                &before.type_,
                &before.status,
                &before.reason,
                before.observed_generation,
            )
            && (after.status == "True" || words(&after.message).eq(words(&before.message)))
    };
    let desired = match (&after.desired_optimized_alloc, &before.desired_optimized_alloc) {
        (Some(after), Some(before)) => {
            (after.num_replicas, &after.accelerator) == (before.num_replicas, &before.accelerator)
        }
        (after, before) => after == before,
    };
    desired
        && (after.replicas, after.ready_replicas) == (before.replicas, before.ready_replicas)
        && (&after.current_alloc, &after.actuation) == (&before.current_alloc, &before.actuation)
        && after.conditions.len() == before.conditions.len()
        && after.conditions.iter().zip(&before.conditions).all(condition)
}

/// The words of a sentence without its numbers, which are not those in names.
fn words(message: &str) -> impl Iterator<Item = &str> {
    let part_of_number = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '%' | '(' | ')' | '-' | '+');
    let number = move |word: &&str| word.contains(|c: char| c.is_ascii_digit()) && word.chars().all(part_of_number);
    message.split_whitespace().filter(move |word| !number(word))
}

/// Ours updated, others' kept; a time changes only with the status it tells.
fn conditions(before: &[Condition], findings: &Findings, now: Timestamp) -> Vec<Condition> {
    let mut after = before.to_vec();
    for finding in &findings.conditions {
        let earlier = after.iter_mut().find(|condition| condition.type_ == finding.kind);
        let since = match &earlier {
            Some(earlier) if earlier.status == finding.status => earlier.last_transition_time.clone(),
            _ => Time(whole_second(now)),
        };
        let condition = Condition {
            type_: finding.kind.to_owned(),
            status: finding.status.to_owned(),
            reason: finding.reason.to_owned(),
            message: shortened(&finding.message),
            last_transition_time: since,
            observed_generation: findings.generation,
        };
        match earlier {
            Some(earlier) => *earlier = condition,
            None => after.push(condition),
        }
    }
    after
}

/// The API takes at most 32768 characters, and nobody reads more than a few lines.
pub(crate) fn shortened(message: &str) -> String {
    const MOST: usize = 1000;
    if message.chars().count() <= MOST {
        return message.to_owned();
    }
    message.chars().take(MOST - 1).chain(['…']).collect()
}

/// A time since the unix epoch, as objects have it.
pub(crate) fn timestamp(since_epoch: Duration) -> Timestamp {
    let since = jiff::SignedDuration::try_from(since_epoch).unwrap_or(jiff::SignedDuration::MAX);
    Timestamp::from_duration(since).unwrap_or(Timestamp::MAX)
}

/// The API's times have whole seconds.
pub(crate) fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Findings for a variant on which nothing can be decided.
pub(crate) fn undecided(reason: &'static str, why: &str) -> [Finding; 2] {
    [
        Finding::unknown(reasons::METRICS_AVAILABLE, reason, format!("not looked at: {why}")),
        Finding::new(reasons::OPTIMIZATION_READY, false, reason, why),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(reason: &'static str, holds: bool, message: &str) -> Findings {
        Findings {
            generation: Some(2),
            desired: Some(3),
            accelerator: Some("L4".to_owned()),
            applied: Some(true),
            replicas: Some(1),
            ready: Some(1),
            conditions: vec![Finding::new(reasons::METRICS_AVAILABLE, holds, reason, message)],
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_status_is_written_only_when_something_but_time_changed() {
        let first = next(
            &VariantAutoscalingStatus::default(),
            &findings("MetricsFound", true, "a"),
            at(100),
        )
        .unwrap();
        assert_eq!(
            next(&first, &findings("MetricsFound", true, "b"), at(110)),
            None,
            "only the sentence differs"
        );
        assert!(
            next(&first, &findings("MetricsFound", true, "a"), at(160)).is_some(),
            "once a minute"
        );
        let more = Findings {
            desired: Some(4),
            ..findings("MetricsFound", true, "a")
        };
        assert!(next(&first, &more, at(101)).is_some());
        let newer = Findings {
            generation: Some(3),
            ..findings("MetricsFound", true, "a")
        };
        assert!(next(&first, &newer, at(101)).is_some());
    }

    #[test]
    fn a_transition_time_changes_only_with_the_status() {
        let first = next(
            &VariantAutoscalingStatus::default(),
            &findings("MetricsFound", true, "a"),
            at(100),
        )
        .unwrap();
        let other_reason = next(&first, &findings("Other", true, "a"), at(110)).unwrap();
        assert_eq!(other_reason.conditions[0].last_transition_time.0, at(100));
        let broken = next(&other_reason, &findings("MetricsMissing", false, "a"), at(120)).unwrap();
        assert_eq!(broken.conditions[0].last_transition_time.0, at(120));
        assert_eq!(broken.conditions[0].observed_generation, Some(2));
    }

    #[test]
    fn a_decision_stays_known_while_none_can_be_taken() {
        let first = next(
            &VariantAutoscalingStatus::default(),
            &findings("MetricsFound", true, "a"),
            at(100),
        )
        .unwrap();
        let blind = Findings {
            desired: None,
            replicas: None,
            ..findings("MetricsMissing", false, "a")
        };
        let after = next(&first, &blind, at(200)).unwrap();
        assert_eq!(after.desired_optimized_alloc.as_ref().unwrap().num_replicas, 3);
        assert_eq!(
            after.desired_optimized_alloc.as_ref().unwrap().last_run_time,
            Some(Time(at(100)))
        );
        let patch = patch(&after);
        assert!(patch["status"]["replicas"].is_null() && patch["status"].get("replicas").is_some());
    }

    #[test]
    fn what_is_wrong_is_told_at_once_and_not_that_it_grows_older() {
        let silent = |pod: &str, age: u32| {
            let message = format!("1 of 2 ready replicas without fresh signals: {pod} (last heard of {age} s ago)");
            findings("MetricsStale", false, &message)
        };
        let before = VariantAutoscalingStatus::default();
        let first = next(&before, &silent("llama-0", 31), at(100)).unwrap();
        assert_eq!(next(&first, &silent("llama-0", 35), at(104)), None, "older");
        let other = next(&first, &silent("llama-1", 31), at(104)).unwrap();
        assert!(other.conditions[0].message.contains("llama-1"));
        assert!(next(&first, &silent("llama-0", 91), at(160)).is_some(), "once a minute");
        // Without a decision, too.
        let lost = |message: &str| Findings {
            desired: None,
            ..findings("TargetNotFound", false, message)
        };
        let first = next(&before, &lost("no answer within 3s"), at(100)).unwrap();
        assert!(next(&first, &lost("it does not exist"), at(101)).is_some());
    }

    #[test]
    fn conditions_of_others_are_kept() {
        let mut before = VariantAutoscalingStatus::default();
        before.conditions.push(Condition {
            type_: "Theirs".into(),
            status: "True".into(),
            reason: "X".into(),
            message: String::new(),
            last_transition_time: Time(at(1)),
            observed_generation: None,
        });
        let after = next(&before, &findings("MetricsFound", true, "a"), at(100)).unwrap();
        assert_eq!(after.conditions.len(), 2);
    }
}
