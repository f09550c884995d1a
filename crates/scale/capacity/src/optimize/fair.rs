//! A fair share of something that comes in whole pieces.
//!
//! Water-filling: everybody has a floor; what is left goes by weight, nobody
//! beyond a cap, and what a cap refuses goes to the others by weight again.
//! Shares are then made whole by the largest remainder (Hamilton), so that
//! they sum to what there is.

/// Somebody with a share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Party {
    /// What it gets first, if there is enough for all floors.
    pub floor: u64,
    /// What its share is in proportion to. One that is no number above 0
    /// counts as very small, not as none: it still gets what nobody else wants.
    pub weight: f64,
    /// What it gets at most; a cap below the floor counts as the floor.
    pub cap: u64,
}

/// Smallest and largest weight: no share is beyond rounding, no sum overflows.
const WEIGHTS: (f64, f64) = (1e-6, 1e12);

/// Whole shares of `budget`, in the order given; together at most the budget,
/// and all of it unless everybody is at its cap. Of equal remainders the
/// earlier party gets the piece. Where the budget is less than all floors, it
/// is shared by the floors.
#[must_use]
pub fn share(budget: u64, parties: &[Party]) -> Vec<u64> {
    let floors: u128 = parties.iter().map(|party| u128::from(party.floor)).sum();
    if floors > u128::from(budget) {
        let by_floor: Vec<Party> = parties
            .iter()
            .map(|party| Party {
                floor: 0,
                weight: party.floor as f64,
                cap: party.floor,
            })
            .collect();
        return share(budget, &by_floor);
    }
    let weight = |party: &Party| {
        if party.weight > 0.0 {
            party.weight.clamp(WEIGHTS.0, WEIGHTS.1)
        } else {
            WEIGHTS.0
        }
    };
    let cap = |party: &Party| party.cap.max(party.floor);
    // Exact shares: those whom the water would lift over their cap stay at it,
    // and the rest is shared again.
    let mut capped = vec![false; parties.len()];
    let mut exact: Vec<f64> = vec![0.0; parties.len()];
    for _ in 0..=parties.len() {
        let (mut left, mut weights) = (budget as f64, 0.0);
        for (party, capped) in parties.iter().zip(&capped) {
            left -= if *capped { cap(party) } else { party.floor } as f64;
            weights += if *capped { 0.0 } else { weight(party) };
        }
        let mut again = false;
        for (at, party) in parties.iter().enumerate() {
            exact[at] = if capped[at] {
                cap(party) as f64
            } else {
                party.floor as f64 + left.max(0.0) * weight(party) / weights
            };
            if !capped[at] && exact[at] >= cap(party) as f64 {
                capped[at] = true;
                again = true;
            }
        }
        if !again {
            break;
        }
    }
    let mut shares: Vec<u64> = parties
        .iter()
        .zip(&exact)
        .map(|(party, exact)| ((exact + 1e-9) as u64).clamp(party.floor, cap(party)))
        .collect();
    // Rounding may have given a piece too many; nobody misses less than one.
    let mut order: Vec<usize> = (0..parties.len()).collect();
    let remainder = |at: usize| exact[at] - exact[at].floor();
    order.sort_by(|&a, &b| remainder(b).total_cmp(&remainder(a)).then(a.cmp(&b)));
    let mut left = i128::from(budget) - shares.iter().map(|share| i128::from(*share)).sum::<i128>();
    while left != 0 {
        let mut moved = false;
        for &at in &order {
            if left > 0 && shares[at] < cap(&parties[at]) {
                // Far from the budget only for figures beyond exact floats.
                let more = (left / order.len() as i128).max(1);
                let more = more.min(i128::from(cap(&parties[at]) - shares[at]));
                shares[at] += more as u64;
                left -= more;
                moved = true;
            } else if left < 0 && shares[at] > parties[at].floor {
                let less = (-left / order.len() as i128).max(1);
                let less = less.min(i128::from(shares[at] - parties[at].floor));
                shares[at] -= less as u64;
                left += less;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn party(weight: f64, cap: u64) -> Party {
        Party { floor: 0, weight, cap }
    }

    #[test]
    fn shares_are_fair_whole_and_all_of_it() {
        let cases: [(u64, &[Party], &[u64]); 9] = [
            (8, &[party(1.0, 2), party(1.0, 4), party(1.0, 4)], &[2, 3, 3]),
            (8, &[party(2.0, 9), party(4.0, 9), party(4.0, 9)], &[2, 3, 3]),
            (3, &[party(4.0, 4), party(1.0, 1)], &[2, 1]),
            (7, &[party(1.0, 9), party(1.0, 9)], &[4, 3]),
            (100, &[party(1.0, 2), party(1.0, 3)], &[2, 3]),
            (10, &[party(0.0, 4), party(1.0, 20)], &[0, 10]),
            (10, &[party(f64::NAN, 4), party(1.0, 6)], &[4, 6]),
            (
                5,
                &[
                    Party {
                        floor: 3,
                        weight: 1.0,
                        cap: 9,
                    },
                    Party {
                        floor: 1,
                        weight: 3.0,
                        cap: 9,
                    },
                ],
                &[3, 2],
            ),
            (
                2,
                &[
                    Party {
                        floor: 3,
                        weight: 1.0,
                        cap: 9,
                    },
                    Party {
                        floor: 1,
                        weight: 3.0,
                        cap: 9,
                    },
                ],
                &[2, 0],
            ),
        ];
        for (budget, parties, expected) in cases {
            assert_eq!(share(budget, parties), expected, "{budget} among {parties:?}");
        }
        assert!(share(5, &[]).is_empty());
    }

    proptest! {
        #[test]
        fn the_budget_is_spent_and_nobody_gets_more_than_he_may(
            budget in 0u64..10_000,
            parties in prop::collection::vec((0u64..500, -1.0..10.0f64, 0u64..3000), 0..8),
        ) {
            let parties: Vec<Party> = parties.into_iter().map(|(floor, weight, cap)| Party { floor, weight, cap }).collect();
            let shares = share(budget, &parties);
            let floors: u64 = parties.iter().map(|p| p.floor).sum();
            let caps: u64 = parties.iter().map(|p| p.cap.max(p.floor)).sum();
            prop_assert_eq!(shares.iter().sum::<u64>(), budget.min(caps));
            for (share, party) in shares.iter().zip(&parties) {
                prop_assert!(*share <= party.cap.max(party.floor));
                prop_assert!(floors > budget || *share >= party.floor);
            }
        }

        #[test]
        fn no_figure_panics(budget: u64, parties in prop::collection::vec((any::<u64>(), any::<f64>(), any::<u64>()), 0..5)) {
            let parties: Vec<Party> = parties.into_iter().map(|(floor, weight, cap)| Party { floor, weight, cap }).collect();
            prop_assert!(share(budget, &parties).iter().map(|s| u128::from(*s)).sum::<u128>() <= u128::from(budget));
        }
    }
}
