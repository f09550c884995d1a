//! One Pod and its object: a place, a worker, the status written, and the
//! object finalised when the last process is gone.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::watch;

use super::environment::Place;
use super::manager::{Manager, NoPlace};
use super::worker::{self, Context, Desired, Ending, Outcome};
use super::{patiently, status};
use crate::call::{Error, call, merge_status};
use crate::recorder::reference;
use crate::{clock, pods};

/// How long the last status may take to be written when the kubelet stops.
const LAST_STATUS: Duration = Duration::from_secs(3);

/// Looks after one Pod until it is gone or the kubelet stops.
pub(crate) async fn tend(
    manager: Arc<Manager>,
    context: Arc<Context>,
    node: String,
    mut desired: watch::Receiver<Desired>,
) {
    let pod = desired.borrow().pod.clone();
    let uid = pod.uid().unwrap_or_default();
    let before = pod.status.clone().unwrap_or_default();
    let (published, written) = watch::channel(before.clone());
    let writer = tokio::spawn(write(
        manager.client.clone(),
        context.clone(),
        pod.clone(),
        before.clone(),
        written,
    ));
    if !pods::is_finished(&pod) && desired.borrow().ending == Ending::No {
        match place(&manager, &context, &node, &mut desired).await {
            Some(Ok(place)) => {
                let outcome = worker::run(context.clone(), place, desired.clone(), published.clone()).await;
                tracing::debug!(pod = pod.name_any(), ?outcome, "no process is left");
                debug_assert!(outcome == Outcome::Finished || desired.borrow().ending != Ending::No);
            }
            Some(Err((reason, message))) => {
                context
                    .recorder
                    .warning(&reference(pod.as_ref()), "Failed", message.clone());
                published.send_replace(status::refused(&before, &reason, &message, &clock::now()));
            }
            None => {}
        }
    }
    // From here on it holds nothing, even while its object stays.
    manager.release(&node, &uid);
    drop(published);
    let ending = match desired.wait_for(|wanted| wanted.ending != Ending::No).await {
        Ok(wanted) => wanted.ending,
        Err(_) => Ending::Gone,
    };
    match ending {
        Ending::Gone => writer.abort(),
        _ => {
            // A status that cannot be written now is not worth holding up the end.
            let abort = writer.abort_handle();
            if tokio::time::timeout(LAST_STATUS, writer).await.is_err() {
                abort.abort();
            }
        }
    }
    if let Ending::Deleted(_) = ending {
        let gone = async {
            // Another wish may come: the object gone by force, or the kubelet stopping.
            let _ = desired
                .wait_for(|wanted| !matches!(wanted.ending, Ending::Deleted(_) | Ending::No))
                .await;
        };
        tokio::select! {
            () = patiently("delete the Pod's object", || finalise(&manager.client, &pod)) => {}
            () = gone => {}
        }
    }
    if !matches!(ending, Ending::Drain(_)) {
        context.logs.remove(&pod);
        worker::remove_folder(&context.folder(&pod));
    }
}

/// The Pod's place; `None` when it is to end before there is one.
async fn place(
    manager: &Manager,
    context: &Context,
    node: &str,
    desired: &mut watch::Receiver<Desired>,
) -> Option<Result<Place, (String, String)>> {
    let pod = desired.borrow().pod.clone();
    let mut pause = Duration::from_millis(200);
    loop {
        match manager.place(node, &pod) {
            Ok(place) => return Some(Ok(place)),
            Err(NoPlace::Refused { reason, message }) => return Some(Err((reason, message))),
            Err(NoPlace::Later(why)) => {
                context
                    .recorder
                    .warning(&reference(pod.as_ref()), "FailedCreatePodSandBox", why);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = desired.wait_for(|wanted| wanted.ending != Ending::No) => return None,
        }
        pause = (pause * 2).min(Duration::from_secs(10));
    }
}

/// Writes each new status until there are no more and the last is written.
async fn write(
    client: Client,
    context: Arc<Context>,
    pod: Arc<Pod>,
    mut known: PodStatus,
    mut published: watch::Receiver<PodStatus>,
) {
    let api = Api::<Pod>::namespaced(client, &pod.namespace().unwrap_or_default());
    let (name, uid) = (pod.name_any(), pod.uid());
    let folder = context.folder(&pod).display().to_string();
    let mut pause = Duration::from_millis(20);
    loop {
        let latest = published.borrow_and_update().clone();
        if let Some(change) = status::patch(&known, &latest) {
            // The uid makes sure that it is not another Pod of the same name.
            let patch = json!({
                "metadata": {"uid": uid, "annotations": {(api::names::LOG_PATH_ANNOTATION): folder}},
                "status": change,
            });
            match merge_status(&api, &name, &patch).await {
                Ok(now) if now.uid() != uid => return,
                Ok(_) => known = latest,
                Err(error) if error.is_not_found() => return,
                Err(error) if error.is_invalid() => {
                    tracing::warn!(%error, "the API refuses this status");
                    known = latest;
                }
                Err(error) => {
                    tracing::debug!(%error, "trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                    continue;
                }
            }
            pause = Duration::from_millis(20);
        }
        if published.changed().await.is_err() {
            return;
        }
    }
}

async fn finalise(client: &Client, pod: &Pod) -> Result<(), Error> {
    let api = Api::<Pod>::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let name = pod.name_any();
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions {
            uid: pod.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match call(|| format!("finalise pod {name}"), api.delete(&name, &params)).await {
        Ok(_) => Ok(()),
        // Gone already, or another of the same name.
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
        Err(error) => Err(error),
    }
}
