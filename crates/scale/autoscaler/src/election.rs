//! Takes part in an election by Lease, as [`crate::lease`] decides.

use crate::lease::{self, Observed, Record, Step, Terms};
use crate::status::timestamp;
use collect::Clock;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use units::Instant;

/// An election to take part in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Election {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// What this process is called in it; no two may have the same. In a Pod
    /// it begins with the Pod's name and a `_`, by which others find it.
    pub identity: String,
    /// How long things take.
    pub terms: Terms,
}

impl Election {
    /// The Lease that the predecessor uses, so that one of the two acts at a time.
    pub const DEFAULT_ID: &'static str = "72dd1cf1.llm-d.ai";
}

/// The Pod that an identity is of: its name, and after a `_`, which no Pod's
/// name has, whatever tells two processes in one Pod apart.
pub(crate) fn pod_of(identity: &str) -> &str {
    identity.split_once('_').map_or(identity, |(pod, _)| pod)
}

/// Whether this process leads. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Leadership(Who);

#[derive(Clone, Debug)]
enum Who {
    Alone,
    Observer,
    Candidate(Arc<Shared>),
}

#[derive(Debug)]
struct Shared {
    terms: Terms,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the last renewal that succeeded began.
    renewed: Option<Instant>,
    holder: String,
}

impl Leadership {
    /// Leads for ever: nobody else is there.
    pub(crate) const fn alone() -> Self {
        Self(Who::Alone)
    }

    /// Never leads: it only looks on.
    pub(crate) const fn observer() -> Self {
        Self(Who::Observer)
    }

    /// Whether it will never lead.
    pub(crate) const fn observes(&self) -> bool {
        matches!(self.0, Who::Observer)
    }

    /// Whether this process may act now.
    pub(crate) fn leads(&self, now: Instant) -> bool {
        match &self.0 {
            Who::Alone => true,
            Who::Observer => false,
            Who::Candidate(shared) => lease::leads(shared.state.lock().renewed, &shared.terms, now),
        }
    }

    /// Who leads, as far as this process knows; empty without an election.
    pub(crate) fn holder(&self) -> String {
        match &self.0 {
            Who::Alone | Who::Observer => String::new(),
            Who::Candidate(shared) => shared.state.lock().holder.clone(),
        }
    }
}

/// Takes part in the background until it is told to resign.
#[derive(Debug)]
pub(crate) struct Candidate {
    leadership: Leadership,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Candidate {
    /// Starts taking part; `changed` is notified when this process begins to lead.
    pub(crate) fn start(client: Client, election: Election, clock: Clock, changed: Arc<Notify>) -> Self {
        let shared = Arc::new(Shared {
            terms: election.terms,
            state: Mutex::default(),
        });
        let stop = CancellationToken::new();
        let candidate = Running {
            api: Api::namespaced(client, &election.namespace),
            election,
            clock,
            changed,
            shared: shared.clone(),
            observed: Observed::default(),
            lease: None,
            failing: false,
        };
        Self {
            leadership: Leadership(Who::Candidate(shared)),
            task: tokio::spawn(candidate.run(stop.clone())),
            stop,
        }
    }

    pub(crate) fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Gives the Lease up, if it is held, so that nobody has to wait for it to end.
    pub(crate) async fn resign(self) {
        self.stop.cancel();
        // A panic has been printed where it happened.
        let _ = self.task.await;
    }
}

/// Longest time for one request; a renewal counts from its begin in any case.
const DEADLINE: Duration = Duration::from_secs(5);

struct Running {
    api: Api<Lease>,
    election: Election,
    clock: Clock,
    changed: Arc<Notify>,
    shared: Arc<Shared>,
    observed: Observed,
    /// The object as last read or written: what is written next replaces exactly that.
    lease: Option<Lease>,
    failing: bool,
}

impl Running {
    async fn run(mut self, stop: CancellationToken) {
        loop {
            self.turn().await;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep(self.election.terms.retry) => {}
            }
        }
        self.release().await;
    }

    /// Looks at the Lease and does what is to be done about it.
    async fn turn(&mut self) {
        let began = self.clock.now();
        let deadline = DEADLINE.min(self.election.terms.renew);
        let led = lease::leads(self.shared.state.lock().renewed, &self.election.terms, began);
        let outcome = tokio::time::timeout(deadline, self.look_and_write(began)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(format!("no answer within {deadline:?}")));
        match outcome {
            Ok(holds) => {
                self.failing = false;
                let mut state = self.shared.state.lock();
                self.observed.holder().clone_into(&mut state.holder);
                state.renewed = holds.then_some(began);
                drop(state);
                if holds != led {
                    let identity = &self.election.identity;
                    let holder = self.observed.holder();
                    tracing::info!(
                        lease = self.election.name,
                        identity,
                        holder,
                        leads = holds,
                        "leadership changed"
                    );
                    self.changed.notify_one();
                }
            }
            Err(why) => {
                if !self.failing {
                    let lease = format!("{}/{}", self.election.namespace, self.election.name);
                    tracing::warn!(lease, why, "cannot take part in the election; trying again");
                }
                self.failing = true;
                // What is known of the object may be old; read it anew.
                self.lease = None;
            }
        }
    }

    /// Whether the Lease is ours afterwards.
    async fn look_and_write(&mut self, began: Instant) -> Result<bool, String> {
        // Somebody who wrote in between is looked at again at once: a leader
        // must not lose the Lease to a label that was put on it.
        for _ in 0..3 {
            let lease = self
                .api
                .get_opt(&self.election.name)
                .await
                .map_err(|error| error.to_string())?;
            self.observed.see(lease.as_ref().map(record_of), began);
            self.lease = lease;
            let step = lease::decide(&self.observed, &self.election.identity, &self.election.terms, began);
            let (taking, transitions) = match step {
                Step::Wait => return Ok(false),
                Step::Create => (true, 0),
                Step::Take { transitions } => (true, transitions),
                Step::Renew { transitions } => (false, transitions),
            };
            match self.put(self.spec(taking, transitions)).await {
                Ok(written) => {
                    self.observed.see(Some(record_of(&written)), began);
                    self.lease = Some(written);
                    return Ok(true);
                }
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("it was changed by somebody else at the same time, three times in a row".to_owned())
    }

    fn spec(&self, taking: bool, transitions: i32) -> LeaseSpec {
        let now = MicroTime(timestamp(self.clock.wall()));
        let before = self
            .lease
            .as_ref()
            .and_then(|lease| lease.spec.clone())
            .unwrap_or_default();
        let acquired = if taking { None } else { before.acquire_time };
        let seconds = i32::try_from(self.election.terms.lease.as_secs()).unwrap_or(i32::MAX);
        LeaseSpec {
            holder_identity: Some(self.election.identity.clone()),
            lease_duration_seconds: Some(seconds),
            acquire_time: acquired.or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    /// Creates the Lease, or replaces the one that was read and no other.
    async fn put(&self, spec: LeaseSpec) -> Result<Lease, kube::Error> {
        let params = PostParams::default();
        match &self.lease {
            None => {
                let metadata = ObjectMeta {
                    name: Some(self.election.name.clone()),
                    ..ObjectMeta::default()
                };
                self.api
                    .create(
                        &params,
                        &Lease {
                            metadata,
                            spec: Some(spec),
                        },
                    )
                    .await
            }
            Some(lease) => {
                let lease = Lease {
                    spec: Some(spec),
                    ..lease.clone()
                };
                self.api.replace(&self.election.name, &params, &lease).await
            }
        }
    }

    async fn release(&mut self) {
        let holds = self.observed.holder() == self.election.identity;
        self.shared.state.lock().renewed = None;
        let Some(spec) = self
            .lease
            .as_ref()
            .and_then(|lease| lease.spec.clone())
            .filter(|_| holds)
        else {
            return;
        };
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            renew_time: Some(MicroTime(timestamp(self.clock.wall()))),
            ..spec
        };
        match tokio::time::timeout(DEADLINE, self.put(spec)).await {
            Ok(Ok(_)) => tracing::info!(lease = self.election.name, "released"),
            // It ends by itself.
            Ok(Err(error)) => tracing::warn!(%error, "cannot release the lease"),
            Err(_) => tracing::warn!("cannot release the lease: no answer within {DEADLINE:?}"),
        }
    }
}

fn record_of(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        lease: spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs),
        renewed: spec.renew_time.map(|time| time.0.to_string()).unwrap_or_default(),
        transitions: spec.lease_transitions.unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_begins_with_its_pod() {
        assert_eq!(
            pod_of("tidegate-autoscaler-7d9-x2x_1-64a"),
            "tidegate-autoscaler-7d9-x2x"
        );
        assert_eq!(pod_of("laptop"), "laptop");
        assert_eq!(pod_of(""), "");
    }
}
