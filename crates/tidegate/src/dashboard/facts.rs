//! What is known of one model right now: the ground of the headline.

use super::history::{History, Recent};
use super::input::{Input, ReplicaState, Variant};
use wire::signals::{GatewaySignals, PoolSignals};

/// One model, now. Whatever is not known is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Facts {
    /// The model's name.
    pub(super) model: String,
    pub(super) queued: u64,
    pub(super) oldest_wait_ms: Option<u64>,
    pub(super) in_flight: u64,
    /// Quantiles of the last ten seconds.
    pub(super) ttft_p99_ms: Option<f64>,
    pub(super) itl_p99_ms: Option<f64>,
    pub(super) ttft_slo_ms: Option<f64>,
    pub(super) itl_slo_ms: Option<f64>,
    /// The span `arrived`, `turned_away`, `broken` and `ended` are of.
    pub(super) span_ms: Option<u64>,
    pub(super) arrived: u64,
    pub(super) turned_away: u64,
    pub(super) broken: u64,
    pub(super) ended: u64,
    pub(super) queue_growth: Option<i64>,
    /// Since the gateway began.
    pub(super) ever_arrived: bool,
    /// How long ago the last request arrived, if one was seen to.
    pub(super) quiet_ms: Option<u64>,
    pub(super) fleet: Fleet,
}

/// The replicas behind a model, or behind all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fleet {
    pub(super) variants: usize,
    pub(super) serving: u64,
    pub(super) starting: u64,
    pub(super) pending: u64,
    pub(super) draining: u64,
    pub(super) asleep: u64,
    pub(super) failed: u64,
    /// Milliseconds until the first starting replica serves, learned; negative when overdue.
    pub(super) first_in_ms: Option<i64>,
    /// Why the first failed one failed.
    pub(super) failure: Option<String>,
    /// Why the first pending one waits.
    pub(super) pending_because: Option<String>,
    /// Replicas decided, if every variant has a decision.
    pub(super) desired: Option<u64>,
    /// Sum of the variants' bounds.
    pub(super) max: u64,
    /// Cost of all replicas per hour, if every variant's cost is known.
    pub(super) cost_per_hour: Option<f64>,
}

impl Fleet {
    /// Counts the replicas of `variants` at `now`.
    pub(super) fn of<'a>(variants: impl Iterator<Item = &'a Variant>, history: &History, now_unix_ms: u64) -> Self {
        let mut fleet = Self {
            desired: Some(0),
            cost_per_hour: Some(0.0),
            ..Self::default()
        };
        for variant in variants {
            fleet.variants += 1;
            fleet.max += u64::from(variant.max);
            fleet.desired = fleet.desired.zip(variant.desired).map(|(sum, n)| sum + u64::from(n));
            let cost = variant.cost_per_hour.map(|cost| cost * occupied(variant) as f64);
            fleet.cost_per_hour = fleet.cost_per_hour.zip(cost).map(|(sum, cost)| sum + cost);
            for replica in &variant.replicas {
                match replica.state {
                    ReplicaState::Serving => fleet.serving += 1,
                    ReplicaState::Draining => fleet.draining += 1,
                    ReplicaState::Asleep => fleet.asleep += 1,
                    ReplicaState::Pending => {
                        fleet.pending += 1;
                        fleet.pending_because = fleet.pending_because.or_else(|| replica.reason.clone());
                    }
                    ReplicaState::Failed => {
                        fleet.failed += 1;
                        fleet.failure = fleet.failure.or_else(|| replica.reason.clone());
                    }
                    ReplicaState::Starting => {
                        fleet.starting += 1;
                        let due = history.starts.usual_ms(&variant.name).zip(replica.started_unix_ms);
                        let left = due.map(|(usual, started)| signed(started + usual) - signed(now_unix_ms));
                        fleet.first_in_ms = match (fleet.first_in_ms, left) {
                            (Some(first), Some(left)) => Some(first.min(left)),
                            (first, left) => first.or(left),
                        };
                    }
                }
            }
        }
        fleet
    }

    /// Replicas that serve or could soon.
    pub(super) const fn alive(&self) -> u64 {
        self.serving + self.starting + self.pending + self.draining
    }
}

/// Replicas that hold accelerators: those seen, or those the target counts.
pub(super) fn occupied(variant: &Variant) -> u64 {
    let seen = variant
        .replicas
        .iter()
        .filter(|r| r.state != ReplicaState::Pending)
        .count() as u64;
    if variant.replicas.is_empty() {
        u64::from(variant.current.unwrap_or(0))
    } else {
        seen
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

impl Facts {
    /// What is known of the pool `key`, from signals that are fresh.
    pub(super) fn of_pool(
        history: &History,
        input: &Input,
        signals: &GatewaySignals,
        (key, pool): (&str, &PoolSignals),
        recent: &Recent,
        now_unix_ms: u64,
    ) -> Self {
        let slo = input.slos.iter().find(|slo| pool.models.contains(&slo.model));
        Self {
            model: label(key, pool),
            queued: pool.queued,
            oldest_wait_ms: pool.oldest_wait_ms,
            in_flight: pool.in_flight,
            ttft_p99_ms: recent.ttft.quantile_ms(0.99),
            itl_p99_ms: recent.itl.quantile_ms(0.99),
            ttft_slo_ms: slo.and_then(|slo| slo.ttft_ms),
            itl_slo_ms: slo.and_then(|slo| slo.itl_ms),
            span_ms: recent.span_ms,
            arrived: recent.arrived,
            turned_away: recent.turned_away,
            broken: recent.broken,
            ended: recent.ended,
            queue_growth: recent.queue_growth,
            ever_arrived: pool.arrived > 0,
            quiet_ms: history
                .last_arrival(key)
                .map(|at| signals.at_unix_ms.saturating_sub(at)),
            fleet: Fleet::of(
                input
                    .variants
                    .iter()
                    .filter(|variant| pool.models.contains(&variant.model)),
                history,
                now_unix_ms,
            ),
        }
    }
}

/// The name people know a pool by: its first model, or its own name.
pub(super) fn label(key: &str, pool: &PoolSignals) -> String {
    let own = || key.rsplit('/').next().unwrap_or(key).to_owned();
    pool.models.first().cloned().unwrap_or_else(own)
}
