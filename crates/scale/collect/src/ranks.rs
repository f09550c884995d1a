//! Several ranks of one replica put together.
//!
//! A replica that serves its model by data parallelism may have a metrics page
//! for each rank. Requests, tokens and their rates add up; of the KV cache the
//! fullest rank counts, as it is the one that makes requests wait; other shares
//! and latencies are means by the requests or tokens behind them. What one rank
//! does not tell is not 0: a sum without it is missing.

use crate::ReplicaSignals;
use crate::model::weighted;
use units::{Instant, Observed, Signal};

type Of = fn(&ReplicaSignals) -> &Signal<f64>;

impl ReplicaSignals {
    /// All of `ranks`, each with the address it was scraped at, as one replica.
    pub(crate) fn of_ranks(ranks: &[(&str, &Self)], now: Instant) -> Self {
        if let [(_, only)] = ranks {
            return (*only).clone();
        }
        let all = Ranks { ranks, now };
        Self {
            found: ranks.iter().find_map(|(_, rank)| rank.found.clone()),
            kv: all.together(|rank| &rank.kv, f64::max),
            running: all.sum(|rank| &rank.running),
            waiting: all.sum(|rank| &rank.waiting),
            token_rate: all.sum(|rank| &rank.token_rate),
            request_rate: all.sum(|rank| &rank.request_rate),
            arrival_rate: all.sum(|rank| &rank.arrival_rate),
            kv_tokens: all.sum(|rank| &rank.kv_tokens),
            prompt_tokens: all.mean(|rank| &rank.prompt_tokens, |rank| &rank.request_rate),
            answer_tokens: all.mean(|rank| &rank.answer_tokens, |rank| &rank.request_rate),
            ttft_ms: all.mean(|rank| &rank.ttft_ms, |rank| &rank.request_rate),
            itl_ms: all.mean(|rank| &rank.itl_ms, |rank| &rank.token_rate),
            prefix_hit_share: all.mean(|rank| &rank.prefix_hit_share, |rank| &rank.request_rate),
            in_flight: all.sum(|rank| &rank.in_flight),
            slots: all.sum(|rank| &rank.slots),
            error: ranks.iter().find_map(|(_, rank)| rank.error.clone()),
        }
    }
}

struct Ranks<'a> {
    ranks: &'a [(&'a str, &'a ReplicaSignals)],
    now: Instant,
}

impl Ranks<'_> {
    fn sum(&self, of: Of) -> Signal<f64> {
        self.together(of, |sum, value| sum + value)
    }

    /// The values of all ranks, folded; as old as the oldest of them.
    fn together(&self, of: Of, fold: fn(f64, f64) -> f64) -> Signal<f64> {
        let mut folded = None::<Observed<f64>>;
        for (at, rank) in self.ranks {
            let seen = match of(rank) {
                Signal::Observed(seen) => *seen,
                Signal::Missing { since, why } => return Signal::missing(*since, format!("rank at {at}: {why}")),
            };
            folded = Some(folded.map_or(seen, |folded| Observed {
                value: fold(folded.value, seen.value),
                at: folded.at.min(seen.at),
                source: seen.source,
            }));
        }
        folded.map_or_else(|| Signal::missing(self.now, "no rank is known"), Signal::Observed)
    }

    /// The mean over those ranks that observed something.
    fn mean(&self, of: Of, weight: Of) -> Signal<f64> {
        let mut values = Vec::new();
        let mut oldest = None::<&Observed<f64>>;
        for (_, rank) in self.ranks {
            let Some(seen) = of(rank).last() else { continue };
            values.push((seen.value, weight(rank).last().map(|weight| weight.value)));
            oldest = Some(oldest.filter(|oldest| oldest.at <= seen.at).unwrap_or(seen));
        }
        match (weighted(&values), oldest) {
            (Some(mean), Some(oldest)) => Signal::observed(mean, oldest.at, oldest.source),
            _ => self.together(of, |value, _| value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use units::Source;

    fn seen(value: f64, at: u64) -> Signal<f64> {
        Signal::observed(value, Instant::from_secs(at), Source::Prometheus)
    }

    fn rank(at: u64, load: f64) -> ReplicaSignals {
        ReplicaSignals {
            kv: seen(load / 10.0, at),
            running: seen(load, at),
            request_rate: seen(load, at),
            ttft_ms: seen(100.0 * load, at),
            kv_tokens: seen(1_000.0, at),
            ..ReplicaSignals::unknown(Instant::ZERO, "not on the page")
        }
    }

    #[test]
    fn requests_add_up_the_fullest_cache_counts_and_latencies_are_means() {
        let (one, other) = (rank(20, 3.0), rank(18, 1.0));
        let both = ReplicaSignals::of_ranks(&[("a:8000", &one), ("a:8001", &other)], Instant::ZERO);
        assert_eq!(both.running, seen(4.0, 18), "as old as the oldest");
        assert_eq!((both.kv, both.kv_tokens), (seen(0.3, 18), seen(2_000.0, 18)));
        assert_eq!(both.ttft_ms, seen(250.0, 18));
        let Signal::Missing { why, .. } = both.waiting else {
            panic!("told by nobody")
        };
        assert_eq!(why, "rank at a:8000: not on the page");
    }

    #[test]
    fn a_rank_that_does_not_tell_is_not_idle() {
        let (one, mut other) = (rank(20, 3.0), rank(20, 1.0));
        other.running = Signal::missing(Instant::ZERO, "is NaN");
        let both = ReplicaSignals::of_ranks(&[("a:8000", &one), ("a:8001", &other)], Instant::ZERO);
        assert_eq!(both.running, Signal::missing(Instant::ZERO, "rank at a:8001: is NaN"));
        assert_eq!(both.request_rate, seen(4.0, 20));
    }
}
