//! The account of one request, from arrival to its end.
//!
//! Whatever happens to the task that serves a request (an answer, an error, a
//! client that went away, a worker that stops), dropping its [`Flight`] frees
//! its place in the queue or at the endpoint and counts how it ended.

use crate::clock::millis;
use crate::fleet::{Arrival, Grant, Pool, Shared, Verdict};
use crate::http::problem::Problem;
use flow::RequestId;
use pick::EndpointId;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::oneshot;
use units::Instant;
use wire::signals::Histogram;
use wire::sse::Usage;

/// Where the request is.
#[derive(Debug)]
enum Place {
    Nowhere,
    Waiting(oneshot::Receiver<Verdict>),
    At(Grant),
}

/// One request's account.
#[derive(Debug)]
pub(crate) struct Flight {
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    id: RequestId,
    tokens: u64,
    arrived: Instant,
    queued_for: Duration,
    place: Place,
    tried: Vec<EndpointId>,
    outcome: Outcome,
    answering: bool,
    first_token: Option<Instant>,
    last_token: Instant,
    streamed: u64,
    usage: Option<Usage>,
    unreported: Unreported,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Complete,
    Failed(&'static str),
}

/// Observations not yet in the pool's books: kept here so that the pool's lock
/// is taken a few times per second and stream, not once per chunk.
#[derive(Debug, Default)]
struct Unreported {
    tokens: u64,
    gaps: Vec<(f64, u32)>,
    since: Instant,
}

const REPORT_EVERY: Duration = Duration::from_millis(100);
const REPORT_GAPS: usize = 32;

impl Flight {
    /// Brings a request to its pool: at an endpoint, waiting, or refused.
    pub(crate) fn arrive(
        shared: &Arc<Shared>,
        pool: Arc<Pool>,
        bytes: u64,
        tokens: u64,
        patience: Option<Duration>,
    ) -> Result<Self, Problem> {
        let now = shared.clock.now();
        let id = RequestId(shared.next_request());
        let mut core = pool.core.lock();
        let patience = patience.unwrap_or_else(|| {
            let timeouts = &shared.timeouts;
            if core.ledger.has_endpoint() {
                timeouts.queue
            } else {
                timeouts.queue_no_endpoint
            }
        });
        let arrival = core.arrive(id, bytes, tokens, now, now + patience);
        let next_event = core.next_event(now);
        drop(core);
        let mut flight = Self {
            shared: shared.clone(),
            pool,
            id,
            tokens,
            arrived: now,
            queued_for: Duration::ZERO,
            place: Place::Nowhere,
            tried: Vec::new(),
            outcome: Outcome::Failed("cancelled"),
            answering: false,
            first_token: None,
            last_token: now,
            streamed: 0,
            usage: None,
            unreported: Unreported::default(),
        };
        flight.settle(arrival, next_event)?;
        Ok(flight)
    }

    fn settle(&mut self, arrival: Arrival, next_event: Option<Instant>) -> Result<(), Problem> {
        match arrival {
            Arrival::Go(grant) => self.place = Place::At(grant),
            Arrival::Wait {
                verdict,
                worth_a_decision,
            } => {
                self.place = Place::Waiting(verdict);
                self.shared.look_by(next_event);
                if worth_a_decision {
                    self.shared.announce();
                }
            }
            Arrival::Full { refusal, had_endpoint } => {
                self.outcome = Outcome::Failed("queue_full");
                return Err(Problem::QueueFull { refusal, had_endpoint });
            }
            Arrival::ShuttingDown => return Err(self.shutting_down()),
        }
        Ok(())
    }

    const fn shutting_down(&mut self) -> Problem {
        self.outcome = Outcome::Failed("shutting_down");
        Problem::ShuttingDown
    }

    /// The endpoint the request is booked on.
    pub(crate) const fn grant(&self) -> Option<&Grant> {
        match &self.place {
            Place::At(grant) => Some(grant),
            _ => None,
        }
    }

    /// How long the request waited for its endpoint.
    pub(crate) const fn queued_for(&self) -> Duration {
        self.queued_for
    }

    /// Ready once the request is at an endpoint, or will not be.
    pub(crate) fn poll_placed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Problem>> {
        let Place::Waiting(verdict) = &mut self.place else {
            return Poll::Ready(Ok(()));
        };
        let verdict = ready!(Pin::new(verdict).poll(cx));
        self.place = Place::Nowhere;
        self.queued_for = self.shared.clock.now().since(self.arrived);
        Poll::Ready(match verdict {
            Ok(Verdict::Go(grant)) => {
                self.place = Place::At(grant);
                Ok(())
            }
            Ok(Verdict::Expired { had_endpoint }) => {
                self.outcome = Outcome::Failed("deadline");
                Err(Problem::DeadlinePassed {
                    had_endpoint,
                    waited: self.queued_for,
                })
            }
            Ok(Verdict::ShuttingDown) | Err(_) => Err(self.shutting_down()),
        })
    }

    /// The attempt at the present endpoint failed before its first byte: moves
    /// the request to another one, or back to its place in the queue.
    pub(crate) fn try_another(&mut self) -> Result<(), Problem> {
        let Place::At(grant) = std::mem::replace(&mut self.place, Place::Nowhere) else {
            return Ok(());
        };
        let now = self.shared.clock.now();
        self.tried.push(grant.endpoint);
        let mut core = self.pool.core.lock();
        core.attempt_failed(grant.endpoint, now);
        core.leave(grant.endpoint, self.tokens);
        let arrival = core.try_another(grant.entry, self.tokens, &self.tried, now);
        core.dispatch(now);
        let next_event = core.next_event(now);
        drop(core);
        if matches!(arrival, Arrival::Wait { .. }) {
            // Back from the queue any endpoint may be tried: those that failed rest meanwhile.
            self.tried.clear();
        }
        self.settle(arrival, next_event)
    }

    /// The endpoint answers.
    pub(crate) fn answering(&mut self) {
        self.answering = true;
    }

    /// `count` events with generated text came by just now.
    pub(crate) fn tokens_came(&mut self, count: u32) {
        let now = self.shared.clock.now();
        if self.first_token.is_none() {
            self.first_token = Some(now);
            self.unreported.since = now;
            let ttft = millis(now.since(self.arrived));
            let mut core = self.pool.core.lock();
            core.stats.ttft_ms.record(ttft);
            core.stats.output_tokens += u64::from(count);
            if let Place::At(grant) = &self.place {
                core.ledger.succeeded(grant.endpoint);
            }
        } else {
            // Tokens that came together share the time since the last: their mean is what a reader feels.
            let gap = millis(now.since(self.last_token)) / f64::from(count.max(1));
            self.unreported.gaps.push((gap, count));
            self.unreported.tokens += u64::from(count);
        }
        self.last_token = now;
        self.streamed += u64::from(count);
        if self.unreported.gaps.len() >= REPORT_GAPS || now.since(self.unreported.since) >= REPORT_EVERY {
            self.unreported.since = now;
            let core = &mut *self.pool.core.lock();
            report(
                &mut self.unreported,
                &mut core.stats.itl_ms,
                &mut core.stats.output_tokens,
            );
        }
    }

    /// The answer states its usage.
    pub(crate) const fn usage_stated(&mut self, usage: Usage) {
        self.usage = Some(usage);
    }

    /// The answer came to its end.
    pub(crate) const fn complete(&mut self) {
        self.outcome = Outcome::Complete;
    }

    /// The endpoint's fault.
    pub(crate) const fn upstream_failed(&mut self) {
        self.outcome = Outcome::Failed("upstream_error");
    }
}

fn report(unreported: &mut Unreported, itl: &mut Histogram, output_tokens: &mut u64) {
    for (gap, count) in unreported.gaps.drain(..) {
        (0..count).for_each(|_| itl.record(gap));
    }
    *output_tokens += std::mem::take(&mut unreported.tokens);
}

impl Drop for Flight {
    fn drop(&mut self) {
        let now = self.shared.clock.now();
        let mut core = self.pool.core.lock();
        let mut place = std::mem::replace(&mut self.place, Place::Nowhere);
        if let Place::Waiting(verdict) = &mut place
            && !core.cancel(self.id)
            && let Ok(Verdict::Go(grant)) = verdict.try_recv()
        {
            place = Place::At(grant);
        }
        if let Place::At(grant) = place {
            if self.answering {
                core.ledger.succeeded(grant.endpoint);
            }
            core.leave(grant.endpoint, self.tokens);
            core.dispatch(now);
        }
        let core = &mut *core;
        report(
            &mut self.unreported,
            &mut core.stats.itl_ms,
            &mut core.stats.output_tokens,
        );
        if let Some(usage) = self.usage {
            core.stats.output_tokens += usage.completion_tokens.saturating_sub(self.streamed);
        }
        match self.outcome {
            Outcome::Complete => {
                core.stats.completed += 1;
                core.stats.prompt_tokens += self.usage.map_or(0, |usage| usage.prompt_tokens);
            }
            Outcome::Failed(why) => core.count_failed(why),
        }
    }
}
