//! Targets of kinds that are not watched: their scale subresources, asked for
//! again and again, all at once and in the background. One that does not answer
//! keeps nobody waiting.

use crate::target::{self, DEADLINE, NoTarget, Target, TargetKey};
use collect::Clock;
use kube::api::{ApiResource, DynamicObject};
use kube::{Api, Client, discovery};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use tokio::task::JoinSet;
use units::Instant;

/// A scale subresource is asked for this often.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// A kind that could not be found is looked for again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How long a pass waits for answers: most are there by then.
const PATIENCE: Duration = Duration::from_millis(100);
/// What was last read is old when nothing was read for this long.
const OLD: Duration = Duration::from_secs(20);

/// Reads scale subresources, and remembers kinds.
pub(crate) struct Scales {
    client: Client,
    clock: Clock,
    kinds: BTreeMap<GroupKey, (Instant, Result<ApiResource, NoTarget>)>,
    known: BTreeMap<TargetKey, Known>,
    reads: JoinSet<Read>,
    /// Counts up with every question.
    questions: u64,
}

type GroupKey = (String, String);

/// What is known of one target.
#[derive(Debug, Default)]
struct Known {
    /// The question that is out, or was last answered, and when it was asked.
    asked: Option<(u64, Instant)>,
    answered: u64,
    /// As last read; `None` when there was none.
    read: Option<Result<Target, String>>,
    /// Since when it cannot be read, and why.
    failing: Option<(Instant, String)>,
}

/// What came of a question.
#[derive(Debug)]
struct Read {
    key: TargetKey,
    question: u64,
    kind: Result<ApiResource, NoTarget>,
    target: Result<Target, NoTarget>,
}

impl fmt::Debug for Scales {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scales")
            .field("kinds", &self.kinds)
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}

impl Known {
    fn is_out(&self) -> bool {
        self.asked.is_some_and(|(question, _)| question != self.answered)
    }

    fn is_due(&self, now: Instant) -> bool {
        !self.is_out() && self.asked.is_none_or(|(_, at)| now.since(at) >= ASK_EVERY)
    }
}

impl Scales {
    pub(crate) fn new(client: Client, clock: Clock) -> Self {
        Self {
            client,
            clock,
            kinds: BTreeMap::new(),
            known: BTreeMap::new(),
            reads: JoinSet::new(),
            questions: 0,
        }
    }

    /// Asks for those of `wanted` that were not asked for lately, waits a
    /// moment for answers, and forgets all other targets.
    pub(crate) async fn refresh(&mut self, wanted: &[TargetKey]) {
        self.known.retain(|key, _| wanted.contains(key));
        let now = self.clock.now();
        let mut asked = false;
        for key in wanted {
            let known = self.known.entry(key.clone()).or_default();
            if !known.is_due(now) {
                continue;
            }
            self.questions += 1;
            known.asked = Some((self.questions, now));
            let kind = self.kinds.get(&group_of(key));
            let kind = kind.filter(|(at, found)| match found {
                Ok(_) => true,
                Err(NoTarget::NotFound(_)) => now.since(*at) < LOOK_AGAIN,
                Err(NoTarget::NotSeen(_)) => false,
            });
            let kind = kind.map(|(_, found)| found.clone());
            self.reads
                .spawn(read(self.client.clone(), key.clone(), self.questions, kind));
            asked = true;
        }
        while let Some(Ok(read)) = self.reads.try_join_next() {
            self.learn(read);
        }
        if asked {
            let answers = async {
                while let Some(Ok(read)) = self.reads.join_next().await {
                    self.learn(read);
                }
            };
            let _ = tokio::time::timeout(PATIENCE, answers).await;
        }
    }

    fn learn(&mut self, read: Read) {
        let now = self.clock.now();
        let id = group_of(&read.key);
        let fresh = |(at, found): &&(Instant, _)| *found == read.kind && now.since(*at) < LOOK_AGAIN;
        if self.kinds.get(&id).filter(fresh).is_none() {
            self.kinds.insert(id, (now, read.kind));
        }
        let asked = |known: &&mut Known| known.asked.is_some_and(|(question, _)| question == read.question);
        // Of one that was forgotten, or set meanwhile, it says nothing any more.
        let Some(known) = self.known.get_mut(&read.key).filter(asked) else {
            return;
        };
        known.answered = read.question;
        match read.target {
            Ok(target) => (known.read, known.failing) = (Some(Ok(target)), None),
            Err(NoTarget::NotFound(why)) => (known.read, known.failing) = (Some(Err(why)), None),
            Err(NoTarget::NotSeen(why)) => {
                let since = known.failing.as_ref().map_or(now, |(since, _)| *since);
                known.failing = Some((since, why));
            }
        }
    }

    /// A target as last read.
    ///
    /// # Errors
    /// That it is not there, or was never seen.
    pub(crate) fn get(&self, key: &TargetKey) -> Result<Target, NoTarget> {
        let known = self.known.get(key);
        match (
            known.and_then(|known| known.read.as_ref()),
            known.and_then(|known| known.failing.as_ref()),
        ) {
            (Some(Ok(target)), _) => Ok(target.clone()),
            (Some(Err(why)), _) => Err(NoTarget::NotFound(why.clone())),
            (None, Some((_, why))) => Err(NoTarget::NotSeen(why.clone())),
            (None, None) => Err(NoTarget::NotSeen(format!("{} has not been read yet", key.for_people()))),
        }
    }

    /// Why what is known of a target is old, if it is.
    pub(crate) fn old(&self, key: &TargetKey) -> Option<String> {
        let (since, why) = self.known.get(key)?.failing.as_ref()?;
        let failed_for = self.clock.now().since(*since);
        (failed_for >= OLD).then(|| {
            format!(
                "it cannot be read for {} s now, and may be another by now: {why}",
                failed_for.as_secs()
            )
        })
    }

    /// What can set replicas of `key`.
    ///
    /// # Errors
    /// That its kind is not known, as a sentence.
    pub(crate) fn api(&self, key: &TargetKey) -> Result<Api<DynamicObject>, String> {
        let resource = match (key.watched(), self.kinds.get(&group_of(key))) {
            (Some(plural), _) => ApiResource::from_gvk_with_plural(&key.kind_of(), plural),
            (None, Some((_, found))) => found.clone().map_err(|why| why.to_string())?,
            (None, None) => return Err(format!("kind {} of {} was not found yet", key.kind, key.api_version)),
        };
        Ok(Api::namespaced_with(self.client.clone(), &key.namespace, &resource))
    }

    /// Notes that replicas were set: an answer that is on its way may be from before.
    pub(crate) fn set(&mut self, key: &TargetKey, replicas: u32) {
        let Some(known) = self.known.get_mut(key) else {
            return;
        };
        if let Some(Ok(target)) = &mut known.read {
            target.wanted = replicas;
        }
        known.asked = None;
    }
}

fn group_of(key: &TargetKey) -> GroupKey {
    (key.api_version.clone(), key.kind.clone())
}

async fn read(client: Client, key: TargetKey, question: u64, kind: Option<Result<ApiResource, NoTarget>>) -> Read {
    let kind = match kind {
        Some(kind) => kind,
        None => find(&client, &key).await,
    };
    let target = match &kind {
        Ok(resource) => scale(&Api::namespaced_with(client, &key.namespace, resource), &key).await,
        Err(why) => Err(why.clone()),
    };
    Read {
        key,
        question,
        kind,
        target,
    }
}

async fn find(client: &Client, key: &TargetKey) -> Result<ApiResource, NoTarget> {
    let kind = format!("kind {} of {}", key.kind, key.api_version);
    match tokio::time::timeout(DEADLINE, discovery::pinned_kind(client, &key.kind_of())).await {
        Ok(Ok((resource, _))) => Ok(resource),
        Ok(Err(error)) if says_no(&error) => Err(NoTarget::NotFound(format!("{kind} is not served: {error}"))),
        Ok(Err(error)) => Err(NoTarget::NotSeen(format!("{kind}: {error}"))),
        Err(_) => Err(NoTarget::NotSeen(format!("{kind}: no answer within {DEADLINE:?}"))),
    }
}

/// Whether the API answered, and that there is none.
fn says_no(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 404,
        kube::Error::Discovery(_) => true,
        _ => false,
    }
}

async fn scale(api: &Api<DynamicObject>, key: &TargetKey) -> Result<Target, NoTarget> {
    let named = key.for_people();
    match tokio::time::timeout(DEADLINE, api.get_scale(&key.name)).await {
        Ok(Ok(scale)) => target::of_scale(&scale).map_err(|why| NoTarget::NotFound(format!("{named}: {why}"))),
        Ok(Err(error)) if says_no(&error) => Err(NoTarget::NotFound(format!(
            "{named} does not exist, or has no scale subresource"
        ))),
        Ok(Err(error)) => Err(NoTarget::NotSeen(format!("{named}: {error}"))),
        Err(_) => Err(NoTarget::NotSeen(format!("{named}: no answer within {DEADLINE:?}"))),
    }
}
