//! The in-flight ledger and the least-loaded pick.

use crate::{Considered, Explanation, Inputs};
use std::time::Duration;
use units::Instant;

/// An endpoint, named by its owner; never reused for another address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u64);

/// How long an endpoint rests after failed attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure; doubled with each further one.
    pub first: Duration,
    /// Never longer than this.
    pub most: Duration,
}

impl Default for Backoff {
    /// 50 ms, doubling to 2 s: short, because a Pod that is ready again must
    /// not be left idle, and a refused connection on loopback costs little.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(50),
            most: Duration::from_secs(2),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Endpoint {
    id: EndpointId,
    in_flight: u32,
    slots: u32,
    tokens: u64,
    ready: bool,
    draining: bool,
    failures: u32,
    rests_until: Instant,
}

impl Endpoint {
    const fn considered(&self) -> Considered {
        Considered {
            id: self.id,
            in_flight: self.in_flight,
            slots: self.slots,
            tokens: self.tokens,
        }
    }

    /// Smaller is better: share of slots in use, then tokens per slot.
    fn busier_than(&self, other: &Self) -> std::cmp::Ordering {
        let share = |a: &Self, b: &Self| u64::from(a.in_flight) * u64::from(b.slots);
        let tokens = |a: &Self, b: &Self| u128::from(a.tokens) * u128::from(b.slots);
        share(self, other)
            .cmp(&share(other, self))
            .then_with(|| tokens(self, other).cmp(&tokens(other, self)))
    }
}

/// What was sent to each endpoint of a pool and has not ended yet.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Ordered by id.
    endpoints: Vec<Endpoint>,
    backoff: Backoff,
    /// Where the next search begins, so that equals take turns.
    turn: usize,
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub const fn new(backoff: Backoff) -> Self {
        Self {
            endpoints: Vec::new(),
            backoff,
            turn: 0,
        }
    }

    /// Adds an endpoint or changes what is known of it. `slots` of 0 counts
    /// as 1. One that was draining serves again.
    pub fn upsert(&mut self, id: EndpointId, slots: u32, ready: bool) {
        let slots = slots.max(1);
        match self.find(id) {
            Ok(at) => {
                let endpoint = &mut self.endpoints[at];
                if ready && !endpoint.ready {
                    // It came up anew: what failed before says nothing about it.
                    endpoint.failures = 0;
                    endpoint.rests_until = Instant::ZERO;
                }
                endpoint.slots = slots;
                endpoint.ready = ready;
                endpoint.draining = false;
            }
            Err(at) => {
                let fresh = Endpoint {
                    id,
                    in_flight: 0,
                    slots,
                    tokens: 0,
                    ready,
                    draining: false,
                    failures: 0,
                    rests_until: Instant::ZERO,
                };
                self.endpoints.insert(at, fresh);
            }
        }
    }

    /// Sends nothing more to an endpoint; what is there finishes, and with the
    /// last of it the endpoint is forgotten.
    pub fn drain(&mut self, id: EndpointId) {
        if let Ok(at) = self.find(id) {
            self.endpoints[at].draining = true;
            self.forget_if_done(at);
        }
    }

    /// Books a request of about `tokens` tokens on an endpoint. False if the
    /// endpoint is not known.
    pub fn charge(&mut self, id: EndpointId, tokens: u64) -> bool {
        let Ok(at) = self.find(id) else { return false };
        let endpoint = &mut self.endpoints[at];
        endpoint.in_flight = endpoint.in_flight.saturating_add(1);
        endpoint.tokens = endpoint.tokens.saturating_add(tokens);
        true
    }

    /// Books a request off, with the `tokens` it was charged.
    pub fn discharge(&mut self, id: EndpointId, tokens: u64) {
        if let Ok(at) = self.find(id) {
            let endpoint = &mut self.endpoints[at];
            endpoint.in_flight = endpoint.in_flight.saturating_sub(1);
            endpoint.tokens = endpoint.tokens.saturating_sub(tokens);
            self.forget_if_done(at);
        }
    }

    /// An attempt failed before the first byte: the endpoint rests, longer
    /// each time in a row.
    pub fn failed(&mut self, id: EndpointId, now: Instant) {
        if let Ok(at) = self.find(id) {
            let endpoint = &mut self.endpoints[at];
            let rest = self
                .backoff
                .first
                .saturating_mul(1 << endpoint.failures.min(20))
                .min(self.backoff.most);
            endpoint.failures = endpoint.failures.saturating_add(1);
            endpoint.rests_until = now + rest;
        }
    }

    /// An attempt reached its first byte: earlier failures are forgotten.
    pub fn succeeded(&mut self, id: EndpointId) {
        if let Ok(at) = self.find(id) {
            let endpoint = &mut self.endpoints[at];
            endpoint.failures = 0;
            endpoint.rests_until = Instant::ZERO;
        }
    }

    /// The least loaded endpoint that can take a request now and is not among
    /// those `tried` for it.
    ///
    /// # Errors
    /// The [`Inputs`] tell why none can.
    pub fn pick(&mut self, tried: &[EndpointId], now: Instant) -> Result<Explanation, Inputs> {
        let mut inputs = Inputs::default();
        let mut winner: Option<usize> = None;
        let mut second: Option<usize> = None;
        let len = self.endpoints.len();
        let turn = self.turn.min(len);
        for at in (turn..len).chain(0..turn) {
            let endpoint = &self.endpoints[at];
            inputs.known += 1;
            if let Some(count) = left_out(endpoint, tried, now, &mut inputs) {
                *count += 1;
                continue;
            }
            inputs.eligible += 1;
            let better = |than: Option<usize>| than.is_none_or(|o| endpoint.busier_than(&self.endpoints[o]).is_lt());
            if better(winner) {
                second = winner;
                winner = Some(at);
            } else if better(second) {
                second = Some(at);
            }
        }
        let at = winner.ok_or(inputs)?;
        self.turn = (at + 1) % len;
        Ok(Explanation {
            winner: self.endpoints[at].considered(),
            second: second.map(|at| self.endpoints[at].considered()),
            inputs,
        })
    }

    /// Whether some endpoint can take a request now.
    #[must_use]
    pub fn has_room(&self, now: Instant) -> bool {
        let mut unused = Inputs::default();
        self.endpoints
            .iter()
            .any(|endpoint| left_out(endpoint, &[], now, &mut unused).is_none())
    }

    /// Whether some endpoint is ready and not leaving, full or not.
    #[must_use]
    pub fn has_endpoint(&self) -> bool {
        self.endpoints
            .iter()
            .any(|endpoint| endpoint.ready && !endpoint.draining)
    }

    /// The next moment at which an endpoint ends its rest.
    #[must_use]
    pub fn next_end_of_rest(&self, now: Instant) -> Option<Instant> {
        let resting = self
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.ready && !endpoint.draining);
        resting
            .map(|endpoint| endpoint.rests_until)
            .filter(|until| *until > now)
            .min()
    }

    /// Every endpoint as it stands, by id.
    pub fn endpoints(&self) -> impl Iterator<Item = Considered> {
        self.endpoints.iter().map(Endpoint::considered)
    }

    /// Requests at all endpoints together.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.endpoints
            .iter()
            .map(|endpoint| u64::from(endpoint.in_flight))
            .sum()
    }

    fn find(&self, id: EndpointId) -> Result<usize, usize> {
        self.endpoints.binary_search_by_key(&id, |endpoint| endpoint.id)
    }

    fn forget_if_done(&mut self, at: usize) {
        if self.endpoints[at].draining && self.endpoints[at].in_flight == 0 {
            self.endpoints.remove(at);
            if self.turn > at {
                self.turn -= 1;
            }
        }
    }
}

/// The counter of the reason for which `endpoint` cannot take a request, if there is one.
fn left_out<'a>(
    endpoint: &Endpoint,
    tried: &[EndpointId],
    now: Instant,
    inputs: &'a mut Inputs,
) -> Option<&'a mut u32> {
    if endpoint.draining {
        Some(&mut inputs.draining)
    } else if !endpoint.ready {
        Some(&mut inputs.not_ready)
    } else if tried.contains(&endpoint.id) {
        Some(&mut inputs.tried)
    } else if endpoint.rests_until > now {
        Some(&mut inputs.backing_off)
    } else if endpoint.in_flight >= endpoint.slots {
        Some(&mut inputs.full)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
