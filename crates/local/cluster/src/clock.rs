//! Wall time as Kubernetes writes it.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use k8s_openapi::jiff::Timestamp;

/// Now, in whole seconds, as `metav1.Time` is.
pub(crate) fn now() -> Time {
    truncate(Timestamp::now())
}

/// Now, as Leases write it.
pub(crate) fn now_micro() -> MicroTime {
    MicroTime(Timestamp::now())
}

/// Drops what a `metav1.Time` cannot hold.
pub(crate) fn truncate(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

/// How long ago `then` was; zero when it lies ahead.
pub(crate) fn since(then: &Time, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then.0)).unwrap_or(Duration::ZERO)
}
