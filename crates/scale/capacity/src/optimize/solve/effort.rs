//! Best effort: replicas for servers that nothing fits whole.

use super::{BestEffort, Pick, State};

/// Gives what is left to those in `groups` (by priority, highest first) that
/// have nothing whole. What a server got so before, it keeps and adds to.
pub(super) fn give(state: &mut State<'_>, groups: &[Vec<usize>], how: BestEffort) {
    match how {
        BestEffort::None => {}
        BestEffort::PriorityExhaustive => {
            for &at in groups.iter().flatten() {
                while one_more(state, at, u32::MAX) {}
            }
        }
        BestEffort::PriorityRoundRobin => {
            for group in groups {
                in_turn(state, group);
            }
        }
        BestEffort::RoundRobin => {
            let all: Vec<usize> = groups.iter().flatten().copied().collect();
            in_turn(state, &all);
        }
    }
}

fn in_turn(state: &mut State<'_>, members: &[usize]) {
    let mut open: Vec<usize> = members.to_vec();
    while !open.is_empty() {
        open.retain(|&at| one_more(state, at, 1));
    }
}

/// Up to `most` replicas more for a server; whether it got any. The first
/// candidate of which one fits is the one it stays with.
fn one_more(state: &mut State<'_>, at: usize, most: u32) -> bool {
    let (candidate, has) = match state.picks[at] {
        Some(Pick { part: None, .. }) => return false,
        Some(Pick {
            candidate,
            part: Some(has),
        }) => (candidate, has),
        None => {
            let first = state.options[at]
                .iter()
                .map(|option| option.candidate)
                .find(|&candidate| state.fitting(state.candidate(at, candidate)) > 0);
            match first {
                Some(candidate) => (candidate, 0),
                None => return false,
            }
        }
    };
    let wanted = state.candidate(at, candidate);
    let more = state.fitting(wanted).min(wanted.replicas - has).min(most);
    if more == 0 {
        return false;
    }
    state.take(wanted, more);
    let has = has + more;
    state.picks[at] = Some(Pick {
        candidate,
        part: (has < wanted.replicas).then_some(has),
    });
    true
}
