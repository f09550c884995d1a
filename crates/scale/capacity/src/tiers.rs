//! Lazy capacity with a sleeping tier: how many replicas serve, how many sleep,
//! how many are off.
//!
//! A sleeping replica has its weights in host memory and (almost) none of a GPU:
//! it serves again after its *wake* time, seconds, where one that is off needs
//! its *start* time, minutes. So there are two horizons:
//!
//! - what the load grows within a wake must serve already: that is what
//!   [`decide`](crate::decide()) asks for when it looks [`look_ahead`] ahead;
//! - what it grows within a start must be there, and what of it does not serve
//!   sleeps. That growth is learnt as every growth is, by [`crate::forecast`],
//!   and covered as far as a sleeper's price makes sense: with a serving replica
//!   that price is 1 and the policy's `growth_cover` the share of the time to
//!   cover; the ratio of the two prices gives the share for a sleeper (the
//!   critical fractile of the newsvendor; Arrow, Harris and Marschak 1951).
//!
//! Lazy: what serves and need not goes to sleep; what sleeps and need not is let
//! go when its keep has cost as much as the cold start that it may save. That is
//! the break-even rule of ski rental, never dearer than twice what somebody who
//! knew the future would pay (Karlin, Manasse, Rudolph and Sleator 1988); each
//! number of replicas has a clock of its own (lazy capacity provisioning; Lin,
//! Wierman, Andrew and Thereska 2011).
//!
//! Nobody sleeps where it does not pay: a sleeper that costs as much as a serving
//! replica, or wakes no quicker than one starts.

use crate::Policy;
use crate::forecast::{Forecast, Outlook};
use crate::heard::heard;
use std::time::Duration;
use units::{Instant, Signal};

mod ceiling;
mod levels;
mod moves;
mod policy;
mod says;
mod times;

use ceiling::Ceiling;
use levels::Levels;
pub use moves::Move;
pub use policy::TierPolicy;
pub use times::{Time, Times};

/// More growth than this is not told apart by the forecast, as a factor.
const MOST_GROWTH: f64 = 3.6;

/// More replicas than this nobody has; keeps a load that cannot be from taking
/// memory.
const MOST_REPLICAS: u32 = 100_000;

/// One model's replicas and what is asked of them.
#[derive(Clone, Debug, PartialEq)]
pub struct TierView {
    /// The model (or variant), for sentences.
    pub model: String,
    /// Replicas that must serve within a wake: what is decided on the load and
    /// its growth over [`look_ahead`].
    pub wanted: u32,
    /// What is asked for now, in replicas that it keeps busy, without backlog.
    pub load: Signal<f64>,
    /// Every replica that is there in any form.
    pub replicas: Vec<TierReplica>,
    /// Replicas that must serve.
    pub min: u32,
    /// Replicas there may be, asleep ones included: each may want its GPU back.
    pub max: u32,
}

/// A replica that is not off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierReplica {
    /// Its name, unique within the view.
    pub name: String,
    /// Where it is.
    pub tier: Tier,
}

/// Where a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Comes from off, to serve or to sleep.
    Starting {
        /// Since when.
        since: Instant,
    },
    /// Comes from sleep, to serve.
    Waking {
        /// Since when.
        since: Instant,
    },
    /// Serves.
    Serving,
    /// Sleeps, or falls asleep.
    Asleep {
        /// Since when.
        since: Instant,
    },
}

/// What one pass leaves for the next. Losing it costs sleepers that are kept
/// longer than they need be, and measured times; never correctness.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TierMemory {
    /// How long replicas took to wake and to start: tell it of each.
    pub times: Times,
    /// What the load does within a start.
    forecast: Forecast,
    /// The highest it has been.
    ceiling: Ceiling,
    /// Replicas that serve because they may not sleep, with their clocks.
    held: u32,
    serving: Levels,
    /// Clocks of what is there, serving or asleep.
    warm: Levels,
}

/// How many replicas are to be where.
#[derive(Clone, Debug, PartialEq)]
pub struct TierDecision {
    /// To serve, those on their way there included.
    pub serving: u32,
    /// To sleep, those that start to do so included.
    pub asleep: u32,
    /// The rest of the maximum.
    pub off: u32,
    /// What to do to get there from what the view shows.
    pub moves: Vec<Move>,
    /// The whole decision as one line.
    pub sentence: String,
    /// What it was taken on: each input, measured or assumed, and each rule.
    pub grounds: Vec<String>,
    /// What would change it.
    pub would_change: Vec<String>,
}

/// How many replicas of the view are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Have {
    serving: u32,
    waking: u32,
    starting: u32,
    asleep: u32,
}

impl Have {
    fn of(replicas: &[TierReplica]) -> Self {
        let mut have = Self::default();
        for replica in replicas {
            match replica.tier {
                Tier::Starting { .. } => have.starting += 1,
                Tier::Waking { .. } => have.waking += 1,
                Tier::Serving => have.serving += 1,
                Tier::Asleep { .. } => have.asleep += 1,
            }
        }
        have
    }

    /// Serves or soon will.
    const fn awake(self) -> u32 {
        self.serving + self.waking
    }

    const fn all(self) -> u32 {
        self.awake() + self.starting + self.asleep
    }
}

/// What sleeping is worth here.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Worth {
    /// The growth that is covered by sleepers.
    outlook: Outlook,
    /// How long a sleeper that is not needed is kept.
    keep: Duration,
}

/// How far ahead the number that must serve has to look: as long as it takes to
/// get another that serves. A wake where replicas sleep, else a start.
#[must_use]
pub fn look_ahead(tiers: &TierPolicy, policy: &Policy, times: &Times) -> Duration {
    let (wake, start) = (times.wake(tiers).value(), times.start(tiers).value());
    match worth(tiers, policy, wake, start) {
        Some(_) => wake,
        None => start,
    }
}

/// What sleeping is worth, if it pays at all.
fn worth(tiers: &TierPolicy, policy: &Policy, wake: Duration, start: Duration) -> Option<Worth> {
    let (cost, wake_s, start_s) = (tiers.cost(), wake.as_secs_f64(), start.as_secs_f64());
    if cost >= 1.0 || tiers.most_asleep == 0 || wake_s >= start_s {
        return None;
    }
    let awake = policy.outlook(start);
    // Of the time that a shortage would last, a sleeper takes away this share.
    let saved = 1.0 - wake_s / start_s;
    let price = awake.cover / (1.0 - awake.cover).max(1e-9) * saved;
    let outlook = Outlook {
        cover: price / (price + cost),
        // What growth may cost at most buys so much more of it asleep.
        most: ((awake.most - 1.0) * saved / cost + 1.0).clamp(1.0, MOST_GROWTH),
        ..awake
    };
    let keep = (start_s - wake_s) * (1.0 + tiers.shortage()) / cost;
    Some(Worth {
        outlook,
        keep: Duration::try_from_secs_f64(keep).unwrap_or(Duration::MAX),
    })
}

/// Decides how many replicas serve, sleep and are off, and who moves.
///
/// Deterministic: the same view (in any order), policies, memory and time give
/// the same decision, and carrying it out changes nothing further. Without a
/// fresh load nothing is started in advance and nothing let go.
#[must_use]
pub fn settle(
    view: &TierView,
    tiers: &TierPolicy,
    policy: &Policy,
    memory: &mut TierMemory,
    now: Instant,
) -> TierDecision {
    let have = Have::of(&view.replicas);
    let (wake, start) = (memory.times.wake(tiers), memory.times.start(tiers));
    let worth = worth(tiers, policy, wake.value(), start.value());
    let plain = policy.outlook(start.value());
    let outlook = worth.map_or(plain, |worth| worth.outlook);
    let load = heard(&view.load, policy, now);
    if let Some(load) = load {
        memory.forecast.observe(load, &outlook, now);
    }
    let mut expected = load.and_then(|_| memory.forecast.expected(&outlook));
    let mut ceiling = None;
    if let (Some(load), Some(expected)) = (load, &mut expected) {
        // A growth that was learnt where the load is low leads nowhere when it is
        // high: beyond its highest it is provided for as far as serving replicas
        // provide for growth, and not as far as sleepers could.
        let highest = memory.ceiling.highest(load, now);
        let most = highest * policy.growth_most;
        if expected.load > most {
            expected.load = most;
            ceiling = Some(highest);
        }
    }
    let wanted = view.wanted.clamp(view.min.min(view.max), view.max);

    match (worth, expected) {
        (None, _) => memory.held = 0,
        (Some(_), None) => {}
        (Some(_), Some(_)) => {
            // Growth that has no room among the sleepers must serve, as far as
            // serving replicas provide for growth at all.
            let growth = memory.forecast.expected(&plain).map_or(0.0, |expected| expected.load);
            let beyond = growth - f64::from(tiers.most_asleep);
            let patience = start.value().max(policy.down_after);
            let held = provide(beyond, 0, memory.held, patience, &mut memory.serving, policy, now);
            memory.held = held.min(MOST_REPLICAS);
        }
    }
    let serving = wanted.max(memory.held.min(view.max));
    let room = serving.saturating_add(tiers.most_asleep).min(view.max);
    let warm = match (worth, expected) {
        (None, _) => serving,
        (Some(worth), expected) => {
            // Of a load that nobody knows, all that is there may be needed.
            let needed = expected.map_or(f64::from(have.all()), |expected| expected.load);
            provide(needed, serving, have.all(), worth.keep, &mut memory.warm, policy, now).clamp(serving, room)
        }
    };
    let moves = moves::moves(&view.replicas, serving, warm);
    let ground = says::Ground {
        view,
        tiers,
        policy,
        have,
        wake,
        start,
        worth,
        expected,
        ceiling,
        wanted,
        serving,
        warm,
        kept_until: worth.and_then(|worth| memory.warm.until(worth.keep)),
        now,
    };
    TierDecision {
        serving,
        asleep: warm - serving,
        off: view.max - warm,
        sentence: ground.sentence(&moves),
        grounds: ground.grounds(),
        would_change: ground.would_change(),
        moves,
    }
}

/// Replicas to have for a need that moves, `floor` of them in any case: more
/// when the need is a good part of a replica beyond what there is, less when it
/// was as far below for `keep`.
fn provide(
    need: f64,
    floor: u32,
    have: u32,
    keep: Duration,
    levels: &mut Levels,
    policy: &Policy,
    now: Instant,
) -> u32 {
    // The cast saturates; a need is a number. What a load that has ended leaves of
    // its mean is no need.
    let whole = |need: f64, room: f64| {
        if need > policy.hysteresis {
            (need + room).ceil() as u32
        } else {
            0
        }
    };
    let kept = levels.keep(whole(need, policy.hysteresis).max(floor), have, keep, now);
    if need > f64::from(have) + policy.hysteresis {
        whole(need, 0.0)
    } else {
        kept
    }
}

#[cfg(test)]
mod tests;
