//! What one replica says, over time: gauges as they are, counters as rates.

use crate::families::{Found, Observations, ReplicaPage};
use crate::model;
use crate::window::{CounterWindow, Step};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use units::{Instant, Signal, Source};

/// What a replica last said.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaSignals {
    /// Engine and names that were found on the page, once it was read.
    pub found: Option<Arc<str>>,
    /// Share of the KV cache in use, 0 to 1.
    pub kv: Signal<f64>,
    /// Requests in the running batch.
    pub running: Signal<f64>,
    /// Requests waiting inside the engine.
    pub waiting: Signal<f64>,
    /// Generated tokens per second.
    pub token_rate: Signal<f64>,
    /// Requests that ended per second.
    pub request_rate: Signal<f64>,
    /// Requests that arrived per second: those that ended, and by how much
    /// those inside grew in number. An engine counts no arrivals, and when it
    /// falls behind fewer end than arrive.
    pub arrival_rate: Signal<f64>,
    /// Tokens the KV cache holds.
    pub kv_tokens: Signal<f64>,
    /// Tokens of a prompt, mean of those of the window.
    pub prompt_tokens: Signal<f64>,
    /// Tokens of an answer, mean of those of the window.
    pub answer_tokens: Signal<f64>,
    /// Time to first token, milliseconds, mean of the window.
    pub ttft_ms: Signal<f64>,
    /// Time between tokens, milliseconds, mean of the window.
    pub itl_ms: Signal<f64>,
    /// Share of prompt tokens found in the prefix cache, 0 to 1.
    pub prefix_hit_share: Signal<f64>,
    /// Requests that gateways have sent and not got back.
    pub in_flight: Signal<f64>,
    /// Most requests that gateways send at once.
    pub slots: Signal<f64>,
    /// What went wrong last time, if something did.
    pub error: Option<String>,
}

impl ReplicaSignals {
    /// Nothing is known, because of `why`.
    #[must_use]
    pub fn unknown(now: Instant, why: impl Into<Cow<'static, str>>) -> Self {
        let why = why.into();
        let missing = || Signal::missing(now, why.clone());
        Self {
            found: None,
            kv: missing(),
            running: missing(),
            waiting: missing(),
            token_rate: missing(),
            request_rate: missing(),
            arrival_rate: missing(),
            kv_tokens: missing(),
            prompt_tokens: missing(),
            answer_tokens: missing(),
            ttft_ms: missing(),
            itl_ms: missing(),
            prefix_hit_share: missing(),
            in_flight: missing(),
            slots: missing(),
            error: None,
        }
    }

    const fn all(&mut self) -> [&mut Signal<f64>; 14] {
        // Those of a page first, then what gateways tell.
        [
            &mut self.kv,
            &mut self.running,
            &mut self.waiting,
            &mut self.token_rate,
            &mut self.request_rate,
            &mut self.arrival_rate,
            &mut self.kv_tokens,
            &mut self.prompt_tokens,
            &mut self.answer_tokens,
            &mut self.ttft_ms,
            &mut self.itl_ms,
            &mut self.prefix_hit_share,
            &mut self.in_flight,
            &mut self.slots,
        ]
    }

    /// Takes from `other` each signal that is fresher, or as fresh and more to
    /// be trusted.
    pub fn take_fresher(&mut self, mut other: Self) {
        for (mine, theirs) in self.all().into_iter().zip(other.all()) {
            model::take_fresher(mine, theirs);
        }
        if self.found.is_none() {
            self.found = other.found;
        }
    }

    /// Whatever is older than `most` is missing from now on, because of `why`.
    pub(crate) fn drop_older(&mut self, most: Duration, now: Instant, why: &str) {
        for signal in self.all() {
            model::drop_older(signal, most, now, why);
        }
    }
}

/// A replica's signals and the counters they are made of.
#[derive(Debug)]
pub(crate) struct Past {
    pub(crate) signals: ReplicaSignals,
    source: Source,
    generated: CounterWindow,
    done: CounterWindow,
    arrived: CounterWindow,
    /// Requests inside at the last page.
    inside: Option<f64>,
    prompt: Mean,
    answer: Mean,
    ttft: Mean,
    itl: Mean,
    prefix: Mean,
}

/// Sum and count of a histogram over a window.
#[derive(Debug)]
struct Mean {
    sum: CounterWindow,
    count: CounterWindow,
}

impl Mean {
    const fn over(window: Duration) -> Self {
        Self {
            sum: CounterWindow::new(window),
            count: CounterWindow::new(window),
        }
    }

    /// The mean of what was observed within the window.
    fn push(&mut self, seen: Observations, at: Instant) -> Found {
        self.sum.push(at, seen.sum?);
        self.count.push(at, seen.count?);
        match (self.sum.per_second(), self.count.per_second()) {
            (Some(sum), Some(count)) if count > 0.0 => Ok(sum / count),
            (Some(_), Some(_)) => Err("nothing was observed within the window".to_owned()),
            _ => Err(TWO_ANSWERS.to_owned()),
        }
    }
}

/// How many signals a page tells.
const OF_A_PAGE: usize = 12;
const NO_GATEWAY: &str = "no gateway tells of this Pod";
const TWO_ANSWERS: &str = "a rate needs two answers";

impl Past {
    pub(crate) fn new(source: Source, window: Duration, now: Instant) -> Self {
        Self {
            signals: ReplicaSignals {
                in_flight: Signal::missing(now, NO_GATEWAY),
                slots: Signal::missing(now, NO_GATEWAY),
                ..ReplicaSignals::unknown(now, "not asked yet")
            },
            source,
            generated: CounterWindow::new(window),
            done: CounterWindow::new(window),
            arrived: CounterWindow::new(window),
            inside: None,
            prompt: Mean::over(window),
            answer: Mean::over(window),
            ttft: Mean::over(window),
            itl: Mean::over(window),
            prefix: Mean::over(window),
        }
    }

    /// There was no answer: what was seen stays and ages; what was never seen
    /// says why.
    pub(crate) fn fail(&mut self, why: String, at: Instant) {
        for signal in self.signals.all().into_iter().take(OF_A_PAGE) {
            if signal.last().is_none() {
                *signal = Signal::missing(at, why.clone());
            }
        }
        self.signals.error = Some(why);
    }

    /// Takes in a page that was true at `at`; says whether the replica works.
    pub(crate) fn take_in(&mut self, page: ReplicaPage, at: Instant) -> bool {
        let busy = page.running.as_ref().is_ok_and(|n| *n > 0.0) || page.waiting.as_ref().is_ok_and(|n| *n > 0.0);
        let source = self.source;
        let signal = |found: Found| match found {
            Ok(value) => Signal::observed(value, at, source),
            Err(why) => Signal::missing(at, why),
        };
        let rate = |window: &CounterWindow| window.per_second().ok_or_else(|| TWO_ANSWERS.to_owned());
        let generated = page.generated.and_then(|count| {
            self.generated.push(at, count);
            rate(&self.generated)
        });
        let inside = page.running.as_ref().ok().zip(page.waiting.as_ref().ok());
        let inside = inside.map(|(running, waiting)| running + waiting);
        let before = std::mem::replace(&mut self.inside, inside);
        let (done, arrived) = match page.done {
            Ok(count) => {
                if let Some(step) = self.done.push(at, count) {
                    self.arrived.advance(at, arrivals(step, before, inside));
                }
                // More may leave without an end than arrive.
                (rate(&self.done), rate(&self.arrived).map(|rate| rate.max(0.0)))
            }
            Err(why) => (Err(why.clone()), Err(why)),
        };
        let signals = &mut self.signals;
        signals.token_rate = signal(generated);
        signals.request_rate = signal(done);
        signals.arrival_rate = signal(arrived);
        signals.prompt_tokens = signal(self.prompt.push(page.prompt_tokens, at));
        signals.answer_tokens = signal(self.answer.push(page.answer_tokens, at));
        signals.ttft_ms = signal(self.ttft.push(page.ttft_s, at).map(|seconds| seconds * 1e3));
        signals.itl_ms = signal(self.itl.push(page.itl_s, at).map(|seconds| seconds * 1e3));
        signals.prefix_hit_share = signal(self.prefix.push(page.prefix, at).map(|share| share.min(1.0)));
        signals.kv_tokens = signal(page.kv_tokens);
        signals.kv = signal(page.kv);
        signals.running = signal(page.running);
        signals.waiting = signal(page.waiting);
        signals.found = Some(page.found.into());
        signals.error = None;
        busy
    }
}

/// Requests that arrived between two pages: those that ended, and by how much
/// those inside grew. A restart loses those that were inside.
fn arrivals(step: Step, before: Option<f64>, inside: Option<f64>) -> f64 {
    let grown = match (before, inside) {
        (_, Some(inside)) if step.restarted => inside,
        (Some(before), Some(inside)) => inside - before,
        _ => 0.0,
    };
    step.increase + grown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families;
    use wire::prom::parse::parse;

    fn page(text: &str) -> ReplicaPage {
        families::read(&parse(text.as_bytes()).unwrap(), Some("m")).unwrap()
    }

    fn text(seconds: f64) -> String {
        let m = "{engine=\"0\",model_name=\"m\"}";
        format!(
            "vllm:num_requests_running{m} 3\nvllm:num_requests_waiting{m} 0\nvllm:kv_cache_usage_perc{m} 0.5\n\
             vllm:generation_tokens_total{m} {}\nvllm:request_success_total{{finished_reason=\"stop\",model_name=\"m\"}} {}\n\
             vllm:request_prompt_tokens_sum{m} {}\nvllm:request_prompt_tokens_count{m} {seconds}\n\
             vllm:time_to_first_token_seconds_sum{m} {}\nvllm:time_to_first_token_seconds_count{m} {seconds}\n\
             vllm:time_per_output_token_seconds_sum{m} 1\nvllm:time_per_output_token_seconds_count{m} 50\n\
             vllm:prefix_cache_hits_total{m} {}\nvllm:prefix_cache_queries_total{m} {}\n\
             vllm:cache_config_info{{block_size=\"16\",num_gpu_blocks=\"1000\"}} 1\n",
            100.0 * seconds,
            2.0 * seconds,
            512.0 * seconds,
            0.2 * seconds,
            128.0 * seconds,
            512.0 * seconds,
        )
    }

    #[test]
    fn counters_become_rates_and_histograms_means_of_the_window() {
        let mut past = Past::new(Source::Replica, Duration::from_secs(60), Instant::ZERO);
        for seconds in [10_u32, 20, 30] {
            past.take_in(page(&text(f64::from(seconds))), Instant::from_secs(seconds.into()));
        }
        let value = |signal: &Signal<f64>| signal.last().map(|seen| (seen.value * 1e6).round() / 1e6);
        let signals = &past.signals;
        assert_eq!(value(&signals.token_rate), Some(100.0));
        assert_eq!(value(&signals.request_rate), Some(2.0));
        assert_eq!(value(&signals.prompt_tokens), Some(512.0));
        assert_eq!(value(&signals.ttft_ms), Some(200.0));
        assert_eq!(value(&signals.prefix_hit_share), Some(0.25));
        assert_eq!(value(&signals.kv_tokens), Some(16_000.0));
        let Signal::Missing { why, .. } = &signals.itl_ms else {
            panic!("{:?}", signals.itl_ms)
        };
        assert!(why.contains("nothing was observed"), "{why}");
        assert_eq!(value(&signals.answer_tokens), None, "not on the page");
    }

    /// A replica at `seconds` that has ended `done` requests and has `inside` running.
    fn at(past: &mut Past, seconds: u64, done: f64, inside: f64) {
        let m = "{model_name=\"m\"}";
        let text = format!(
            "vllm:num_requests_running{m} {inside}\nvllm:num_requests_waiting{m} 0\nvllm:request_success_total{m} {done}\n"
        );
        past.take_in(page(&text), Instant::from_secs(seconds));
    }

    #[test]
    fn arrivals_are_more_than_what_ends_while_an_engine_falls_behind() {
        // (ended, inside) at 0, 10 and 20 s, and the requests per second that arrived.
        type Pages = [(f64, f64); 3];
        let cases: [(&str, Pages, f64); 5] = [
            ("keeps up", [(0.0, 5.0), (20.0, 5.0), (40.0, 5.0)], 2.0),
            ("falls behind", [(0.0, 0.0), (20.0, 30.0), (40.0, 60.0)], 5.0),
            ("works off", [(0.0, 60.0), (20.0, 40.0), (40.0, 20.0)], 0.0),
            ("starts anew", [(100.0, 30.0), (120.0, 30.0), (10.0, 8.0)], 1.9),
            ("loses some", [(0.0, 50.0), (0.0, 10.0), (0.0, 0.0)], 0.0),
        ];
        for (name, pages, rate) in cases {
            let mut past = Past::new(Source::Replica, Duration::from_secs(60), Instant::ZERO);
            for (i, (done, inside)) in pages.into_iter().enumerate() {
                at(&mut past, 10 * i as u64, done, inside);
            }
            let seen = past.signals.arrival_rate.last().map(|seen| seen.value);
            assert_eq!(seen, Some(rate), "{name}");
        }
    }

    #[test]
    fn what_was_seen_ages_when_the_replica_falls_silent() {
        let mut past = Past::new(Source::Replica, Duration::from_secs(60), Instant::ZERO);
        assert!(past.take_in(page(&text(1.0)), Instant::from_secs(1)));
        past.fail("gone".to_owned(), Instant::from_secs(2));
        assert_eq!(past.signals.kv.last().unwrap().at, Instant::from_secs(1));
        assert_eq!(past.signals.error.as_deref(), Some("gone"));
    }

    #[test]
    fn of_two_sources_the_fresher_one_counts_signal_by_signal() {
        let seen = |value, at, source| Signal::observed(value, Instant::from_secs(at), source);
        let mut mine = ReplicaSignals::unknown(Instant::ZERO, "refused");
        mine.kv = seen(0.1, 10, Source::Prometheus);
        mine.running = seen(1.0, 30, Source::Prometheus);
        mine.waiting = seen(1.0, 20, Source::Prometheus);
        let mut theirs = ReplicaSignals::unknown(Instant::ZERO, "not asked yet");
        theirs.kv = seen(0.2, 20, Source::Replica);
        theirs.running = seen(2.0, 20, Source::Replica);
        theirs.waiting = seen(2.0, 20, Source::Replica);
        theirs.token_rate = seen(5.0, 1, Source::Replica);
        mine.take_fresher(theirs);
        let values = [&mine.kv, &mine.running, &mine.waiting, &mine.token_rate].map(|s| s.last().unwrap().value);
        // At the same moment the replica itself is trusted more.
        assert_eq!(values, [0.2, 1.0, 2.0, 5.0]);
        assert_eq!(mine.itl_ms.last(), None);
    }
}
