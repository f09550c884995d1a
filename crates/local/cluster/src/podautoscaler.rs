//! The HPA controller: every HorizontalPodAutoscaler looked at once in each
//! sync period, its target's scale set by what the metrics say.
//!
//! The arithmetic, the conditions and the Events are the core `hpa`, the same
//! that virtual time runs. What is read here: the scale subresource, the Pods
//! that its selector selects, and external metrics, from a function of this
//! process or else over `external.metrics.k8s.io`. The local cluster has
//! neither resource nor custom metrics, and says so as Kubernetes does where
//! they are not installed.

mod metrics;
mod scale;
mod spec;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ::hpa::{Able, Outcome, Phase, Pod, Reading, Ready, Selection, State, View};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ObjectReference, Pod as ApiPod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use parking_lot::Mutex;
use units::Instant;

use crate::call::{Error, call, merge_status};
use crate::informer::{Key, key_of};
use crate::queue::Queue;
use crate::recorder::{Recorder, reference};
use crate::run::Shared;
pub use metrics::{ExternalMetrics, Series};
pub(crate) use scale::Kinds;

/// How often Kubernetes looks at each object.
pub const SYNC_PERIOD: Duration = Duration::from_secs(15);

/// What the controller is started with.
#[derive(Clone)]
pub struct PodAutoscalerOptions {
    /// How often each object is looked at; also how long a new one waits.
    pub sync_period: Duration,
    /// Where external metrics come from; without it the API is asked.
    pub external_metrics: Option<ExternalMetrics>,
}

impl Default for PodAutoscalerOptions {
    fn default() -> Self {
        Self {
            sync_period: SYNC_PERIOD,
            external_metrics: None,
        }
    }
}

impl std::fmt::Debug for PodAutoscalerOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PodAutoscalerOptions")
            .field("sync_period", &self.sync_period)
            .field("external_metrics", &self.external_metrics.is_some())
            .finish()
    }
}

/// Keeps HorizontalPodAutoscalers for ever.
pub(crate) async fn run(shared: Shared, recorder: Recorder, options: PodAutoscalerOptions) {
    shared.autoscalers.synced().await;
    let queue = Queue::<Key>::new();
    let (own, period) = (queue.clone(), options.sync_period);
    shared
        .autoscalers
        .listen("podautoscaler", move |change| match &change.new {
            // A change does not hurry: the windows and rates count in periods.
            Some(autoscaler) => own.add_after(key_of(autoscaler.as_ref()), period),
            // What is remembered of it goes at once.
            None => change.old.iter().for_each(|old| own.add(key_of(old.as_ref()))),
        });
    let controller = Controller {
        kinds: Kinds::default(),
        clock: Clock::new(),
        known: Mutex::default(),
        shared,
        recorder,
        options,
    };
    queue.run("podautoscaler", 5, |key| controller.sync(key)).await;
}

/// What is remembered of one object. Bounded by the objects there are.
#[derive(Default)]
struct Known {
    uid: String,
    state: State,
    /// The Pods its target had when it was last looked at.
    pods: BTreeSet<String>,
}

struct Controller {
    shared: Shared,
    recorder: Recorder,
    options: PodAutoscalerOptions,
    kinds: Kinds,
    clock: Clock,
    known: Mutex<BTreeMap<Key, Known>>,
}

impl Controller {
    async fn sync(&self, key: Key) -> Result<Option<Duration>, Error> {
        let Some(autoscaler) = self.shared.autoscalers.get(&key) else {
            self.known.lock().remove(&key);
            return Ok(None);
        };
        // A pass that failed said so in the object; the next comes when it comes.
        if let Err(error) = self.pass(&key, &autoscaler).await {
            tracing::debug!(?key, %error, "the pass ended early");
        }
        Ok(Some(self.options.sync_period))
    }

    async fn pass(&self, key: &Key, autoscaler: &HorizontalPodAutoscaler) -> Result<(), Error> {
        let about = reference(autoscaler);
        let spec = spec::of(autoscaler);
        let target = &autoscaler.spec.scale_target_ref;
        let scale = match self.kinds.scale(&self.shared.client, &key.0, target).await {
            Ok(scale) => scale,
            Err(error) => {
                self.recorder.warning(&about, "FailedGetScale", error.clone());
                let failed = [Able::FailedGetScale { error }.condition()];
                return self.write(autoscaler, status::of_conditions(autoscaler, &failed)).await;
            }
        };
        let current = scale.replicas;
        let mut state = self.remembered(key, autoscaler);
        let looked = ::hpa::needs_metrics(&spec, &state, current);
        let seen = if looked {
            self.look(key, autoscaler, &scale.selector).await
        } else {
            Seen::default()
        };
        let readings: Vec<Reading<'_>> = seen.readings.iter().map(metrics::Read::as_reading).collect();
        let view = View {
            spec_replicas: current,
            status_replicas: scale.status_replicas,
            pods: &seen.pods,
            readings: &readings,
            selection: match &seen.selection {
                _ if scale.selector.is_empty() => Selection::Missing,
                Wrong::Nothing => Selection::Good,
                Wrong::Unparsable(why) => Selection::Unparsable(why),
                Wrong::Ambiguous(who) => Selection::Ambiguous(who),
            },
        };
        let mut outcome = ::hpa::step(&spec, &mut state, &view, self.clock.now());
        if outcome.rescale.is_some()
            && let Err(error) = scale.set(outcome.desired).await
        {
            outcome.write_failed(&mut state, &error);
        }
        if let Some(known) = self.known.lock().get_mut(key) {
            known.state = state;
            if looked {
                known.pods = seen.names;
            }
        }
        self.tell(&about, &spec, &outcome);
        self.write(autoscaler, status::of_outcome(autoscaler, &spec, &outcome))
            .await
    }

    /// What is remembered of this very object; one of the same name that is gone left nothing.
    fn remembered(&self, key: &Key, autoscaler: &HorizontalPodAutoscaler) -> State {
        let uid = autoscaler.uid().unwrap_or_default();
        let mut all = self.known.lock();
        let known = all.entry(key.clone()).or_default();
        if known.uid != uid {
            *known = Known {
                uid,
                ..Known::default()
            };
        }
        known.state.clone()
    }

    /// Reads what the metrics need.
    async fn look(&self, key: &Key, autoscaler: &HorizontalPodAutoscaler, selector: &str) -> Seen {
        let mut seen = Seen::default();
        if selector.is_empty() {
            return seen;
        }
        let api = Api::<ApiPod>::namespaced(self.shared.client.clone(), &key.0);
        let params = ListParams::default().labels(selector);
        let pods = match call(|| "list Pods".to_owned(), api.list(&params)).await {
            Ok(pods) => pods.items,
            Err(error) => {
                seen.selection = Wrong::Unparsable(scale::said(&error));
                return seen;
            }
        };
        seen.names = pods.iter().map(ResourceExt::name_any).collect();
        seen.pods = pods.iter().map(|pod| self.clock.pod(pod)).collect();
        if let Some(rivals) = self.rivals(key, &seen.names) {
            seen.selection = Wrong::Ambiguous(format!("{selector} are controlled by multiple HPAs: [{rivals}]"));
            return seen;
        }
        for metric in autoscaler.spec.metrics.iter().flatten() {
            let source = self.options.external_metrics.as_ref();
            seen.readings
                .push(metrics::read(&self.shared.client, source, &key.0, metric).await);
        }
        seen
    }

    /// All HPAs of the namespace whose targets share Pods with this one's, itself included.
    fn rivals(&self, key: &Key, names: &BTreeSet<String>) -> Option<String> {
        let all = self.known.lock();
        let in_namespace = all.iter().filter(|(other, _)| other.0 == key.0);
        let sharing = |(other, known): &(&Key, &Known)| *other == key || !known.pods.is_disjoint(names);
        let sharing: Vec<String> = in_namespace
            .filter(sharing)
            .map(|((namespace, name), _)| format!("{namespace}/{name}"))
            .collect();
        (sharing.len() > 1).then(|| sharing.join(" "))
    }

    fn tell(&self, about: &ObjectReference, spec: &::hpa::Spec, outcome: &Outcome) {
        for event in &outcome.events {
            let text = event.text(spec);
            if text.warning {
                self.recorder.warning(about, text.reason, text.message);
            } else {
                self.recorder.normal(about, text.reason, text.message);
            }
        }
    }

    async fn write(
        &self,
        autoscaler: &HorizontalPodAutoscaler,
        status: Option<serde_json::Value>,
    ) -> Result<(), Error> {
        let Some(status) = status else { return Ok(()) };
        let namespace = autoscaler.namespace().unwrap_or_default();
        let api = Api::<HorizontalPodAutoscaler>::namespaced(self.shared.client.clone(), &namespace);
        let patch = serde_json::json!({"metadata": {"uid": autoscaler.uid()}, "status": status});
        let written = merge_status(&api, &autoscaler.name_any(), &patch).await;
        match written {
            Ok(written) => self.shared.autoscalers.put(written),
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                let about = reference(autoscaler);
                self.recorder.warning(&about, "FailedUpdateStatus", scale::said(&error));
                return Err(error);
            }
        }
        Ok(())
    }
}

/// What was read for one pass.
#[derive(Default)]
struct Seen {
    pods: Vec<Pod>,
    names: BTreeSet<String>,
    readings: Vec<metrics::Read>,
    selection: Wrong,
}

/// What is wrong with the selector.
#[derive(Default)]
enum Wrong {
    #[default]
    Nothing,
    Unparsable(String),
    Ambiguous(String),
}

/// Wall time that never goes back: Pods' timestamps and the passes on one line.
struct Clock {
    started: std::time::Instant,
    wall: Instant,
}

impl Clock {
    fn new() -> Self {
        Self {
            started: std::time::Instant::now(),
            wall: instant(&Time(Timestamp::now())),
        }
    }

    fn now(&self) -> Instant {
        self.wall + self.started.elapsed()
    }

    fn pod(&self, pod: &ApiPod) -> Pod {
        let status = pod.status.as_ref();
        let ready = crate::pods::condition(pod, "Ready").map(|ready| {
            let holds = match ready.status.as_str() {
                "True" => Ready::True,
                "False" => Ready::False,
                _ => Ready::Unknown,
            };
            (holds, ready.last_transition_time.as_ref().map_or(self.wall, instant))
        });
        Pod {
            phase: match crate::pods::phase(pod) {
                "Running" => Phase::Running,
                "Succeeded" => Phase::Succeeded,
                "Failed" => Phase::Failed,
                "Unknown" => Phase::Unknown,
                _ => Phase::Pending,
            },
            deleted: pod.metadata.deletion_timestamp.is_some(),
            ready,
            started: status.and_then(|s| s.start_time.as_ref()).map(instant),
        }
    }
}

fn instant(time: &Time) -> Instant {
    Instant::from_nanos(u64::try_from(time.0.as_nanosecond()).unwrap_or(0))
}
