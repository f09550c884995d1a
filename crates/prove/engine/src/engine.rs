//! The scheduler: what runs in the next step, and what a step brings about.

use crate::config::{ConfigError, EngineConfig};
use crate::kv::{Held, Pool};
use crate::request::{AddError, Event, FinishReason, RequestId, RequestSpec, Summary};
use crate::step_time::Work;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use units::Instant;

mod sleep;

pub use sleep::{Resident, SleepLevel, WakeTags};

/// Totals since the engine was made. They only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Steps completed.
    pub steps: u64,
    /// Requests added.
    pub added: u64,
    /// Prompt tokens of requests that got a first token.
    pub prompt_tokens: u64,
    /// Those of them that came from the prefix cache.
    pub cached_prompt_tokens: u64,
    /// Tokens generated.
    pub generation_tokens: u64,
    /// Preemptions.
    pub preemptions: u64,
    /// Tokens looked up in the prefix cache.
    pub prefix_queries: u64,
    /// Tokens found there.
    pub prefix_hits: u64,
    /// Requests the model ended.
    pub finished_stop: u64,
    /// Requests that reached a limit.
    pub finished_length: u64,
    /// Requests given up.
    pub finished_abort: u64,
}

/// What is true now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gauges {
    /// Requests being computed.
    pub running: u32,
    /// Requests waiting.
    pub waiting: u32,
    /// Blocks held by requests.
    pub kv_blocks_used: u32,
    /// Share of blocks held, 0 to 1.
    pub kv_usage: f64,
    /// What is in GPU memory.
    pub resident: Resident,
}

/// One pass of the model, under way between [`Engine::schedule`] and
/// [`Engine::complete`].
#[derive(Debug)]
pub struct Step {
    /// How long it takes.
    pub duration: Duration,
    /// What it computes.
    pub work: Work,
    /// Requests that lost their blocks to make it possible, in that order.
    pub preempted: Vec<RequestId>,
    scheduled: Vec<Scheduled>,
}

#[derive(Clone, Copy, Debug)]
struct Scheduled {
    slot: usize,
    id: RequestId,
    tokens: u32,
}

impl Step {
    /// The requests in it and how many tokens each computes, oldest first.
    pub fn scheduled(&self) -> impl Iterator<Item = (RequestId, u32)> + '_ {
        self.scheduled.iter().map(|s| (s.id, s.tokens))
    }
}

/// Tokens a completed step accounted for, as vLLM counts an iteration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Iteration {
    /// Prompt tokens of requests that got their first token.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub generation_tokens: u32,
}

#[derive(Clone, Debug)]
struct Live {
    spec: RequestSpec,
    /// Tokens that may be generated: the client's limit within the model's length.
    limit: u32,
    queued: Instant,
    running: bool,
    /// Tokens whose KV is in blocks now.
    computed: u32,
    output: u32,
    held: Held,
    /// Prompt blocks already offered to the prefix cache.
    offered: usize,
    scheduled: Option<Instant>,
    first_token: Option<Instant>,
    last_token: Option<Instant>,
    cached: u32,
    preemptions: u32,
}

impl Live {
    const fn known(&self) -> u32 {
        self.spec.prompt_tokens + self.output
    }

    fn summary(&self, reason: FinishReason, now: Instant) -> Summary {
        let between = |from: Option<Instant>, to: Option<Instant>| Some(to?.since(from?));
        Summary {
            reason,
            prompt_tokens: self.spec.prompt_tokens,
            cached_tokens: self.cached,
            output_tokens: self.output,
            preemptions: self.preemptions,
            e2e: now.since(self.spec.arrived),
            queue: between(Some(self.queued), self.scheduled),
            prefill: between(self.scheduled, self.first_token),
            decode: between(self.first_token, self.last_token),
            inference: between(self.scheduled, self.last_token),
        }
    }
}

/// One model server's engine.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    pool: Pool,
    slots: Vec<Option<Live>>,
    vacant: Vec<usize>,
    by_id: BTreeMap<RequestId, usize>,
    /// Oldest first; also the order of scheduling.
    running: Vec<usize>,
    waiting: VecDeque<usize>,
    stepping: bool,
    admit_new: bool,
    resident: Resident,
    counters: Counters,
    /// The last step's list, kept for its memory.
    spare: Vec<Scheduled>,
}

impl Engine {
    /// An idle engine.
    ///
    /// # Errors
    /// The configuration cannot serve, see [`EngineConfig::check`].
    pub fn new(config: EngineConfig) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            pool: Pool::new(config.usable_blocks()),
            config,
            slots: Vec::new(),
            vacant: Vec::new(),
            by_id: BTreeMap::new(),
            running: Vec::new(),
            waiting: VecDeque::new(),
            stepping: false,
            admit_new: true,
            resident: Resident::ALL,
            counters: Counters::default(),
            spare: Vec::new(),
        })
    }

    /// The configuration it was made with.
    #[must_use]
    pub const fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Totals so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// What is true now.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        let used = self.pool.used();
        Gauges {
            running: self.running.len() as u32,
            waiting: self.waiting.len() as u32,
            kv_blocks_used: used,
            kv_usage: f64::from(used) / f64::from(self.pool.usable().max(1)),
            resident: self.resident,
        }
    }

    /// Whether no request that ever ran is alive.
    #[must_use]
    pub fn drained(&self) -> bool {
        self.slots.iter().flatten().all(|live| live.scheduled.is_none())
    }

    /// Requests alive, running or waiting.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.by_id.len()
    }

    /// Whether `more` requests may be added under the limit on live requests.
    #[must_use]
    pub fn has_room(&self, more: usize) -> bool {
        self.config
            .max_num_queued_reqs
            .is_none_or(|limit| self.alive() + more <= limit as usize)
    }

    /// Puts a request at the end of the waiting queue. While the engine sleeps
    /// it waits for the engine to wake.
    ///
    /// # Errors
    /// The request can never be served, its name is taken, or the limit on
    /// live requests is reached.
    pub fn add(&mut self, spec: RequestSpec, now: Instant) -> Result<(), AddError> {
        let (prompt_tokens, max_model_len) = (spec.prompt_tokens, self.config.max_model_len);
        if prompt_tokens == 0 {
            return Err(AddError::EmptyPrompt);
        }
        if spec.max_output_tokens == 0 || spec.natural_tokens == 0 {
            return Err(AddError::NoOutput);
        }
        if prompt_tokens >= max_model_len {
            return Err(AddError::TooLong {
                prompt_tokens,
                max_model_len,
            });
        }
        if self.by_id.contains_key(&spec.id) {
            return Err(AddError::Duplicate { id: spec.id });
        }
        if !self.has_room(1) {
            return Err(AddError::QueueFull {
                limit: self.config.max_num_queued_reqs.unwrap_or(u32::MAX),
            });
        }
        let id = spec.id;
        let live = Live {
            limit: spec.max_output_tokens.min(max_model_len - prompt_tokens),
            queued: now,
            running: false,
            computed: 0,
            output: 0,
            held: Held::default(),
            offered: 0,
            scheduled: None,
            first_token: None,
            last_token: None,
            cached: 0,
            preemptions: 0,
            spec,
        };
        let slot = match self.vacant.pop() {
            Some(slot) => {
                self.slots[slot] = Some(live);
                slot
            }
            None => {
                self.slots.push(Some(live));
                self.slots.len() - 1
            }
        };
        self.by_id.insert(id, slot);
        self.waiting.push_back(slot);
        self.counters.added += 1;
        Ok(())
    }

    /// Ends a request at once and frees what it holds, even in the middle of a
    /// step. `None` if no such request is alive.
    pub fn abort(&mut self, id: RequestId, now: Instant) -> Option<Summary> {
        let slot = self.by_id.remove(&id)?;
        let mut live = self.slots[slot].take()?;
        self.vacant.push(slot);
        self.pool.release(&mut live.held);
        if live.running {
            self.running.retain(|&other| other != slot);
        } else {
            self.waiting.retain(|&other| other != slot);
        }
        self.counters.finished_abort += 1;
        Some(live.summary(FinishReason::Abort, now))
    }

    /// Aborts every request and tells which.
    pub fn abort_all(&mut self, now: Instant) -> Vec<(RequestId, Summary)> {
        let ids: Vec<RequestId> = self.by_id.keys().copied().collect();
        ids.into_iter()
            .filter_map(|id| Some((id, self.abort(id, now)?)))
            .collect()
    }

    /// Chooses the next step and starts it at `now`. `None` when nothing can
    /// run: no request, asleep, or a step is under way.
    pub fn schedule(&mut self, now: Instant) -> Option<Step> {
        if self.stepping || !self.resident.all() {
            return None;
        }
        let mut scheduled = std::mem::take(&mut self.spare);
        let mut budget = self.config.max_num_batched_tokens;
        let mut work = Work::default();
        let preempted = self.schedule_running(&mut budget, &mut scheduled, &mut work);
        if preempted.is_empty() {
            self.schedule_waiting(now, &mut budget, &mut scheduled, &mut work);
        }
        if scheduled.is_empty() {
            self.spare = scheduled;
            return None;
        }
        self.stepping = true;
        Some(Step {
            duration: self.config.step_time.of(&work),
            work,
            preempted,
            scheduled,
        })
    }

    fn schedule_running(
        &mut self,
        budget: &mut u32,
        scheduled: &mut Vec<Scheduled>,
        work: &mut Work,
    ) -> Vec<RequestId> {
        let mut preempted = Vec::new();
        let mut next = 0;
        while next < self.running.len() && *budget > 0 {
            let slot = self.running[next];
            let Some(live) = self.slots[slot].as_mut() else { break };
            let tokens = chunk(&self.config, live, *budget);
            if tokens == 0 {
                next += 1;
                continue;
            }
            let wanted = (live.computed + tokens).div_ceil(self.config.block_size);
            if self.pool.grow(&mut live.held, wanted) {
                scheduled.push(Scheduled {
                    slot,
                    id: live.spec.id,
                    tokens,
                });
                work.add(tokens, live.computed);
                *budget -= tokens;
                next += 1;
                continue;
            }
            // The youngest gives way. It cannot be in this step yet: requests
            // are taken oldest first.
            let Some(victim) = self.running.pop() else { break };
            preempted.extend(self.preempt(victim));
        }
        preempted
    }

    fn schedule_waiting(&mut self, now: Instant, budget: &mut u32, scheduled: &mut Vec<Scheduled>, work: &mut Work) {
        let block_size = self.config.block_size;
        while *budget > 0 && self.running.len() < self.config.max_num_seqs as usize {
            let Some(&slot) = self.waiting.front() else { break };
            let Some(live) = self.slots[slot].as_mut() else { break };
            if live.scheduled.is_none() && !self.admit_new {
                break;
            }
            // At least one token must be computed for there to be an answer.
            let findable = ((live.known() - 1) / block_size) as usize;
            let chain = &live.spec.prefix[..findable.min(live.spec.prefix.len())];
            let (hits, idle) = if self.config.prefix_caching {
                self.pool.find(chain)
            } else {
                (0, 0)
            };
            let found = hits as u32 * block_size;
            live.computed = found;
            let tokens = chunk(&self.config, live, *budget);
            let room_for = if self.config.reserve_full_prompt {
                live.known()
            } else {
                found + tokens
            };
            let lacking = room_for.div_ceil(block_size).saturating_sub(hits as u32);
            if lacking > self.pool.available() - idle {
                live.computed = 0;
                break;
            }
            self.pool.share(&mut live.held, &chain[..hits]);
            if !self.pool.grow(&mut live.held, (found + tokens).div_ceil(block_size)) {
                self.pool.release(&mut live.held);
                live.computed = 0;
                break;
            }
            if live.scheduled.is_none() {
                live.scheduled = Some(now);
                live.cached = found;
                self.counters.prefix_queries += u64::from(live.spec.prompt_tokens);
                self.counters.prefix_hits += u64::from(found);
            }
            live.running = true;
            live.offered = hits;
            scheduled.push(Scheduled {
                slot,
                id: live.spec.id,
                tokens,
            });
            work.add(tokens, live.computed);
            *budget -= tokens;
            self.waiting.pop_front();
            self.running.push(slot);
        }
    }

    /// Takes all blocks of a request that has left `running` and puts it at
    /// the front of the queue.
    fn preempt(&mut self, slot: usize) -> Option<RequestId> {
        let live = self.slots[slot].as_mut()?;
        self.pool.release(&mut live.held);
        live.computed = 0;
        live.running = false;
        live.preemptions += 1;
        self.counters.preemptions += 1;
        self.waiting.push_front(slot);
        Some(live.spec.id)
    }

    /// Ends `step` at `now` and appends what it brought about to `events`.
    /// Requests aborted meanwhile are passed over.
    pub fn complete(&mut self, step: Step, now: Instant, events: &mut Vec<Event>) -> Iteration {
        self.stepping = false;
        self.counters.steps += 1;
        events.extend(step.preempted.iter().map(|&id| Event::Preempted { id }));
        let mut iteration = Iteration::default();
        let mut any_finished = false;
        for &Scheduled { slot, id, tokens } in &step.scheduled {
            let Some(live) = self.slots[slot]
                .as_mut()
                .filter(|live| live.running && live.spec.id == id)
            else {
                continue;
            };
            live.computed += tokens;
            if self.config.prefix_caching {
                let full = (live.computed / self.config.block_size) as usize;
                while live.offered < full.min(live.spec.prefix.len()) {
                    self.pool.register(&mut live.held, live.spec.prefix[live.offered]);
                    live.offered += 1;
                }
            }
            if live.computed < live.known() {
                continue;
            }
            live.output += 1;
            iteration.generation_tokens += 1;
            let since = live.last_token.unwrap_or(live.spec.arrived);
            if live.first_token.is_none() {
                live.first_token = Some(now);
                iteration.prompt_tokens += live.spec.prompt_tokens;
                self.counters.cached_prompt_tokens += u64::from(live.cached);
            }
            live.last_token = Some(now);
            events.push(Event::Token {
                id,
                index: live.output,
                gap: now.since(since),
            });
            let reason = if live.output >= live.spec.natural_tokens {
                self.counters.finished_stop += 1;
                FinishReason::Stop
            } else if live.output >= live.limit {
                self.counters.finished_length += 1;
                FinishReason::Length
            } else {
                continue;
            };
            events.push(Event::Finished {
                id,
                summary: live.summary(reason, now),
            });
            self.pool.release(&mut live.held);
            self.slots[slot] = None;
            self.vacant.push(slot);
            self.by_id.remove(&id);
            any_finished = true;
        }
        if any_finished {
            let slots = &self.slots;
            self.running.retain(|&slot| slots[slot].is_some());
        }
        self.counters.prompt_tokens += u64::from(iteration.prompt_tokens);
        self.counters.generation_tokens += u64::from(iteration.generation_tokens);
        self.spare = step.scheduled;
        self.spare.clear();
        iteration
    }
}

/// How many tokens `live` computes next, within `budget`.
fn chunk(config: &EngineConfig, live: &Live, budget: u32) -> u32 {
    let need = live.known().saturating_sub(live.computed);
    need.min(config.long_prefill_token_threshold.unwrap_or(u32::MAX))
        .min(budget)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
