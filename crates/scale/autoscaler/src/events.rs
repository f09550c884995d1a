//! Events on the objects that ask for replicas, as `kubectl describe` shows them.

use crate::status::shortened;
use crate::survey::Variant;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use std::collections::BTreeMap;
use std::time::Duration;
use units::Instant;

/// Who reports.
const COMPONENT: &str = "tidegate-autoscaler";

/// Whether an event tells of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Warning,
}

/// An Event object about `variant`.
pub(crate) fn event(
    variant: &Variant,
    kind: Kind,
    reason: &str,
    action: &str,
    message: &str,
    number: u64,
    now: Timestamp,
) -> Event {
    let time = Time(crate::status::whole_second(now));
    Event {
        metadata: ObjectMeta {
            // The time keeps names apart across restarts, the number within one.
            name: Some(format!(
                "{}.{:x}{:04x}",
                variant.name,
                now.as_microsecond(),
                number & 0xffff
            )),
            namespace: Some(variant.namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(variant.subject.api_version().to_owned()),
            kind: Some(variant.subject.kind().to_owned()),
            name: Some(variant.name.clone()),
            namespace: Some(variant.namespace.clone()),
            uid: Some(variant.uid.clone()),
            resource_version: variant.object.metadata.resource_version.clone(),
            field_path: None,
        },
        type_: Some(if kind == Kind::Normal { "Normal" } else { "Warning" }.to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(shortened(message)),
        action: Some(action.to_owned()),
        count: Some(1),
        first_timestamp: Some(time.clone()),
        last_timestamp: Some(time),
        event_time: Some(MicroTime(now)),
        source: Some(EventSource {
            component: Some(COMPONENT.to_owned()),
            host: None,
        }),
        reporting_component: Some(COMPONENT.to_owned()),
        reporting_instance: Some(COMPONENT.to_owned()),
        related: None,
        series: None,
    }
}

/// Events an object may have at once.
const BURST: f64 = 25.0;
/// One more after this long.
const REFILL: Duration = Duration::from_secs(15);

/// Keeps an object that changes its mind all the time from filling the store.
#[derive(Debug, Default)]
pub(crate) struct Budget(BTreeMap<String, (Instant, f64)>);

impl Budget {
    /// Whether the object may have one more event now; takes it if so.
    pub(crate) fn take(&mut self, uid: &str, now: Instant) -> bool {
        let (at, left) = self.0.entry(uid.to_owned()).or_insert((now, BURST));
        *left = (*left + now.since(*at).as_secs_f64() / REFILL.as_secs_f64()).min(BURST);
        *at = now;
        let may = *left >= 1.0;
        if may {
            *left -= 1.0;
        }
        may
    }

    /// Forgets objects that are gone.
    pub(crate) fn keep_only(&mut self, present: impl Fn(&str) -> bool) {
        self.0.retain(|uid, _| present(uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_a_burst_of_events_and_then_one_at_a_time() {
        let mut budget = Budget::default();
        let granted = (0..100).filter(|_| budget.take("u", Instant::from_secs(10))).count();
        assert_eq!(granted, 25);
        assert!(!budget.take("u", Instant::from_secs(20)));
        assert!(budget.take("u", Instant::from_secs(26)));
        assert!(budget.take("other", Instant::from_secs(26)));
    }
}
