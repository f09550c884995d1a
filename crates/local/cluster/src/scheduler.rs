//! The scheduler: Pods without a node get one.
//!
//! [`place()`] decides and says why not; this module feeds it what is, binds, and
//! tells the Pod and its Events when nothing fits. One Pod at a time, so that
//! every decision knows the ones before it.

mod place;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;

use crate::call::{Error, call, merge_status};
use crate::informer::{Key, key_of};
use crate::queue::Queue;
use crate::recorder::{Recorder, reference};
use crate::run::Shared;
use crate::{clock, pods};
pub use place::{Choice, NodeView, NodesView, WhyNot, place};

const NAME: &str = "default-scheduler";

/// Binds Pods for ever.
pub(crate) async fn run(shared: Shared, recorder: Recorder) {
    shared.nodes.synced().await;
    shared.pods.synced().await;
    let queue = Queue::<Key>::new();
    // Pods that found no node; a change that may help brings them back.
    let waiting = Arc::new(Mutex::new(std::collections::BTreeSet::<Key>::new()));
    let again = {
        let (queue, waiting) = (queue.clone(), waiting.clone());
        move || {
            for key in std::mem::take(&mut *waiting.lock()) {
                queue.add(key);
            }
        }
    };
    let (on_node, on_pod, pods_queue) = (again.clone(), again, queue.clone());
    shared.pods.listen("scheduler", move |change| {
        if let Some(pod) = &change.new
            && wants_node(pod)
        {
            pods_queue.add(key_of(pod.as_ref()));
        }
        // Room is made when a bound Pod goes or ends.
        let bound = change
            .old
            .as_ref()
            .is_some_and(|p| node_of(p).is_some() && !pods::is_finished(p));
        if bound && change.new.as_ref().is_none_or(|p| pods::is_finished(p)) {
            on_pod();
        }
    });
    shared.nodes.listen("scheduler", move |change| {
        let relevant = |node: &Arc<k8s_openapi::api::core::v1::Node>| NodeView::new(node);
        if change.new.is_some() && change.old.as_ref().map(relevant) != change.new.as_ref().map(relevant) {
            on_node();
        }
    });
    let scheduler = Scheduler {
        shared,
        recorder,
        waiting,
    };
    queue.run("scheduler", 1, |key| scheduler.schedule(key)).await;
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

fn wants_node(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    node_of(pod).is_none()
        && pods::is_active(pod)
        && spec
            .scheduler_name
            .as_deref()
            .is_none_or(|name| name.is_empty() || name == NAME)
        && spec.scheduling_gates.iter().flatten().next().is_none()
}

struct Scheduler {
    shared: Shared,
    recorder: Recorder,
    waiting: Arc<Mutex<std::collections::BTreeSet<Key>>>,
}

impl Scheduler {
    async fn schedule(&self, key: Key) -> Result<Option<Duration>, Error> {
        let Some(pod) = self.shared.pods.get(&key).filter(|pod| wants_node(pod)) else {
            return Ok(None);
        };
        let nodes = self.shared.nodes.list();
        let all = self.shared.pods.list();
        let view = NodesView::new(nodes.iter().map(AsRef::as_ref), all.iter().map(AsRef::as_ref));
        match place(&pod, &view) {
            Ok(choice) => self.bind(&pod, &choice.node).await?,
            Err(why) => {
                // Into the waiting room first: what changes while we write must bring it back.
                self.waiting.lock().insert(key);
                self.tell(&pod, &why.to_string()).await?;
            }
        }
        Ok(None)
    }

    async fn bind(&self, pod: &Pod, node: &str) -> Result<(), Error> {
        let (namespace, name) = key_of(pod);
        let binding = Binding {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                uid: pod.uid(),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                kind: Some("Node".to_owned()),
                name: Some(node.to_owned()),
                ..Default::default()
            },
        };
        let api = Api::<Pod>::namespaced(self.shared.client.clone(), &namespace);
        let what = || format!("bind pod {namespace}/{name} to {node}");
        let params = PostParams::default();
        match call(
            what,
            api.create_subresource::<_, serde_json::Value>("binding", &name, &params, &binding),
        )
        .await
        {
            Ok(_) => {}
            // Gone, or bound by someone else: the watch brings what is true.
            Err(error) if error.is_not_found() || error.is_conflict() => return Ok(()),
            Err(error) => return Err(error),
        }
        // The next decision must know this one before the watch tells of it.
        let mut assumed = pod.clone();
        if let Some(spec) = &mut assumed.spec {
            spec.node_name = Some(node.to_owned());
        }
        self.shared.pods.put(assumed);
        let message = format!("Successfully assigned {namespace}/{name} to {node}");
        self.recorder.normal(&reference(pod), "Scheduled", message);
        Ok(())
    }

    async fn tell(&self, pod: &Pod, why: &str) -> Result<(), Error> {
        let known = pods::condition(pod, "PodScheduled");
        if known.is_some_and(|c| c.status == "False" && c.message.as_deref() == Some(why)) {
            return Ok(());
        }
        self.recorder
            .warning(&reference(pod), "FailedScheduling", why.to_owned());
        let since = known
            .filter(|c| c.status == "False")
            .and_then(|c| c.last_transition_time.clone());
        let condition = PodCondition {
            type_: "PodScheduled".to_owned(),
            status: "False".to_owned(),
            reason: Some("Unschedulable".to_owned()),
            message: Some(why.to_owned()),
            last_transition_time: since.or_else(|| Some(clock::now())),
            ..PodCondition::default()
        };
        let others = pod
            .status
            .as_ref()
            .and_then(|s| s.conditions.clone())
            .into_iter()
            .flatten();
        let mut conditions: Vec<_> = others.filter(|c| c.type_ != "PodScheduled").collect();
        conditions.push(condition);
        let api = Api::<Pod>::namespaced(self.shared.client.clone(), &pod.namespace().unwrap_or_default());
        let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": conditions}});
        match merge_status(&api, &pod.name_any(), &patch).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }
}
