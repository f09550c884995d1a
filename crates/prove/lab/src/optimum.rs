//! The clairvoyant optimum: what somebody who knew the whole day would pay.
//!
//! Demand needs `need[t]` replicas at step `t`; a replica that is started costs
//! its start-up time before it serves. For each level k the pattern "need >= k"
//! is independent of the other levels, so the least cost has a closed form: the
//! time the level is needed, and for every gap the cheaper of staying on and
//! starting again. Levels that are needed in the first step are there already,
//! as they are for every policy that is compared.

/// Least replica-seconds that cover `need` at every step of `step_s` seconds
/// when a start costs `startup_s` seconds of a replica that does not serve yet.
#[must_use]
pub fn replica_seconds(need: &[u32], step_s: f64, startup_s: f64) -> f64 {
    let peak = need.iter().copied().max().unwrap_or(0) as usize;
    // When each level was last needed, as the step after it; 0: since the start.
    let mut free_since: Vec<Option<usize>> = vec![None; peak];
    let mut total = 0.0;
    for (step, needed) in need.iter().map(|needed| *needed as usize).enumerate() {
        for free in &mut free_since[..needed] {
            total += match *free {
                _ if step == 0 => 0.0,
                None => startup_s,
                Some(since) => ((step - since) as f64 * step_s).min(startup_s),
            };
            *free = Some(step + 1);
        }
        total += needed as f64 * step_s;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every schedule of at most `peak` replicas, by trying all of them.
    fn brute_force(need: &[u32], step_s: f64, startup_s: f64) -> f64 {
        fn cheapest(need: &[u32], on: u32, peak: u32, step_s: f64, startup_s: f64) -> f64 {
            let Some((now, later)) = need.split_first() else {
                return 0.0;
            };
            (*now..=peak)
                .map(|next| {
                    let started = f64::from(next.saturating_sub(on));
                    started * startup_s + f64::from(next) * step_s + cheapest(later, next, peak, step_s, startup_s)
                })
                .fold(f64::INFINITY, f64::min)
        }
        let peak = need.iter().copied().max().unwrap_or(0);
        cheapest(need, need.first().copied().unwrap_or(0), peak, step_s, startup_s)
    }

    #[test]
    fn worked_by_hand() {
        // (need, step, start-up, replica-seconds)
        let cases: [(&[u32], f64, f64, f64); 6] = [
            (&[], 5.0, 10.0, 0.0),
            (&[2, 2, 2], 5.0, 100.0, 30.0),
            (&[1, 2, 1], 5.0, 100.0, 15.0 + 5.0 + 100.0),
            (&[1, 0, 1], 5.0, 100.0, 15.0),
            (&[1, 0, 0, 0, 1], 5.0, 10.0, 10.0 + 10.0),
            (&[0, 3], 1.0, 4.0, 3.0 + 12.0),
        ];
        for (need, step, startup, expected) in cases {
            assert_eq!(replica_seconds(need, step, startup), expected, "{need:?}");
        }
    }

    proptest! {
        #[test]
        fn nobody_finds_a_cheaper_schedule(
            need in prop::collection::vec(0_u32..4, 1..8),
            startup_steps in 0_u32..6,
        ) {
            let startup = f64::from(startup_steps) * 5.0;
            prop_assert_eq!(replica_seconds(&need, 5.0, startup), brute_force(&need, 5.0, startup));
        }
    }
}
