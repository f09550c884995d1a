//! The least cost of a day on which work may wait, by dynamic programming.
//!
//! **The constraint.** Work is served in order of arrival. With `A(t)` the work
//! that arrived up to second `t` and `c(t)` the replicas that serve in it, what
//! still waits after `t` is `q(t) = max(0, max over s < t of A(t) - A(s) -
//! c(s+1..t))`. Work that came at `t - W` must have been served by the end of `t`
//! (`W`: how long it may wait), that is `q(t) <= A(t) - A(t - W)`. Written out:
//! for all `s < t - W`, `c(s+1..t) >= A(t - W) - A(s)`; terms with `s >= t - W`
//! say nothing.
//!
//! **The cost.** A replica that serves from `x` on was started at `x - L` and is
//! paid for since; what falls before the day is not counted, for any policy. So a
//! schedule costs the sum of `c(t)` and `min(L, t)` for each replica more than in
//! the second before, none for those of second 0. No replica need go while
//! another starts: staying on for less than `L` is cheaper than a start.
//!
//! **The grid.** The state of a second is `(c, q)`, and `q` is a real number. `A'`
//! is `A` rounded down to a multiple of a quantum that divides a replica-second;
//! in quanta, differences of `A` and `A'` differ by less than 1, however long the
//! stretch, so nothing adds up. `c(s+1..t)` is a whole number of quanta, thus:
//! - whatever meets the constraint meets it with `A'` for `A`: the least cost
//!   under `A'` is a **lower bound**;
//! - whatever meets it under `A'` with one quantum to spare meets the constraint:
//!   the least cost of these is that of a **schedule that keeps the limit**.
//!
//! To have the quantum to spare it is enough that `q(t - 1) + a(t) - c(t)`, before
//! it is cut at 0, is at least one below the limit: that is the largest of all
//! terms with `s < t`. Both are exact minima over all whole-numbered schedules of
//! at least one replica: a second's cost depends on the state before it alone.

/// States of a second that are worth their time: the quantum is the smallest
/// with no more.
const STATES: usize = 3_000;
/// No finer than this many quanta to a replica-second.
const FINEST: u32 = 16;
/// Seconds between two states of the way there that are kept.
const SEGMENT: usize = 256;

/// A day on the grid.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    /// Quanta of a replica-second.
    per_second: u32,
    /// Quanta that arrive in each second.
    arrive: Vec<u32>,
    /// Most quanta that may wait after each second.
    limit: Vec<u32>,
    /// Most replicas that serve at once.
    most: u32,
    startup_s: u64,
    /// Taken off the cost of every second, so that costs stay small enough to be
    /// exact in 24 bits.
    base: u32,
}

/// A schedule and what it costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    /// Replica-seconds.
    pub(super) cost: u64,
    /// Replicas that serve in each second.
    pub(super) serving: Vec<u32>,
}

/// Whether one quantum has to be to spare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Below,
    Above,
}

impl Grid {
    /// `work` of each second, which may wait `may_wait_s`, where `most` replicas
    /// may be asked for; more are allowed where so many cannot keep the limit.
    pub(super) fn new(work: &[f64], may_wait_s: u64, startup_s: u64, most: u32) -> Self {
        let coarse = Self::with_quanta(work, may_wait_s, startup_s, most, 1);
        let finer = (STATES / coarse.states().max(1)).clamp(1, FINEST as usize) as u32;
        if finer == 1 {
            return coarse;
        }
        Self::with_quanta(work, may_wait_s, startup_s, most, finer)
    }

    pub(super) fn with_quanta(work: &[f64], may_wait_s: u64, startup_s: u64, most: u32, per_second: u32) -> Self {
        let mut arrived = 0.0;
        let cumulative: Vec<u64> = work
            .iter()
            .map(|work| {
                arrived += work;
                (arrived * f64::from(per_second)).floor() as u64
            })
            .collect();
        let at = |second: Option<usize>| second.map_or(0, |second| cumulative[second]);
        let since = |second: usize, ago: u64| {
            let before = usize::try_from(ago).ok().and_then(|ago| second.checked_sub(ago));
            (cumulative[second] - at(before)) as u32
        };
        let seconds = 0..work.len();
        let mut grid = Self {
            per_second,
            arrive: seconds.clone().map(|second| since(second, 1)).collect(),
            limit: seconds.map(|second| since(second, may_wait_s)).collect(),
            most,
            startup_s,
            base: (arrived / work.len().max(1) as f64) as u32,
        };
        while !grid.is_enough(grid.most) {
            grid.most += 1;
        }
        grid
    }

    /// Whether so many replicas all day keep the limit with a quantum to spare.
    fn is_enough(&self, replicas: u32) -> bool {
        let mut waiting = 0_i64;
        self.arrive.iter().zip(&self.limit).all(|(arrive, limit)| {
            let left = waiting + i64::from(*arrive) - i64::from(replicas * self.per_second);
            waiting = left.max(0);
            left < i64::from(*limit)
        })
    }

    fn widest(&self) -> usize {
        self.limit.iter().copied().max().unwrap_or(0) as usize + 1
    }

    fn states(&self) -> usize {
        self.widest() * self.most as usize
    }

    /// What a replica more costs that serves from `second` on.
    fn start_cost(&self, second: usize) -> f32 {
        self.startup_s.min(second as u64) as f32
    }

    fn before_the_day(&self) -> Vec<f32> {
        let mut costs = vec![f32::INFINITY; self.states()];
        for row in costs.chunks_mut(self.widest()) {
            row[0] = 0.0;
        }
        costs
    }

    /// Quanta that `replicas` serve beyond those that arrive in `second`.
    fn spare(&self, second: usize, replicas: u32) -> i64 {
        i64::from(replicas * self.per_second) - i64::from(self.arrive[second])
    }

    /// Quanta that may wait before `second`.
    fn limit_before(&self, second: usize) -> i64 {
        second.checked_sub(1).map_or(0, |before| i64::from(self.limit[before]))
    }

    /// Quanta that may be left after `second`, before they are cut at 0.
    fn allowed(&self, side: Side, second: usize) -> i64 {
        i64::from(self.limit[second]) - i64::from(side == Side::Above)
    }

    /// The least costs of all states after `second`, of those before it; the
    /// latter are spent.
    fn advance(&self, side: Side, second: usize, before: &mut [f32], after: &mut [f32]) {
        let (width, most) = (self.widest(), self.most as usize);
        let (start, highest) = (self.start_cost(second), self.limit_before(second));
        let used = highest as usize + 1;
        // The number of replicas changes first: up at a price, down for nothing.
        for row in 1..most {
            let (lower, upper) = before.split_at_mut(row * width);
            let lower = &lower[(row - 1) * width..][..used];
            for (cost, lower) in upper[..used].iter_mut().zip(lower) {
                *cost = less(*cost, *lower + start);
            }
        }
        let allowed = self.allowed(side, second);
        for replicas in (1..=self.most).rev() {
            let row = replicas as usize - 1;
            if row + 1 < most {
                let (lower, upper) = before.split_at_mut((row + 1) * width);
                for (cost, upper) in lower[row * width..][..used].iter_mut().zip(&upper[..used]) {
                    *cost = less(*cost, *upper);
                }
            }
            let before = &before[row * width..][..used];
            let after = &mut after[row * width..][..=self.limit[second] as usize];
            let price = replicas as f32 - self.base as f32;
            let spare = self.spare(second, replicas);
            // Nothing is left of all that waited no more than there is room for.
            let room = (spare + allowed.min(0)).min(highest);
            after[0] = least(&before[..(room + 1).max(0) as usize]) + price;
            // What is left comes from one state each: the row moves.
            let (first, last) = (1.max(-spare), allowed.min(highest - spare));
            if first > last {
                after[1..].fill(f32::INFINITY);
                continue;
            }
            let (first, end) = (first as usize, last as usize + 1);
            let from = &before[(first as i64 + spare) as usize..=(last + spare) as usize];
            for (to, from) in after[first..end].iter_mut().zip(from) {
                *to = from + price;
            }
            after[1..first].fill(f32::INFINITY);
            after[end..].fill(f32::INFINITY);
        }
    }

    /// The least cost over all seconds, the states it may end in, and, if `keep`,
    /// those before every [`SEGMENT`]th second.
    fn forward(&self, side: Side, keep: bool) -> (Vec<f32>, Vec<Vec<f32>>) {
        let mut costs = self.before_the_day();
        let mut after = vec![f32::INFINITY; costs.len()];
        let mut kept = Vec::new();
        for second in 0..self.arrive.len() {
            if keep && second.is_multiple_of(SEGMENT) {
                kept.push(costs.clone());
            }
            self.advance(side, second, &mut costs, &mut after);
            std::mem::swap(&mut costs, &mut after);
        }
        (costs, kept)
    }

    /// Where the cheapest way ends, and its cost.
    fn end(&self, costs: &[f32]) -> (State, u64) {
        let width = self.widest();
        let used = self.limit_before(self.arrive.len()) as usize + 1;
        let mut best = (State { row: 0, waiting: 0 }, f32::INFINITY);
        for (row, costs) in costs.chunks(width).enumerate() {
            for (waiting, cost) in costs[..used].iter().enumerate() {
                if *cost < best.1 {
                    best = (State { row, waiting }, *cost);
                }
            }
        }
        let taken_off = self.arrive.len() as f64 * f64::from(self.base);
        (best.0, (f64::from(best.1) + taken_off) as u64)
    }

    /// No schedule that keeps the limit costs less.
    pub(super) fn bound(&self) -> u64 {
        if self.arrive.is_empty() {
            return 0;
        }
        self.end(&self.forward(Side::Below, false).0).1
    }

    /// A schedule that keeps the limit.
    pub(super) fn schedule(&self) -> Schedule {
        let seconds = self.arrive.len();
        if seconds == 0 {
            return Schedule {
                cost: 0,
                serving: Vec::new(),
            };
        }
        let (costs, mut kept) = self.forward(Side::Above, true);
        let (mut state, cost) = self.end(&costs);
        let mut cost_after = costs[state.row * self.widest() + state.waiting];
        let mut serving = vec![0; seconds];
        let mut end = seconds;
        // Backwards, a segment's states at a time: all of a day would be gigabytes.
        while let Some(first) = kept.pop() {
            let begin = kept.len() * SEGMENT;
            let mut before = vec![first];
            for second in begin..end - 1 {
                let mut spent = before[second - begin].clone();
                let mut after = vec![f32::INFINITY; spent.len()];
                self.advance(Side::Above, second, &mut spent, &mut after);
                before.push(after);
            }
            for second in (begin..end).rev() {
                serving[second] = state.row as u32 + 1;
                (state, cost_after) = self.came_from(second, &before[second - begin], state, cost_after);
            }
            end = begin;
        }
        Schedule { cost, serving }
    }

    /// The state before `second` on a cheapest way to `state`, and the cost there.
    fn came_from(&self, second: usize, before: &[f32], state: State, cost: f32) -> (State, f32) {
        let replicas = state.row as u32 + 1;
        let spare = self.spare(second, replicas);
        let highest = self.limit_before(second);
        let (first, last) = if state.waiting > 0 {
            (state.waiting as i64 + spare, state.waiting as i64 + spare)
        } else {
            (0, (spare + self.allowed(Side::Above, second).min(0)).min(highest))
        };
        let price = replicas as f32 - self.base as f32;
        let start = self.start_cost(second);
        let mut best = (0, f32::INFINITY, f32::INFINITY);
        let waited = first as usize..(last + 1).max(first) as usize;
        for (row, costs) in before.chunks(self.widest()).enumerate() {
            let cheapest = least(&costs[waited.clone()]);
            let changed = cheapest + state.row.saturating_sub(row) as f32 * start;
            if changed < best.1 {
                best = (row, changed, cheapest);
            }
        }
        let costs = &before[best.0 * self.widest()..][waited.clone()];
        let found = costs.iter().position(|cost| *cost == best.2).unwrap_or(0);
        let from = State {
            row: best.0,
            waiting: waited.start + found,
        };
        debug_assert_eq!(best.1 + price, cost, "second {second}");
        (from, best.2)
    }
}

/// Replicas less one, and quanta that wait.
#[derive(Clone, Copy, Debug)]
struct State {
    row: usize,
    waiting: usize,
}

/// The smaller of two numbers that are never NaN: one instruction, where
/// `f32::min` takes several.
fn less(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// The smallest of numbers that are never NaN, eight at a time: in order, each
/// comparison would wait for the last.
fn least(costs: &[f32]) -> f32 {
    let (eights, rest) = costs.as_chunks::<8>();
    let mut least = [f32::INFINITY; 8];
    for eight in eights {
        for (least, cost) in least.iter_mut().zip(eight) {
            *least = less(*least, *cost);
        }
    }
    least.iter().chain(rest).copied().fold(f32::INFINITY, less)
}
