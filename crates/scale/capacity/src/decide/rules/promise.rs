//! One latency that is promised, and what is known of it.

use super::EPSILON;
use crate::queueing::{Statistic, Target, Targets};
use crate::view::{Percentiles, ReplicaView, Slo};
use crate::words::{number, short_time};
use units::Signal;

/// Which latency a promise is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Time to the first token.
    Ttft,
    /// Time between tokens.
    Itl,
}

impl Kind {
    pub(super) const fn short(self) -> &'static str {
        match self {
            Self::Ttft => "TTFT",
            Self::Itl => "ITL",
        }
    }

    pub(super) const fn of(self) -> &'static str {
        match self {
            Self::Ttft => "to the first token",
            Self::Itl => "between tokens",
        }
    }

    pub(super) const fn watch(self) -> &'static str {
        match self {
            Self::Ttft => "Slo of TTFT",
            Self::Itl => "Slo of ITL",
        }
    }

    /// What a replica tells of it.
    pub(super) const fn told(self) -> fn(&ReplicaView) -> &Signal<f64> {
        match self {
            Self::Ttft => |replica| &replica.ttft_ms,
            Self::Itl => |replica| &replica.itl_ms,
        }
    }
}

/// One promise and what is known of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promise {
    pub(super) kind: Kind,
    pub(super) target_ms: f64,
    /// The share that shall stay within it; the mean, if none is given.
    pub(super) share: Option<f64>,
    /// What it is now, of those that may keep it.
    pub(super) now_ms: Option<f64>,
    /// Whether `now_ms` is the mean although a share is promised.
    pub(super) only_mean: bool,
    /// What one request alone takes, where that is too long everywhere.
    pub(super) alone_ms: Option<f64>,
}

impl Promise {
    /// What is promised; figures that are no targets promise nothing.
    pub(super) fn all_of(slo: &Slo) -> Vec<Self> {
        let share = slo.percentile.filter(|share| *share > 0.0 && *share < 1.0);
        let promise = |(kind, target): (Kind, Option<f64>)| {
            target.filter(|ms| ms.is_normal() && *ms > 0.0).map(|target_ms| Self {
                kind,
                target_ms,
                share,
                now_ms: None,
                only_mean: false,
                alone_ms: None,
            })
        };
        let promised = [(Kind::Ttft, slo.ttft_ms), (Kind::Itl, slo.itl_ms)];
        promised.into_iter().filter_map(promise).collect()
    }

    /// All of them, as the queueing model wants them.
    pub(super) fn targets(promises: &[Self]) -> Targets {
        let of = |kind| {
            let promise = promises.iter().find(|promise| promise.kind == kind)?;
            Some(Target {
                ms: promise.target_ms,
                of: promise.share.map_or(Statistic::Mean, Statistic::Percentile),
            })
        };
        Targets {
            ttft: of(Kind::Ttft),
            itl: of(Kind::Itl),
            throughput: false,
        }
    }

    /// How much of what is promised is used up.
    pub(super) fn used(&self) -> Option<f64> {
        self.now_ms.map(|ms| ms / self.target_ms)
    }

    pub(super) fn broken(&self) -> bool {
        self.used().is_some_and(|used| used > 1.0 + EPSILON)
    }

    /// What gateways saw of it: the median for the mean; a share by an
    /// exponential tail through the median and the 99th percentile.
    pub(super) fn seen(&self, latency: Percentiles) -> f64 {
        let Some(share) = self.share else {
            return latency.p50_ms;
        };
        let along = (0.5_f64.ln() - (1.0 - share).ln()) / (0.5_f64.ln() - 0.01_f64.ln());
        latency.p50_ms + (latency.p99_ms - latency.p50_ms).max(0.0) * along.max(0.0)
    }

    /// `TTFT`, `p99 of ITL`.
    pub(super) fn name(&self) -> String {
        match self.share {
            Some(share) => format!("p{} of {}", number(share * 100.0), self.kind.short()),
            None => self.kind.short().to_owned(),
        }
    }

    /// `SLO of 50 ms between tokens cannot be met: one request alone takes 80 ms`.
    pub(super) fn cannot(&self, alone_ms: f64) -> String {
        format!(
            "{} cannot be met: one request alone takes {}",
            self.words(),
            short_time(alone_ms)
        )
    }

    /// `SLO of 50 ms between tokens`, `p99 SLO of 2 s to the first token`.
    pub(super) fn words(&self) -> String {
        let share = self
            .share
            .map_or_else(String::new, |share| format!("p{} ", number(share * 100.0)));
        format!("{share}SLO of {} {}", short_time(self.target_ms), self.kind.of())
    }

    /// `ITL 31 ms of 40 ms`.
    pub(super) fn now_words(&self) -> String {
        let now = self.now_ms.map_or_else(|| "not known".to_owned(), short_time);
        let mean = if self.only_mean { " (only the mean is told)" } else { "" };
        format!("{} {now}{mean} of {}", self.name(), short_time(self.target_ms))
    }
}
