//! What is remembered of one model between two answers.

use super::recorded::{self, Recording};
use super::skew::Skew;
use super::told::{self, Told};
use super::{PrometheusConfig, query};
use crate::model::some_of;
use crate::replica::Past;
use crate::source::TrackedModel;
use crate::{Availability, Endpoint, Found, ModelSignals, ReplicaSignals};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use units::{Instant, Source};

/// Never more often than this. It is less than any usual scrape interval: at
/// one that it equals, each question would come later after its scrape than the
/// one before, by as long as an answer takes.
pub(super) const SHORTEST: Duration = Duration::from_millis(500);
/// How long after an expected scrape to ask: Prometheus needs a moment to take
/// the page in.
pub(super) const SETTLE: Duration = Duration::from_millis(300);
/// After the first answer in vain: a scrape took longer than usual, or came a
/// little later. Waiting as long as otherwise would show in every reaction to it.
const ONCE_MORE: Duration = Duration::from_millis(200);
/// Before the next question while the scrape interval is not known; twice as
/// long after one in vain.
const UNTIL_KNOWN: Duration = Duration::from_secs(1);
/// Pause after a question that told nothing new; doubles from the second on.
const IN_VAIN: Duration = Duration::from_secs(1);
/// First pause after a failure; doubles up to the fetch interval.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// What came of the last question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    NotAsked,
    Failed(String),
    Answered,
}

/// What is remembered of one model.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) endpoints: Arc<[Endpoint]>,
    replicas: BTreeMap<String, Replica>,
    pub(super) outcome: Outcome,
    /// When the last good answer came.
    pub(super) answered: Option<Instant>,
    /// The last answer, where a pass asks itself.
    pub(super) of_pass: Option<Arc<Told>>,
    /// The newest sample on Prometheus' clock, and on ours.
    newest_there: Option<Instant>,
    newest: Option<Instant>,
    scrape_interval: Option<Duration>,
    skew: Skew,
    /// The ways of looking that found something; all are tried when `search` is due.
    pub(super) ways: Vec<usize>,
    pub(super) search: Instant,
    pub(super) due: Instant,
    pub(super) asking: bool,
    failures: u32,
    /// Answers in a row without anything new.
    in_vain: u32,
    pub(super) generation: u64,
}

/// A replica's ranks, by the address each is scraped at.
#[derive(Debug, Default)]
struct Replica {
    ranks: BTreeMap<String, Rank>,
}

#[derive(Debug)]
struct Rank {
    past: Past,
    /// The newest page that was taken in, on Prometheus' clock.
    newest: Instant,
}

impl Tracked {
    pub(super) fn new(now: Instant, generation: u64) -> Self {
        Self {
            endpoints: Arc::default(),
            replicas: BTreeMap::new(),
            outcome: Outcome::NotAsked,
            answered: None,
            of_pass: None,
            newest_there: None,
            newest: None,
            scrape_interval: None,
            skew: Skew::default(),
            ways: Vec::new(),
            search: now,
            due: now,
            asking: false,
            failures: 0,
            in_vain: 0,
            generation,
        }
    }

    /// The model has other replicas now.
    pub(super) fn follow(&mut self, endpoints: Arc<[Endpoint]>, now: Instant, generation: u64) {
        let before = std::mem::replace(&mut self.endpoints, endpoints);
        let by_pod = |all: &[Endpoint]| -> BTreeMap<String, Endpoint> {
            all.iter()
                .map(|endpoint| (endpoint.pod.clone(), endpoint.clone()))
                .collect()
        };
        let (before, after) = (by_pod(&before), by_pod(&self.endpoints));
        // A Pod of the same name at another address is another Pod.
        self.replicas
            .retain(|pod, _| after.contains_key(pod) && after.get(pod) == before.get(pod));
        self.generation = generation;
        self.asking = false;
        self.in_vain = 0;
        self.search = now;
        self.due = now;
    }

    /// Takes in an answer; returns what it tells.
    pub(super) fn take_in(
        &mut self,
        recording: Recording,
        key: &TrackedModel,
        skew: Skew,
        config: &PrometheusConfig,
        now: Instant,
    ) -> Arc<Told> {
        self.outcome = Outcome::Answered;
        self.answered = Some(now);
        self.failures = 0;
        let before = self.newest_there;
        let told = self.read(recording, key, skew, config, now);
        self.in_vain = if self.newest_there > before {
            0
        } else {
            self.in_vain.saturating_add(1)
        };
        self.due = self.next_question(config, now);
        told
    }

    /// There was no answer.
    pub(super) fn fail(&mut self, why: String, config: &PrometheusConfig, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.outcome = Outcome::Failed(why);
        let pause = FIRST_PAUSE * 2_u32.saturating_pow(self.failures.min(12) - 1);
        self.due = now + pause.min(config.longest_pause());
    }

    /// Right after the next scrape, as far as one can tell when that is. Where
    /// nothing new came, the next question waits twice as long each time.
    fn next_question(&self, config: &PrometheusConfig, now: Instant) -> Instant {
        let latest = now + config.longest_pause();
        if self.in_vain > 1 {
            let pause = IN_VAIN * 2_u32.saturating_pow(self.in_vain.min(12) - 1);
            return (now + pause).min(latest);
        }
        let (Some(newest), Some(interval)) = (self.newest, self.scrape_interval) else {
            return latest.min(now + UNTIL_KNOWN * (1 + self.in_vain));
        };
        let expected = newest + interval + SETTLE;
        let soonest = if self.in_vain == 1 { ONCE_MORE } else { SHORTEST };
        expected.max(now + soonest).min(latest)
    }

    fn read(
        &mut self,
        recording: Recording,
        key: &TrackedModel,
        skew: Skew,
        config: &PrometheusConfig,
        now: Instant,
    ) -> Arc<Told> {
        let Recording { pages, elsewhere, .. } = recording;
        if pages.is_empty() {
            let why = query::nothing_found(key, &elsewhere);
            return told::nothing(Availability::new(Found::MetricsMissing, why), now);
        }
        if !self.skew.agrees_with(skew) {
            // Times before and after do not compare; the answer has all that counts.
            self.replicas.clear();
        }
        self.skew = skew;
        for (pod, ranks) in &pages {
            let replica = self.replicas.entry(pod.clone()).or_default();
            replica.ranks.retain(|address, _| ranks.contains_key(address));
            for (address, pages) in ranks {
                replica.rank(address, config, now).take_in(pages, key, skew);
            }
        }
        self.scrape_interval = recorded::interval(&pages).or(self.scrape_interval);
        let times = pages
            .values()
            .flat_map(BTreeMap::values)
            .filter_map(|pages| pages.last());
        self.newest_there = times.map(|(at, _)| *at).max();
        self.newest = self.newest_there.map(|at| skew.ours(at));

        let replicas: BTreeMap<String, (Endpoint, ReplicaSignals)> = self
            .endpoints
            .iter()
            .filter(|endpoint| pages.contains_key(&endpoint.pod))
            .filter_map(|endpoint| {
                let signals = self.replicas.get(&endpoint.pod)?.signals(now);
                Some((endpoint.pod.clone(), (endpoint.clone(), signals)))
            })
            .collect();
        let unreadable = replicas.values().find_map(|(_, signals)| signals.error.clone());
        let none_readable = replicas.values().all(|(_, signals)| signals.error.is_some());
        let availability = match unreadable {
            Some(why) if none_readable => Availability::new(
                Found::MetricsMissing,
                format!("Prometheus has samples of the replicas, and what tells their load is not among them: {why}"),
            ),
            _ => self.found(&replicas),
        };
        let silent = ReplicaSignals::unknown(now, "Prometheus has no samples of it");
        let all = self.endpoints.iter().map(|endpoint| {
            let signals = replicas.get(&endpoint.pod).map_or(&silent, |(_, signals)| signals);
            (endpoint.pod.as_str(), signals)
        });
        let fresh = config.fresh_for(self.scrape_interval);
        let model = ModelSignals {
            recorded_for: Some(fresh),
            ..ModelSignals::of_replicas(all, fresh, now)
        };
        Arc::new(Told {
            availability,
            newest: self.newest,
            fresh,
            model,
            replicas,
        })
    }

    fn found(&self, replicas: &BTreeMap<String, (Endpoint, ReplicaSignals)>) -> Availability {
        let silent: Vec<&str> = self
            .endpoints
            .iter()
            .map(|endpoint| endpoint.pod.as_str())
            .filter(|pod| !replicas.contains_key(*pod))
            .collect();
        let message = if silent.is_empty() {
            format!("Prometheus has samples of all {} replicas", replicas.len())
        } else {
            format!(
                "Prometheus has samples of {} replicas and none of {}",
                replicas.len(),
                some_of(silent.into_iter())
            )
        };
        Availability::new(Found::MetricsFound, message)
    }
}

impl Replica {
    fn rank(&mut self, address: &str, config: &PrometheusConfig, now: Instant) -> &mut Rank {
        self.ranks.entry(address.to_owned()).or_insert_with(|| Rank {
            past: Past::new(Source::Prometheus, config.window, now),
            newest: Instant::ZERO,
        })
    }

    fn signals(&self, now: Instant) -> ReplicaSignals {
        let ranks: Vec<(&str, &ReplicaSignals)> = self
            .ranks
            .iter()
            .map(|(address, rank)| (address.as_str(), &rank.past.signals))
            .collect();
        ReplicaSignals::of_ranks(&ranks, now)
    }
}

impl Rank {
    fn take_in(&mut self, pages: &[(Instant, recorded::RecordedPage)], key: &TrackedModel, skew: Skew) {
        for (at, page) in pages.iter().filter(|(at, _)| *at > self.newest) {
            match crate::families::read(&page.as_page(), Some(&key.model)) {
                Ok(read) => drop(self.past.take_in(read, skew.ours(*at))),
                Err(why) => self.past.fail(why, skew.ours(*at)),
            }
        }
        if let Some((newest, _)) = pages.last() {
            self.newest = self.newest.max(*newest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_question_comes_right_after_the_next_scrape() {
        let config = PrometheusConfig::new("https://p");
        let mut tracked = Tracked::new(Instant::ZERO, 1);
        let now = Instant::from_secs(1000);
        let next = |tracked: &Tracked| tracked.next_question(&config, now);
        assert_eq!(next(&tracked), now + UNTIL_KNOWN, "until it is known");
        tracked.newest = Some(now - Duration::from_secs(3));
        tracked.scrape_interval = Some(Duration::from_secs(5));
        assert_eq!(next(&tracked), now + Duration::from_secs(2) + SETTLE);
        tracked.newest = Some(now - Duration::from_secs(30));
        assert_eq!(next(&tracked), now + SHORTEST, "overdue");
        tracked.in_vain = 1;
        assert_eq!(next(&tracked), now + ONCE_MORE, "asked a moment too soon");
        tracked.in_vain = 3;
        assert_eq!(next(&tracked), now + IN_VAIN * 4, "nothing new came");
        tracked.in_vain = 0;
        tracked.newest = Some(now);
        tracked.scrape_interval = Some(Duration::from_secs(60));
        assert_eq!(next(&tracked), now + config.fetch_interval, "never rarer");
    }

    #[test]
    fn questions_stay_right_behind_scrapes_of_every_second() {
        let config = PrometheusConfig::new("https://p");
        let (second, answer) = (Duration::from_secs(1), Duration::from_millis(90));
        let mut tracked = Tracked::new(Instant::ZERO, 1);
        tracked.scrape_interval = Some(second);
        let mut asked = Instant::from_secs(1000) + Duration::from_millis(700);
        for _ in 0..60 {
            let scraped = Instant::from_secs(asked.since(Instant::ZERO).as_secs());
            tracked.newest = Some(scraped);
            asked = tracked.next_question(&config, asked + answer);
        }
        let behind = asked.since(Instant::from_secs(asked.since(Instant::ZERO).as_secs()));
        assert_eq!(behind, SETTLE, "not later by an answer each time");
    }

    #[test]
    fn questions_are_never_further_apart_than_asked_for() {
        let now = Instant::from_secs(1000);
        for (fetch, ttl, longest) in [(15, 30, 15), (5, 30, 5), (30, 30, 15), (60, 10, 5)] {
            let config = PrometheusConfig {
                fetch_interval: Duration::from_secs(fetch),
                cache_ttl: Duration::from_secs(ttl),
                ..PrometheusConfig::new("https://p")
            };
            let mut tracked = Tracked::new(Instant::ZERO, 1);
            tracked.newest = Some(now);
            tracked.scrape_interval = Some(Duration::from_secs(300));
            assert_eq!(
                tracked.next_question(&config, now),
                now + Duration::from_secs(longest),
                "every {fetch} s, kept for {ttl} s"
            );
            tracked.in_vain = 12;
            assert_eq!(tracked.next_question(&config, now), now + Duration::from_secs(longest));
        }
    }
}
