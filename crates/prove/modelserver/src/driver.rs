//! The engine in real time: one thread, and the state it shares with handlers.
//!
//! The thread starts a step, waits until its end on the clock, tells what it
//! brought about, and starts the next one where the last one ended, so that a
//! late wake-up does not add up. While nothing runs it sleeps on a condition
//! and costs nothing.

use crate::metrics::Metrics;
use engine::{AddError, Counters, Engine, Event, FinishReason, Gauges, RequestId, RequestSpec, SleepLevel, WakeTags};
use futures::task::AtomicWaker;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;
use tokio::sync::Notify;
use units::Instant;

/// A thread that is further behind than this gives up catching up: the machine
/// was stopped or is far too slow.
const LOST: Duration = Duration::from_millis(250);

/// How far one answer is. Written by the engine's thread, read by whoever
/// sends the answer.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Tokens so far, and above them the reason it ended for (0 for none).
    word: AtomicU64,
    waker: AtomicWaker,
}

impl Progress {
    /// Tokens so far, and why it ended if it did.
    pub(crate) fn read(&self) -> (u32, Option<FinishReason>) {
        let word = self.word.load(Ordering::Acquire);
        let reason = match word >> 32 {
            0 => None,
            1 => Some(FinishReason::Stop),
            2 => Some(FinishReason::Length),
            _ => Some(FinishReason::Abort),
        };
        (word as u32, reason)
    }

    /// Whom to wake when there is more.
    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    fn write(&self, tokens: u32, reason: Option<FinishReason>) {
        let code = match reason {
            None => 0_u64,
            Some(FinishReason::Stop) => 1,
            Some(FinishReason::Length) => 2,
            Some(FinishReason::Abort) => 3,
        };
        self.word.store(u64::from(tokens) | code << 32, Ordering::Release);
    }
}

/// One answer wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) prompt_tokens: u32,
    pub(crate) prefix: Vec<u64>,
    pub(crate) natural_tokens: u32,
    pub(crate) max_output_tokens: u32,
    /// The request's own `max_tokens`, if it had one.
    pub(crate) asked_max_tokens: Option<u32>,
}

#[derive(Debug)]
struct Ticket {
    progress: Arc<Progress>,
    asked_max_tokens: Option<u32>,
    group: Arc<Group>,
}

/// Answers to one prompt.
#[derive(Debug)]
struct Group {
    n: u32,
    /// Answers not yet ended, and the longest that did.
    rest: Mutex<(u32, u32)>,
}

struct State {
    engine: Engine,
    tickets: HashMap<RequestId, Ticket>,
    metrics: Metrics,
    next_id: RequestId,
    stopping: bool,
}

/// The engine, its thread and what they share.
pub(crate) struct Driver {
    state: Mutex<State>,
    /// There may be something to do.
    work: Condvar,
    /// The server stops.
    stop: Condvar,
    /// The engine may have drained.
    ended: Notify,
    origin: std::time::Instant,
    speed: f64,
}

/// Everything `/metrics` tells, at one moment.
pub(crate) struct Snapshot {
    pub(crate) counters: Counters,
    pub(crate) gauges: Gauges,
    pub(crate) metrics: Metrics,
}

/// Answers under way. Dropped before they end, it aborts them: this is how a
/// client that leaves frees its seat.
pub(crate) struct Answers {
    driver: Arc<Driver>,
    ids: Vec<RequestId>,
    pub(crate) progress: Vec<Arc<Progress>>,
}

impl Drop for Answers {
    fn drop(&mut self) {
        if self.progress.iter().any(|progress| progress.read().1.is_none()) {
            self.driver.abort(&self.ids);
        }
    }
}

impl Driver {
    /// Starts the thread of `engine`, which runs `speed` times faster than it says.
    pub(crate) fn start(
        engine: Engine,
        metrics: Metrics,
        speed: f64,
    ) -> std::io::Result<(Arc<Self>, std::thread::JoinHandle<()>)> {
        let driver = Arc::new(Self {
            state: Mutex::new(State {
                engine,
                tickets: HashMap::new(),
                metrics,
                next_id: 0,
                stopping: false,
            }),
            work: Condvar::new(),
            stop: Condvar::new(),
            ended: Notify::new(),
            origin: std::time::Instant::now(),
            speed,
        });
        let own = Arc::clone(&driver);
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || own.run())?;
        Ok((driver, thread))
    }

    /// The server's own time.
    pub(crate) fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Queues all of `wanted`, which belong to one request, or none of it. Each
    /// inner list holds the answers to one prompt.
    pub(crate) fn submit(self: &Arc<Self>, wanted: Vec<Vec<Wanted>>, arrived: Instant) -> Result<Answers, AddError> {
        let mut answers = Answers {
            driver: Arc::clone(self),
            ids: Vec::new(),
            progress: Vec::new(),
        };
        let now = self.now();
        let mut state = self.state.lock();
        let all = wanted.iter().map(Vec::len).sum();
        if !state.engine.has_room(all) {
            state.metrics.rejected += 1;
            let limit = state.engine.config().max_num_queued_reqs.unwrap_or(u32::MAX);
            return Err(AddError::QueueFull { limit });
        }
        for prompt in wanted {
            let n = u32::try_from(prompt.len()).unwrap_or(u32::MAX);
            let group = Arc::new(Group {
                n,
                rest: Mutex::new((n, 0)),
            });
            for one in prompt {
                let id = state.next_id;
                state.next_id += 1;
                let spec = RequestSpec {
                    id,
                    prompt_tokens: one.prompt_tokens,
                    natural_tokens: one.natural_tokens,
                    max_output_tokens: one.max_output_tokens,
                    arrived,
                    prefix: one.prefix,
                };
                if let Err(error) = state.engine.add(spec, now) {
                    // Dropping the answers takes the lock.
                    drop(state);
                    return Err(error);
                }
                let progress = Arc::new(Progress::default());
                let ticket = Ticket {
                    progress: Arc::clone(&progress),
                    asked_max_tokens: one.asked_max_tokens,
                    group: Arc::clone(&group),
                };
                state.tickets.insert(id, ticket);
                answers.ids.push(id);
                answers.progress.push(progress);
            }
        }
        drop(state);
        self.work.notify_one();
        Ok(answers)
    }

    fn abort(&self, ids: &[RequestId]) {
        let now = self.now();
        let mut state = self.state.lock();
        for &id in ids {
            state.abort(id, now);
        }
        drop(state);
        self.ended.notify_waiters();
    }

    /// Ends every request with the reason `abort`.
    pub(crate) fn abort_all(&self) {
        let now = self.now();
        let mut state = self.state.lock();
        let ids: Vec<RequestId> = state.tickets.keys().copied().collect();
        let ended: Vec<_> = ids.into_iter().filter_map(|id| state.abort(id, now)).collect();
        drop(state);
        ended.iter().for_each(|progress| progress.waker.wake());
        self.ended.notify_waiters();
    }

    /// Whether any request is alive.
    pub(crate) fn busy(&self) -> bool {
        self.state.lock().engine.alive() > 0
    }

    /// Lets every request that began end while new ones wait, then puts the
    /// engine to sleep. Dropped before, it lets the new ones begin.
    pub(crate) async fn sleep_once_drained(&self, level: SleepLevel) {
        struct Admit<'a>(&'a Driver);
        impl Drop for Admit<'_> {
            fn drop(&mut self) {
                self.0.state.lock().engine.admit_new(true);
                self.0.work.notify_one();
            }
        }
        self.state.lock().engine.admit_new(false);
        let _admit = Admit(self);
        loop {
            let ended = self.ended.notified();
            {
                let mut state = self.state.lock();
                if state.engine.drained() {
                    state.engine.sleep(level);
                    return;
                }
            }
            ended.await;
        }
    }

    pub(crate) fn sleep(&self, level: SleepLevel) {
        self.state.lock().engine.sleep(level);
    }

    /// Wakes what `tags` name; true once awake.
    pub(crate) fn wake(&self, tags: WakeTags) -> bool {
        let awake = self.state.lock().engine.wake(tags);
        self.work.notify_one();
        awake
    }

    pub(crate) fn gauges(&self) -> Gauges {
        self.state.lock().engine.gauges()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let state = self.state.lock();
        Snapshot {
            counters: state.engine.counters(),
            gauges: state.engine.gauges(),
            metrics: state.metrics.clone(),
        }
    }

    /// Makes the thread end.
    pub(crate) fn stop(&self) {
        self.state.lock().stopping = true;
        self.work.notify_all();
        self.stop.notify_all();
    }

    fn run(&self) {
        let mut events = Vec::new();
        let mut told = Vec::new();
        let mut state = self.state.lock();
        let mut start = self.now();
        while !state.stopping {
            let Some(step) = state.engine.schedule(start) else {
                self.work.wait(&mut state);
                start = self.now();
                continue;
            };
            let end = start + step.duration.div_f64(self.speed);
            self.wait_until(end, &mut state);
            if state.stopping {
                return;
            }
            let iteration = state.engine.complete(step, end, &mut events);
            state.metrics.iteration(iteration);
            state.tell(&events, &mut told);
            events.clear();
            MutexGuard::unlocked(&mut state, || {
                told.drain(..).for_each(|progress: Arc<Progress>| progress.waker.wake());
                self.ended.notify_waiters();
            });
            let now = self.now();
            start = if now.since(end) > LOST {
                tracing::warn!(
                    behind_ms = now.since(end).as_millis(),
                    "the engine fell behind; going on from now"
                );
                now
            } else {
                end
            };
        }
    }

    /// Waits until `end`, letting handlers have the state meanwhile.
    fn wait_until(&self, end: Instant, state: &mut MutexGuard<'_, State>) {
        let deadline = self.origin + Duration::from_nanos(end.as_nanos());
        while !state.stopping && !self.stop.wait_until(state, deadline).timed_out() {}
        if !state.stopping {
            // Handlers that queue for the lock get it even when steps are so
            // short that there is no waiting.
            MutexGuard::bump(state);
        }
    }
}

impl State {
    /// Records `events` and writes them where the answers are sent from.
    fn tell(&mut self, events: &[Event], told: &mut Vec<Arc<Progress>>) {
        let mut events = events.iter().peekable();
        while let Some(event) = events.next() {
            let &Event::Token { id, index, gap } = event else {
                continue;
            };
            self.metrics.token(index, gap);
            let summary = match events.peek() {
                Some(&&Event::Finished { id: ended, summary }) if ended == id => Some(summary),
                _ => None,
            };
            let Some(ticket) = self.tickets.get(&id) else { continue };
            ticket.progress.write(index, summary.map(|summary| summary.reason));
            told.push(Arc::clone(&ticket.progress));
            if let Some(summary) = summary
                && let Some(ticket) = self.tickets.remove(&id)
            {
                self.metrics.finished(
                    &summary,
                    ticket.asked_max_tokens,
                    ticket.group.ended(summary.output_tokens),
                );
            }
        }
    }

    /// Ends a request early. As in vLLM, its times do not enter the histograms:
    /// they would say more of the client's patience than of the server.
    fn abort(&mut self, id: RequestId, now: Instant) -> Option<Arc<Progress>> {
        let summary = self.engine.abort(id, now)?;
        let ticket = self.tickets.remove(&id)?;
        ticket.group.ended(summary.output_tokens);
        ticket.progress.write(summary.output_tokens, Some(FinishReason::Abort));
        Some(ticket.progress)
    }
}

impl Group {
    /// Counts an answer that ended; for the last one, how many there were and
    /// the tokens of the longest.
    fn ended(&self, tokens: u32) -> Option<(u32, u32)> {
        let mut rest = self.rest.lock();
        rest.0 = rest.0.saturating_sub(1);
        rest.1 = rest.1.max(tokens);
        (rest.0 == 0).then_some((self.n, rest.1))
    }
}
