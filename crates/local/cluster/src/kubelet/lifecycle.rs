//! What a container is and what it does next: pure, time is passed in.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::process::Exit;

/// When containers that ended are started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    Always,
    OnFailure,
    Never,
}

impl Restart {
    /// `spec.restartPolicy`; Always when not said.
    pub(crate) fn of(policy: Option<&str>) -> Self {
        match policy {
            Some("Never") => Restart::Never,
            Some("OnFailure") => Restart::OnFailure,
            _ => Restart::Always,
        }
    }

    fn after(self, code: i32) -> bool {
        self == Restart::Always || (self == Restart::OnFailure && code != 0)
    }
}

/// The pauses between restarts: none before the first, then doubling.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The pause before the second restart.
    pub base: Duration,
    /// No pause is longer.
    pub longest: Duration,
    /// A container that ran this long starts over without a pause.
    pub reset: Duration,
}

impl Default for Backoff {
    /// As Kubernetes: 10 s, doubling to 5 min, forgotten after 10 min.
    fn default() -> Self {
        Backoff {
            base: Duration::from_secs(10),
            longest: Duration::from_secs(300),
            reset: Duration::from_secs(600),
        }
    }
}

impl Backoff {
    /// The pause after a run of `ran`, given the one before; and what to remember.
    fn after(&self, before: Option<Duration>, ran: Duration) -> Duration {
        match before {
            Some(pause) if ran < self.reset => (pause * 2).clamp(self.base, self.longest),
            _ => Duration::ZERO,
        }
    }
}

/// The state of a container.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Phase {
    /// Not running; started at `until`, or when its turn comes.
    Waiting {
        reason: &'static str,
        message: String,
        until: Option<Instant>,
    },
    /// Its process is being made.
    Starting,
    /// Its process runs.
    Running { since: Time, began: Instant, pid: i32 },
    /// It ended and stays so.
    Terminated(ContainerStateTerminated),
}

/// One container of a Pod.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) spec: Container,
    pub(crate) init: bool,
    pub(crate) phase: Phase,
    pub(crate) restarts: i32,
    pub(crate) last: Option<ContainerStateTerminated>,
    /// The startup probe passed, or there is none.
    pub(crate) started: bool,
    /// The readiness probe passes, or there is none.
    pub(crate) ready: bool,
    pause: Option<Duration>,
    ever_ran: bool,
}

impl Life {
    /// A container before its first run.
    pub(crate) fn new(spec: Container, init: bool) -> Self {
        Life {
            spec,
            init,
            phase: Phase::Waiting {
                reason: "ContainerCreating",
                message: String::new(),
                until: None,
            },
            restarts: 0,
            last: None,
            started: false,
            ready: false,
            pause: None,
            ever_ran: false,
        }
    }

    /// Takes up what an earlier life of the kubelet told of this container. One
    /// that ran was killed together with the kubelet; that counts as a restart.
    pub(crate) fn resume(&mut self, status: &ContainerStatus, policy: Restart, now: &Time) {
        self.restarts = status.restart_count;
        self.last = status.last_state.as_ref().and_then(|s| s.terminated.clone());
        let Some(state) = &status.state else { return };
        if let Some(running) = &state.running {
            self.ever_ran = true;
            self.last = Some(ContainerStateTerminated {
                exit_code: 137,
                signal: Some(9),
                reason: Some("Error".to_owned()),
                message: Some("ended together with the process kubelet".to_owned()),
                started_at: running.started_at.clone(),
                finished_at: Some(now.clone()),
                container_id: status.container_id.clone(),
            });
        } else if let Some(ended) = &state.terminated {
            self.ever_ran = true;
            if self.policy(policy).after(ended.exit_code) {
                self.last = Some(ended.clone());
            } else {
                self.phase = Phase::Terminated(ended.clone());
            }
        } else if self.last.is_some() {
            self.ever_ran = true;
        }
    }

    /// An init container that keeps running beside the others.
    pub(crate) fn is_sidecar(&self) -> bool {
        self.init && self.spec.restart_policy.as_deref() == Some("Always")
    }

    fn policy(&self, pod: Restart) -> Restart {
        match (self.init, self.is_sidecar()) {
            (_, true) => Restart::Always,
            // An init container that did its work is never run again.
            (true, false) if pod != Restart::Never => Restart::OnFailure,
            _ => pod,
        }
    }

    /// The number of its next run, from zero.
    pub(crate) fn next_run(&self) -> i32 {
        self.restarts.saturating_add(i32::from(self.ever_ran))
    }

    /// Its process was made.
    pub(crate) fn on_started(&mut self, pid: i32, since: Time, now: Instant) {
        self.restarts = self.next_run();
        self.phase = Phase::Running { since, began: now, pid };
        self.ever_ran = true;
        self.started = self.spec.startup_probe.is_none();
        self.ready = self.started && self.spec.readiness_probe.is_none();
    }

    /// Its process could not be made: why, and it is tried again after a pause.
    pub(crate) fn on_start_failed(&mut self, reason: &'static str, message: String, backoff: &Backoff, now: Instant) {
        // The first failure is told and tried again after a pause too: nothing
        // of this machine changes within a millisecond.
        let pause = backoff.after(self.pause.or(Some(Duration::ZERO)), Duration::ZERO);
        self.pause = Some(pause);
        self.phase = Phase::Waiting {
            reason,
            message,
            until: Some(now + pause),
        };
    }

    /// Its process ended. Returns the pause before the next run if there is to be one.
    pub(crate) fn on_exit(
        &mut self,
        exit: Exit,
        policy: Restart,
        backoff: &Backoff,
        whose: &str,
        (at, now): (Time, Instant),
    ) -> Option<Duration> {
        let (since, ran, pid) = match &self.phase {
            Phase::Running { since, began, pid } => (Some(since.clone()), now.duration_since(*began), Some(*pid)),
            _ => (None, Duration::ZERO, None),
        };
        self.started = false;
        self.ready = false;
        let ended = ContainerStateTerminated {
            exit_code: exit.code,
            signal: exit.signal,
            reason: Some(if exit.code == 0 { "Completed" } else { "Error" }.to_owned()),
            message: None,
            started_at: since,
            finished_at: Some(at),
            container_id: pid.map(|pid| format!("process://{pid}")),
        };
        if !self.policy(policy).after(exit.code) {
            self.phase = Phase::Terminated(ended);
            return None;
        }
        self.last = Some(ended);
        let pause = backoff.after(self.pause, ran);
        self.pause = Some(pause);
        self.phase = Phase::Waiting {
            reason: "CrashLoopBackOff",
            message: format!(
                "back-off {} restarting failed container={} pod={whose}",
                seconds(pause),
                self.spec.name
            ),
            until: Some(now + pause),
        };
        Some(pause)
    }

    /// Its process ended and the Pod is going: it stays ended.
    pub(crate) fn on_final_exit(&mut self, exit: Exit, at: Time, now: Instant) {
        self.on_exit(exit, Restart::Never, &Backoff::default(), "", (at, now));
        // A sidecar's own policy would have it come back.
        if let (Phase::Waiting { .. }, Some(ended)) = (&self.phase, self.last.take()) {
            self.phase = Phase::Terminated(ended);
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        matches!(&self.phase, Phase::Waiting { until, .. } if until.is_none_or(|at| at <= now))
    }

    /// For an init container: those after it may go on.
    fn lets_pass(&self) -> bool {
        match &self.phase {
            Phase::Terminated(ended) => ended.exit_code == 0 || self.is_sidecar(),
            Phase::Running { .. } => self.is_sidecar() && self.started,
            _ => self.is_sidecar() && self.ever_ran,
        }
    }

    /// As the API shows it.
    pub(crate) fn status(&self) -> ContainerStatus {
        let mut container_id = None;
        let state = match &self.phase {
            Phase::Waiting { reason, message, .. } => {
                let message = Some(message.clone()).filter(|m| !m.is_empty());
                let waiting = ContainerStateWaiting {
                    reason: Some((*reason).to_owned()),
                    message,
                };
                ContainerState {
                    waiting: Some(waiting),
                    ..ContainerState::default()
                }
            }
            Phase::Starting => {
                let waiting = ContainerStateWaiting {
                    reason: Some("ContainerCreating".to_owned()),
                    message: None,
                };
                ContainerState {
                    waiting: Some(waiting),
                    ..ContainerState::default()
                }
            }
            Phase::Running { since, pid, .. } => {
                container_id = Some(format!("process://{pid}"));
                let running = ContainerStateRunning {
                    started_at: Some(since.clone()),
                };
                ContainerState {
                    running: Some(running),
                    ..ContainerState::default()
                }
            }
            Phase::Terminated(ended) => {
                container_id = ended.container_id.clone();
                ContainerState {
                    terminated: Some(ended.clone()),
                    ..ContainerState::default()
                }
            }
        };
        let done = matches!(&self.phase, Phase::Terminated(ended) if ended.exit_code == 0);
        ContainerStatus {
            name: self.spec.name.clone(),
            image: self.spec.image.clone().unwrap_or_default(),
            image_id: String::new(),
            container_id,
            ready: self.ready || (self.init && !self.is_sidecar() && done),
            started: Some(self.started),
            restart_count: self.restarts,
            state: Some(state),
            last_state: self.last.clone().map(|ended| ContainerState {
                terminated: Some(ended),
                ..ContainerState::default()
            }),
            ..ContainerStatus::default()
        }
    }
}

fn seconds(pause: Duration) -> String {
    match (pause.as_secs() / 60, pause.as_secs() % 60) {
        (0, s) => format!("{s}s"),
        (m, s) => format!("{m}m{s}s"),
    }
}

/// Which containers to start now: init containers one after another, then all the others.
pub(crate) fn to_start(lives: &[Life], now: Instant) -> Vec<usize> {
    let mut start = Vec::new();
    for (index, life) in lives.iter().enumerate() {
        if life.is_due(now) {
            start.push(index);
        }
        if life.init && !life.lets_pass() {
            return start
                .into_iter()
                .filter(|i| *i == index || lives[*i].is_sidecar())
                .collect();
        }
    }
    start
}

/// When a waiting container is due, the soonest.
pub(crate) fn next_due(lives: &[Life]) -> Option<Instant> {
    let due = |life: &Life| match &life.phase {
        Phase::Waiting { until, .. } => *until,
        _ => None,
    };
    lives.iter().filter_map(due).min()
}

/// Whether every init container has done its part.
pub(crate) fn is_initialized(lives: &[Life]) -> bool {
    lives.iter().filter(|l| l.init).all(Life::lets_pass)
}

/// `status.phase`.
pub(crate) fn pod_phase(lives: &[Life]) -> &'static str {
    let ended = |life: &Life| match &life.phase {
        Phase::Terminated(ended) => Some(ended.exit_code),
        _ => None,
    };
    if lives
        .iter()
        .any(|l| l.init && !l.is_sidecar() && ended(l).is_some_and(|code| code != 0))
    {
        return "Failed";
    }
    if !is_initialized(lives) {
        return "Pending";
    }
    let mains = || lives.iter().filter(|l| !l.init);
    if mains().all(|l| ended(l).is_some()) {
        return if mains().all(|l| ended(l) == Some(0)) {
            "Succeeded"
        } else {
            "Failed"
        };
    }
    if mains().all(|l| l.ever_ran) {
        "Running"
    } else {
        "Pending"
    }
}

#[cfg(test)]
#[path = "lifecycle/tests.rs"]
mod tests;
