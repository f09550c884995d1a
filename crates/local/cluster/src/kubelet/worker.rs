//! One Pod: its containers as processes, from the first start to the last end.
//! Knows no API: what is wanted comes in by a watch, what is goes out by one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, PodStatus};
use rustix::process::Signal;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::container::{self, Started};
use super::environment::Place;
use super::lifecycle::{self, Backoff, Life, Phase, Restart};
use super::logs_index::LogIndex;
use super::probe::{self, Kind, Target, Verdict};
use super::process::{Exit, Group, Spawner};
use super::sources::SourceReader;
use super::status;
use crate::clock;
use crate::recorder::{Recorder, container_reference, reference};

/// A Pod whose object is gone already gets this long to end.
const GRACE_WHEN_GONE: Duration = Duration::from_secs(2);

/// What every Pod's worker needs.
pub(crate) struct Context {
    pub(crate) spawner: Spawner,
    pub(crate) data_dir: PathBuf,
    pub(crate) own_exe: PathBuf,
    pub(crate) recorder: Recorder,
    pub(crate) sources: Arc<dyn SourceReader>,
    pub(crate) backoff: Backoff,
    pub(crate) log_limit: u64,
    pub(crate) logs: Arc<LogIndex>,
}

impl Context {
    /// Where a Pod's logs are.
    pub(crate) fn folder(&self, pod: &Pod) -> PathBuf {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let meta = &pod.metadata;
        self.data_dir.join("pods").join(format!(
            "{}_{}_{}",
            text(&meta.namespace),
            text(&meta.name),
            text(&meta.uid)
        ))
    }
}

/// How a Pod is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It is not.
    No,
    /// Its object is being deleted, with this much time.
    Deleted(Duration),
    /// Its object is gone.
    Gone,
    /// The kubelet stops, with this much time; the object stays.
    Drain(Duration),
}

/// What is wanted of a Pod's worker.
#[derive(Clone, Debug)]
pub(crate) struct Desired {
    pub(crate) pod: Arc<Pod>,
    pub(crate) ending: Ending,
}

/// Why a worker is done. No process is left in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The containers ran to their end.
    Finished,
    /// It was told to end.
    Ended,
}

enum Message {
    Started(usize, Box<Result<Started, container::Failure>>),
    Exited(usize, Exit),
    Probe(usize, u64, Verdict),
}

struct Run {
    number: u64,
    /// Known once the process is made.
    process: Option<(Group, Target)>,
    probes: Option<AbortOnDropHandle<()>>,
    stopping: Option<(Instant, AbortOnDropHandle<()>)>,
    _task: AbortOnDropHandle<()>,
}

struct Worker {
    context: Arc<Context>,
    place: Place,
    pod: Arc<Pod>,
    about: ObjectReference,
    whose: String,
    policy: Restart,
    grace: Duration,
    lives: Vec<Life>,
    runs: Vec<Option<Run>>,
    number: u64,
    messages: mpsc::Sender<Message>,
    ending: Ending,
    published: watch::Sender<PodStatus>,
}

/// Runs the Pod until it finished or was told to end. `published` starts with
/// the status the API has, and gets every new one.
pub(crate) async fn run(
    context: Arc<Context>,
    place: Place,
    mut desired: watch::Receiver<Desired>,
    published: watch::Sender<PodStatus>,
) -> Outcome {
    let (messages, mut inbox) = mpsc::channel(64);
    let first = desired.borrow_and_update().clone();
    let mut worker = Worker::new(context, place, first.pod, messages, published);
    worker.resume();
    worker.wish(first.ending);
    worker.warn_of_volumes();
    let mut more_wishes = true;
    loop {
        let now = Instant::now();
        if worker.ending == Ending::No {
            for index in lifecycle::to_start(&worker.lives, now.into_std()) {
                worker.start(index);
            }
        }
        worker.publish();
        if worker.runs.iter().all(Option::is_none) {
            if worker.ending != Ending::No {
                return Outcome::Ended;
            }
            if matches!(lifecycle::pod_phase(&worker.lives), "Succeeded" | "Failed") {
                return Outcome::Finished;
            }
        }
        let due = lifecycle::next_due(&worker.lives)
            .filter(|_| worker.ending == Ending::No)
            .map(Instant::from_std);
        tokio::select! {
            biased;
            changed = desired.changed(), if more_wishes => {
                let ending = match changed {
                    Ok(()) => {
                        let wanted = desired.borrow_and_update().clone();
                        worker.pod = wanted.pod;
                        wanted.ending
                    }
                    Err(_) => {
                        more_wishes = false;
                        Ending::Gone
                    }
                };
                worker.wish(ending);
            }
            Some(message) = inbox.recv() => worker.on(message),
            () = tokio::time::sleep_until(due.unwrap_or(now)), if due.is_some() => {}
        }
    }
}

impl Worker {
    fn new(
        context: Arc<Context>,
        place: Place,
        pod: Arc<Pod>,
        messages: mpsc::Sender<Message>,
        published: watch::Sender<PodStatus>,
    ) -> Self {
        let spec = pod.spec.clone().unwrap_or_default();
        let init = spec.init_containers.into_iter().flatten().map(|c| Life::new(c, true));
        let lives: Vec<Life> = init
            .chain(spec.containers.into_iter().map(|c| Life::new(c, false)))
            .collect();
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let meta = &pod.metadata;
        Worker {
            about: reference(pod.as_ref()),
            whose: format!("{}_{}({})", text(&meta.name), text(&meta.namespace), text(&meta.uid)),
            policy: Restart::of(spec.restart_policy.as_deref()),
            grace: seconds(spec.termination_grace_period_seconds.unwrap_or(30)),
            runs: lives.iter().map(|_| None).collect(),
            lives,
            number: 0,
            ending: Ending::No,
            context,
            place,
            pod,
            messages,
            published,
        }
    }

    /// Takes up the counts of an earlier life of the kubelet.
    fn resume(&mut self) {
        let before = self.published.borrow().clone();
        let known = before
            .container_statuses
            .iter()
            .chain(&before.init_container_statuses)
            .flatten();
        let now = clock::now();
        for status in known {
            if let Some(life) = self.lives.iter_mut().find(|l| l.spec.name == status.name) {
                life.resume(status, self.policy, &now);
            }
        }
    }

    fn warn_of_volumes(&self) {
        let mounts = self.lives.iter().flat_map(|l| l.spec.volume_mounts.iter().flatten());
        let missing: Vec<&str> = mounts
            .filter(|m| !m.name.starts_with("kube-api-access-"))
            .map(|m| m.mount_path.as_str())
            .collect();
        if !missing.is_empty() {
            let message = format!(
                "volumes are not mounted for local processes: {} is what this machine has",
                missing.join(", ")
            );
            self.context.recorder.warning(&self.about, "VolumesNotMounted", message);
        }
    }

    fn start(&mut self, index: usize) {
        self.number += 1;
        let (number, context, pod) = (self.number, self.context.clone(), self.pod.clone());
        let (place, messages) = (self.place.clone(), self.messages.clone());
        let life = &mut self.lives[index];
        life.phase = Phase::Starting;
        let (spec, run) = (life.spec.clone(), life.next_run());
        let task = tokio::spawn(async move {
            match container::start(&context, &pod, spec, &place, run).await {
                Ok((mut running, started)) => {
                    // The worker outlives its runs, so sending fails only when all is over.
                    let _ = messages.send(Message::Started(index, Box::new(Ok(started)))).await;
                    let exit = running.wait().await;
                    let _ = messages.send(Message::Exited(index, exit)).await;
                }
                Err(failure) => {
                    let _ = messages.send(Message::Started(index, Box::new(Err(failure)))).await;
                }
            }
        });
        let _task = AbortOnDropHandle::new(task);
        self.runs[index] = Some(Run {
            number,
            process: None,
            probes: None,
            stopping: None,
            _task,
        });
    }

    fn on(&mut self, message: Message) {
        match message {
            Message::Started(index, outcome) => match *outcome {
                Ok(started) => self.on_started(index, started),
                Err(failure) => self.on_start_failed(index, failure),
            },
            Message::Exited(index, exit) => self.on_exit(index, exit),
            Message::Probe(index, number, verdict) => {
                if self.runs[index].as_ref().is_some_and(|run| run.number == number) {
                    self.on_verdict(index, verdict);
                }
            }
        }
    }

    fn on_start_failed(&mut self, index: usize, failure: container::Failure) {
        self.runs[index] = None;
        let about = container_reference(&self.about, &self.lives[index].spec.name);
        self.context
            .recorder
            .warning(&about, "Failed", format!("Error: {}", failure.message));
        tracing::warn!(pod = self.whose, reason = failure.reason, "{}", failure.message);
        let now = Instant::now().into_std();
        self.lives[index].on_start_failed(failure.reason, failure.message, &self.context.backoff, now);
    }

    fn on_started(&mut self, index: usize, started: Started) {
        let name = self.lives[index].spec.name.clone();
        let about = container_reference(&self.about, &name);
        self.context
            .recorder
            .normal(&about, "Created", format!("Created container: {name}"));
        self.context
            .recorder
            .normal(&about, "Started", format!("Started container {name}"));
        let pid = started.group.pid.as_raw_nonzero().get();
        self.lives[index].on_started(pid, clock::now(), Instant::now().into_std());
        let Some(run) = &mut self.runs[index] else { return };
        run.process = Some((started.group, started.target.clone()));
        if self.ending != Ending::No {
            self.stop_for_ending(index);
            return;
        }
        let (verdicts, mut found) = mpsc::channel(4);
        let (messages, number) = (self.messages.clone(), run.number);
        let probes = async move {
            let probing = probe::run(started.target, verdicts);
            let passing_on = async {
                while let Some(verdict) = found.recv().await {
                    if messages.send(Message::Probe(index, number, verdict)).await.is_err() {
                        return;
                    }
                }
            };
            futures::future::join(probing, passing_on).await;
        };
        run.probes = Some(AbortOnDropHandle::new(tokio::spawn(probes)));
    }

    fn on_exit(&mut self, index: usize, exit: Exit) {
        self.runs[index] = None;
        let life = &mut self.lives[index];
        let at = (clock::now(), Instant::now().into_std());
        match self.ending {
            Ending::No => {
                let pause = life.on_exit(exit, self.policy, &self.context.backoff, &self.whose, at);
                tracing::debug!(
                    pod = self.whose,
                    container = life.spec.name,
                    ?exit,
                    ?pause,
                    "a container ended"
                );
                if pause.is_some_and(|pause| !pause.is_zero()) {
                    let name = &life.spec.name;
                    let message = format!("Back-off restarting failed container {name} in pod {}", self.whose);
                    self.context
                        .recorder
                        .warning(&container_reference(&self.about, name), "BackOff", message);
                }
            }
            // The object goes on saying that it runs, so that the next life of the kubelet takes it up.
            Ending::Drain(_) => {}
            Ending::Deleted(_) | Ending::Gone => life.on_final_exit(exit, at.0, at.1),
        }
    }

    fn on_verdict(&mut self, index: usize, verdict: Verdict) {
        let life = &mut self.lives[index];
        let about = container_reference(&self.about, &life.spec.name);
        match verdict {
            Verdict::Passed(Kind::Startup) => {
                life.started = true;
                life.ready = life.spec.readiness_probe.is_none();
            }
            Verdict::Passed(Kind::Readiness) => life.ready = true,
            Verdict::Passed(Kind::Liveness) => {}
            Verdict::Failed(kind, why) => {
                self.context
                    .recorder
                    .warning(&about, "Unhealthy", format!("{} probe failed: {why}", kind.word()));
            }
            Verdict::Exhausted(Kind::Readiness, _) => life.ready = false,
            Verdict::Exhausted(kind, _) => {
                life.ready = false;
                let (name, probe) = match kind {
                    Kind::Startup => ("startup", &life.spec.startup_probe),
                    _ => ("liveness", &life.spec.liveness_probe),
                };
                let grace = probe
                    .as_ref()
                    .and_then(|p| p.termination_grace_period_seconds)
                    .map_or(self.grace, seconds);
                let message = format!("Container {} failed {name} probe, will be restarted", life.spec.name);
                self.context.recorder.normal(&about, "Killing", message);
                self.stop(index, grace, true);
            }
        }
    }

    /// Takes in how the Pod is to end. An ending is never taken back, only made shorter.
    fn wish(&mut self, ending: Ending) {
        if ending == self.ending || ending == Ending::No {
            return;
        }
        if matches!(
            (self.ending, ending),
            (Ending::Gone, _) | (Ending::Drain(_), Ending::Deleted(_))
        ) {
            return;
        }
        self.ending = ending;
        for index in 0..self.runs.len() {
            self.stop_for_ending(index);
        }
    }

    fn stop_for_ending(&mut self, index: usize) {
        let Some(Run {
            process: Some(_),
            stopping,
            ..
        }) = &self.runs[index]
        else {
            return;
        };
        let name = &self.lives[index].spec.name;
        if stopping.is_none() && matches!(self.ending, Ending::Deleted(_)) {
            let about = container_reference(&self.about, name);
            self.context
                .recorder
                .normal(&about, "Killing", format!("Stopping container {name}"));
        }
        match self.ending {
            Ending::No => {}
            Ending::Deleted(grace) => self.stop(index, grace, true),
            Ending::Gone => self.stop(index, GRACE_WHEN_GONE.min(self.grace), false),
            Ending::Drain(grace) => self.stop(index, grace.min(self.grace), true),
        }
    }

    fn stop(&mut self, index: usize, grace: Duration, hook: bool) {
        let life = &mut self.lives[index];
        let Some(run) = &mut self.runs[index] else { return };
        let Some((group, target)) = run.process.clone() else {
            return;
        };
        let deadline = Instant::now() + grace;
        let first = match &run.stopping {
            Some((earlier, _)) if *earlier <= deadline => return,
            Some(_) => false,
            None => true,
        };
        run.probes = None;
        life.ready = false;
        let hook = life
            .spec
            .lifecycle
            .as_ref()
            .and_then(|l| l.pre_stop.clone())
            .filter(|_| first && hook);
        let (recorder, about) = (
            self.context.recorder.clone(),
            container_reference(&self.about, &life.spec.name),
        );
        let stopping = async move {
            if let Some(hook) = hook {
                match tokio::time::timeout_at(deadline, probe::hook(&hook, &target)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(why)) => recorder.warning(&about, "FailedPreStopHook", why),
                    Err(_) => recorder.warning(&about, "FailedPreStopHook", "took all of the grace period".to_owned()),
                }
            }
            group.signal(Signal::TERM);
            tokio::time::sleep_until(deadline).await;
            group.signal(Signal::KILL);
        };
        run.stopping = Some((deadline, AbortOnDropHandle::new(tokio::spawn(stopping))));
    }

    fn publish(&self) {
        let draining = matches!(self.ending, Ending::Drain(_));
        self.published.send_if_modified(|current| {
            let next = status::of(&self.pod, &self.lives, &self.place, current, draining, &clock::now());
            let changed = status::patch(current, &next).is_some();
            if changed {
                let qos_class = current.qos_class.take();
                *current = PodStatus { qos_class, ..next };
            }
            changed
        });
    }
}

fn seconds(value: i64) -> Duration {
    Duration::from_secs(u64::try_from(value).unwrap_or(0))
}

/// Removes what a Pod left in the data folder.
pub(crate) fn remove_folder(folder: &Path) {
    match std::fs::remove_dir_all(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::debug!(%error, folder = %folder.display(), "logs of a Pod that is gone could not be removed");
        }
    }
}

#[cfg(test)]
#[path = "worker/tests.rs"]
mod tests;
