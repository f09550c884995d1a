//! Carries a plan out.

use crate::args::Config;
use crate::client::{Client, done};
use crate::report::{Objectives, Outcome, Record, Summary, Tally};
use crate::schedule::{Loop, Planned};
use crate::screen::Screen;
use serde::Serialize;
use shared::Shared;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use units::Instant;

/// Most requests of an open loop in flight; beyond it they count as unsent.
const MOST_IN_FLIGHT: usize = 20_000;
/// Most requests kept for `--output`.
const MOST_KEPT: usize = 1_000_000;

/// A run that could not take place.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The server did not say which models it has.
    #[error("{0}")]
    Server(String),
    /// The request could not be built.
    #[error("--url: {0}")]
    Request(#[from] http::Error),
    /// The results could not be written.
    #[error("--output {path}: {cause}")]
    Output {
        /// The file.
        path: String,
        /// Why.
        cause: std::io::Error,
    },
}

mod shared {
    use std::sync::{Mutex, PoisonError};

    /// A value behind a lock held for microseconds; a panic elsewhere does not take it away.
    #[derive(Debug)]
    pub(super) struct Shared<T>(Mutex<T>);

    impl<T> Shared<T> {
        pub(super) const fn new(value: T) -> Self {
            Self(Mutex::new(value))
        }

        pub(super) fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> R {
            act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
        }
    }
}

struct Run {
    config: Config,
    client: Client,
    model: String,
    started: tokio::time::Instant,
    tally: Shared<(Tally, Vec<Record>)>,
    sent: AtomicU64,
    ended: AtomicU64,
    stop: CancellationToken,
}

impl Run {
    fn now(&self) -> Instant {
        Instant::ZERO + self.started.elapsed()
    }

    fn end(&self, record: Record) {
        self.tally.with(|(tally, kept)| {
            tally.end(&record);
            if self.config.output.is_some() && kept.len() < MOST_KEPT {
                kept.push(record);
            }
        });
    }

    /// Sends one request meant for `intended`, and records how it ended.
    async fn one(&self, planned: Planned, intended: Instant) {
        let lag = self.now().since(intended);
        self.sent.fetch_add(1, Ordering::Relaxed);
        let mut longest: Option<Duration> = None;
        let gap = |gap: Duration| {
            longest = Some(longest.map_or(gap, |longest| longest.max(gap)));
            self.tally.with(|(tally, _)| tally.gap(gap));
        };
        let deadline = self.started + intended.since(Instant::ZERO) + self.config.timeout;
        let exchange = async {
            let request = self.client.request(&self.model, &planned)?;
            self.client.exchange(request, || self.now(), gap).await
        };
        let ended = tokio::select! {
            ended = tokio::time::timeout_at(deadline, exchange) => ended.map(Some),
            () = self.stop.cancelled() => Ok(None),
        };
        let outcome = match ended {
            Ok(Some(Ok((answer, end)))) => done(intended, &answer, end, longest),
            Ok(Some(Err(failure))) => Outcome::Failed {
                kind: failure.kind,
                detail: failure.detail,
            },
            Ok(None) => Outcome::Cancelled,
            Err(_) => Outcome::TimedOut,
        };
        let planned_ms = intended.as_secs_f64() * 1e3;
        self.end(Record {
            index: planned.index,
            planned_ms,
            lag_ms: Some(lag.as_secs_f64() * 1e3),
            outcome,
        });
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs the load that `config` describes until it is done or `stop` is
/// cancelled, showing progress on the terminal, and returns the summary.
///
/// # Errors
/// When the server cannot be asked for its models, or results cannot be written.
pub async fn run(config: Config, stop: CancellationToken) -> Result<Summary, LoadError> {
    let client = Client::new(&config)?;
    let model = match &config.model {
        Some(model) => model.clone(),
        None => client
            .models()
            .await
            .map_err(LoadError::Server)?
            .into_iter()
            .next()
            .ok_or_else(|| {
                LoadError::Server(format!(
                    "http://{}{}/models names no model; say --model NAME",
                    config.authority, config.base_path
                ))
            })?,
    };
    let objectives = Objectives {
        ttft: config.slo_ttft,
        itl: config.slo_itl,
    };
    let mut screen = Screen::new(&config, &model);
    let run = Arc::new(Run {
        client,
        model,
        started: tokio::time::Instant::now(),
        tally: Shared::new((Tally::new(objectives), Vec::new())),
        sent: AtomicU64::new(0),
        ended: AtomicU64::new(0),
        stop,
        config,
    });
    let tasks = TaskTracker::new();
    let sending = async {
        match run.config.shape.pace {
            Loop::Open { .. } => open(&run, &tasks).await,
            Loop::Closed { concurrency } => closed(&run, &tasks, concurrency).await,
        }
        tasks.close();
        tasks.wait().await;
    };
    tokio::pin!(sending);
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    loop {
        tokio::select! {
            () = &mut sending => break,
            _ = tick.tick() => {
                let (counts, ttft, lag) = run.tally.with(|(tally, _)| tally.progress());
                let sent = run.sent.load(Ordering::Relaxed);
                screen.progress(run.started.elapsed(), sent, sent - run.ended.load(Ordering::Relaxed), &counts, &ttft, lag);
            }
        }
    }
    screen.finish();
    let elapsed = run.started.elapsed();
    let (summary, kept) = run
        .tally
        .with(|(tally, kept)| (tally.summary(elapsed), std::mem::take(kept)));
    write_output(&run.config, &run.model, &summary, kept)?;
    Ok(summary)
}

/// Sends at planned times, whatever the server does.
async fn open(run: &Arc<Run>, tasks: &TaskTracker) {
    let places = Arc::new(Semaphore::new(MOST_IN_FLIGHT));
    let mut plan = run.config.shape.plan();
    for planned in plan.by_ref() {
        let due = run.started + planned.at;
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            () = run.stop.cancelled() => {
                run.end(Record::unsent(&planned));
                break;
            }
        }
        let Ok(place) = places.clone().try_acquire_owned() else {
            run.end(Record::unsent(&planned));
            continue;
        };
        let run = run.clone();
        tasks.spawn(async move {
            let intended = Instant::ZERO + planned.at;
            run.one(planned, intended).await;
            drop(place);
        });
    }
    // Whatever the user cut off was planned, and is accounted for.
    plan.for_each(|planned| run.end(Record::unsent(&planned)));
}

/// Keeps `concurrency` requests in flight.
async fn closed(run: &Arc<Run>, tasks: &TaskTracker, concurrency: u32) {
    let places = Arc::new(Semaphore::new(concurrency as usize));
    let end = run.config.shape.duration.map(|duration| run.started + duration);
    for planned in run.config.shape.plan() {
        let over = async {
            match end {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        let place = tokio::select! {
            biased;
            () = run.stop.cancelled() => break,
            () = over => break,
            place = places.clone().acquire_owned() => place,
        };
        let Ok(place) = place else { break };
        let intended = run.now();
        let run = run.clone();
        tasks.spawn(async move {
            run.one(planned, intended).await;
            drop(place);
        });
    }
}

#[derive(Serialize)]
struct Output<'a> {
    model: &'a str,
    server: &'a str,
    seed: u64,
    summary: &'a Summary,
    requests: Vec<Record>,
}

fn write_output(config: &Config, model: &str, summary: &Summary, mut requests: Vec<Record>) -> Result<(), LoadError> {
    let Some(path) = &config.output else { return Ok(()) };
    requests.sort_by_key(|record| record.index);
    let output = Output {
        model,
        server: &config.authority,
        seed: config.shape.seed,
        summary,
        requests,
    };
    let failed = |cause| LoadError::Output {
        path: path.display().to_string(),
        cause,
    };
    let file = std::fs::File::create(path).map_err(failed)?;
    let mut writer = std::io::BufWriter::new(file);
    serde_json::to_writer(&mut writer, &output).map_err(|e| failed(e.into()))?;
    std::io::Write::flush(&mut writer).map_err(failed)
}
