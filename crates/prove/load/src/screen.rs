//! What a person sees while a load runs: a heading, and one line that is alive on a terminal.

use crate::args::Config;
use crate::report::{Counts, Percentiles, time};
use crate::schedule::{Arrivals, Loop};
use std::io::{IsTerminal, Write};
use std::time::Duration;

const BAR: usize = 22;

#[derive(Debug)]
pub(crate) struct Screen {
    live: bool,
    quiet: bool,
    duration: Option<Duration>,
    requests: Option<u64>,
    last_logged: Option<Duration>,
}

impl Screen {
    pub(crate) fn new(config: &Config, model: &str) -> Self {
        let shape = &config.shape;
        let pace = match shape.pace {
            Loop::Open {
                rate,
                arrivals: Arrivals::Poisson,
            } => format!("poisson {rate}/s"),
            Loop::Open {
                rate,
                arrivals: Arrivals::Constant,
            } => format!("constant {rate}/s"),
            Loop::Closed { concurrency } => format!("{concurrency} in flight"),
        };
        let screen = Self {
            live: std::io::stderr().is_terminal(),
            quiet: config.json,
            duration: shape.duration,
            requests: shape.requests,
            last_logged: None,
        };
        screen.line(&format!(
            "target http://{}{}  model {model}  {pace}  prompts {} +- {} tokens  answers {} +- {}\n",
            config.authority, config.base_path, shape.prompt.0, shape.prompt.1, shape.output.0, shape.output.1
        ));
        screen
    }

    /// Rewrites the live line; off a terminal, prints one every ten seconds.
    pub(crate) fn progress(
        &mut self,
        elapsed: Duration,
        sent: u64,
        in_flight: u64,
        counts: &Counts,
        ttft: &Percentiles,
        lag_p99_ms: f64,
    ) {
        let by_time = self.duration.map(|d| elapsed.as_secs_f64() / d.as_secs_f64());
        let by_count = self.requests.map(|n| sent as f64 / n as f64);
        let share = by_time.into_iter().chain(by_count).fold(0.0, f64::max).clamp(0.0, 1.0);
        let filled = (share * BAR as f64).round() as usize;
        let seconds = elapsed.as_secs();
        let ttft = if ttft.count == 0 {
            "ttft -".to_owned()
        } else {
            format!("ttft p50 {} p99 {}", time(ttft.p50), time(ttft.p99))
        };
        let line = format!(
            " {:02}:{:02} [{}{}] {sent} sent  {} done  {} failed  {ttft}  in flight {in_flight}  lag p99 {}",
            seconds / 60,
            seconds % 60,
            "#".repeat(filled),
            "-".repeat(BAR - filled),
            counts.done,
            counts.failed + counts.timed_out,
            time(lag_p99_ms),
        );
        if self.live {
            self.line(&format!("\r\x1b[2K{line}"));
        } else if self
            .last_logged
            .is_none_or(|last| elapsed >= last + Duration::from_secs(10))
        {
            self.last_logged = Some(elapsed);
            self.line(&format!("{line}\n"));
        }
    }

    /// Leaves the live line standing.
    pub(crate) fn finish(&self) {
        if self.live {
            self.line("\n");
        }
    }

    fn line(&self, text: &str) {
        if !self.quiet {
            // A closed terminal is no reason to lose the measurement.
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
        }
    }
}
