//! Betters an allocation by exchanging the candidates of one or two servers.

use super::{Pick, State, priority};
use std::collections::BTreeMap;

/// Trials, all rounds together; what is found by then is as good as it gets.
const MAX_TRIALS: u32 = 200_000;
/// A gain smaller than this is rounding, and no reason to move anything.
const GAIN: f64 = 1e-9;

/// What a choice for a server is worth: being served counts before any cost,
/// the higher priority first.
#[derive(Clone, Copy, Debug)]
struct Worth {
    /// Of the first two: the priority and whether it is not served.
    unserved: bool,
    priority: u32,
    value: f64,
}

/// Whether two servers are better off with `new` than with `old`. Who is not
/// served counts by priority; to serve another one of the same priority only
/// because he is cheaper would turn round and round.
fn better(new: [Worth; 2], old: [Worth; 2]) -> bool {
    let unserved = |pair: [Worth; 2]| {
        let mut missing: Vec<u32> = pair
            .iter()
            .filter(|worth| worth.unserved)
            .map(|worth| worth.priority)
            .collect();
        missing.sort_unstable();
        missing
    };
    let (lost, had) = (unserved(new), unserved(old));
    if lost != had {
        // At the first difference a lower priority, or nobody, misses out.
        return match lost.iter().zip(&had).find(|(a, b)| a != b) {
            Some((a, b)) => a > b,
            None => lost.len() < had.len(),
        };
    }
    if new.map(|worth| worth.unserved) != old.map(|worth| worth.unserved) {
        return false;
    }
    let sum = |pair: [Worth; 2]| pair[0].value + pair[1].value;
    sum(new) < sum(old) - GAIN * (1.0 + sum(old).abs())
}

/// Exchanges among `members`, highest priority first, until nothing gets
/// better. Those that have a part of a candidate keep it, and are left out.
pub(super) fn exchange(state: &mut State<'_>, members: &[usize]) {
    let members: Vec<usize> = members
        .iter()
        .copied()
        .filter(|&at| !matches!(state.picks[at], Some(Pick { part: Some(_), .. })))
        .collect();
    let mut trials = 0;
    let mut changed = true;
    while changed && trials < MAX_TRIALS {
        changed = false;
        for &a in &members {
            // Who has his best needs no exchange of his own.
            let best = state.options[a].first().map(|option| option.candidate);
            if state.picks[a].map(|pick| pick.candidate) == best {
                continue;
            }
            let alone = best_exchange(state, a, None, &mut trials);
            changed |= alone;
            if alone {
                continue;
            }
            for &b in &members {
                if a != b && trials < MAX_TRIALS {
                    changed |= best_exchange(state, a, Some(b), &mut trials);
                }
            }
        }
    }
}

fn worth(state: &State<'_>, at: usize, candidate: Option<usize>) -> Worth {
    let found = state.options[at]
        .iter()
        .find(|option| Some(option.candidate) == candidate);
    Worth {
        unserved: found.is_none(),
        priority: priority(&state.servers[at]),
        value: found.map_or(0.0, |option| option.value),
    }
}

/// Takes the best choice for `a`, together with one for `b`, if it is better
/// than what they have.
fn best_exchange(state: &mut State<'_>, a: usize, b: Option<usize>, trials: &mut u32) -> bool {
    let picked = |state: &State<'_>, at: usize| state.picks[at].map(|pick| pick.candidate);
    let choices = |state: &State<'_>, at: usize| -> Vec<Option<usize>> {
        let mut all: Vec<Option<usize>> = state.options[at].iter().map(|option| Some(option.candidate)).collect();
        all.push(None);
        all
    };
    let nobody = Worth {
        unserved: false,
        priority: u32::MAX,
        value: 0.0,
    };
    let now = (picked(state, a), b.and_then(|b| picked(state, b)));
    let worths = |state: &State<'_>, pair: (Option<usize>, Option<usize>)| {
        [worth(state, a, pair.0), b.map_or(nobody, |b| worth(state, b, pair.1))]
    };
    let mut best = now;
    let mut best_worth = worths(state, now);
    let (for_a, for_b) = (choices(state, a), b.map_or(vec![None], |b| choices(state, b)));
    for &x in &for_a {
        for &y in &for_b {
            *trials = trials.saturating_add(1);
            let worth = worths(state, (x, y));
            if better(worth, best_worth) && fits(state, a, x, b, y) {
                best = (x, y);
                best_worth = worth;
            }
        }
    }
    if best == now {
        return false;
    }
    set(state, a, None);
    if let Some(b) = b {
        set(state, b, None);
        set(state, b, best.1);
    }
    set(state, a, best.0);
    true
}

/// Gives back what a server has, and takes a candidate.
fn set(state: &mut State<'_>, at: usize, candidate: Option<usize>) {
    if let Some(pick) = state.picks[at].take() {
        let had = state.candidate(at, pick.candidate);
        let gpus = u64::from(had.replicas) * u64::from(had.gpus_per_replica);
        if let Some(free) = state.free.get_mut(had.accelerator.as_str()) {
            *free = free.saturating_add(gpus);
        }
    }
    if let Some(candidate) = candidate {
        state.try_whole(at, candidate);
    }
}

/// Whether two choices fit once both have given back what they have.
fn fits(state: &State<'_>, a: usize, x: Option<usize>, b: Option<usize>, y: Option<usize>) -> bool {
    let mut needs: BTreeMap<&str, i128> = BTreeMap::new();
    let mut count = |at: usize, candidate: Option<usize>, sign: i128| {
        if let Some(candidate) = candidate {
            let candidate = state.candidate(at, candidate);
            let gpus = i128::from(candidate.replicas) * i128::from(candidate.gpus_per_replica);
            *needs.entry(candidate.accelerator.as_str()).or_default() += sign * gpus;
        }
    };
    for (at, choice) in [Some((a, x)), b.map(|b| (b, y))].into_iter().flatten() {
        count(at, state.picks[at].map(|pick| pick.candidate), -1);
        count(at, choice, 1);
    }
    needs
        .into_iter()
        .all(|(name, needs)| needs <= i128::from(state.free.get(name).copied().unwrap_or(0)))
}
