//! What a run amounted to. Pure: outcomes in, summary out.
//!
//! Percentiles come from an HDR histogram of microseconds with three
//! significant digits. Latencies count from the intended send time.

use crate::schedule::Planned;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// How one planned request ended. Every planned request has exactly one.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// A complete answer.
    Done(Done),
    /// An answer that is not one, or none.
    Failed {
        /// `http_503`, `connect`, `cut`, ...: the class.
        kind: String,
        /// A sentence for people.
        detail: String,
    },
    /// Not complete before the time limit.
    TimedOut,
    /// The user ended the run while it was in flight.
    Cancelled,
    /// Never sent: the run ended first, or the client was at its own limit.
    Unsent,
}

/// A complete answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Done {
    /// Intended send to first token; absent when not streamed.
    pub ttft_ms: Option<f64>,
    /// Intended send to the end.
    pub e2e_ms: f64,
    /// First to last token divided by tokens after the first.
    pub tpot_ms: Option<f64>,
    /// Longest gap between two chunks.
    pub longest_gap_ms: Option<f64>,
    /// Mean gap between two chunks.
    pub mean_gap_ms: Option<f64>,
    /// Tokens generated.
    pub output_tokens: u64,
    /// Tokens read, as the server counts them.
    pub prompt_tokens: Option<u64>,
}

/// One planned request and its end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    /// Its number in the plan.
    pub index: u64,
    /// When it was meant to be sent, milliseconds from the start.
    pub planned_ms: f64,
    /// How much later it was sent; absent when it never was.
    pub lag_ms: Option<f64>,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl Record {
    /// The record of a request that was never sent.
    #[must_use]
    pub fn unsent(planned: &Planned) -> Self {
        Self {
            index: planned.index,
            planned_ms: millis(planned.at),
            lag_ms: None,
            outcome: Outcome::Unsent,
        }
    }
}

fn millis(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

/// The objectives a request is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objectives {
    /// Time to first token.
    pub ttft: Duration,
    /// Mean gap between tokens.
    pub itl: Duration,
}

/// Percentiles of one quantity, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Observations.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th.
    pub p90: f64,
    /// 95th.
    pub p95: f64,
    /// 99th.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

/// Collects a run.
#[derive(Debug)]
pub struct Tally {
    objectives: Objectives,
    ttft: Histogram<u64>,
    itl: Histogram<u64>,
    tpot: Histogram<u64>,
    e2e: Histogram<u64>,
    lag: Histogram<u64>,
    /// Requests by the minute they were meant to be sent: (sent, met).
    minutes: BTreeMap<u64, (u64, u64)>,
    counts: Counts,
    failures: BTreeMap<String, Failure>,
    met_ttft: u64,
    met_itl: u64,
    good: u64,
    output_tokens: u64,
    prompt_tokens: u64,
    first: Option<f64>,
    last_end: f64,
}

/// Where every planned request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Planned in all.
    pub planned: u64,
    /// Complete answers.
    pub done: u64,
    /// Refused or broken.
    pub failed: u64,
    /// Not complete in time.
    pub timed_out: u64,
    /// Ended by the user in flight.
    pub cancelled: u64,
    /// Never sent.
    pub unsent: u64,
}

impl Counts {
    /// Whether every planned request ended in exactly one way.
    #[must_use]
    pub const fn balanced(&self) -> bool {
        self.planned == self.done + self.failed + self.timed_out + self.cancelled + self.unsent
    }
}

/// A class of failures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// How many.
    pub count: u64,
    /// One of them, in words.
    pub example: String,
}

/// Most classes of failures that are told apart.
const MOST_CLASSES: usize = 50;

impl Tally {
    /// An empty tally against `objectives`.
    #[must_use]
    pub fn new(objectives: Objectives) -> Self {
        Self {
            objectives,
            ttft: histogram(),
            itl: histogram(),
            tpot: histogram(),
            e2e: histogram(),
            lag: histogram(),
            minutes: BTreeMap::new(),
            counts: Counts::default(),
            failures: BTreeMap::new(),
            met_ttft: 0,
            met_itl: 0,
            good: 0,
            output_tokens: 0,
            prompt_tokens: 0,
            first: None,
            last_end: 0.0,
        }
    }

    /// Counts a gap between two chunks of one answer.
    pub fn gap(&mut self, gap: Duration) {
        record(&mut self.itl, millis(gap));
    }

    /// Counts a request's end.
    pub fn end(&mut self, ended: &Record) {
        self.counts.planned += 1;
        self.first = Some(self.first.map_or(ended.planned_ms, |first| first.min(ended.planned_ms)));
        if let Some(lag) = ended.lag_ms {
            record(&mut self.lag, lag);
        }
        let mut good = false;
        match &ended.outcome {
            Outcome::Done(done) => {
                self.counts.done += 1;
                good = self.done(done);
                self.last_end = self.last_end.max(ended.planned_ms + done.e2e_ms);
            }
            Outcome::Failed { kind, detail } => {
                self.counts.failed += 1;
                let known = self.failures.contains_key(kind) || self.failures.len() < MOST_CLASSES;
                let class = if known { kind.as_str() } else { "other" };
                let failure = self.failures.entry(class.to_owned()).or_default();
                failure.count += 1;
                if failure.example.is_empty() {
                    failure.example.clone_from(detail);
                }
            }
            Outcome::TimedOut => self.counts.timed_out += 1,
            Outcome::Cancelled => self.counts.cancelled += 1,
            Outcome::Unsent => self.counts.unsent += 1,
        }
        if !matches!(ended.outcome, Outcome::Unsent | Outcome::Cancelled) {
            let minute = self.minutes.entry((ended.planned_ms / 60_000.0) as u64).or_default();
            minute.0 += 1;
            minute.1 += u64::from(good);
        }
    }

    fn done(&mut self, done: &Done) -> bool {
        record(&mut self.e2e, done.e2e_ms);
        self.output_tokens += done.output_tokens;
        self.prompt_tokens += done.prompt_tokens.unwrap_or(0);
        if let Some(tpot) = done.tpot_ms {
            record(&mut self.tpot, tpot);
        }
        let met_ttft = done.ttft_ms.is_none_or(|ttft| ttft <= millis(self.objectives.ttft));
        let met_itl = done.mean_gap_ms.is_none_or(|gap| gap <= millis(self.objectives.itl));
        if let Some(ttft) = done.ttft_ms {
            record(&mut self.ttft, ttft);
            self.met_ttft += u64::from(met_ttft);
            self.met_itl += u64::from(met_itl);
        }
        self.good += u64::from(met_ttft && met_itl);
        met_ttft && met_itl
    }

    /// Requests ended so far, and the TTFT median and 99th percentile for a progress line.
    #[must_use]
    pub fn progress(&self) -> (Counts, Percentiles, f64) {
        (self.counts, percentiles(&self.ttft), percentiles(&self.lag).p99)
    }

    /// The summary of a run that took `elapsed`.
    #[must_use]
    pub fn summary(&self, elapsed: Duration) -> Summary {
        let lag = percentiles(&self.lag);
        let seconds = elapsed.as_secs_f64().max(1e-9);
        // A client that is late by a tenth of the objective measures itself.
        let limit = (millis(self.objectives.ttft) / 10.0).max(5.0);
        let ended = self.counts.done + self.counts.failed + self.counts.timed_out;
        let share = |met: u64, of: u64| if of == 0 { None } else { Some(met as f64 / of as f64) };
        let worst = self
            .minutes
            .iter()
            .filter(|(_, (sent, met))| met < sent)
            .min_by(|a, b| (a.1.1 * b.1.0).cmp(&(b.1.1 * a.1.0)).then(a.0.cmp(b.0)));
        Summary {
            counts: self.counts,
            elapsed_seconds: seconds,
            ttft_ms: percentiles(&self.ttft),
            itl_ms: percentiles(&self.itl),
            tpot_ms: percentiles(&self.tpot),
            e2e_ms: percentiles(&self.e2e),
            lag_ms: lag,
            slo_ttft_ms: millis(self.objectives.ttft),
            slo_itl_ms: millis(self.objectives.itl),
            // Failures did not meet any objective, so they count against it.
            ttft_met: share(
                self.met_ttft,
                self.ttft.len() + self.counts.failed + self.counts.timed_out,
            ),
            itl_met: share(
                self.met_itl,
                self.ttft.len() + self.counts.failed + self.counts.timed_out,
            ),
            attainment: share(self.good, ended),
            goodput_per_second: self.good as f64 / seconds,
            requests_per_second: self.counts.done as f64 / seconds,
            output_tokens: self.output_tokens,
            prompt_tokens: self.prompt_tokens,
            output_tokens_per_second: self.output_tokens as f64 / seconds,
            worst_minute: worst.map(|(minute, (sent, met))| WorstMinute {
                minute: *minute,
                sent: *sent,
                met: *met,
            }),
            failures: self.failures.clone(),
            trusted: lag.p99 <= limit,
            lag_limit_ms: limit,
        }
    }
}

/// The minute in which the fewest requests met their objectives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct WorstMinute {
    /// Minutes from the start of the run.
    pub minute: u64,
    /// Requests meant for that minute.
    pub sent: u64,
    /// Of those, how many met every objective.
    pub met: u64,
}

/// A run in numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Where every planned request ended.
    pub counts: Counts,
    /// From the first intended send to the last end.
    pub elapsed_seconds: f64,
    /// Time to first token.
    pub ttft_ms: Percentiles,
    /// Gaps between chunks, pooled over all answers.
    pub itl_ms: Percentiles,
    /// Per answer: (last - first token) / (tokens - 1).
    pub tpot_ms: Percentiles,
    /// Whole answers.
    pub e2e_ms: Percentiles,
    /// How late this client sent.
    pub lag_ms: Percentiles,
    /// Objective for TTFT.
    pub slo_ttft_ms: f64,
    /// Objective for the mean gap.
    pub slo_itl_ms: f64,
    /// Share of ended requests that met the TTFT objective; absent when none ended.
    pub ttft_met: Option<f64>,
    /// Share of ended requests that met the gap objective.
    pub itl_met: Option<f64>,
    /// Share of ended requests that met every objective.
    pub attainment: Option<f64>,
    /// Requests per second that met every objective.
    pub goodput_per_second: f64,
    /// Complete answers per second.
    pub requests_per_second: f64,
    /// Tokens generated.
    pub output_tokens: u64,
    /// Tokens read, as the server counts them.
    pub prompt_tokens: u64,
    /// Tokens generated per second.
    pub output_tokens_per_second: f64,
    /// The minute that went worst, if any request missed.
    pub worst_minute: Option<WorstMinute>,
    /// Classes of failures.
    pub failures: BTreeMap<String, Failure>,
    /// False when this client was too late to be believed.
    pub trusted: bool,
    /// The lag p99 above which it is not.
    pub lag_limit_ms: f64,
}

impl Summary {
    /// The table that people read.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "           {:>9} {:>9} {:>9} {:>9} {:>9}",
            "p50", "p90", "p99", "SLO", "met"
        );
        let met = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), |s| format!("{:.1} %", s * 100.0));
        let row = |name: &str, p: &Percentiles, slo: Option<f64>, share: Option<f64>| {
            let slo = slo.map_or_else(String::new, time);
            let share = if slo.is_empty() { String::new() } else { met(share) };
            if p.count == 0 {
                return format!(" {name:<9} {:>9} {:>9} {:>9} {slo:>9} {share:>9}", "-", "-", "-");
            }
            format!(
                " {name:<9} {:>9} {:>9} {:>9} {slo:>9} {share:>9}",
                time(p.p50),
                time(p.p90),
                time(p.p99)
            )
        };
        let _ = writeln!(
            out,
            "{}",
            row("TTFT", &self.ttft_ms, Some(self.slo_ttft_ms), self.ttft_met).trim_end()
        );
        let _ = writeln!(
            out,
            "{}",
            row("ITL", &self.itl_ms, Some(self.slo_itl_ms), self.itl_met).trim_end()
        );
        let _ = writeln!(out, "{}", row("TPOT", &self.tpot_ms, None, None).trim_end());
        let _ = writeln!(out, "{}", row("E2E", &self.e2e_ms, None, None).trim_end());
        let c = &self.counts;
        let _ = write!(
            out,
            "{} planned = {} done + {} failed + {} timed out",
            c.planned, c.done, c.failed, c.timed_out
        );
        if c.cancelled > 0 {
            let _ = write!(out, " + {} cancelled", c.cancelled);
        }
        let _ = writeln!(out, " + {} unsent", c.unsent);
        let trust = if self.trusted {
            "trust: yes".to_owned()
        } else {
            format!(
                "trust: NO, above {}: this machine could not send on time",
                time(self.lag_limit_ms)
            )
        };
        let _ = writeln!(
            out,
            "goodput {:.1} req/s of {:.1} done/s · {} tokens, {:.0}/s · own lag p99 {} ({trust})",
            self.goodput_per_second,
            self.requests_per_second,
            self.output_tokens,
            self.output_tokens_per_second,
            time(self.lag_ms.p99)
        );
        if let Some(worst) = self.worst_minute {
            let _ = writeln!(
                out,
                "worst minute {:02}:00-{:02}:00: {} of {} met the objectives",
                worst.minute,
                worst.minute + 1,
                worst.met,
                worst.sent
            );
        }
        for (kind, failure) in &self.failures {
            let _ = writeln!(out, "failed {} x {kind}: {}", failure.count, failure.example);
        }
        out
    }
}

/// Milliseconds for people: `61 ms`, `1.9 s`.
#[must_use]
pub fn time(ms: f64) -> String {
    match ms {
        ms if ms >= 60_000.0 => format!("{:.1} min", ms / 60_000.0),
        ms if ms >= 1_000.0 => format!("{:.1} s", ms / 1_000.0),
        ms if ms >= 10.0 => format!("{ms:.0} ms"),
        ms => format!("{ms:.1} ms"),
    }
}

fn histogram() -> Histogram<u64> {
    // One microsecond to one day: bounds and digits are constants that the constructor accepts.
    Histogram::new_with_bounds(1, 86_400_000_000, 3).unwrap_or_else(|_| unreachable!("constant bounds"))
}

fn record(histogram: &mut Histogram<u64>, ms: f64) {
    histogram.saturating_record((ms.max(0.0) * 1e3) as u64);
}

fn percentiles(histogram: &Histogram<u64>) -> Percentiles {
    if histogram.is_empty() {
        return Percentiles::default();
    }
    let at = |q: f64| histogram.value_at_quantile(q) as f64 / 1e3;
    Percentiles {
        count: histogram.len(),
        mean: histogram.mean() / 1e3,
        p50: at(0.5),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
        max: histogram.max() as f64 / 1e3,
    }
}

#[cfg(test)]
mod tests;
