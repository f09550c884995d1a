//! Asks Prometheus: in the background, or for one pass.

use super::client::Answer;
use super::recorded::Recording;
use super::tracked::Outcome;
use super::{Shared, query};
use crate::Endpoint;
use crate::cache::Cached;
use crate::source::TrackedModel;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use units::Instant;

/// Most questions at once.
const PARALLEL: usize = 8;

/// One model's question.
#[derive(Clone, Debug)]
struct Due {
    key: TrackedModel,
    endpoints: Arc<[Endpoint]>,
    /// The ways that found something before; all if absent.
    ways: Option<Vec<usize>>,
    generation: u64,
}

/// Asks in the background, if it is to, and cleans up, until `stop`.
pub(super) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(PARALLEL));
    let mut asking = JoinSet::new();
    let mut clean = shared.clock.now() + shared.config.cleanup_interval;
    loop {
        let now = shared.clock.now();
        if clean <= now {
            shared.cache.clean(now);
            clean = now + shared.config.cleanup_interval;
        }
        let mut next = clean.since(now);
        if shared.config.background() {
            let (due, next_due) = take_due(&shared, now);
            next = next.min(next_due);
            for due in due {
                let (shared, permits) = (shared.clone(), permits.clone());
                asking.spawn(async move {
                    let Ok(_permit) = permits.acquire().await else { return };
                    ask(&shared, due).await;
                });
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = shared.changed.notified() => {}
            () = tokio::time::sleep(next) => {}
            Some(_) = asking.join_next() => {}
        }
    }
}

/// The models to ask for now, marked as being asked, and the time until the next.
fn take_due(shared: &Shared, now: Instant) -> (Vec<Due>, Duration) {
    let mut next = shared.config.longest_pause();
    let mut due = Vec::new();
    for (key, tracked) in shared.models.lock().iter_mut().filter(|(_, tracked)| !tracked.asking) {
        if tracked.due <= now {
            tracked.asking = true;
            due.push(Due {
                key: key.clone(),
                endpoints: tracked.endpoints.clone(),
                ways: (now < tracked.search && !tracked.ways.is_empty()).then(|| tracked.ways.clone()),
                generation: tracked.generation,
            });
        } else {
            next = next.min(tracked.due.since(now));
        }
    }
    (due, next.max(Duration::from_millis(10)))
}

/// Asks for whatever the cache does not have, where nobody does so in the
/// background. All of it takes no longer than one question may.
pub(super) async fn for_a_pass(shared: &Arc<Shared>) {
    if shared.config.background() {
        return;
    }
    let now = shared.clock.now();
    let mut asked: Vec<Due> = Vec::new();
    for (key, tracked) in shared.models.lock().iter_mut() {
        tracked.of_pass = None;
        if matches!(shared.cache.get(&Shared::cache_key(key), now), Cached::Hit(_)) {
            continue;
        }
        // With a cache, a server that fails is left alone for a while.
        if shared.cache.keeps() && matches!(tracked.outcome, Outcome::Failed(_)) && now < tracked.due {
            continue;
        }
        asked.push(Due {
            key: key.clone(),
            endpoints: tracked.endpoints.clone(),
            ways: (now < tracked.search && !tracked.ways.is_empty()).then(|| tracked.ways.clone()),
            generation: tracked.generation,
        });
    }
    let permits = Arc::new(Semaphore::new(PARALLEL));
    let mut asking = JoinSet::new();
    for due in asked.clone() {
        let (shared, permits) = (shared.clone(), permits.clone());
        asking.spawn(async move {
            let Ok(_permit) = permits.acquire().await else {
                return None;
            };
            let key = due.key.clone();
            ask(&shared, due).await;
            Some(key)
        });
    }
    let answers = async {
        while let Some(done) = asking.join_next().await {
            if let Ok(Some(key)) = done {
                asked.retain(|due| due.key != key);
            }
        }
    };
    let deadline = shared.config.deadline;
    if tokio::time::timeout(deadline, answers).await.is_ok() {
        return;
    }
    let now = shared.clock.now();
    let mut models = shared.models.lock();
    for due in asked {
        if let Some(tracked) = models.get_mut(&due.key) {
            let why = format!(
                "Prometheus: not all questions of this pass were answered within {deadline:?}: let the cache keep answers \
                 (PROMETHEUS_METRICS_CACHE_ENABLED=true, PROMETHEUS_METRICS_CACHE_FETCH_INTERVAL above 0)"
            );
            tracked.fail(why, &shared.config, now);
        }
    }
}

/// Asks for a model in the ways that found something before, or in all.
async fn ask(shared: &Shared, due: Due) {
    let search = due.ways.is_none();
    let asked_at = shared.clock.now();
    let answer = questions(shared, &due).await;
    let now = shared.clock.now();
    let key = &due.key;
    match &answer {
        Ok(recording) => shared.counters.answered(asked_at, now, recording.bytes),
        Err(why) => {
            shared.counters.failed(asked_at, now);
            let (model, namespace) = (&key.model, &key.namespace);
            tracing::debug!(model, namespace, why, "no answer from Prometheus");
        }
    }
    let skew = *shared.skew.lock();
    let mut models = shared.models.lock();
    let Some(tracked) = models
        .get_mut(key)
        .filter(|tracked| tracked.generation == due.generation)
    else {
        return;
    };
    tracked.asking = false;
    match answer {
        Ok(recording) => {
            if search {
                tracked.search = now + shared.config.longest_pause();
                tracked.ways.clone_from(&recording.ways);
            }
            let told = tracked.take_in(recording, key, skew, &shared.config, now);
            if shared.cache.keeps() {
                shared.cache.put(Shared::cache_key(key), told, now);
            } else {
                tracked.of_pass = Some(told);
            }
        }
        Err(why) => tracked.fail(why, &shared.config, now),
    }
}

/// Asks for a model; for replicas that are not found so, without its namespace
/// and then by their Pods, where labels were renamed on the way into Prometheus.
async fn questions(shared: &Shared, due: &Due) -> Result<Recording, String> {
    let mut all = Recording::default();
    for (way, matchers) in query::matchers(&due.key, &due.endpoints).into_iter().enumerate() {
        if due.ways.as_ref().is_some_and(|ways| !ways.contains(&way)) {
            continue;
        }
        let endpoints = due.endpoints.iter();
        let sought = endpoints.filter(|endpoint| !all.pages.contains_key(&endpoint.pod));
        let sought: Vec<Endpoint> = sought.cloned().collect();
        if sought.is_empty() {
            break;
        }
        let answer = ask_one(shared, &query::samples(&matchers, shared.config.window)).await?;
        all.bytes += answer.bytes;
        let mut found = Recording::of(&answer.series, &sought, &mut all.elsewhere);
        if found.pages.is_empty() {
            continue;
        }
        let info = ask_one(shared, &query::cache_config(&matchers)).await?;
        all.bytes += info.bytes;
        found = found.with_info(&info.series, &sought);
        all.pages.append(&mut found.pages);
        all.ways.push(way);
    }
    Ok(all)
}

async fn ask_one(shared: &Shared, question: &str) -> Result<Answer, String> {
    let asked = shared.clock.now();
    let answer = shared.client.query(question).await.map_err(|error| error.in_words())?;
    if let Some(theirs) = answer.server_time {
        shared.skew.lock().heard(theirs, asked, shared.clock.now());
    }
    Ok(answer)
}
