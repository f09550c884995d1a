//! Takes stock: what each variant has, what is asked of it, what is not known.

mod slots;

use crate::explain::MetricsWord;
use crate::forecast::Expected;
use crate::heard::{ahead, ahead_words, credible, heard, known, silence};
use crate::lessons::Asked;
use crate::view::{Demand, GatewayView, ModelView, ReplicaState, ReplicaView, VariantView};
use crate::{Memory, Policy, words};
use slots::Slots;
use std::time::Duration;
use units::{Instant, Signal};

/// A variant and what it really has.
#[derive(Debug)]
pub(crate) struct Stand<'a> {
    pub(crate) variant: &'a VariantView,
    /// Requests one replica serves at once; 1 where nobody knows any.
    pub(crate) slots: f64,
    /// Ready replicas, by name. More than `ready` while some are about to go.
    pub(crate) ready_replicas: Vec<&'a ReplicaView>,
    /// Wanted and ready.
    pub(crate) ready: u32,
    /// Wanted, there and starting.
    pub(crate) starting: u32,
    /// Wanted, there and not starting any more.
    stuck_pods: u32,
    /// Whether those that are wanted and not there are still expected.
    absent_expected: bool,
    /// Wanted and on the way.
    pub(crate) coming: u32,
    /// Wanted, and not coming any more.
    pub(crate) stuck: u32,
    /// Why they do not come.
    pub(crate) stuck_why: Option<String>,
    /// Whether those that do not come up are the exception: most serve, and no
    /// node or quota is what they lack. One more may well come up.
    pub(crate) mostly_serves: bool,
    /// Ready replicas with a signal that is not fresh, with what is wrong.
    pub(crate) silent: Vec<(String, MetricsWord, String)>,
    /// Why it is no capacity, if it is none: it breaks what is promised even
    /// with one request, and another variant may not.
    pub(crate) too_slow: Option<String>,
    /// What it costs per hour, in one unit for all variants of the model: of a
    /// slot, or of a request per second within what is promised.
    pub(crate) price: f64,
}

impl Stand<'_> {
    /// Replicas that serve or will, were `target` asked for. What is not there
    /// yet is dropped first, then what does not start, then what does.
    pub(crate) fn live_at(&self, target: u32) -> u32 {
        let ready = self.ready.min(target);
        let starting = self.starting.min(target - ready);
        let absent = (target - ready - starting).saturating_sub(self.stuck_pods);
        // Beyond what was asked for before, replicas would be new.
        let new = target.saturating_sub(self.variant.wanted);
        ready + starting + if self.absent_expected { absent } else { absent.min(new) }
    }

    /// Slots of one replica that count as capacity.
    pub(crate) fn worth(&self) -> f64 {
        if self.too_slow.is_some() { 0.0 } else { self.slots }
    }

    /// Requests at once in each ready replica, on average.
    pub(crate) fn busy_each(&self, policy: &Policy, now: Instant) -> Option<f64> {
        let fresh = |signal: &Signal<f64>| heard(signal, policy, now);
        let told = self
            .ready_replicas
            .iter()
            .filter_map(|replica| at_replica(replica, &fresh));
        let (n, sum) = told.fold((0_u32, 0.0), |(n, sum), busy| (n + 1, sum + busy));
        (n > 0).then(|| sum / f64::from(n))
    }
}

/// A mean over all replicas by their slots, and the sum it is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) mean: f64,
    pub(crate) max: f64,
    /// Sum of value times slots over all ready replicas; those that are
    /// silent count with the mean of the others.
    pub(crate) total: f64,
}

/// A model's load, taken stock of.
#[derive(Debug)]
pub(crate) struct Load<'a> {
    /// Variants by name.
    pub(crate) stands: Vec<Stand<'a>>,
    /// Whether slots are known (or rather: everything counts as one).
    pub(crate) slots_known: bool,
    pub(crate) ready_replicas: usize,
    /// Ready replicas whose KV cache or queue is known.
    pub(crate) judged: usize,
    /// Of these, those that are full by any measure.
    pub(crate) saturated: usize,
    pub(crate) kv: Option<Spread>,
    pub(crate) waiting: Option<Spread>,
    /// Requests at replicas now.
    pub(crate) busy: Option<f64>,
    /// What the gateways say, if that is fresh.
    pub(crate) demand: Option<Demand>,
    /// Whether a replica is known to generate tokens.
    pub(crate) generating: bool,
    /// Why the gateways' word is not complete, if it is not.
    pub(crate) gateway_silent: Option<(MetricsWord, String)>,
    /// Requests per second that arrive, where gateways count them, else where
    /// replicas do.
    pub(crate) arriving: Option<f64>,
    /// Requests per second that replicas counted, where no gateway tells.
    pub(crate) counted: Option<f64>,
    /// Requests per second to provide for, where they are counted.
    pub(crate) arrivals: Option<f64>,
    /// Slots that the present load needs, backlog included.
    pub(crate) slots_asked: Option<f64>,
    /// Slots to provide for by the time a replica asked for now serves.
    pub(crate) expected: Option<Expected>,
}

impl<'a> Load<'a> {
    pub(crate) fn survey(view: &'a ModelView, policy: &Policy, memory: &mut Memory, now: Instant) -> Self {
        let mut variants: Vec<&VariantView> = view.variants.iter().collect();
        variants.sort_by(|a, b| a.name.cmp(&b.name));
        memory.keep_only(&view.namespace, &view.model, |name| {
            variants.iter().any(|variant| variant.name == name)
        });
        let slots = Slots::of(&variants, memory);
        let slots_known = slots.known();
        let stands: Vec<Stand<'_>> = variants
            .into_iter()
            .map(|variant| {
                let slots = slots.each(&variant.name);
                stand(variant, slots, policy, memory, now)
            })
            .collect();

        let outlook = policy.outlook(memory.startup().unwrap_or(policy.assumed_startup));
        let (mut demand, gateway_silent) = gateway(&view.gateway, policy, now);
        let tell = stands.iter().map(|stand| stand.ready_replicas.len()).sum();
        // How many it is is uncertain for a while after a replica has come or gone;
        // whether any came is not.
        let counted = heard(&view.arrivals, policy, now);
        let told = memory.settled(counted, tell, now);
        let arriving = match &mut demand {
            // A gateway that has just started counts no rate yet.
            Some(demand) => {
                demand.arrival_rate = demand.arrival_rate.or(told);
                demand.arrival_rate
            }
            None => told,
        };
        let fresh = |signal: &Signal<f64>| heard(signal, policy, now);
        let ready = || {
            stands
                .iter()
                .flat_map(|stand| stand.ready_replicas.iter().map(move |r| (stand.slots, *r)))
        };

        let mut judged = 0;
        let mut saturated = 0;
        for (slots, replica) in ready() {
            let (kv, waiting) = (fresh(&replica.kv), fresh(&replica.waiting));
            let full = kv.is_some_and(|kv| kv >= policy.kv_cache_threshold)
                || waiting.is_some_and(|waiting| waiting >= policy.queue_length_threshold)
                // Where a gateway tells what waits, full slots are only well used.
                || (demand.is_none()
                    && slots_known
                    && at_replica(replica, &fresh).is_some_and(|busy| busy >= slots));
            judged += usize::from(kv.is_some() || waiting.is_some() || full);
            saturated += usize::from(full);
        }
        let kv = spread(ready().map(|(slots, replica)| (slots, fresh(&replica.kv))));
        let waiting = spread(ready().map(|(slots, replica)| (slots, fresh(&replica.waiting))));
        // Per slot, so that a silent replica counts as busy as the others are.
        let at_replicas = spread(ready().map(|(slots, r)| (slots, at_replica(r, &fresh).map(|busy| busy / slots))));
        let busy = match (
            at_replicas.map(|spread| spread.total),
            demand.map(|demand| demand.in_flight as f64),
        ) {
            (Some(seen), Some(sent)) => Some(seen.max(sent)),
            (seen, sent) => seen.or(sent),
        };
        if let (Some(demand), Some(busy)) = (demand, busy)
            && let Some(rate) = demand.completion_rate.filter(|rate| *rate > 0.0)
            && busy > 0.0
        {
            memory.learn_service(busy / rate, policy.assumed_service, now);
        }
        let service = memory.service().unwrap_or(policy.assumed_service.as_secs_f64());
        if let Some(offered) = slots_offered(busy, demand, service) {
            memory.forecast.observe(offered, &outlook, now);
        }
        let ready_replicas = ready().count();
        let generating = ready().any(|(_, replica)| fresh(&replica.token_rate).is_some_and(|rate| rate > 0.0));
        let expected = memory.forecast.expected(&outlook);
        let arrivals = arriving.map(|rate| {
            // The forecast is in slots; an answer holds one for the service time.
            let expected = expected.filter(|_| slots_known);
            let per_slot = match (demand, busy) {
                (Some(_), _) => 1.0 / service,
                // Without a gateway an answer's time is what the replicas' counts say it is.
                (None, Some(busy)) => rate / busy,
                (None, None) => 0.0,
            };
            let grown = expected.map(|expected| expected.load * per_slot);
            rate.max(grown.filter(|rate| rate.is_finite()).unwrap_or(0.0))
        });
        Self {
            generating,
            arriving,
            counted: counted.filter(|_| demand.is_none()),
            arrivals,
            slots_known,
            ready_replicas,
            judged,
            saturated,
            kv,
            waiting,
            busy,
            demand,
            gateway_silent,
            slots_asked: slots_asked(busy, demand, service, policy.drain),
            expected,
            stands,
        }
    }

    /// Whether every signal is there and fresh, so that less may be decided.
    pub(crate) fn covered(&self) -> bool {
        self.gateway_silent.is_none() && self.stands.iter().all(|stand| stand.silent.is_empty())
    }

    /// Whether anything at all is known of the load.
    pub(crate) fn blind(&self) -> bool {
        self.demand.is_none() && self.judged == 0 && self.busy.is_none()
    }

    /// Whether it is certain that there is no work anywhere.
    pub(crate) fn known_idle(&self) -> bool {
        self.covered()
            && self.queued() == 0
            && !self.generating
            && self.counted.is_none_or(|rate| rate <= 0.0)
            && self.demand.is_none_or(|demand| demand.in_flight == 0)
            && self.busy.is_none_or(|busy| busy <= 0.0)
            && self.waiting.is_none_or(|waiting| waiting.max <= 0.0)
            && (self.demand.is_some() || self.ready_replicas > 0)
    }

    pub(crate) fn queued(&self) -> u64 {
        self.demand.map_or(0, |demand| demand.queued)
    }

    pub(crate) fn oldest_wait(&self) -> Duration {
        self.demand.and_then(|demand| demand.oldest_wait).unwrap_or_default()
    }

    /// How much more than now is expected, as a factor of at least 1; known
    /// where slots are.
    pub(crate) fn growth(&self) -> Option<f64> {
        let expected = self.expected.filter(|_| self.slots_known)?;
        let busy = self.busy.filter(|busy| *busy > 0.0)?;
        Some((expected.load / busy).max(1.0))
    }

    /// Slots that serve now.
    pub(crate) fn ready_capacity(&self) -> f64 {
        self.stands
            .iter()
            .map(|stand| f64::from(stand.ready) * stand.slots)
            .sum()
    }

    /// Slots that serve now or will.
    pub(crate) fn live_capacity(&self) -> f64 {
        self.stands
            .iter()
            .map(|stand| f64::from(stand.live_at(stand.variant.wanted)) * stand.slots)
            .sum()
    }

    pub(crate) fn coming(&self) -> u32 {
        self.stands.iter().map(|stand| stand.coming).sum()
    }

    pub(crate) fn wanted(&self) -> u32 {
        self.stands.iter().map(|stand| stand.variant.wanted).sum()
    }

    /// What tells the same load at another time.
    pub(crate) const fn asked(&self) -> Asked {
        Asked {
            arrivals: self.arriving,
            requests: self.busy,
        }
    }
}

/// Requests at a replica: what we sent, or what it says if that is more.
fn at_replica(replica: &ReplicaView, fresh: &impl Fn(&Signal<f64>) -> Option<f64>) -> Option<f64> {
    let told = match (fresh(&replica.running), fresh(&replica.waiting)) {
        (Some(running), Some(waiting)) => Some(running + waiting),
        (running, waiting) => running.or(waiting),
    };
    match (told, fresh(&replica.in_flight)) {
        (Some(told), Some(sent)) => Some(told.max(sent)),
        (told, sent) => told.or(sent),
    }
}

/// The mean of `values` by slots, and what they come to.
pub(crate) fn spread(values: impl Iterator<Item = (f64, Option<f64>)>) -> Option<Spread> {
    let (mut all, mut heard, mut sum, mut max) = (0.0, 0.0, 0.0, f64::NEG_INFINITY);
    for (slots, value) in values {
        all += slots;
        if let Some(value) = value {
            heard += slots;
            sum += value * slots;
            max = max.max(value);
        }
    }
    if heard <= 0.0 {
        return None;
    }
    let mean = sum / heard;
    Some(Spread {
        mean,
        max,
        total: if heard < all { mean * all } else { sum },
    })
}

/// Slots that serve the present arrivals and work the backlog off within
/// `drain`: by Little's law where rates are known, and in any case no fewer
/// than are busy and no more than there are requests.
fn slots_asked(busy: Option<f64>, demand: Option<Demand>, service: f64, drain: Duration) -> Option<f64> {
    let Some(demand) = demand else { return busy };
    let busy = busy.unwrap_or(0.0);
    let queued = demand.queued as f64;
    if queued == 0.0 {
        return Some(busy);
    }
    let Some(arrivals) = demand.arrival_rate else {
        return Some(busy + queued);
    };
    let backlog = queued * service / drain.as_secs_f64().max(0.001);
    Some((arrivals * service + backlog).clamp(busy + 1.0, busy + queued.max(1.0)))
}

/// Slots that the present arrivals keep busy, without any backlog.
fn slots_offered(busy: Option<f64>, demand: Option<Demand>, service: f64) -> Option<f64> {
    let busy = busy?;
    match demand {
        // While requests wait, what is busy says how much there is room for.
        Some(demand) if demand.queued > 0 => {
            let arriving = demand.arrival_rate.map_or(busy, |rate| rate * service);
            Some(arriving.clamp(busy, busy + demand.queued as f64))
        }
        _ => Some(busy),
    }
}

fn gateway(view: &GatewayView, policy: &Policy, now: Instant) -> (Option<Demand>, Option<(MetricsWord, String)>) {
    let GatewayView::Present { by, demand, silent } = view else {
        return (None, None);
    };
    let by = by.as_str();
    let seen = match demand {
        Signal::Missing { why, .. } => return (None, Some((MetricsWord::Missing, format!("{by}: {why}")))),
        Signal::Observed(seen) => seen,
    };
    if let Some(ahead) = ahead(seen.at, policy, now) {
        return (
            None,
            Some((MetricsWord::Stale, format!("{by}: {}", ahead_words(ahead)))),
        );
    }
    if known(demand, policy, now).is_none() {
        let age = words::time(now.since(seen.at));
        let why = format!("{by}: last heard of {age} ago; is it running and reachable?");
        return (None, Some((MetricsWord::Stale, why)));
    }
    let (credible, wrong) = credible(&seen.value);
    let wrong = wrong.map(|why| format!("{by}: {why}"));
    let wrong =
        wrong.or_else(|| (!silent.is_empty()).then(|| format!("{by}: no answer from {}", words::some_of(silent))));
    (Some(credible), wrong.map(|why| (MetricsWord::Missing, why)))
}

fn stand<'a>(variant: &'a VariantView, slots: f64, policy: &Policy, memory: &mut Memory, now: Instant) -> Stand<'a> {
    let mut ready_replicas: Vec<&ReplicaView> = Vec::new();
    let patience = memory.may_take(&variant.name, policy.pending_timeout);
    let (mut starting, mut stuck_pods, mut stuck_why) = (0_u32, 0_u32, None);
    let mut unplaced = false;
    let mut replicas: Vec<&ReplicaView> = variant.replicas.iter().collect();
    replicas.sort_by(|a, b| a.name.cmp(&b.name));
    for replica in replicas {
        match &replica.state {
            ReplicaState::Ready => ready_replicas.push(replica),
            ReplicaState::Pending { since } if now.since(*since) <= patience => starting += 1,
            ReplicaState::Unschedulable { since, .. } if now.since(*since) <= policy.unschedulable_grace => {
                starting += 1;
            }
            ReplicaState::Pending { since } => {
                stuck_pods += 1;
                stuck_why.get_or_insert(format!(
                    "{} not ready for {}",
                    replica.name,
                    words::time(now.since(*since))
                ));
            }
            ReplicaState::Failing { why, .. } => {
                stuck_pods += 1;
                stuck_why = Some(format!("{} does not start: {why}", replica.name));
            }
            ReplicaState::Unschedulable { why, .. } => {
                unplaced = true;
                stuck_pods += 1;
                stuck_why = Some(format!("{} unschedulable: {why}", replica.name));
            }
        }
    }
    let starts = variant.replicas.iter().filter_map(|replica| match &replica.state {
        ReplicaState::Pending { since }
        | ReplicaState::Failing { since, .. }
        | ReplicaState::Unschedulable { since, .. } => Some((replica.name.as_str(), *since)),
        ReplicaState::Ready => None,
    });
    memory.note_starts(
        &variant.name,
        starts,
        ready_replicas.iter().map(|replica| replica.name.as_str()),
        now,
    );
    let silent = ready_replicas
        .iter()
        .filter_map(|replica| silence(replica, policy, now))
        .collect();

    // A replica too many is one about to go: it carries load, but is no capacity.
    let ready = u32::try_from(ready_replicas.len())
        .unwrap_or(u32::MAX)
        .min(variant.wanted);
    let starting = starting.min(variant.wanted - ready);
    let stuck_pods = stuck_pods.min(variant.wanted - ready - starting);
    let absent = variant.wanted - ready - starting - stuck_pods;
    let absent_for = now.since(memory.absent_since(&variant.name, absent > 0, now));
    let given_up = absent > 0 && absent_for > policy.creation_timeout;
    if given_up {
        let lacks = words::count(absent as usize, "replica", "replicas");
        stuck_why.get_or_insert(format!(
            "{lacks} asked for {} ago and not created",
            words::time(absent_for)
        ));
    }
    let (coming, stuck) = if given_up {
        (starting, stuck_pods + absent)
    } else {
        (starting + absent, stuck_pods)
    };
    Stand {
        variant,
        slots,
        ready_replicas,
        ready,
        starting,
        stuck_pods,
        absent_expected: !given_up,
        coming,
        stuck,
        stuck_why: stuck_why.filter(|_| stuck > 0),
        mostly_serves: stuck < ready && !unplaced && !given_up,
        silent,
        too_slow: None,
        price: variant.cost / slots,
    }
}
