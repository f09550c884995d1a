//! Five minutes of what the gateway told, one point per second.
//!
//! Counters only grow, so a rate or a quantile of "just now" is the difference
//! of two snapshots. A gateway that restarted or fell silent leaves a gap: a
//! point without numbers, never a zero.

use super::input::Input;
use super::starts::Starts;
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use wire::signals::{GatewaySignals, Histogram, PoolSignals};

/// A point follows another no sooner.
const POINT_EVERY_MS: u64 = 900;
/// Points kept: five minutes of them at their closest.
pub(super) const POINTS: usize = 334;
/// Rates are means over this span, so that the noise of single arrivals does not hide a step.
const RATE_WINDOW_MS: u64 = 4_000;
/// Latency quantiles are of answers within this span.
pub(super) const LATENCY_WINDOW_MS: u64 = 10_000;
/// A gateway silent for longer is not believed any more.
pub(super) const GATEWAY_STALE_MS: u64 = 3_500;
/// Shortest span a rate may be computed over.
const SHORTEST_MS: u64 = 800;
/// Snapshots closer together than this are not kept apart.
const MARK_EVERY_MS: u64 = 400;
/// Pools kept in a point; a gateway with more shows the first ones.
pub(super) const POOLS: usize = 24;

/// What the page remembers between two states. Bounded: [`POINTS`] points and the
/// snapshots of the last ten seconds.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Snapshots of one gateway life, oldest first, a little more than the longest window.
    marks: VecDeque<Arc<GatewaySignals>>,
    points: VecDeque<Point>,
    written: u64,
    /// By pool: arrivals counted last, and when that number last grew.
    arrivals: BTreeMap<String, (u64, Option<u64>)>,
    /// How long starts take.
    pub(super) starts: Starts,
}

/// One second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Point {
    /// Counts up by one per point, for those who want only what is new.
    pub(super) seq: u64,
    /// Unix milliseconds.
    pub(super) t: u64,
    /// By pool; empty when the gateway told nothing.
    pub(super) pools: BTreeMap<String, Sample>,
}

/// One pool in one second. Serialized as an array in this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sample {
    pub(super) arrivals_per_s: Option<f64>,
    pub(super) answers_per_s: Option<f64>,
    pub(super) failures_per_s: Option<f64>,
    pub(super) queued: u64,
    pub(super) in_flight: u64,
    pub(super) ttft_p50_ms: Option<f64>,
    pub(super) ttft_p99_ms: Option<f64>,
    pub(super) itl_p50_ms: Option<f64>,
    pub(super) itl_p99_ms: Option<f64>,
}

impl Serialize for Sample {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (
            short(self.arrivals_per_s),
            short(self.answers_per_s),
            short(self.failures_per_s),
            self.queued,
            self.in_flight,
            short(self.ttft_p50_ms),
            short(self.ttft_p99_ms),
            short(self.itl_p50_ms),
            short(self.itl_p99_ms),
        )
            .serialize(serializer)
    }
}

/// Two decimals are enough for any line of a chart.
pub(super) fn short(value: Option<f64>) -> Option<f64> {
    value.filter(|v| v.is_finite()).map(|v| (v * 100.0).round() / 100.0)
}

/// What happened in one pool just now, by differences.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Recent {
    /// Requests accepted per second.
    pub(super) arrivals_per_s: Option<f64>,
    /// Complete answers per second.
    pub(super) answers_per_s: Option<f64>,
    /// Requests that ended otherwise (but for those the client gave up), per second.
    pub(super) failures_per_s: Option<f64>,
    /// How the queue grew over the rate window; negative when it shrank.
    pub(super) queue_growth: Option<i64>,
    /// The span the three numbers below are of, milliseconds; `None` when nothing earlier is known.
    pub(super) span_ms: Option<u64>,
    /// Arrivals in that span.
    pub(super) arrived: u64,
    /// Requests turned away in that span: the queue was full or the deadline passed.
    pub(super) turned_away: u64,
    /// Requests that failed at a model server in that span.
    pub(super) broken: u64,
    /// Requests that ended in any way in that span.
    pub(super) ended: u64,
    /// Times to first token in that span.
    pub(super) ttft: Histogram,
    /// Gaps between tokens in that span.
    pub(super) itl: Histogram,
}

impl History {
    /// Takes in one snapshot. Called every second and on changes; adds at most
    /// one point per second.
    pub(crate) fn observe(&mut self, input: &Input, now_unix_ms: u64) {
        self.starts.observe(input, now_unix_ms);
        let signals = fresh(input, now_unix_ms);
        if let Some(signals) = signals {
            self.note_arrivals(signals);
        }
        let due = self
            .points
            .back()
            .is_none_or(|last| now_unix_ms >= last.t + POINT_EVERY_MS || now_unix_ms < last.t);
        if due {
            let pools = signals.map_or_else(BTreeMap::new, |signals| {
                let of = |pool: &String| (pool.clone(), self.sample(signals, pool));
                signals.pools.keys().take(POOLS).map(of).collect()
            });
            self.written += 1;
            self.points.push_back(Point {
                seq: self.written,
                t: now_unix_ms,
                pools,
            });
            while self.points.len() > POINTS {
                self.points.pop_front();
            }
        }
        if let Some(signals) = signals {
            self.keep(signals);
        }
    }

    /// The points whose number is above `seq`, oldest first.
    pub(super) fn points_after(&self, seq: u64) -> impl Iterator<Item = &Point> {
        self.points.iter().filter(move |point| point.seq > seq)
    }

    /// When a request was last seen to arrive in `pool`, unix milliseconds.
    pub(super) fn last_arrival(&self, pool: &str) -> Option<u64> {
        self.arrivals.get(pool).and_then(|(_, at)| *at)
    }

    /// What happened in `pool` up to `signals`.
    pub(super) fn recent(&self, signals: &GatewaySignals, pool: &str) -> Recent {
        let Some(now) = signals.pools.get(pool) else {
            return Recent::default();
        };
        let nothing = PoolSignals::default();
        let mut recent = Recent::default();
        if let Some((then, span_ms)) = self.mark(signals, RATE_WINDOW_MS) {
            let then = then.pools.get(pool).unwrap_or(&nothing);
            let per_s = |now: u64, then: u64| Some(grown(now, then) as f64 * 1e3 / span_ms as f64);
            recent.arrivals_per_s = per_s(now.arrived, then.arrived);
            recent.answers_per_s = per_s(now.completed, then.completed);
            recent.failures_per_s = per_s(failures(now), failures(then));
            recent.queue_growth =
                Some(i64::try_from(now.queued).unwrap_or(i64::MAX) - i64::try_from(then.queued).unwrap_or(i64::MAX));
        }
        if let Some((then, span_ms)) = self.mark(signals, LATENCY_WINDOW_MS) {
            let then = then.pools.get(pool).unwrap_or(&nothing);
            let outcome = |name| grown(outcome(now, name), outcome(then, name));
            recent.span_ms = Some(span_ms);
            recent.arrived = grown(now.arrived, then.arrived);
            recent.turned_away = outcome("queue_full") + outcome("deadline");
            recent.broken = outcome("upstream_error");
            recent.ended = grown(now.completed, then.completed) + recent.turned_away + recent.broken;
            recent.ttft = now.ttft_ms.since(&then.ttft_ms);
            recent.itl = now.itl_ms.since(&then.itl_ms);
        }
        recent
    }

    fn sample(&self, signals: &GatewaySignals, pool: &str) -> Sample {
        let now = signals.pools.get(pool);
        let recent = self.recent(signals, pool);
        Sample {
            arrivals_per_s: recent.arrivals_per_s,
            answers_per_s: recent.answers_per_s,
            failures_per_s: recent.failures_per_s,
            queued: now.map_or(0, |pool| pool.queued),
            in_flight: now.map_or(0, |pool| pool.in_flight),
            ttft_p50_ms: recent.ttft.quantile_ms(0.5),
            ttft_p99_ms: recent.ttft.quantile_ms(0.99),
            itl_p50_ms: recent.itl.quantile_ms(0.5),
            itl_p99_ms: recent.itl.quantile_ms(0.99),
        }
    }

    /// The newest snapshot at least `window_ms` old, or the oldest one, with
    /// the span to `signals`; `None` when that span says too little.
    fn mark(&self, signals: &GatewaySignals, window_ms: u64) -> Option<(&GatewaySignals, u64)> {
        let same = |mark: &&Arc<GatewaySignals>| mark.started_unix_ms == signals.started_unix_ms;
        let age = |mark: &GatewaySignals| signals.at_unix_ms.saturating_sub(mark.at_unix_ms);
        let old_enough = self
            .marks
            .iter()
            .rev()
            .filter(same)
            .find(|mark| age(mark) + MARK_EVERY_MS / 2 >= window_ms);
        let mark = old_enough.or_else(|| self.marks.iter().find(same))?;
        (age(mark) >= SHORTEST_MS).then_some((mark.as_ref(), age(mark)))
    }

    fn keep(&mut self, signals: &Arc<GatewaySignals>) {
        if self
            .marks
            .back()
            .is_some_and(|last| last.started_unix_ms != signals.started_unix_ms)
        {
            self.marks.clear();
        }
        if self
            .marks
            .back()
            .is_some_and(|last| signals.at_unix_ms < last.at_unix_ms + MARK_EVERY_MS)
        {
            return;
        }
        self.marks.push_back(Arc::clone(signals));
        // The second-oldest already spans the longest window: the oldest is of no use.
        while self
            .marks
            .get(1)
            .is_some_and(|mark| signals.at_unix_ms >= mark.at_unix_ms + LATENCY_WINDOW_MS)
        {
            self.marks.pop_front();
        }
    }

    fn note_arrivals(&mut self, signals: &GatewaySignals) {
        self.arrivals.retain(|pool, _| signals.pools.contains_key(pool));
        for (name, pool) in &signals.pools {
            match self.arrivals.get_mut(name) {
                None => {
                    self.arrivals.insert(name.clone(), (pool.arrived, None));
                }
                Some((arrived, at)) if *arrived != pool.arrived => {
                    *arrived = pool.arrived;
                    *at = Some(signals.at_unix_ms);
                }
                Some(_) => {}
            }
        }
    }
}

/// The gateway's signals, if they are recent enough to speak of now.
pub(super) fn fresh(input: &Input, now_unix_ms: u64) -> Option<&Arc<GatewaySignals>> {
    let signals = input.gateway.as_ref().ok()?;
    (now_unix_ms.saturating_sub(signals.at_unix_ms) <= GATEWAY_STALE_MS).then_some(signals)
}

/// The growth of a counter; one that shrank began anew.
const fn grown(now: u64, then: u64) -> u64 {
    if now >= then { now - then } else { now }
}

fn outcome(pool: &PoolSignals, name: &str) -> u64 {
    pool.failed.get(name).copied().unwrap_or(0)
}

/// Requests that ended badly through no wish of the client.
fn failures(pool: &PoolSignals) -> u64 {
    pool.failed
        .iter()
        .filter(|(outcome, _)| *outcome != "cancelled")
        .map(|(_, n)| n)
        .sum()
}

#[cfg(test)]
mod tests;
