//! How much of a load to expect until a replica that is asked for now serves.
//!
//! A replica takes its start-up time to come; what it is needed for is the load
//! then, not the load now. Nothing here knows curves or calendars. A few
//! *followers* each keep a mean of the load, a quick one and slower ones, and
//! learn how far above that mean the load was found one start-up time later:
//! a quantile of the growth, from what really happened to this model. The
//! follower whose capacity would have been cheapest, starts included, is the
//! one that is followed. A steady load is so given little room, a noisy one a
//! slow mean and more room, and a quick start makes both small.
//!
//! A short excess is no reason for a replica: the load counts as what it takes
//! to keep every request's wait within its limit. Over a window of `t` seconds
//! with work `w`, that is `w / (t + wait)`, and over a minute all of it.
//!
//! Bounded: a minute of samples, and per follower one mean for every second of
//! the longest horizon.

use std::collections::VecDeque;
use std::time::Duration;
use units::Instant;

/// Seconds over which each follower takes its mean.
const FOLLOWERS: [f64; 4] = [20.0, 60.0, 300.0, 900.0];
/// The longest horizon, seconds: what takes longer to start cannot be waited for.
const LONGEST: usize = 600;
/// After so many seconds without a sample, what was seen before tells nothing.
const GAP: u64 = 10;
/// Windows of the load that may be smoothed by waiting, seconds.
const WINDOWS: [usize; 4] = [5, 10, 20, 40];
/// The window over which everything that comes must be served, seconds.
const ALL: usize = 60;
/// Seconds after which an observed growth counts half.
const HALF_LIFE: f64 = 10_800.0;
/// How many observations the assumption at the beginning is worth.
const ASSUMED: f64 = 4.0;
/// Seconds over which the cost of a follower is remembered.
const SCORED: f64 = 3_600.0;
/// What a start costs at least, as so many seconds of a replica: a replica that
/// comes and goes disturbs caches and streams, however quickly it starts.
const MOVE: f64 = 30.0;
/// What a load that was not provided for costs, as a multiple of providing for it.
pub(crate) const SHORTAGE: f64 = 5.0;
/// Room that is always kept, as a factor: a mean is only known so well.
const LEAST: f64 = 1.04;
/// Another follower must be cheaper by this factor to be followed instead.
const CHEAPER: f64 = 0.99;

/// What is expected, and on what grounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// The load to provide for, in the unit of the samples.
    pub load: f64,
    /// The mean it starts from.
    pub mean: f64,
    /// Over how long that mean is taken.
    pub over: Duration,
    /// How far above the mean the load is expected, as a factor.
    pub growth: f64,
    /// How far ahead.
    pub horizon: Duration,
}

/// How a forecast is to be made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlook {
    /// Time until a replica asked for now serves.
    pub horizon: Duration,
    /// How long a request may wait.
    pub wait: Duration,
    /// The share of the time for which the load shall be covered, 0 to 1.
    pub cover: f64,
    /// The growth assumed before any was seen, as a factor of at least 1.
    pub assumed: f64,
    /// The most growth that is provided for, as a factor: what jumps further
    /// cannot be provided for at a sensible price.
    pub most: f64,
}

/// What is remembered of one model's load.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forecast {
    followers: Vec<Follower>,
    /// The sum of all samples, second by second, for the last [`ALL`] seconds.
    sums: VecDeque<f64>,
    last: Option<Instant>,
    seconds: u64,
    followed: usize,
}

#[derive(Clone, Debug, PartialEq)]
struct Follower {
    over: f64,
    mean: f64,
    /// Means of the past seconds, one horizon's worth; oldest first.
    past: VecDeque<f64>,
    growth: Growth,
    /// What providing for its expectation costs per second, on average.
    cost: f64,
    before: Option<f64>,
}

impl Forecast {
    /// Takes in the load of this moment. Called more often than once a second
    /// it takes one sample a second; after a gap it starts over but for the
    /// growth it has learnt.
    pub fn observe(&mut self, load: f64, outlook: &Outlook, now: Instant) {
        if !(load.is_finite() && load >= 0.0) {
            return;
        }
        let Some(last) = self.last else {
            return self.begin(load, outlook, now);
        };
        let seconds = now.since(last).as_secs();
        if seconds > GAP {
            return self.begin(load, outlook, now);
        }
        for _ in 0..seconds {
            self.second(load, outlook);
        }
        self.last = Some(last + Duration::from_secs(seconds));
    }

    /// What to provide for, once there was a sample.
    #[must_use]
    pub fn expected(&self, outlook: &Outlook) -> Option<Expected> {
        let follower = self.followers.get(self.followed)?;
        let growth = follower.growth.quantile(outlook.cover).min(outlook.most).max(LEAST);
        Some(Expected {
            load: follower.mean * growth,
            mean: follower.mean,
            over: Duration::from_secs_f64(follower.over),
            growth,
            horizon: outlook.horizon,
        })
    }

    fn begin(&mut self, load: f64, outlook: &Outlook, now: Instant) {
        if self.followers.is_empty() {
            let follower = |over| Follower {
                over,
                mean: load,
                past: VecDeque::new(),
                growth: Growth::assuming(outlook.assumed),
                cost: 0.0,
                before: None,
            };
            self.followers = FOLLOWERS.map(follower).into();
        }
        for follower in &mut self.followers {
            follower.mean = load;
            follower.past.clear();
            follower.before = None;
        }
        self.sums.clear();
        self.sums.push_back(0.0);
        self.seconds = 0;
        self.last = Some(now);
    }

    fn second(&mut self, load: f64, outlook: &Outlook) {
        self.seconds += 1;
        self.sums.push_back(self.sums.back().copied().unwrap_or(0.0) + load);
        if self.sums.len() > ALL + 1 {
            self.sums.pop_front();
        }
        let needed = self.needed(outlook.wait);
        let horizon = (outlook.horizon.as_secs() as usize).clamp(1, LONGEST);
        let since = self.seconds as f64;
        for follower in &mut self.followers {
            follower.second(load, needed, horizon, since, outlook);
        }
        let cheapest =
            (0..self.followers.len()).min_by(|a, b| self.followers[*a].cost.total_cmp(&self.followers[*b].cost));
        if let Some(cheapest) = cheapest
            && self.followers[cheapest].cost < self.followers[self.followed].cost * CHEAPER
        {
            self.followed = cheapest;
        }
    }

    /// The capacity that would have kept every wait of the last minute within
    /// `wait`, as far as one can tell from sums over windows.
    fn needed(&self, wait: Duration) -> f64 {
        let newest = self.sums.len() - 1;
        let work = |seconds: usize| self.sums[newest] - self.sums[newest - seconds.min(newest)];
        let over = |seconds: usize| seconds.min(newest).max(1) as f64;
        let smoothed = WINDOWS.map(|seconds| work(seconds) / (over(seconds) + wait.as_secs_f64()));
        smoothed.into_iter().fold(work(ALL) / over(ALL), f64::max)
    }
}

impl Follower {
    fn second(&mut self, load: f64, needed: f64, horizon: usize, since: f64, outlook: &Outlook) {
        self.mean += (load - self.mean) / self.over.min(since + 1.0);
        self.past.push_back(self.mean);
        while self.past.len() > horizon + 1 {
            self.past.pop_front();
        }
        let growth = self.growth.quantile(outlook.cover).min(outlook.most).max(LEAST);
        let mut short = 0.0;
        if self.past.len() == horizon + 1
            && let Some(then) = self.past.front()
        {
            short = (needed - then * growth).max(0.0);
            self.growth.observe(needed, *then);
        }
        let provided = self.mean * growth;
        let started = self.before.map_or(0.0, |before| (provided - before).max(0.0));
        self.before = Some(provided);
        let cost = provided + started * outlook.horizon.as_secs_f64().max(MOVE) + short * SHORTAGE;
        self.cost += (cost - self.cost) / SCORED.min(since);
    }
}

/// How far above a mean the load was found later: a histogram of the ratio, on
/// a logarithmic scale, in which the past fades.
#[derive(Clone, Debug, PartialEq)]
struct Growth {
    bins: Vec<f32>,
    total: f64,
    /// What the next observation weighs; grows instead of fading the others.
    weight: f64,
}

/// The lowest ratio told apart, as a logarithm: less than half.
const LOWEST: f64 = -0.7;
/// Width of a bin: one per cent.
const WIDTH: f64 = 0.01;
/// Bins: up to a growth of e^1.3, 3.7 times.
const BINS: usize = 200;

impl Growth {
    fn assuming(factor: f64) -> Self {
        let mut growth = Self {
            bins: vec![0.0; BINS],
            total: 0.0,
            weight: ASSUMED,
        };
        growth.add(factor.max(1.0).ln());
        growth.weight = 1.0;
        growth
    }

    fn observe(&mut self, later: f64, mean: f64) {
        if later <= 0.0 && mean <= 0.0 {
            return;
        }
        let ratio = (later.max(1e-9) / mean.max(1e-9)).ln();
        self.weight *= std::f64::consts::LN_2.mul_add(1.0 / HALF_LIFE, 1.0);
        self.add(ratio);
        if self.weight > 1e6 {
            let scale = (1.0 / self.weight) as f32;
            for bin in &mut self.bins {
                *bin *= scale;
            }
            self.total /= self.weight;
            self.weight = 1.0;
        }
    }

    fn add(&mut self, ratio: f64) {
        let bin = ((ratio - LOWEST) / WIDTH).clamp(0.0, (BINS - 1) as f64) as usize;
        self.bins[bin] += self.weight as f32;
        self.total += self.weight;
    }

    /// The factor that `share` of the observations did not exceed.
    fn quantile(&self, share: f64) -> f64 {
        let mut above = self.total * (1.0 - share);
        for (bin, weight) in self.bins.iter().enumerate().rev() {
            above -= f64::from(*weight);
            if above < 0.0 {
                return (LOWEST + (bin + 1) as f64 * WIDTH).exp();
            }
        }
        1.0
    }
}

#[cfg(test)]
mod tests;
