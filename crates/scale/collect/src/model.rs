//! What is known of a model as a whole.

use crate::ReplicaSignals;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;
use units::{Instant, Observed, Signal};

/// Most replicas that one sentence names.
const MOST_NAMED: usize = 8;

/// What a source says of a model as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSignals {
    /// Requests per second that arrive. Replicas that do not tell count with
    /// the mean of those that do.
    pub arrival_rate: Signal<f64>,
    /// Tokens of a prompt, mean.
    pub prompt_tokens: Signal<f64>,
    /// Tokens of an answer, mean.
    pub answer_tokens: Signal<f64>,
    /// Time to first token, milliseconds, mean.
    pub ttft_ms: Signal<f64>,
    /// Time between tokens, milliseconds, mean.
    pub itl_ms: Signal<f64>,
    /// Who does not tell its part of the arrivals: Pods, or gateways.
    pub silent: Vec<String>,
    /// Up to what age recorded signals count, where one records them.
    pub recorded_for: Option<Duration>,
}

impl ModelSignals {
    /// Nothing is known, because of `why`.
    #[must_use]
    pub fn unknown(now: Instant, why: impl Into<Cow<'static, str>>) -> Self {
        let why = why.into();
        let missing = || Signal::missing(now, why.clone());
        Self {
            arrival_rate: missing(),
            prompt_tokens: missing(),
            answer_tokens: missing(),
            ttft_ms: missing(),
            itl_ms: missing(),
            silent: Vec::new(),
            recorded_for: None,
        }
    }

    /// Puts together what replicas say, each about itself. What is older than
    /// `within` is not told.
    #[must_use]
    pub fn of_replicas<'a>(
        replicas: impl IntoIterator<Item = (&'a str, &'a ReplicaSignals)>,
        within: Duration,
        now: Instant,
    ) -> Self {
        let replicas: BTreeMap<&str, &ReplicaSignals> = replicas.into_iter().collect();
        let all = Replicas { replicas, within, now };
        let (arrival_rate, silent) = all.arrivals();
        Self {
            arrival_rate,
            silent,
            recorded_for: None,
            prompt_tokens: all.mean(|replica| &replica.prompt_tokens, |replica| &replica.request_rate),
            answer_tokens: all.mean(|replica| &replica.answer_tokens, |replica| &replica.request_rate),
            ttft_ms: all.mean(|replica| &replica.ttft_ms, |replica| &replica.request_rate),
            itl_ms: all.mean(|replica| &replica.itl_ms, |replica| &replica.token_rate),
        }
    }

    /// Takes from `other` each signal that is fresher, or as fresh and more to
    /// be trusted; and the arrivals of whom fewer are silent about.
    pub fn take_fresher(&mut self, mut other: Self) {
        let both = self.arrival_rate.last().is_some() && other.arrival_rate.last().is_some();
        let better = match other.silent.len().cmp(&self.silent.len()) {
            Ordering::Less if both => true,
            Ordering::Greater if both => false,
            _ => fresher(&other.arrival_rate, &self.arrival_rate),
        };
        if better {
            std::mem::swap(&mut self.silent, &mut other.silent);
            std::mem::swap(&mut self.arrival_rate, &mut other.arrival_rate);
        }
        // What is left over of the arrivals is the worse of both.
        other.arrival_rate = Signal::missing(Instant::ZERO, "");
        self.recorded_for = self.recorded_for.or(other.recorded_for);
        for (mine, theirs) in self.all().into_iter().zip(other.all()) {
            take_fresher(mine, theirs);
        }
    }

    /// Whatever is older than `most` is missing from now on, because of `why`.
    pub(crate) fn drop_older(&mut self, most: Duration, now: Instant, why: &str) {
        for signal in self.all() {
            drop_older(signal, most, now, why);
        }
    }

    const fn all(&mut self) -> [&mut Signal<f64>; 5] {
        [
            &mut self.arrival_rate,
            &mut self.prompt_tokens,
            &mut self.answer_tokens,
            &mut self.ttft_ms,
            &mut self.itl_ms,
        ]
    }
}

/// Whether `theirs` is fresher than `mine`, or as fresh and more to be trusted.
fn fresher(theirs: &Signal<f64>, mine: &Signal<f64>) -> bool {
    match (mine.last(), theirs.last()) {
        (Some(mine), Some(theirs)) => (theirs.at, mine.source) > (mine.at, theirs.source),
        (mine, theirs) => mine.is_none() && theirs.is_some(),
    }
}

pub(crate) fn take_fresher(mine: &mut Signal<f64>, theirs: &mut Signal<f64>) {
    if fresher(theirs, mine) {
        std::mem::swap(mine, theirs);
    }
}

pub(crate) fn drop_older(signal: &mut Signal<f64>, most: Duration, now: Instant, why: &str) {
    if signal.last().is_some() && signal.fresh(now, most).is_none() {
        *signal = Signal::missing(now, why.to_owned());
    }
}

/// `a, b, c and 4 more`.
pub(crate) fn some_of<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(MOST_NAMED);
    let named: Vec<&str> = names.take(MOST_NAMED).collect();
    let named = named.join(", ");
    if more == 0 {
        named
    } else {
        format!("{named} and {more} more")
    }
}

/// A mean of `(value, weight)`: by weight where any is above 0.
pub(crate) fn weighted(values: &[(f64, Option<f64>)]) -> Option<f64> {
    let weights: f64 = values.iter().filter_map(|(_, weight)| *weight).sum();
    if weights > 0.0 {
        let sum: f64 = values.iter().map(|(value, weight)| value * weight.unwrap_or(0.0)).sum();
        return Some(sum / weights);
    }
    let sum: f64 = values.iter().map(|(value, _)| value).sum();
    (!values.is_empty()).then(|| sum / values.len() as f64)
}

struct Replicas<'a> {
    replicas: BTreeMap<&'a str, &'a ReplicaSignals>,
    within: Duration,
    now: Instant,
}

type Of = fn(&ReplicaSignals) -> &Signal<f64>;

impl<'a> Replicas<'a> {
    fn told(&self, signal: &'a Signal<f64>) -> Option<&'a Observed<f64>> {
        let possible = |seen: &&Observed<f64>| seen.value.is_finite() && seen.value >= 0.0;
        signal.fresh(self.now, self.within).filter(possible)
    }

    /// Why nobody tells.
    fn nobody(&self, of: Of) -> Signal<f64> {
        let why = match self.replicas.first_key_value() {
            None => "no replica is asked".to_owned(),
            Some((pod, replica)) => match of(replica) {
                Signal::Missing { why, .. } => format!("{pod}: {why}"),
                Signal::Observed(seen) => format!("{pod}: last heard of {} s ago", self.now.since(seen.at).as_secs()),
            },
        };
        Signal::missing(self.now, why)
    }

    /// The arrivals at all replicas together, and who does not tell its part.
    fn arrivals(&self) -> (Signal<f64>, Vec<String>) {
        let (mut sum, mut told, mut oldest) = (0.0, 0_usize, None::<&Observed<f64>>);
        let mut silent = Vec::new();
        for (pod, replica) in &self.replicas {
            match self.told(&replica.arrival_rate) {
                Some(seen) => {
                    sum += seen.value;
                    told += 1;
                    oldest = Some(oldest.filter(|oldest| oldest.at <= seen.at).unwrap_or(seen));
                }
                None => silent.push((*pod).to_owned()),
            }
        }
        let arrivals = match oldest {
            Some(oldest) => {
                let all = sum * self.replicas.len() as f64 / told as f64;
                Signal::observed(all, oldest.at, oldest.source)
            }
            None => self.nobody(|replica| &replica.arrival_rate),
        };
        (arrivals, silent)
    }

    fn mean(&self, of: Of, weight: Of) -> Signal<f64> {
        let mut values = Vec::new();
        let mut oldest = None::<&Observed<f64>>;
        for replica in self.replicas.values() {
            let Some(seen) = self.told(of(replica)) else { continue };
            values.push((seen.value, self.told(weight(replica)).map(|weight| weight.value)));
            oldest = Some(oldest.filter(|oldest| oldest.at <= seen.at).unwrap_or(seen));
        }
        match (weighted(&values), oldest) {
            (Some(mean), Some(oldest)) => Signal::observed(mean, oldest.at, oldest.source),
            _ => self.nobody(of),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use units::Source;

    const NOW: Instant = Instant::from_secs(1_000);
    const WITHIN: Duration = Duration::from_secs(30);

    fn seen(value: f64, age: u64) -> Signal<f64> {
        Signal::observed(value, NOW - Duration::from_secs(age), Source::Prometheus)
    }

    fn replica(rate: f64, ttft_ms: f64, age: u64) -> ReplicaSignals {
        ReplicaSignals {
            arrival_rate: seen(rate, age),
            request_rate: seen(rate, age),
            ttft_ms: seen(ttft_ms, age),
            ..ReplicaSignals::unknown(NOW, "refused")
        }
    }

    fn of(replicas: &[(&str, &ReplicaSignals)]) -> ModelSignals {
        ModelSignals::of_replicas(replicas.iter().copied(), WITHIN, NOW)
    }

    #[test]
    fn arrivals_add_up_and_latencies_are_means_by_requests() {
        let (one, other) = (replica(3.0, 100.0, 5), replica(1.0, 500.0, 9));
        let model = of(&[("n/a", &one), ("n/b", &other)]);
        assert_eq!(model.arrival_rate, seen(4.0, 9), "as old as the oldest");
        assert_eq!(model.ttft_ms, seen(200.0, 9));
        assert_eq!(model.silent, Vec::<String>::new());
        let Signal::Missing { why, .. } = &model.itl_ms else {
            panic!("{model:?}")
        };
        assert_eq!(why, "n/a: refused");
    }

    #[test]
    fn silent_replicas_are_named_and_count_as_the_others_do() {
        let silent = ReplicaSignals::unknown(NOW, "refused");
        let (one, old) = (replica(3.0, 100.0, 5), replica(50.0, 100.0, 31));
        let model = of(&[("n/a", &one), ("n/b", &silent), ("n/c", &old)]);
        assert_eq!(model.arrival_rate, seen(9.0, 5));
        assert_eq!(model.silent, ["n/b", "n/c"]);
        let model = of(&[("n/b", &silent)]);
        assert_eq!(model.arrival_rate, Signal::missing(NOW, "n/b: refused"), "not 0");
        assert_eq!(
            of(&[]).arrival_rate,
            Signal::missing(NOW, "no replica is asked"),
            "not 0"
        );
    }

    #[test]
    fn what_cannot_be_is_not_told() {
        for absurd in [f64::NAN, f64::INFINITY, -1.0] {
            let (good, bad) = (replica(2.0, 100.0, 1), replica(absurd, absurd, 1));
            let model = of(&[("n/a", &good), ("n/b", &bad)]);
            assert_eq!(model.arrival_rate, seen(4.0, 1));
            assert_eq!((model.ttft_ms, model.silent), (seen(100.0, 1), vec!["n/b".to_owned()]));
        }
    }

    #[test]
    fn idle_replicas_arrive_at_zero() {
        let idle = replica(0.0, 100.0, 1);
        assert_eq!(of(&[("n/a", &idle)]).arrival_rate, seen(0.0, 1));
    }

    #[test]
    fn of_two_sources_the_arrivals_count_of_whom_fewer_are_silent_about_or_else_the_fresher() {
        let older = |silent: &[&str]| {
            let mut mine = of(&[("n/a", &replica(3.0, 100.0, 5))]);
            mine.silent = silent.iter().map(|pod| (*pod).to_owned()).collect();
            mine
        };
        let newer = |silent: &[&str]| {
            let mut gateway = ModelSignals::unknown(NOW, "no request yet");
            gateway.arrival_rate = Signal::observed(7.0, NOW, Source::Gateway);
            gateway.silent = silent.iter().map(|gateway| (*gateway).to_owned()).collect();
            gateway
        };
        for (mine, theirs, expected) in [
            (&[][..], &[][..], (7.0, &[][..])),
            (&[], &["http://b"], (3.0, &[])),
            (&["n/b"], &[], (7.0, &[])),
            (&["n/b"], &["http://b"], (7.0, &["http://b"])),
        ] {
            for turned in [false, true] {
                let (mut best, other) = if turned {
                    (newer(theirs), older(mine))
                } else {
                    (older(mine), newer(theirs))
                };
                best.take_fresher(other);
                let rate = best.arrival_rate.last().map(|seen| seen.value);
                assert_eq!(rate, Some(expected.0), "{mine:?} {theirs:?}");
                assert_eq!(best.silent, expected.1, "{mine:?} {theirs:?}");
                assert_eq!(best.ttft_ms, seen(100.0, 5), "the others as they are");
            }
        }
    }

    #[test]
    fn many_names_are_cut() {
        let names = ["a"; 10];
        assert_eq!(some_of(names.into_iter()), "a, a, a, a, a, a, a, a and 2 more");
        assert_eq!(some_of(["a", "b"].into_iter()), "a, b");
    }
}
