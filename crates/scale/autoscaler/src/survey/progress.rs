//! Where a Pod is on its way to serving.

use capacity::ReplicaState;
use collect::Clock;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use units::Instant;

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    let mut conditions = pod.status.as_ref()?.conditions.as_ref()?.iter();
    conditions.find(|condition| condition.type_ == kind)
}

pub(super) fn ready_since(pod: &Pod) -> Option<Instant> {
    let ready = condition(pod, "Ready").filter(|ready| ready.status == "True")?;
    ready.last_transition_time.as_ref().map(instant_of)
}

pub(super) fn state(pod: &Pod) -> ReplicaState {
    let created = pod.metadata.creation_timestamp.as_ref();
    let since = |time: Option<&Time>| time.or(created).map_or(Instant::ZERO, instant_of);
    let ready = condition(pod, "Ready");
    if ready.is_some_and(|ready| ready.status == "True") {
        return ReplicaState::Ready;
    }
    if let Some(scheduled) = condition(pod, "PodScheduled").filter(|scheduled| scheduled.status == "False") {
        return ReplicaState::Unschedulable {
            since: since(scheduled.last_transition_time.as_ref()),
            why: scheduled
                .message
                .clone()
                .or_else(|| scheduled.reason.clone())
                .unwrap_or_default(),
        };
    }
    let since = since(ready.and_then(|ready| ready.last_transition_time.as_ref()));
    match failure(pod) {
        Some(why) => ReplicaState::Failing { since, why },
        None => ReplicaState::Pending { since },
    }
}

/// Why a container cannot begin.
const CANNOT_BEGIN: [&str; 7] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];
/// So many restarts may be chance, or a dependency that was late.
const FEW_RESTARTS: i32 = 2;
/// What ran for longer was no failure to start: the kubelet forgets its restarts then.
const LONG_RUN: SignedDuration = SignedDuration::from_mins(10);

/// Why a Pod will hardly come up, if so. Between two of its crashes a container
/// runs for a while: that is no better.
fn failure(pod: &Pod) -> Option<String> {
    let containers = pod.status.as_ref()?.container_statuses.iter().flatten();
    containers.into_iter().find_map(|container| {
        let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
        let reason = waiting
            .and_then(|waiting| waiting.reason.as_deref())
            .unwrap_or_default();
        if CANNOT_BEGIN.contains(&reason) {
            return Some(reason.to_owned());
        }
        let crashed = container.last_state.as_ref()?.terminated.as_ref()?;
        let ran = crashed
            .finished_at
            .as_ref()?
            .0
            .duration_since(crashed.started_at.as_ref()?.0);
        let crashes = container.restart_count > FEW_RESTARTS && ran < LONG_RUN;
        crashes.then(|| {
            let reason = crashed.reason.as_deref().unwrap_or("Error");
            let (restarts, code) = (container.restart_count, crashed.exit_code);
            format!("{restarts} restarts, the last after {reason} with exit code {code}")
        })
    })
}

pub(super) fn instant_of(time: &Time) -> Instant {
    Clock::at_unix_millis(u64::try_from(time.0.as_millisecond()).unwrap_or(0))
}

/// What `kubectl get pods` would say, roughly.
pub(super) fn phase(pod: &Pod) -> String {
    let Some(status) = &pod.status else {
        return "Unknown".to_owned();
    };
    let waiting = status
        .container_statuses
        .iter()
        .flatten()
        .find_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.clone());
    waiting
        .or_else(|| status.phase.clone())
        .unwrap_or_else(|| "Pending".to_owned())
}
