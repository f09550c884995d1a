//! Who moves, to get from what is there to what was decided.

use super::{Tier, TierReplica};

/// What happens to a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// This sleeper shall serve.
    Wake(String),
    /// So many that are off shall be started.
    Start(u32),
    /// This replica shall sleep.
    Sleep(String),
    /// This replica shall go.
    LetGo(String),
}

/// The moves after which `serving` replicas of `warm` serve or are on their way
/// there. Whoever slept last wakes first, so that those that nobody needs go on
/// sleeping; whoever has slept longest is let go first, then what started last,
/// then what serves beyond its number. All that serve are alike: who of them goes
/// is settled by name.
pub(super) fn moves(replicas: &[TierReplica], serving: u32, warm: u32) -> Vec<Move> {
    let (mut awake, mut starting, mut asleep) = (Vec::new(), Vec::new(), Vec::new());
    let mut waking = 0;
    for replica in replicas {
        match replica.tier {
            Tier::Serving => awake.push(&replica.name),
            Tier::Waking { .. } => waking += 1,
            Tier::Starting { since } => starting.push((since, &replica.name)),
            Tier::Asleep { since } => asleep.push((since, &replica.name)),
        }
    }
    awake.sort_unstable();
    starting.sort_unstable();
    asleep.sort_unstable();
    let (serving, warm) = (serving as usize, warm as usize);
    let mut moves = Vec::new();

    let missing = serving.saturating_sub(awake.len() + waking);
    for _ in 0..missing {
        let Some((_, name)) = asleep.pop() else { break };
        waking += 1;
        moves.push(Move::Wake(name.clone()));
    }
    let there = replicas.len();
    if warm > there {
        moves.push(Move::Start(u32::try_from(warm - there).unwrap_or(u32::MAX)));
    }
    let mut surplus = there.saturating_sub(warm);
    let mut beyond = (awake.len() + waking).saturating_sub(serving);
    let gone = surplus.min(asleep.len());
    moves.extend(asleep.drain(..gone).map(|(_, name)| Move::LetGo(name.clone())));
    surplus -= gone;
    while surplus > 0
        && let Some((_, name)) = starting.pop()
    {
        surplus -= 1;
        moves.push(Move::LetGo(name.clone()));
    }
    // A replica that wakes is waited for: it can be put to sleep when it serves.
    while beyond > 0
        && let Some(name) = awake.pop()
    {
        beyond -= 1;
        moves.push(if surplus > 0 {
            surplus -= 1;
            Move::LetGo(name.clone())
        } else {
            Move::Sleep(name.clone())
        });
    }
    moves
}
