//! One model: missing capacity goes where it costs least, spare capacity goes
//! away where it costs most.
//!
//! Missing capacity is covered whole at the least cost: a variant at a time, by
//! cost per capacity, as many replicas as fit and then either one more of the
//! same or whatever covers the rest more cheaply. Spare capacity is taken from
//! the variant with the dearest replicas first, as many whole replicas as are
//! spare. One replica of the model stays: the cheapest.

use crate::words;
use std::cmp::Ordering;

/// Shares of a replica below this are rounding.
const EDGE: f64 = 1e-9;
/// Variants of which every combination of whole and one more is tried; beyond,
/// the cheapest per capacity takes all.
const MAX_SEARCHED: usize = 10;

/// A variant that may give or get replicas.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// Its name, unique in the model.
    pub name: String,
    /// Cost of one replica per hour, from its specification.
    pub cost: f64,
    /// What one replica holds, in the unit of what is missing; 0 when unknown.
    pub per_replica: f64,
    /// Replicas it is asked for now, those on the way included.
    pub current: u32,
    /// Least replicas.
    pub min: u32,
    /// Most replicas.
    pub max: u32,
    /// Most replicas it gets in one pass.
    pub step_up: Option<u32>,
    /// Most replicas it loses in one pass.
    pub step_down: Option<u32>,
}

/// What a variant should have.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The variant.
    pub name: String,
    /// Replicas.
    pub replicas: u32,
    /// Why, in a sentence.
    pub why: String,
}

/// What the variants of a model should have, and what stays open.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// In the order given.
    pub choices: Vec<Choice>,
    /// What is still missing because of bounds.
    pub uncovered: f64,
}

/// Spreads `required` capacity over the variants, or takes `spare` capacity
/// away. Required comes first; with neither, or with figures that are none,
/// only bounds act.
#[must_use]
pub fn fit(offers: &[Offer], required: f64, spare: f64) -> Fit {
    let mut choices: Vec<Choice> = offers.iter().map(within_bounds).collect();
    // What a bound adds or takes is part of the answer to what is asked.
    let moved: f64 = offers
        .iter()
        .zip(&choices)
        .map(|(offer, choice)| capacity(offer) * (f64::from(choice.replicas) - f64::from(offer.current)))
        .sum();
    let figure = |value: f64| if value.is_finite() { value.max(0.0) } else { 0.0 };
    let (required, spare) = (figure(required), figure(spare));
    let balance = required - if required > 0.0 { 0.0 } else { spare } - moved;
    let uncovered = if balance > EDGE {
        add(offers, &mut choices, balance)
    } else {
        if balance < -EDGE && required <= 0.0 && spare > 0.0 {
            remove(offers, &mut choices, -balance);
        }
        0.0
    };
    Fit { choices, uncovered }
}

fn capacity(offer: &Offer) -> f64 {
    if offer.per_replica.is_finite() && offer.per_replica > 0.0 {
        offer.per_replica
    } else {
        0.0
    }
}

fn within_bounds(offer: &Offer) -> Choice {
    let most = offer.max.max(offer.min);
    let replicas = offer.current.clamp(offer.min, most);
    let why = match replicas.cmp(&offer.current) {
        Ordering::Greater => format!("{} is its minimum", offer.min),
        Ordering::Less => format!("{most} is its maximum"),
        Ordering::Equal => "no change".to_owned(),
    };
    Choice {
        name: offer.name.clone(),
        replicas,
        why,
    }
}

/// Replicas this variant may still get in this pass.
fn room(offer: &Offer, choice: &Choice) -> u32 {
    let bound = offer.max.saturating_sub(choice.replicas);
    match offer.step_up {
        Some(step) => bound.min(offer.current.saturating_add(step).saturating_sub(choice.replicas)),
        None => bound,
    }
}

fn by_cost(a: &Offer, b: &Offer) -> Ordering {
    a.cost.total_cmp(&b.cost).then_with(|| a.name.cmp(&b.name))
}

fn add(offers: &[Offer], choices: &mut [Choice], missing: f64) -> f64 {
    let mut order: Vec<usize> = (0..offers.len())
        .filter(|&at| capacity(&offers[at]) > 0.0 && room(&offers[at], &choices[at]) > 0)
        .collect();
    order.sort_by(|&a, &b| {
        let unit = |at: usize| offers[at].cost / capacity(&offers[at]);
        unit(a)
            .total_cmp(&unit(b))
            .then_with(|| by_cost(&offers[a], &offers[b]))
    });
    if order.is_empty() {
        // Nobody knows what any of them holds: one replica will tell.
        let unknown = (0..offers.len())
            .filter(|&at| capacity(&offers[at]) <= 0.0 && room(&offers[at], &choices[at]) > 0)
            .min_by(|&a, &b| by_cost(&offers[a], &offers[b]));
        if let Some(at) = unknown {
            choices[at].replicas += 1;
            "one more, to learn what a replica holds".clone_into(&mut choices[at].why);
        }
        return missing;
    }
    let pieces: Vec<Piece> = order
        .iter()
        .map(|&at| Piece {
            cost: offers[at].cost,
            holds: capacity(&offers[at]),
            room: room(&offers[at], &choices[at]),
        })
        .collect();
    let plan = if pieces.len() <= MAX_SEARCHED {
        cover(&pieces, missing)
    } else {
        cover_in_order(&pieces, missing)
    };
    for (&at, &count) in order.iter().zip(&plan.counts) {
        if count > 0 {
            choices[at].replicas += count;
            choices[at].why = format!(
                "{count} more: {} of capacity for {:.2} per hour",
                words::number(f64::from(count) * capacity(&offers[at])),
                f64::from(count) * offers[at].cost
            );
        }
    }
    plan.uncovered
}

struct Piece {
    cost: f64,
    holds: f64,
    room: u32,
}

struct Plan {
    counts: Vec<u32>,
    uncovered: f64,
    cost: f64,
}

impl Plan {
    fn better_than(&self, other: &Self) -> bool {
        let short = (self.uncovered - other.uncovered).abs() > EDGE;
        if short {
            self.uncovered < other.uncovered
        } else {
            self.cost.total_cmp(&other.cost).is_lt()
        }
    }
}

/// Whole replicas that fit into `missing`, and those that cover it.
fn around(piece: &Piece, missing: f64) -> (u32, u32) {
    let exact = missing / piece.holds;
    let most = f64::from(piece.room);
    (
        (exact + EDGE).floor().min(most) as u32,
        (exact - EDGE).ceil().min(most) as u32,
    )
}

/// The cheaper of "one more of this" and "the rest from the others", at each
/// variant in turn.
fn cover(pieces: &[Piece], missing: f64) -> Plan {
    let Some((first, rest)) = pieces.split_first() else {
        return Plan {
            counts: Vec::new(),
            uncovered: missing.max(0.0),
            cost: 0.0,
        };
    };
    let missing = missing.max(0.0);
    let with = |count: u32| {
        let left = missing - f64::from(count) * first.holds;
        let mut plan = if left > EDGE * first.holds {
            cover(rest, left)
        } else {
            Plan {
                counts: vec![0; rest.len()],
                uncovered: 0.0,
                cost: 0.0,
            }
        };
        plan.counts.insert(0, count);
        plan.cost += f64::from(count) * first.cost;
        plan
    };
    let (fits, covers) = around(first, missing);
    let mut best = with(covers);
    if fits != covers {
        let other = with(fits);
        if other.better_than(&best) {
            best = other;
        }
    }
    // Something dear per capacity may still be the cheapest that is enough.
    if fits > 0 {
        let other = with(0);
        if other.better_than(&best) {
            best = other;
        }
    }
    best
}

fn cover_in_order(pieces: &[Piece], missing: f64) -> Plan {
    let mut plan = Plan {
        counts: vec![0; pieces.len()],
        uncovered: missing,
        cost: 0.0,
    };
    for (count, piece) in plan.counts.iter_mut().zip(pieces) {
        if plan.uncovered <= EDGE {
            break;
        }
        *count = around(piece, plan.uncovered).1;
        plan.cost += f64::from(*count) * piece.cost;
        plan.uncovered = (plan.uncovered - f64::from(*count) * piece.holds).max(0.0);
    }
    plan
}

fn remove(offers: &[Offer], choices: &mut [Choice], mut spare: f64) {
    let mut order: Vec<usize> = (0..offers.len()).filter(|&at| capacity(&offers[at]) > 0.0).collect();
    // Of equal cost the later name goes first, as the earlier one comes first.
    order.sort_by(|&a, &b| by_cost(&offers[b], &offers[a]));
    for at in order {
        let (offer, holds) = (&offers[at], capacity(&offers[at]));
        let others = choices
            .iter()
            .enumerate()
            .any(|(other, choice)| other != at && choice.replicas > 0);
        // Whoever is last keeps one.
        let keep = offer.min.max(u32::from(!others));
        let mut removable = choices[at].replicas.saturating_sub(keep);
        if let Some(step) = offer.step_down {
            let gone = offer.current.saturating_sub(choices[at].replicas);
            removable = removable.min(step.saturating_sub(gone));
        }
        let whole = (spare / holds + EDGE).floor().min(f64::from(removable)) as u32;
        if whole > 0 {
            choices[at].replicas -= whole;
            choices[at].why = format!(
                "{whole} less: the rest has {} to spare",
                words::number(spare - f64::from(whole) * holds)
            );
            spare -= f64::from(whole) * holds;
        }
    }
}

#[cfg(test)]
mod tests;
