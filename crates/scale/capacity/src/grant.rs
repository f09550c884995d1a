//! What is decided for each model, cut to the GPUs that are really free.
//!
//! One step after all decisions of a pass: every rise becomes a claim in GPUs.
//! Minimums and first replicas of models that sleep come first, then service
//! classes by priority; within a priority [`limit`](crate::optimize::gpus::limit) shares fairly, after those
//! have stepped back who are served elsewhere for little more while others have
//! no choice. What a variant cannot have goes to the next cheapest variant of
//! its model that can have it. A decision that was cut says so, by its reason
//! and its sentence.
//!
//! GPUs that scale-downs of the same pass will free are not free yet: their
//! Pods still hold them. A Pod must fit on one node. Replicas that were asked for and have no Pod yet are
//! promised, and their GPUs not free any more. Nothing that runs, or that is
//! merely replaced, is taken away; and nothing is remembered, so the next pass
//! asks again.

use crate::optimize::gpus::{Claim, Fail, Quotas, pods, settle};
use crate::optimize::inventory::{Inventory, Stock};
use crate::saturation::Mode;
use crate::{Decision, Reason};
use std::collections::{BTreeMap, BTreeSet};

mod contest;
mod says;

/// Parts of a replica below this are rounding.
const EDGE: f64 = 1e-9;

/// What a variant's replicas are made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// Short name of what it runs on, if that is known.
    pub accelerator: Option<String>,
    /// GPUs of one replica; with 0 nothing limits it.
    pub gpus_per_replica: u32,
    /// GPUs of one of its Pods, which must be on one node; 0: it is one Pod.
    pub gpus_per_pod: u32,
    /// Replicas whose GPUs the inventory counts as used.
    pub held: u32,
    /// Least replicas.
    pub min: u32,
    /// Most replicas.
    pub max: u32,
    /// Cost of one replica per hour.
    pub cost: f64,
    /// Requests one replica serves at once, if that is known.
    pub slots: Option<f64>,
}

/// The decision on one model, and what it takes.
#[derive(Debug)]
pub struct Wish<'a> {
    /// What was decided; cut where it cannot be had.
    pub decision: &'a mut Decision,
    /// One for each of the decision's variants, in their order.
    pub terms: Vec<Terms>,
    /// Smaller is served first.
    pub priority: i64,
    /// Whether free GPUs limit it. Quotas always do.
    pub by_gpus: bool,
}

/// What there is.
#[derive(Clone, Debug)]
pub struct Supply<'a> {
    /// GPUs of all nodes, and those that Pods hold.
    pub inventory: &'a Inventory,
    /// Who may use how many.
    pub quotas: &'a Quotas,
    /// What to do where nobody knows what is free.
    pub fail: Fail,
    /// Most replicas a variant gets in one pass.
    pub step_up: Option<u32>,
}

/// A variant that gets less than was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Namespace.
    pub namespace: String,
    /// Variant.
    pub variant: String,
    /// Replicas it should have had.
    pub wished: u32,
    /// Replicas it is asked for instead.
    pub granted: u32,
    /// Why, in a sentence.
    pub why: String,
}

/// What came of all wishes.
#[derive(Clone, Debug, PartialEq)]
pub struct Granted {
    /// Who was cut, in the order of wishes and variants.
    pub cuts: Vec<Cut>,
    /// GPUs still free and promised to nobody, by accelerator; empty if nobody
    /// knows.
    pub left: BTreeMap<String, u64>,
}

/// Cuts `wishes` to what there is. The same input gives the same answer, and
/// the answer given in again is not changed.
pub fn grant(wishes: &mut [Wish<'_>], supply: &Supply<'_>) -> Granted {
    let mut table = Table::lay(wishes, supply);
    if table.seats.iter().any(|seat| seat.wish > seat.from) {
        table.serve();
    }
    let cuts = says::tell(wishes, &table, supply);
    let left = match &table.stock {
        Inventory::Known(stocks) => stocks
            .iter()
            .map(|(name, stock)| (name.clone(), stock.free()))
            .collect(),
        Inventory::Unknown { .. } => BTreeMap::new(),
    };
    Granted { cuts, left }
}

/// One variant at the table.
#[derive(Debug)]
struct Seat {
    model: usize,
    variant: usize,
    from: u32,
    /// What was decided.
    decided: u32,
    /// The same, at most a step away.
    wish: u32,
    /// What comes before all priorities.
    first: u32,
    /// Most it may have in this pass.
    most: u32,
    slots: f64,
    /// Whether it may get what others of its model cannot have.
    helps: bool,
    /// Whether it is too slow for the SLO: what it has serves already what
    /// others cannot, and it gets no more than what is missing beside that.
    stopgap: bool,
    /// Whether neither GPUs nor quotas limit it.
    boundless: bool,
    /// Whether it asked already, for others of its model.
    tried: bool,
}

/// Everybody, and what is left.
#[derive(Debug)]
struct Table<'a> {
    seats: Vec<Seat>,
    /// One for each seat; `current` is what is granted so far.
    claims: Vec<Claim>,
    models: Vec<Model>,
    stock: Inventory,
    /// What was free before anything was granted.
    free: BTreeMap<String, u64>,
    quotas: &'a Quotas,
    fail: Fail,
}

#[derive(Debug)]
struct Model {
    seats: Vec<usize>,
    priority: i64,
    by_gpus: bool,
    wakes: bool,
}

impl<'a> Table<'a> {
    fn lay(wishes: &[Wish<'_>], supply: &Supply<'a>) -> Self {
        let mut table = Self {
            seats: Vec::new(),
            claims: Vec::new(),
            models: Vec::with_capacity(wishes.len()),
            stock: supply.inventory.clone(),
            free: BTreeMap::new(),
            quotas: supply.quotas,
            fail: supply.fail,
        };
        for (model, wish) in wishes.iter().enumerate() {
            let variants = wish.decision.variants.iter().zip(&wish.terms).enumerate();
            let usual = usual_slots(&wish.terms);
            let first_seat = table.seats.len();
            let wakes = wish.decision.variants.iter().any(|v| v.reason == Reason::ScaleFromZero);
            for (variant, (decided, terms)) in variants {
                let step = |to: u32| match supply.step_up {
                    Some(step) => to.min(decided.from.saturating_add(step.max(1))),
                    None => to,
                };
                // What goes down holds its GPUs until its Pods are gone.
                let wanted = step(decided.to.max(decided.from));
                let wakes = decided.reason == Reason::ScaleFromZero;
                let unnamed = terms.accelerator.is_none() && !wish.by_gpus;
                let seat = Seat {
                    model,
                    variant,
                    from: decided.from,
                    decided: decided.to,
                    wish: wanted,
                    first: wanted.min(terms.min.max(u32::from(wakes))),
                    most: step(terms.max.max(decided.to)),
                    slots: slots_of(terms).unwrap_or(usual),
                    stopgap: decided.too_slow,
                    helps: decided.to >= decided.from && decided.reason != Reason::NotStarting,
                    boundless: terms.gpus_per_replica == 0 || unnamed || table.is_open(terms),
                    tried: false,
                };
                table.promise(terms, decided.from.min(decided.to));
                table.claims.push(Claim {
                    namespace: wish.decision.namespace.clone(),
                    variant: decided.name.clone(),
                    accelerator: terms.accelerator.clone().filter(|_| !seat.boundless),
                    gpus_per_replica: terms.gpus_per_replica,
                    gpus_per_pod: terms.gpus_per_pod,
                    current: decided.from,
                    target: decided.from,
                    min: 0,
                    priority: 1,
                    weight: 1.0,
                    spare: 0.0,
                    cost: terms.cost,
                });
                table.seats.push(seat);
            }
            table.models.push(Model {
                seats: (first_seat..table.seats.len()).collect(),
                priority: wish.priority,
                by_gpus: wish.by_gpus,
                wakes,
            });
        }
        if let Inventory::Known(stocks) = &table.stock {
            table.free = stocks
                .iter()
                .map(|(name, stock)| (name.clone(), stock.free()))
                .collect();
        }
        table
    }

    /// Whether nobody can tell what it would take, and that is no obstacle.
    fn is_open(&self, terms: &Terms) -> bool {
        terms.accelerator.is_none() && self.fail == Fail::Open
    }

    /// Takes the GPUs of replicas that are asked for and hold none yet.
    fn promise(&mut self, terms: &Terms, wanted: u32) {
        let more = u64::from(wanted.saturating_sub(terms.held));
        let name = terms.accelerator.as_deref().filter(|_| terms.gpus_per_replica > 0);
        if let Some(stock) = name.and_then(|name| self.stock_of(name)) {
            // Those that fit nowhere will wait, and stand in nobody's way.
            let (pod, each) = pods(terms.gpus_per_replica, terms.gpus_per_pod);
            stock.pieces.take(pod, more.saturating_mul(each));
        }
    }

    fn stock_of(&mut self, accelerator: &str) -> Option<&mut Stock> {
        match &mut self.stock {
            Inventory::Known(stocks) => stocks.get_mut(accelerator),
            Inventory::Unknown { .. } => None,
        }
    }

    /// Everybody in turn: what comes first, then by priority.
    fn serve(&mut self) {
        let grows = |model: &&Model| model.seats.iter().any(|at| self.seats[*at].wish > self.seats[*at].from);
        let levels: BTreeSet<i64> = self.models.iter().filter(grows).map(|model| model.priority).collect();
        for first in [true, false] {
            for seat in &mut self.seats {
                seat.tried = false;
            }
            for level in &levels {
                let models: Vec<usize> = (0..self.models.len())
                    .filter(|at| self.models[*at].priority == *level)
                    .collect();
                let own: Vec<(usize, u32)> = models
                    .iter()
                    .flat_map(|model| &self.models[*model].seats)
                    .map(|&at| (at, self.asks(at, first)))
                    .collect();
                let steps_back = self.who_steps_back(&own);
                let (own, later): (Vec<_>, Vec<_>) = own.into_iter().partition(|(at, _)| !steps_back.contains(at));
                self.ask(&own);
                self.ask(&later);
                // Each round every model asks for one more of its variants.
                loop {
                    let others: Vec<(usize, u32)> = models
                        .iter()
                        .filter(|model| !first || self.models[**model].wakes)
                        .filter_map(|model| self.next_of(*model, first))
                        .collect();
                    if others.is_empty() {
                        break;
                    }
                    for (at, _) in &others {
                        self.seats[*at].tried = true;
                    }
                    self.ask(&others);
                }
            }
        }
    }

    /// What a variant asks for itself.
    fn asks(&self, at: usize, first: bool) -> u32 {
        let seat = &self.seats[at];
        if first { seat.first } else { seat.wish }
    }

    /// The cheapest variant that did not ask yet for what others of its model
    /// could not have, and what it should ask for.
    fn next_of(&self, model: usize, first: bool) -> Option<(usize, u32)> {
        let seats = &self.models[model].seats;
        let missing: f64 = seats
            .iter()
            .map(|&at| (f64::from(self.asks(at, first)) - f64::from(self.claims[at].current)) * self.seats[at].slots)
            .sum();
        let wakes = self.models[model].wakes;
        let awake = || seats.iter().any(|at| self.claims[*at].current > 0);
        if missing <= EDGE || (wakes && awake()) {
            return None;
        }
        let unit = |at: usize| self.claims[at].cost / self.seats[at].slots;
        let stopgaps = seats.iter().map(|at| &self.seats[*at]).filter(|seat| seat.stopgap);
        let served: f64 = stopgaps.map(|seat| f64::from(seat.from) * seat.slots).sum();
        let lacks = |at: usize| missing - if self.seats[at].stopgap { served } else { 0.0 };
        let at = seats
            .iter()
            .copied()
            .filter(|&at| {
                let (seat, has) = (&self.seats[at], self.claims[at].current);
                seat.helps && !seat.tried && has >= self.asks(at, first) && has < seat.most && lacks(at) > EDGE
            })
            .min_by(|&a, &b| {
                let (x, y) = (&self.claims[a], &self.claims[b]);
                self.seats[a]
                    .stopgap
                    .cmp(&self.seats[b].stopgap)
                    .then_with(|| unit(a).total_cmp(&unit(b)))
                    .then_with(|| x.cost.total_cmp(&y.cost))
                    .then_with(|| x.variant.cmp(&y.variant))
            })?;
        let seat = &self.seats[at];
        // Who sleeps asks for one replica, whichever it is.
        let most = if wakes { 1.0 } else { f64::from(u32::MAX) };
        let more = (lacks(at) / seat.slots - EDGE).ceil().clamp(1.0, most) as u32;
        Some((at, self.claims[at].current.saturating_add(more).min(seat.most)))
    }

    /// Grants what can be had of `wishes` (a seat and its replicas).
    fn ask(&mut self, wishes: &[(usize, u32)]) {
        for by_gpus in [false, true] {
            let mut asked = Vec::new();
            for &(at, to) in wishes {
                if to <= self.claims[at].current || self.models[self.seats[at].model].by_gpus != by_gpus {
                    continue;
                }
                if self.seats[at].boundless {
                    (self.claims[at].current, self.claims[at].target) = (to, to);
                } else {
                    self.claims[at].target = to;
                    asked.push(at);
                }
            }
            if asked.is_empty() {
                continue;
            }
            let anything = Inventory::Unknown { why: String::new() };
            let (inventory, fail) = if by_gpus {
                (&self.stock, self.fail)
            } else {
                (&anything, Fail::Open)
            };
            let (grants, mut left) = settle(&self.claims, inventory, self.quotas, fail, Mode::Guarded);
            if let (true, Inventory::Known(stocks)) = (by_gpus, &mut self.stock) {
                for (name, stock) in stocks {
                    if let Some(pieces) = left.remove(name) {
                        stock.pieces = pieces;
                    }
                }
            }
            for at in asked {
                let claim = &mut self.claims[at];
                let more = grants[at].replicas.saturating_sub(claim.current);
                claim.current += more;
                claim.target = claim.current;
                let (pod, each) = pods(claim.gpus_per_replica, claim.gpus_per_pod);
                let name = claim.accelerator.clone().filter(|_| !by_gpus);
                if let Some(stock) = name.and_then(|name| self.stock_of(&name)) {
                    stock.pieces.take(pod, u64::from(more).saturating_mul(each));
                }
            }
        }
    }
}

fn slots_of(terms: &Terms) -> Option<f64> {
    terms.slots.filter(|slots| slots.is_finite() && *slots > EDGE)
}

/// Slots of a variant of which they are not known: as the others have.
fn usual_slots(terms: &[Terms]) -> f64 {
    let known: Vec<f64> = terms.iter().filter_map(slots_of).collect();
    if known.is_empty() {
        1.0
    } else {
        known.iter().sum::<f64>() / known.len() as f64
    }
}

#[cfg(test)]
mod tests;
