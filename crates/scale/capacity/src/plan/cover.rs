//! The least cost of whole replicas that hold so many slots.
//!
//! A branch and bound over the offers in the order of their price: what is
//! still missing costs at least its slots at the price of the next offer. Steps
//! are counted, so that a thousand offers of one price end, too; then the best
//! that was found is the answer.

use super::EPSILON;

/// Steps of one search. Two offers take fewer than a hundred, five some hundred.
const STEPS: u32 = 4_096;

/// Replicas of one kind to choose from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Offer {
    /// Slots of one.
    pub(super) slots: f64,
    /// What one costs.
    pub(super) cost: f64,
    /// How many there are to be had.
    pub(super) room: u32,
}

impl Offer {
    fn price(&self) -> f64 {
        self.cost / self.slots
    }

    /// How many of it hold `slots`, or all there are.
    pub(super) fn holding(&self, slots: f64) -> u32 {
        // The cast saturates, and the room bounds it anyway.
        ((slots / self.slots - EPSILON).ceil().max(1.0) as u32).min(self.room)
    }
}

/// How many of each offer hold `missing` slots at the least cost, if that is
/// less than `below`. Offers are given cheapest first, by price.
pub(super) fn cover(offers: &[Offer], missing: f64, below: f64) -> Option<Vec<u32>> {
    debug_assert!(offers.is_sorted_by(|a, b| a.price() <= b.price()), "{offers:?}");
    let mut search = Search {
        offers,
        taken: vec![0; offers.len()],
        below,
        best: None,
        steps: STEPS,
    };
    search.from(0, missing, 0.0);
    search.best
}

struct Search<'a> {
    offers: &'a [Offer],
    taken: Vec<u32>,
    below: f64,
    best: Option<Vec<u32>>,
    steps: u32,
}

impl Search<'_> {
    /// Whether `cost` is beyond the best by more than rounding.
    fn is_less(&self, cost: f64) -> bool {
        cost < self.below - EPSILON * self.below.abs().max(1.0)
    }

    /// Tries every number of the offers from `at` on, given what was taken of
    /// those before.
    fn from(&mut self, at: usize, missing: f64, cost: f64) {
        if missing <= EPSILON {
            if self.is_less(cost) {
                self.below = cost;
                self.best = Some(self.taken.clone());
            }
            return;
        }
        let Some(offer) = self.offers.get(at).copied() else {
            return;
        };
        if self.steps == 0 || !self.is_less(cost + missing * offer.price()) {
            return;
        }
        self.steps -= 1;
        let next = self.offers.get(at + 1).map_or(f64::INFINITY, Offer::price);
        for n in (0..=offer.holding(missing)).rev() {
            let left = missing - f64::from(n) * offer.slots;
            let so_far = cost + f64::from(n) * offer.cost;
            // With fewer of this one the rest costs no less.
            if left > EPSILON && !self.is_less(so_far + left * next) {
                break;
            }
            self.taken[at] = n;
            self.from(at + 1, left, so_far);
        }
        self.taken[at] = 0;
    }
}
