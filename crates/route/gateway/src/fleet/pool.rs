//! One pool: its queue, its ledger, and those who wait for a verdict.

use crate::clock::millis;
use crate::config::Limits;
use crate::discovery::StaticPool;
use flow::{Admit, Entry, Queue, Refusal, RequestId};
use parking_lot::Mutex;
use pick::{Backoff, EndpointId, Explanation, Ledger};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::oneshot;
use units::Instant;
use wire::signals::PoolSignals;

/// A pool, shared by all workers.
#[derive(Debug)]
pub(crate) struct Pool {
    /// `namespace/name`.
    pub(crate) name: String,
    pub(crate) core: Mutex<Core>,
}

impl Pool {
    pub(crate) fn new(name: String, limits: &Limits) -> Self {
        Self {
            name,
            core: Mutex::new(Core::new(limits)),
        }
    }
}

/// Leave to send a request to an endpoint, where it is booked.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) endpoint: EndpointId,
    pub(crate) address: SocketAddr,
    pub(crate) pod: Arc<str>,
    pub(crate) entry: Entry,
}

/// How a wait ended.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    Go(Grant),
    Expired { had_endpoint: bool },
    ShuttingDown,
}

/// The answer to a request's arrival.
#[derive(Debug)]
pub(crate) enum Arrival {
    Go(Grant),
    /// `worth_a_decision`: nobody waited before and no endpoint exists, or
    /// twice as many wait as when it was last said.
    Wait {
        verdict: oneshot::Receiver<Verdict>,
        worth_a_decision: bool,
    },
    Full {
        refusal: Refusal,
        had_endpoint: bool,
    },
    ShuttingDown,
}

#[derive(Debug)]
struct Waiter {
    verdict: oneshot::Sender<Verdict>,
    tokens: u64,
}

#[derive(Debug)]
struct Book {
    address: SocketAddr,
    pod: Arc<str>,
    sent: u64,
    failed: u64,
    /// Still named by discovery.
    present: bool,
}

/// What a pool's lock protects.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) queue: Queue,
    pub(crate) ledger: Ledger,
    /// Counters and histograms; the rest of it is filled in when asked for.
    pub(crate) stats: PoolSignals,
    pub(crate) closed: bool,
    /// How many waited when that was last said to be worth a decision.
    said_of: usize,
    waiters: BTreeMap<RequestId, Waiter>,
    books: BTreeMap<EndpointId, Book>,
}

impl Core {
    fn new(limits: &Limits) -> Self {
        Self {
            queue: Queue::new(flow::Limits {
                entries: limits.queue_entries,
                bytes: limits.queue_bytes,
            }),
            ledger: Ledger::new(Backoff::default()),
            stats: PoolSignals::default(),
            closed: false,
            said_of: 0,
            waiters: BTreeMap::new(),
            books: BTreeMap::new(),
        }
    }

    /// Takes over models and endpoints as discovery names them.
    pub(crate) fn set(&mut self, named: &StaticPool, default_slots: u32, mut next_id: impl FnMut() -> u64) {
        self.stats.models.clone_from(&named.models);
        self.books.values_mut().for_each(|book| book.present = false);
        for endpoint in &named.endpoints {
            let known = self
                .books
                .iter()
                .find(|(_, book)| book.address == endpoint.address && *book.pod == *endpoint.pod)
                .map(|(id, _)| *id);
            let id = known.unwrap_or_else(|| EndpointId(next_id()));
            self.ledger.upsert(id, endpoint.slots.unwrap_or(default_slots), true);
            let book = self.books.entry(id).or_insert_with(|| Book {
                address: endpoint.address,
                pod: endpoint.pod.as_str().into(),
                sent: 0,
                failed: 0,
                present: true,
            });
            book.present = true;
        }
        let leaving: Vec<EndpointId> = self
            .books
            .iter()
            .filter(|(_, book)| !book.present)
            .map(|(id, _)| *id)
            .collect();
        for id in leaving {
            self.ledger.drain(id);
            self.forget_if_done(id);
        }
    }

    /// A request comes in.
    pub(crate) fn arrive(
        &mut self,
        id: RequestId,
        bytes: u64,
        tokens: u64,
        now: Instant,
        deadline: Instant,
    ) -> Arrival {
        self.stats.arrived += 1;
        if self.closed {
            return Arrival::ShuttingDown;
        }
        let picked = if self.queue.is_empty() {
            self.ledger.pick(&[], now).ok()
        } else {
            None
        };
        match self.queue.offer(id, bytes, now, deadline, picked.is_some()) {
            Admit::Dispatch(entry) => match picked.and_then(|why| self.grant(&why, entry, tokens, now)) {
                Some(grant) => Arrival::Go(grant),
                None => self.wait_again(entry, tokens),
            },
            Admit::Wait => {
                let verdict = self.await_verdict(id, tokens);
                Arrival::Wait {
                    verdict,
                    worth_a_decision: self.worth_a_decision(),
                }
            }
            Admit::Refuse(refusal) => Arrival::Full {
                refusal,
                had_endpoint: self.ledger.has_endpoint(),
            },
        }
    }

    /// Books `entry` on the endpoint that `why` names.
    fn grant(&mut self, why: &Explanation, entry: Entry, tokens: u64, now: Instant) -> Option<Grant> {
        let endpoint = why.winner.id;
        let book = self.books.get_mut(&endpoint)?;
        if !self.ledger.charge(endpoint, tokens) {
            return None;
        }
        book.sent += 1;
        self.stats.queue_ms.record(millis(now.since(entry.since)));
        tracing::trace!(request = entry.id.0, %why, "picked");
        Some(Grant {
            endpoint,
            address: book.address,
            pod: book.pod.clone(),
            entry,
        })
    }

    fn await_verdict(&mut self, id: RequestId, tokens: u64) -> oneshot::Receiver<Verdict> {
        let (verdict, receiver) = oneshot::channel();
        self.waiters.insert(id, Waiter { verdict, tokens });
        receiver
    }

    /// Whether who came to wait just now makes a decision urgent. Doubling
    /// bounds how often a queue can say so until it is empty again.
    fn worth_a_decision(&mut self) -> bool {
        let waiting = self.queue.len();
        if waiting == 1 {
            // One who waits for a place is no news; one whom nobody can serve is.
            self.said_of = 1;
            return !self.ledger.has_endpoint();
        }
        let worth = waiting >= self.said_of.saturating_mul(2);
        if worth {
            self.said_of = waiting;
        }
        worth
    }

    /// Puts a request back into the queue at the place it had.
    pub(crate) fn wait_again(&mut self, entry: Entry, tokens: u64) -> Arrival {
        if self.closed {
            return Arrival::ShuttingDown;
        }
        self.queue.put_back(entry);
        let verdict = self.await_verdict(entry.id, tokens);
        Arrival::Wait {
            verdict,
            worth_a_decision: self.worth_a_decision(),
        }
    }

    /// After a failed attempt: another endpoint at once, or back into the queue.
    pub(crate) fn try_another(&mut self, entry: Entry, tokens: u64, tried: &[EndpointId], now: Instant) -> Arrival {
        match self.ledger.pick(tried, now) {
            Ok(why) => match self.grant(&why, entry, tokens, now) {
                Some(grant) => Arrival::Go(grant),
                None => self.wait_again(entry, tokens),
            },
            Err(_) => self.wait_again(entry, tokens),
        }
    }

    /// Sends whoever waits to whatever has room.
    pub(crate) fn dispatch(&mut self, now: Instant) {
        while !self.queue.is_empty() {
            let Ok(why) = self.ledger.pick(&[], now) else { return };
            let Some(entry) = self.queue.on_room(now) else { return };
            let Some(waiter) = self.waiters.remove(&entry.id) else {
                continue;
            };
            if let Some(grant) = self.grant(&why, entry, waiter.tokens, now) {
                // The receiver lives until its owner has cancelled under this lock.
                let _ = waiter.verdict.send(Verdict::Go(grant));
            }
        }
    }

    /// Ends the wait of those whose deadline is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        let had_endpoint = self.ledger.has_endpoint();
        for entry in self.queue.expire(now) {
            if let Some(waiter) = self.waiters.remove(&entry.id) {
                let _ = waiter.verdict.send(Verdict::Expired { had_endpoint });
            }
        }
    }

    /// Ends every wait.
    pub(crate) fn release_all(&mut self, verdict: impl Fn() -> Verdict) {
        for (id, waiter) in std::mem::take(&mut self.waiters) {
            self.queue.cancel(id);
            let _ = waiter.verdict.send(verdict());
        }
    }

    /// Its owner gave the request up; true if it was still waiting.
    pub(crate) fn cancel(&mut self, id: RequestId) -> bool {
        self.waiters.remove(&id);
        self.queue.cancel(id).is_some()
    }

    /// A request left its endpoint, one way or the other.
    pub(crate) fn leave(&mut self, endpoint: EndpointId, tokens: u64) {
        self.ledger.discharge(endpoint, tokens);
        self.forget_if_done(endpoint);
    }

    /// An attempt failed before the first byte.
    pub(crate) fn attempt_failed(&mut self, endpoint: EndpointId, now: Instant) {
        self.ledger.failed(endpoint, now);
        if let Some(book) = self.books.get_mut(&endpoint) {
            book.failed += 1;
        }
    }

    fn forget_if_done(&mut self, id: EndpointId) {
        let gone = self.books.get(&id).is_some_and(|book| !book.present);
        if gone && !self.ledger.endpoints().any(|seen| seen.id == id) {
            self.books.remove(&id);
        }
    }

    pub(crate) fn count_failed(&mut self, outcome: &str) {
        match self.stats.failed.get_mut(outcome) {
            Some(count) => *count += 1,
            None => {
                self.stats.failed.insert(outcome.to_owned(), 1);
            }
        }
    }

    /// When the keeper has something to do here.
    pub(crate) fn next_event(&self, now: Instant) -> Option<Instant> {
        if self.queue.is_empty() {
            return None;
        }
        self.queue
            .next_expiry()
            .into_iter()
            .chain(self.ledger.next_end_of_rest(now))
            .min()
    }

    pub(crate) fn signals(&self, now: Instant) -> PoolSignals {
        let mut signals = self.stats.clone();
        signals.queued = self.queue.len() as u64;
        signals.oldest_wait_ms = self
            .queue
            .head()
            .map(|head| u64::try_from(now.since(head.since).as_millis()).unwrap_or(u64::MAX));
        signals.in_flight = self.ledger.in_flight();
        for seen in self.ledger.endpoints() {
            let Some(book) = self.books.get(&seen.id) else { continue };
            // A replaced Pod may still finish streams at the address of the new one: one entry, summed.
            let entry = signals.endpoints.entry(book.address.to_string()).or_default();
            entry.in_flight += u64::from(seen.in_flight);
            entry.sent += book.sent;
            entry.failed += book.failed;
            if book.present || entry.pod.is_empty() {
                book.pod.as_ref().clone_into(&mut entry.pod);
                entry.slots = u64::from(seen.slots);
            }
        }
        signals
    }
}

#[cfg(test)]
mod tests;
