//! Turns a capacity into replicas per variant: cheapest first up, dearest
//! first down, within bounds; those that break the SLO last up, first down.
//!
//! Cheapest is who asks least for a slot, but replicas are whole: where others
//! hold what is missing for less, those are taken ([`mod@cover`]), and those are
//! left when it goes down. What is there is never replaced.

use crate::load::{Load, Stand};
use crate::words;
use cover::{Offer, cover};

mod cover;

/// Absorbs the rounding of sums; far below one replica of anything.
const EPSILON: f64 = 1e-9;

/// Replicas per variant, in the order of [`Load::stands`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Targets(pub(crate) Vec<u32>);

/// What kept a plan from giving what was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Obstacles {
    /// Variants at their maximum, by index.
    pub(crate) at_maximum: Vec<usize>,
    /// Variants whose replicas do not come up, by index.
    pub(crate) not_starting: Vec<usize>,
    /// Variants at their minimum, by index.
    pub(crate) at_minimum: Vec<usize>,
    /// What bounds forced, as sentences.
    pub(crate) forced: Vec<String>,
    /// All the same as sentences.
    pub(crate) says: Vec<String>,
}

impl Targets {
    /// What the targets are asked for now.
    pub(crate) fn as_wanted(load: &Load<'_>) -> Self {
        Self(load.stands.iter().map(|stand| stand.variant.wanted).collect())
    }

    /// Moves every variant into its bounds and says which ones moved.
    pub(crate) fn clamp(&mut self, load: &Load<'_>, obstacles: &mut Obstacles) {
        for (i, stand) in load.stands.iter().enumerate() {
            let variant = stand.variant;
            if self.0[i] > variant.max {
                obstacles.forced.push(format!(
                    "{} may have at most {} (maxReplicas)",
                    variant.name, variant.max
                ));
                obstacles.at_maximum.push(i);
                self.0[i] = variant.max;
            } else if self.0[i] < variant.min {
                obstacles.forced.push(format!(
                    "{} must have at least {} (minReplicas)",
                    variant.name, variant.min
                ));
                obstacles.at_minimum.push(i);
                self.0[i] = variant.min;
            }
        }
        obstacles.says.extend(obstacles.forced.iter().cloned());
    }

    /// Slots of what serves or comes, once this is carried out.
    pub(crate) fn live_capacity(&self, load: &Load<'_>) -> f64 {
        load.stands
            .iter()
            .zip(&self.0)
            .map(|(stand, target)| f64::from(stand.live_at(*target)) * stand.worth())
            .sum()
    }

    /// Replicas that will be on their way, once this is carried out.
    pub(crate) fn coming(&self, load: &Load<'_>) -> u32 {
        load.stands
            .iter()
            .zip(&self.0)
            .map(|(stand, target)| stand.live_at(*target) - stand.ready.min(*target))
            .sum()
    }

    /// Slots that serve at once, once this is carried out: what is not ready
    /// goes first.
    fn ready_capacity(&self, load: &Load<'_>) -> f64 {
        load.stands
            .iter()
            .zip(&self.0)
            .map(|(stand, target)| f64::from(stand.ready.min(*target)) * stand.worth())
            .sum()
    }

    /// Slots that serve or come, those of variants that are too slow included.
    fn live_slots(&self, load: &Load<'_>) -> f64 {
        let stands = load.stands.iter().zip(&self.0);
        stands
            .map(|(stand, target)| f64::from(stand.live_at(*target)) * stand.slots)
            .sum()
    }

    /// Adds replicas until `needs` slots serve or come, at the least cost of
    /// whole ones. Those that are too slow for what is promised get what no
    /// other can have: late is better than never.
    pub(crate) fn raise(&mut self, needs: f64, load: &Load<'_>, obstacles: &mut Obstacles) {
        let before = self.clone();
        let mut met = Obstacles::default();
        self.raise_in_order(needs, load, &mut met);
        if let Some(less) = before.raised_for_less(self, needs, load) {
            *self = less;
            // Who is not taken to its maximum is not kept by it.
            let at_maximum = |i: usize| self.0[i] >= load.stands[i].variant.max;
            met.says.clear();
            met.at_maximum.retain(|i| at_maximum(*i));
            let stuck = met.not_starting.iter().map(|i| passed_over(&load.stands[*i]));
            let full = met.at_maximum.iter().map(|i| is_full(&load.stands[*i]));
            met.says = stuck.chain(full).collect();
        }
        obstacles.at_maximum.append(&mut met.at_maximum);
        obstacles.not_starting.append(&mut met.not_starting);
        obstacles.says.append(&mut met.says);
    }

    /// What holds `needs` slots for less than `in_order`, if anything does.
    ///
    /// A load that grows step by step would buy small replicas at a high price
    /// for ever. So those that are there count: once they and the new ones cost
    /// as much as the large one, it is taken, and they may go.
    fn raised_for_less(&self, in_order: &Self, needs: f64, load: &Load<'_>) -> Option<Self> {
        let order: Vec<usize> = by_slots(load)?;
        let more = |i: &usize| in_order.0[*i] - self.0[*i];
        let first = *order.iter().find(|i| more(i) > 0)?;
        let missing = needs - self.live_capacity(load);
        let covers = in_order.live_capacity(load) >= needs - EPSILON;
        let cost: f64 = order
            .iter()
            .map(|i| f64::from(more(i)) * load.stands[*i].variant.cost)
            .sum();
        let dearer = order.iter().map(|i| (*i, &load.stands[*i]));
        let dearer = dearer.filter(|(_, stand)| stand.price > load.stands[first].price);
        let there: f64 = dearer
            .map(|(i, stand)| {
                let may_go = stand.live_at(self.0[i]).saturating_sub(stand.variant.min);
                f64::from(may_go) * stand.variant.cost
            })
            .sum();
        if !covers || there >= cost {
            return None;
        }
        let offers: Vec<Offer> = order.iter().map(|i| offer(&load.stands[*i], self.0[*i])).collect();
        let taken = cover(&offers, missing, cost - there)?;
        let mut less = self.clone();
        for (i, n) in order.into_iter().zip(taken) {
            less.0[i] += n;
        }
        Some(less)
    }

    /// Adds replicas, cheapest first.
    fn raise_in_order(&mut self, needs: f64, load: &Load<'_>, obstacles: &mut Obstacles) {
        for i in cheapest_first(load) {
            let stand = &load.stands[i];
            let live = match stand.too_slow {
                None => self.live_capacity(load),
                Some(_) => self.live_slots(load),
            };
            let missing = needs - live;
            if missing <= EPSILON {
                return;
            }
            if stand.stuck > 0 {
                obstacles.not_starting.push(i);
                obstacles.says.push(passed_over(stand));
                continue;
            }
            self.add(missing, i, stand, obstacles);
        }
        // Nobody else can have it. Where one replica of many does not come up,
        // another one may.
        for i in cheapest_first(load) {
            let stand = &load.stands[i];
            let missing = needs - self.live_slots(load);
            if missing <= EPSILON {
                return;
            }
            if stand.stuck > 0 && stand.mostly_serves {
                obstacles.not_starting.retain(|stuck| *stuck != i);
                self.add(missing, i, stand, obstacles);
            }
        }
    }

    /// Adds replicas of one variant for what is missing, within its maximum.
    fn add(&mut self, missing: f64, i: usize, stand: &Stand<'_>, obstacles: &mut Obstacles) {
        let room = stand.variant.max.saturating_sub(self.0[i]);
        let asked = (missing / stand.slots - EPSILON).ceil().max(1.0);
        if asked > f64::from(room) {
            obstacles.at_maximum.push(i);
            obstacles.says.push(is_full(stand));
        }
        // The cast saturates, and `room` bounds it anyway.
        self.0[i] += (asked as u32).min(room);
    }

    /// Asks the variant with the cheapest replica for one, if any may have one.
    pub(crate) fn wake_one(&mut self, load: &Load<'_>, obstacles: &mut Obstacles) -> Option<usize> {
        let mut order: Vec<usize> = (0..load.stands.len()).collect();
        order.sort_by(|a, b| {
            let (a, b) = (&load.stands[*a], &load.stands[*b]);
            let (slow, other) = (a.too_slow.is_some(), b.too_slow.is_some());
            let (a, b) = (a.variant, b.variant);
            slow.cmp(&other)
                .then_with(|| a.cost.total_cmp(&b.cost))
                .then_with(|| a.name.cmp(&b.name))
        });
        let found = order.into_iter().find(|i| load.stands[*i].variant.max > 0);
        match found {
            Some(i) => self.0[i] = 1,
            None => obstacles
                .says
                .push("no variant may have a replica (maxReplicas)".to_owned()),
        }
        found
    }

    /// Takes replicas away, those that do not come up first, then the too slow
    /// and the dearest, as long as `needs` slots are left that serve, and one
    /// replica at least; or others where less cost is left so.
    pub(crate) fn lower(&mut self, needs: f64, load: &Load<'_>, obstacles: &mut Obstacles) {
        loop {
            let before = self.clone();
            let mut met = Obstacles::default();
            self.lower_in_order(needs, load, &mut met);
            if let Some(less) = before.lowered_to_less(self, needs, load) {
                *self = less;
                met.at_minimum.retain(|i| self.0[*i] <= load.stands[*i].variant.min);
            }
            // What is left may leave room for one more to go.
            if *self == before {
                obstacles.at_minimum.append(&mut met.at_minimum);
                return;
            }
        }
    }

    /// What keeps `needs` slots of those there are at less cost than
    /// `in_order` leaves, if anything does.
    fn lowered_to_less(&self, in_order: &Self, needs: f64, load: &Load<'_>) -> Option<Self> {
        let order: Vec<usize> = by_slots(load)?;
        let mut less = in_order.clone();
        for i in &order {
            less.0[*i] = self.0[*i].min(load.stands[*i].variant.min);
        }
        let cost = |targets: &Self| -> f64 {
            let each = order
                .iter()
                .map(|i| f64::from(targets.0[*i]) * load.stands[*i].variant.cost);
            each.sum()
        };
        let serving = load
            .stands
            .iter()
            .zip(&less.0)
            .any(|(stand, n)| stand.ready.min(*n) > 0);
        // One has to serve, however few slots are needed.
        let needs = if serving { needs } else { needs.max(2.0 * EPSILON) };
        let missing = needs - less.ready_capacity(load);
        if missing <= EPSILON || in_order.ready_capacity(load) < needs - EPSILON {
            return None;
        }
        let offers = order.iter().map(|i| {
            let stand = &load.stands[*i];
            let room = stand.ready.min(self.0[*i]).saturating_sub(less.0[*i]);
            Offer {
                room,
                ..offer(stand, less.0[*i])
            }
        });
        let offers: Vec<Offer> = offers.collect();
        let taken = cover(&offers, missing, cost(in_order) - cost(&less))?;
        for (i, n) in order.iter().zip(taken) {
            less.0[*i] += n;
        }
        Some(less)
    }

    /// Takes replicas away, dearest first.
    fn lower_in_order(&mut self, needs: f64, load: &Load<'_>, obstacles: &mut Obstacles) {
        let mut dearest_first = cheapest_first(load);
        dearest_first.reverse();
        let spared = self.ready_capacity(load) >= needs - EPSILON && load.ready_capacity() > 0.0;
        for &i in dearest_first.iter().filter(|_| spared) {
            let stand = &load.stands[i];
            let floor = stand.variant.min.max(stand.ready + stand.starting);
            if self.0[i] > floor && self.0.iter().sum::<u32>() > 1 && stand.stuck > 0 {
                let others: u32 = self
                    .0
                    .iter()
                    .enumerate()
                    .filter(|(j, _)| *j != i)
                    .map(|(_, n)| *n)
                    .sum();
                self.0[i] = floor.max(u32::from(others == 0));
            }
        }
        for i in dearest_first {
            let stand = &load.stands[i];
            loop {
                if self.0[i] == 0 {
                    break;
                }
                let mut fewer = self.clone();
                fewer.0[i] -= 1;
                let enough = fewer.ready_capacity(load) >= needs - EPSILON
                    && load
                        .stands
                        .iter()
                        .zip(&fewer.0)
                        .any(|(stand, target)| stand.ready.min(*target) > 0);
                if !enough {
                    break;
                }
                if self.0[i] <= stand.variant.min {
                    obstacles.at_minimum.push(i);
                    break;
                }
                *self = fewer;
            }
        }
    }

    /// Takes everything to its minimum.
    pub(crate) fn lower_to_minimum(&mut self, load: &Load<'_>, obstacles: &mut Obstacles) {
        for (i, stand) in load.stands.iter().enumerate() {
            self.0[i] = self.0[i].min(stand.variant.min);
            if stand.variant.min > 0 {
                obstacles.at_minimum.push(i);
            }
        }
    }

    /// `+2 l4 (cheapest), -1 h100`, or nothing.
    pub(crate) fn moves(&self, load: &Load<'_>, model: &str) -> String {
        let several = load.stands.len() > 1;
        let moves = load
            .stands
            .iter()
            .zip(&self.0)
            .filter(|(stand, target)| stand.variant.wanted != **target)
            .map(|(stand, target)| {
                let (from, name) = (stand.variant.wanted, words::short_name(&stand.variant.name, model));
                if *target > from {
                    let cheapest = several && is_cheapest(stand, load);
                    format!("+{} {name}{}", target - from, if cheapest { " (cheapest)" } else { "" })
                } else {
                    let dearest = several && is_dearest(stand, load);
                    format!("-{} {name}{}", from - target, if dearest { " (dearest)" } else { "" })
                }
            });
        moves.collect::<Vec<_>>().join(", ")
    }
}

/// By price; those that are too slow come last.
fn cheapest_first(load: &Load<'_>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..load.stands.len()).collect();
    order.sort_by(|a, b| {
        let (a, b) = (&load.stands[*a], &load.stands[*b]);
        a.too_slow
            .is_some()
            .cmp(&b.too_slow.is_some())
            .then_with(|| a.price.total_cmp(&b.price))
            .then_with(|| a.variant.name.cmp(&b.variant.name))
    });
    order
}

/// Those that can be had and are no obstacle, by price, where a price is what a
/// slot costs. Where it is what a request costs within the promise, a slot of
/// one is not worth a slot of another, and the order is all there is.
fn by_slots(load: &Load<'_>) -> Option<Vec<usize>> {
    if load.stands.len() < 2 {
        return None;
    }
    let mut order = cheapest_first(load);
    order.retain(|i| load.stands[*i].too_slow.is_none() && load.stands[*i].stuck == 0);
    let of_slots = |stand: &Stand<'_>| {
        let price = stand.variant.cost / stand.slots;
        price.is_finite() && price >= 0.0 && stand.price == price
    };
    order.iter().all(|i| of_slots(&load.stands[*i])).then_some(order)
}

/// What there is of a variant beyond `target`.
fn offer(stand: &Stand<'_>, target: u32) -> Offer {
    Offer {
        slots: stand.slots,
        cost: stand.variant.cost,
        room: stand.variant.max.saturating_sub(target),
    }
}

fn passed_over(stand: &Stand<'_>) -> String {
    let why = stand.stuck_why.as_deref().unwrap_or("replicas do not come up");
    format!("{} is passed over: {why}", stand.variant.name)
}

fn is_full(stand: &Stand<'_>) -> String {
    format!("{} is at its maximum of {}", stand.variant.name, stand.variant.max)
}

fn is_cheapest(stand: &Stand<'_>, load: &Load<'_>) -> bool {
    let others = load.stands.iter().filter(|other| other.too_slow.is_none());
    stand.too_slow.is_none() && others.into_iter().all(|other| stand.price <= other.price)
}

fn is_dearest(stand: &Stand<'_>, load: &Load<'_>) -> bool {
    load.stands.iter().all(|other| stand.price >= other.price)
}

#[cfg(test)]
mod tests;
