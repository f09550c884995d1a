//! When a model is full, when it has too much, and how patient to be.

use crate::forecast::Outlook;
use std::fmt;
use std::time::Duration;
use units::Source;

/// Which analysis of saturation asks for more and lets go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Analyzer {
    /// Shares of the KV cache and queues inside the engines.
    Percent,
    /// Tokens held against tokens that fit; shares where tokens are not known.
    Tokens,
    /// Both have a vote.
    #[default]
    Both,
}

/// The numbers a decision is taken by.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// A replica is saturated at this share of its KV cache, 0 to 1.
    pub kv_cache_threshold: f64,
    /// Scale up when on average no more than this share is spare below the threshold.
    pub kv_spare_trigger: f64,
    /// A replica is saturated with this many requests waiting inside the engine.
    pub queue_length_threshold: f64,
    /// Scale up when on average less than this is spare below the threshold.
    pub queue_spare_trigger: f64,
    /// Scale up when at least this share of the replicas is saturated, whatever the mean.
    pub saturated_share: f64,
    /// Whose word on saturation counts. Whatever it is, a replica that is full
    /// by its shares keeps what there is: the safety floor.
    pub analyzer: Analyzer,
    /// By tokens and by tokens per second: up above this share of what is
    /// there or coming.
    pub scale_up_threshold: f64,
    /// By the same: down to where the rest is used by no more than this share.
    pub scale_down_boundary: f64,
    /// The share of the time for which the slots must cover what is asked for
    /// by the time a replica that is started now serves, where that takes a
    /// minute or more.
    pub growth_cover: f64,
    /// How far the load is assumed to grow in that time until that has been
    /// seen, as a factor.
    pub growth_assumed: f64,
    /// The most growth that is provided for, as a factor.
    pub growth_most: f64,
    /// How far below its trigger each load must stay after a scale-down: as a
    /// share of the trigger, and for slots of those of one replica. 0 is the
    /// predecessor's rule, on the edge of going up again.
    pub hysteresis: f64,
    /// A load above its trigger but not beyond what saturates must last this
    /// long, for chance alone crosses any trigger now and then.
    pub up_after: Duration,
    /// A broken SLO must last this long while nothing is on its way.
    pub slo_after: Duration,
    /// How long a request may wait: scale up when one has waited so long and
    /// nothing is on its way. An excess that this much waiting absorbs is no
    /// reason for a replica.
    pub queue_wait: Duration,
    /// How quickly a backlog should be worked off; sizes a scale-up.
    pub drain: Duration,
    /// Time an answer takes, until it has been measured.
    pub assumed_service: Duration,
    /// Time a replica takes from being asked for until it serves, until one
    /// was seen starting.
    pub assumed_startup: Duration,
    /// A signal older than this does not count as known.
    pub max_age: Duration,
    /// The same of a signal that a Prometheus recorded, which does so once per
    /// scrape interval.
    pub max_age_recorded: Duration,
    /// Latencies are told as means over this long.
    pub mean_over: Duration,
    /// The same of those that are made of what a Prometheus recorded, which
    /// takes several scrapes.
    pub mean_over_recorded: Duration,
    /// A replica that is not ready after this long no longer counts as coming;
    /// nor one that takes twice as long as its variant's are known to take, if
    /// that is longer.
    pub pending_timeout: Duration,
    /// A replica that nobody has made after this long no longer counts as coming.
    pub creation_timeout: Duration,
    /// A replica no node takes for this long no longer counts as coming.
    pub unschedulable_grace: Duration,
    /// Scale down only to what the highest load of this long would need.
    pub down_after: Duration,
    /// Scale to zero (where the minimum is 0) after this long without any work.
    pub zero_after: Duration,
}

impl Default for Policy {
    /// The predecessor's thresholds, with times that suit replicas that start
    /// within seconds to a few minutes.
    fn default() -> Self {
        Self {
            kv_cache_threshold: 0.80,
            kv_spare_trigger: 0.10,
            queue_length_threshold: 5.0,
            queue_spare_trigger: 3.0,
            saturated_share: 0.5,
            analyzer: Analyzer::Both,
            scale_up_threshold: 0.85,
            scale_down_boundary: 0.70,
            growth_cover: 0.99,
            growth_assumed: 1.25,
            growth_most: 1.5,
            hysteresis: 0.20,
            up_after: Duration::from_secs(5),
            slo_after: Duration::from_secs(20),
            queue_wait: Duration::from_secs(1),
            drain: Duration::from_secs(10),
            assumed_service: Duration::from_secs(2),
            assumed_startup: Duration::from_secs(10),
            max_age: Duration::from_secs(5),
            max_age_recorded: Duration::from_secs(30),
            mean_over: Duration::from_secs(10),
            mean_over_recorded: Duration::from_secs(60),
            // A large model is loaded for minutes.
            pending_timeout: Duration::from_secs(600),
            creation_timeout: Duration::from_secs(120),
            unschedulable_grace: Duration::from_secs(3),
            down_after: Duration::from_secs(30),
            zero_after: Duration::from_secs(60),
        }
    }
}

/// A policy that cannot be used, and the key at fault.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyError {
    /// The field.
    pub key: &'static str,
    /// Its value.
    pub value: f64,
    /// What must hold.
    pub rule: &'static str,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}: it {}", self.key, self.value, self.rule)
    }
}

impl std::error::Error for PolicyError {}

impl Policy {
    /// The age from which on a signal of this source does not count as known.
    #[must_use]
    pub const fn max_age_of(&self, source: Source) -> Duration {
        match source {
            Source::Gateway | Source::Picker | Source::Replica => self.max_age,
            Source::Prometheus => self.max_age_recorded,
        }
    }

    /// How long a while the latencies are a mean over that this source tells.
    #[must_use]
    pub const fn mean_over_of(&self, source: Source) -> Duration {
        match source {
            Source::Gateway | Source::Picker | Source::Replica => self.mean_over,
            Source::Prometheus => self.mean_over_recorded,
        }
    }

    /// Checks that the numbers make sense together.
    ///
    /// # Errors
    /// The first field that breaks a rule, with the rule.
    pub fn validate(&self) -> Result<(), PolicyError> {
        let share = |value: f64| value > 0.0 && value <= 1.0;
        let rules = [
            (
                "kvCacheThreshold",
                self.kv_cache_threshold,
                share(self.kv_cache_threshold),
                "must be above 0, at most 1",
            ),
            (
                "kvSpareTrigger",
                self.kv_spare_trigger,
                (0.0..self.kv_cache_threshold).contains(&self.kv_spare_trigger),
                "must be at least 0 and below kvCacheThreshold",
            ),
            (
                "queueLengthThreshold",
                self.queue_length_threshold,
                self.queue_length_threshold.is_finite() && self.queue_length_threshold > 0.0,
                "must be above 0",
            ),
            (
                "queueSpareTrigger",
                self.queue_spare_trigger,
                (0.0..self.queue_length_threshold).contains(&self.queue_spare_trigger),
                "must be at least 0 and below queueLengthThreshold",
            ),
            (
                "saturatedShare",
                self.saturated_share,
                share(self.saturated_share),
                "must be above 0, at most 1",
            ),
            (
                "scaleDownBoundary",
                self.scale_down_boundary,
                share(self.scale_down_boundary),
                "must be above 0, at most 1",
            ),
            (
                "scaleUpThreshold",
                self.scale_up_threshold,
                share(self.scale_up_threshold) && self.scale_up_threshold > self.scale_down_boundary,
                "must be above scaleDownBoundary, at most 1",
            ),
            (
                "growthCover",
                self.growth_cover,
                (0.9..1.0).contains(&self.growth_cover),
                "must be at least 0.9 and below 1",
            ),
            (
                "growthAssumed",
                self.growth_assumed,
                self.growth_assumed >= 1.0 && self.growth_assumed <= self.growth_most,
                "must be at least 1 and at most growthMost",
            ),
            (
                "growthMost",
                self.growth_most,
                (1.0..=3.0).contains(&self.growth_most),
                "must be at least 1 and at most 3",
            ),
            (
                "hysteresis",
                self.hysteresis,
                (0.0..1.0).contains(&self.hysteresis),
                "must be at least 0 and below 1",
            ),
        ];
        match rules.into_iter().find(|(_, _, holds, _)| !holds) {
            Some((key, value, _, rule)) => Err(PolicyError { key, value, rule }),
            None => Ok(()),
        }
    }

    /// Mean KV share at which a scale-up is due.
    pub(crate) fn kv_limit(&self) -> f64 {
        self.kv_cache_threshold - self.kv_spare_trigger
    }

    /// Mean KV share a scale-up aims at: a tenth below the trigger, or the next
    /// request would ask for more.
    pub(crate) fn kv_target(&self) -> f64 {
        self.kv_limit() * 0.9
    }

    /// The share of the time to cover when a replica takes `horizon` to come: a
    /// shortage is over as soon as one has come, so where they come quickly
    /// more of them add up to the same time short, up to five times as many.
    fn cover_for(&self, horizon: Duration) -> f64 {
        const SLOW: f64 = 40.0;
        let quicker = (SLOW / horizon.as_secs_f64().max(1.0)).clamp(1.0, 5.0);
        1.0 - (1.0 - self.growth_cover) * quicker
    }

    /// How far ahead to look when a replica takes `startup` to serve.
    pub(crate) fn outlook(&self, startup: Duration) -> Outlook {
        Outlook {
            horizon: startup + self.up_after,
            wait: self.queue_wait,
            cover: self.cover_for(startup + self.up_after),
            assumed: self.growth_assumed,
            most: self.growth_most,
        }
    }

    /// Mean requests waiting per replica above which a scale-up is due.
    pub(crate) fn waiting_limit(&self) -> f64 {
        self.queue_length_threshold - self.queue_spare_trigger
    }

    /// The share of a trigger that must not be exceeded after a scale-down.
    pub(crate) fn after_down(&self) -> f64 {
        1.0 - self.hysteresis
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_sense() {
        assert_eq!(Policy::default().validate(), Ok(()));
    }

    #[test]
    fn a_policy_that_makes_no_sense_names_the_key() {
        type Spoil = fn(&mut Policy);
        let cases: [(&str, Spoil); 10] = [
            ("scaleDownBoundary", |p| p.scale_down_boundary = f64::NAN),
            ("scaleUpThreshold", |p| p.scale_up_threshold = 0.7),
            ("scaleUpThreshold", |p| p.scale_up_threshold = 1.1),
            ("kvCacheThreshold", |p| p.kv_cache_threshold = 1.5),
            ("kvCacheThreshold", |p| p.kv_cache_threshold = f64::NAN),
            ("kvSpareTrigger", |p| p.kv_spare_trigger = 0.9),
            ("queueSpareTrigger", |p| p.queue_spare_trigger = 5.0),
            ("growthCover", |p| p.growth_cover = 1.0),
            ("growthAssumed", |p| p.growth_assumed = 2.0),
            ("hysteresis", |p| p.hysteresis = 1.0),
        ];
        for (key, spoil) in cases {
            let mut policy = Policy::default();
            spoil(&mut policy);
            assert_eq!(policy.validate().unwrap_err().key, key);
        }
    }
}
