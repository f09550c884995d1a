use super::*;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

fn at(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

fn deployment(replicas: i32) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "d", "generation": 3},
        "spec": {"replicas": replicas, "selector": {}, "template": {}, "progressDeadlineSeconds": 60,
                 "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}},
    }))
    .unwrap()
}

fn set_of(wanted: i32, available: i32) -> ReplicaSet {
    serde_json::from_value(json!({
        "metadata": {"name": "d-1"}, "spec": {"replicas": wanted, "selector": {}},
        "status": {"replicas": wanted, "readyReplicas": available, "availableReplicas": available},
    }))
    .unwrap()
}

fn condition<'a>(status: &'a DeploymentStatus, type_: &str) -> (&'a str, &'a str) {
    let found = status
        .conditions
        .as_ref()
        .unwrap()
        .iter()
        .find(|c| c.type_ == type_)
        .unwrap();
    (found.status.as_str(), found.reason.as_deref().unwrap())
}

#[test]
fn a_rollout_goes_through_the_reasons_that_kubectl_waits_for() {
    let mut deployment = deployment(2);
    let (status, again) = status(&deployment, Some(&set_of(0, 0)), &[], Deed::Created, &at(0));
    assert_eq!(condition(&status, "Available"), ("False", "MinimumReplicasUnavailable"));
    assert_eq!(condition(&status, "Progressing"), ("True", "NewReplicaSetCreated"));
    assert_eq!(status.observed_generation, Some(3));
    assert_eq!(again, Some(Duration::from_secs(61)));
    deployment.status = Some(status);
    let (status, _) = super::status(&deployment, Some(&set_of(2, 1)), &[], Deed::None, &at(30));
    assert_eq!(condition(&status, "Progressing"), ("True", "ReplicaSetUpdated"));
    assert_eq!(
        (status.unavailable_replicas, status.updated_replicas),
        (Some(1), Some(2))
    );
    deployment.status = Some(status);
    let (waiting, again) = super::status(&deployment, Some(&set_of(2, 1)), &[], Deed::None, &at(50));
    assert!(same(&waiting, deployment.status.as_ref().unwrap()));
    assert_eq!(
        again,
        Some(Duration::from_secs(41)),
        "the deadline counts from the last step"
    );
    let (late, _) = super::status(&deployment, Some(&set_of(2, 1)), &[], Deed::None, &at(91));
    assert_eq!(condition(&late, "Progressing"), ("False", "ProgressDeadlineExceeded"));
    let (done, again) = super::status(&deployment, Some(&set_of(2, 2)), &[], Deed::None, &at(60));
    assert_eq!(condition(&done, "Progressing"), ("True", NEW_AVAILABLE));
    assert_eq!(condition(&done, "Available"), ("True", "MinimumReplicasAvailable"));
    assert_eq!((done.unavailable_replicas, again), (None, None));
    deployment.status = Some(done);
    let (lost, again) = super::status(&deployment, Some(&set_of(2, 1)), &[], Deed::None, &at(500));
    assert_eq!(
        condition(&lost, "Progressing"),
        ("True", NEW_AVAILABLE),
        "losing a Pod is no rollout"
    );
    assert_eq!(condition(&lost, "Available"), ("False", "MinimumReplicasUnavailable"));
    assert_eq!(again, None);
}

#[test]
fn an_old_set_with_pods_keeps_the_rollout_open() {
    let deployment = deployment(2);
    let old = set_of(1, 1);
    let (status, _) = status(&deployment, Some(&set_of(2, 2)), &[&old], Deed::None, &at(0));
    assert_eq!(condition(&status, "Progressing"), ("True", "ReplicaSetUpdated"));
    assert_eq!(status.replicas, Some(3));
}

#[test]
fn pausing_stops_the_clock() {
    let mut deployment = deployment(2);
    deployment.spec.as_mut().unwrap().paused = Some(true);
    let (paused, again) = status(&deployment, Some(&set_of(1, 1)), &[], Deed::None, &at(0));
    assert_eq!(
        (condition(&paused, "Progressing"), again),
        (("Unknown", "DeploymentPaused"), None)
    );
    deployment.status = Some(paused);
    deployment.spec.as_mut().unwrap().paused = None;
    let (resumed, again) = status(&deployment, Some(&set_of(1, 1)), &[], Deed::None, &at(9));
    assert_eq!(
        (condition(&resumed, "Progressing"), again.is_some()),
        (("Unknown", "DeploymentResumed"), true)
    );
}
