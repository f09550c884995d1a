//! Many servers, each with candidates that meet its targets: one candidate for
//! each, at the least cost.
//!
//! Without a limit on GPUs every server gets its own best. With a limit the
//! problem is a multiple-choice knapsack, and is solved greedily: by priority,
//! then by *regret*, what it would cost a server to get its next candidate
//! instead. [`Mode::Guarded`] starts from what runs already, and ends by
//! exchanging: as long as another candidate of one server, or of two at once,
//! serves more, or the same for less, it is taken. So of two servers as many are
//! served as can be, at the least cost of serving those; of more, no exchange
//! of two betters the answer. Fed back as what runs, it comes out again. The
//! work is bounded: with hundreds of servers short of GPUs the exchange may stop
//! early, and goes on, only ever for the better, the next time.
//!
//! A move to another accelerator costs, beside the difference, a tenth of both
//! allocations. The predecessor takes for the old one what happens to run;
//! ours takes what the server would need there now, or a load that falls could
//! make a move worthwhile one pass later than it should.

mod effort;
mod exchange;
#[cfg(test)]
mod tests;

use crate::saturation::Mode;
use exchange::exchange;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Share of both allocations that a move between accelerators costs.
const MOVE_PENALTY: f64 = 0.1;
/// The priority of a server whose priority is out of range.
const DEFAULT_PRIORITY: u32 = 100;

/// A server and what would do for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Its name, unique.
    pub name: String,
    /// 1 (highest) to 100; anything else counts as 100.
    pub priority: u32,
    /// Whether it must stay on the accelerator it runs on.
    pub keep_accelerator: bool,
    /// What runs now.
    pub current: Option<Current>,
    /// What would meet its targets; those with a cost that is no number are
    /// passed over.
    pub candidates: Vec<Candidate>,
}

/// What a server has now.
#[derive(Clone, Debug, PartialEq)]
pub struct Current {
    /// On which accelerator.
    pub accelerator: String,
    /// Replicas.
    pub replicas: u32,
    /// Cost of all of them per hour.
    pub cost: f64,
}

/// One way to meet a server's targets.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The accelerator; of those of one server each should be another.
    pub accelerator: String,
    /// Replicas it takes; 0 where nothing is asked for.
    pub replicas: u32,
    /// GPUs of one replica.
    pub gpus_per_replica: u32,
    /// Cost of all of them per hour.
    pub cost: f64,
}

/// The GPUs that may be given to these servers, those they hold included.
#[derive(Clone, Debug, PartialEq)]
pub enum Gpus {
    /// As many as anybody wants.
    Unlimited,
    /// So many, by accelerator.
    Limited(BTreeMap<String, u64>),
}

/// What servers get for whom no candidate is left that fits whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BestEffort {
    /// Nothing.
    #[default]
    None,
    /// One server after the other, by priority, as many replicas as fit.
    PriorityExhaustive,
    /// By priority, and in turn within one: a replica each.
    PriorityRoundRobin,
    /// In turn among all: a replica each. Not delayed, there are no others
    /// than those of a priority.
    RoundRobin,
}

/// How to solve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// What the rest gets.
    pub best_effort: BestEffort,
    /// Whether it gets it after all priorities, not after its own.
    pub delayed: bool,
    /// Whose rules.
    pub mode: Mode,
}

/// What a server gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Allotment {
    /// The server.
    pub server: String,
    /// The candidate, by its place in the server's list; None: nothing.
    pub candidate: Option<usize>,
    /// The candidate's accelerator.
    pub accelerator: Option<String>,
    /// Replicas, fewer than the candidate's where they did not all fit.
    pub replicas: u32,
    /// Cost per hour of these.
    pub cost: f64,
    /// Whether the targets are met.
    pub whole: bool,
    /// What changes and why, in a sentence.
    pub why: String,
}

/// One allotment per server, in the order given.
#[derive(Clone, Debug, PartialEq)]
pub struct Solution {
    /// For each server.
    pub allotments: Vec<Allotment>,
    /// Cost per hour of all.
    pub cost: f64,
}

/// Gives every server a candidate, at the least cost.
#[must_use]
pub fn solve(servers: &[Server], gpus: &Gpus, how: How) -> Solution {
    let mut state = State::new(servers, gpus, how.mode);
    match gpus {
        Gpus::Unlimited => {
            for at in 0..servers.len() {
                state.picks[at] = state.options[at].first().map(|option| Pick::whole(option.candidate));
            }
        }
        Gpus::Limited(_) => limited(&mut state, how),
    }
    state.solution()
}

/// A candidate and what it is worth: less is better.
#[derive(Clone, Copy, Debug)]
struct Choice {
    candidate: usize,
    value: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pick {
    candidate: usize,
    /// Some replicas of it; None: all.
    part: Option<u32>,
}

impl Pick {
    const fn whole(candidate: usize) -> Self {
        Self { candidate, part: None }
    }
}

struct State<'a> {
    servers: &'a [Server],
    /// Candidates of each server, best first.
    options: Vec<Vec<Choice>>,
    free: BTreeMap<&'a str, u64>,
    unlimited: bool,
    picks: Vec<Option<Pick>>,
}

fn priority(server: &Server) -> u32 {
    if (1..=DEFAULT_PRIORITY).contains(&server.priority) {
        server.priority
    } else {
        DEFAULT_PRIORITY
    }
}

/// What a candidate is worth to a server that has something already.
fn value(server: &Server, candidate: &Candidate, mode: Mode) -> f64 {
    let Some(current) = &server.current else {
        return candidate.cost;
    };
    let same = current.accelerator == candidate.accelerator;
    match mode {
        Mode::AsPublished if same && current.replicas == candidate.replicas => 0.0,
        Mode::AsPublished if same => candidate.cost - current.cost,
        Mode::AsPublished => MOVE_PENALTY * (current.cost + candidate.cost) + candidate.cost - current.cost,
        Mode::Guarded if same || candidate.replicas == 0 => candidate.cost,
        Mode::Guarded => {
            let staying = server
                .candidates
                .iter()
                .filter(|other| other.accelerator == current.accelerator && other.cost.is_finite())
                .map(|other| other.cost)
                .min_by(f64::total_cmp)
                .unwrap_or(if current.cost.is_finite() { current.cost } else { 0.0 });
            MOVE_PENALTY * (staying + candidate.cost) + candidate.cost
        }
    }
}

fn options(server: &Server, mode: Mode) -> Vec<Choice> {
    let allowed = |candidate: &Candidate| match &server.current {
        Some(current) if server.keep_accelerator => {
            candidate.accelerator == current.accelerator || candidate.replicas == 0
        }
        _ => true,
    };
    let mut options: Vec<Choice> = server
        .candidates
        .iter()
        .enumerate()
        .filter(|(_, candidate)| candidate.cost.is_finite() && allowed(candidate))
        .map(|(at, candidate)| Choice {
            candidate: at,
            value: value(server, candidate, mode),
        })
        .collect();
    options.sort_by(|a, b| {
        let (x, y) = (&server.candidates[a.candidate], &server.candidates[b.candidate]);
        a.value
            .total_cmp(&b.value)
            .then_with(|| x.cost.total_cmp(&y.cost))
            .then_with(|| x.accelerator.cmp(&y.accelerator))
            .then_with(|| a.candidate.cmp(&b.candidate))
    });
    options
}

impl<'a> State<'a> {
    fn new(servers: &'a [Server], gpus: &'a Gpus, mode: Mode) -> Self {
        let free = match gpus {
            Gpus::Unlimited => BTreeMap::new(),
            Gpus::Limited(free) => free.iter().map(|(name, gpus)| (name.as_str(), *gpus)).collect(),
        };
        Self {
            servers,
            options: servers.iter().map(|server| options(server, mode)).collect(),
            free,
            unlimited: matches!(gpus, Gpus::Unlimited),
            picks: vec![None; servers.len()],
        }
    }

    fn candidate(&self, at: usize, candidate: usize) -> &'a Candidate {
        &self.servers[at].candidates[candidate]
    }

    /// Replicas of a candidate that fit now.
    fn fitting(&self, candidate: &Candidate) -> u32 {
        let each = u64::from(candidate.gpus_per_replica);
        if self.unlimited || each == 0 || candidate.replicas == 0 {
            return candidate.replicas;
        }
        let free = self.free.get(candidate.accelerator.as_str()).copied().unwrap_or(0);
        u32::try_from((free / each).min(u64::from(candidate.replicas))).unwrap_or(candidate.replicas)
    }

    fn take(&mut self, candidate: &Candidate, replicas: u32) {
        let gpus = u64::from(replicas) * u64::from(candidate.gpus_per_replica);
        if let Some(free) = self.free.get_mut(candidate.accelerator.as_str()) {
            *free = free.saturating_sub(gpus);
        }
    }

    /// Takes a candidate whole, if it fits.
    fn try_whole(&mut self, at: usize, candidate: usize) -> bool {
        let wanted = self.candidate(at, candidate);
        let fits = self.fitting(wanted) == wanted.replicas;
        if fits {
            self.take(wanted, wanted.replicas);
            self.picks[at] = Some(Pick::whole(candidate));
        }
        fits
    }

    fn solution(&self) -> Solution {
        let allotments: Vec<Allotment> = (0..self.servers.len()).map(|at| self.allotment(at)).collect();
        Solution {
            cost: allotments.iter().map(|allotment| allotment.cost).sum(),
            allotments,
        }
    }

    fn allotment(&self, at: usize) -> Allotment {
        let server = &self.servers[at];
        let Some(pick) = self.picks[at] else {
            let why = if self.options[at].is_empty() {
                "nothing meets its targets"
            } else {
                "no GPUs are left for anything that meets its targets"
            };
            return Allotment {
                server: server.name.clone(),
                candidate: None,
                accelerator: None,
                replicas: 0,
                cost: 0.0,
                whole: false,
                why: why.to_owned(),
            };
        };
        let candidate = self.candidate(at, pick.candidate);
        let replicas = pick.part.unwrap_or(candidate.replicas);
        let share = if candidate.replicas == 0 {
            1.0
        } else {
            f64::from(replicas) / f64::from(candidate.replicas)
        };
        let cost = candidate.cost * share;
        let now = format!("{} x{replicas} for {cost:.2} per hour", candidate.accelerator);
        let mut why = match &server.current {
            _ if replicas == 0 => "nothing is asked for".to_owned(),
            None => now,
            Some(was) if was.accelerator == candidate.accelerator && was.replicas == replicas => {
                format!("stays at {now}")
            }
            Some(was) if was.accelerator == candidate.accelerator => {
                format!("from x{} to {now}, {:+.2}", was.replicas, cost - was.cost)
            }
            Some(was) => format!(
                "moves from {} x{} to {now}, {:+.2}",
                was.accelerator,
                was.replicas,
                cost - was.cost
            ),
        };
        if pick.part.is_some() {
            why = format!("{why}; its targets need {}, and no GPUs are left", candidate.replicas);
        }
        Allotment {
            server: server.name.clone(),
            candidate: Some(pick.candidate),
            accelerator: (replicas > 0).then(|| candidate.accelerator.clone()),
            replicas,
            cost,
            whole: pick.part.is_none(),
            why,
        }
    }
}

fn limited(state: &mut State<'_>, how: How) {
    let mut groups: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (at, server) in state.servers.iter().enumerate() {
        groups.entry(priority(server)).or_default().push(at);
    }
    for members in groups.values_mut() {
        members.sort_by(|&a, &b| state.servers[a].name.cmp(&state.servers[b].name).then(a.cmp(&b)));
    }
    // Not delayed, a priority is settled, parts included, before the next.
    let delayed = how.delayed || how.best_effort == BestEffort::None;
    for members in groups.values() {
        if how.mode == Mode::Guarded {
            stay(state, members);
        }
        greedy(state, members);
        if !delayed {
            if how.mode == Mode::Guarded {
                exchange(state, members);
            }
            effort::give(state, std::slice::from_ref(members), how.best_effort);
        }
    }
    if delayed {
        let all: Vec<Vec<usize>> = groups.into_values().collect();
        if how.mode == Mode::Guarded {
            exchange(state, &all.concat());
        }
        effort::give(state, &all, how.best_effort);
    }
}

/// Those that can stay where they run do so first: what runs is the start.
/// Who needs no more than he has comes before who does.
fn stay(state: &mut State<'_>, members: &[usize]) {
    for grows in [false, true] {
        for &at in members {
            let Some(current) = &state.servers[at].current else {
                continue;
            };
            let home = state.options[at]
                .iter()
                .map(|option| option.candidate)
                .find(|&candidate| state.candidate(at, candidate).accelerator == current.accelerator);
            if let Some(home) = home
                && (state.candidate(at, home).replicas > current.replicas) == grows
            {
                state.try_whole(at, home);
            }
        }
    }
}

/// A server that waits for its turn with the candidate at `next`.
struct Turn {
    at: usize,
    next: usize,
    regret: f64,
    value: f64,
}

impl Turn {
    fn new(state: &State<'_>, at: usize, next: usize) -> Option<Self> {
        let value = state.options[at].get(next)?.value;
        Some(Self {
            at,
            next,
            regret: state.options[at]
                .get(next + 1)
                .map_or(f64::INFINITY, |after| after.value - value),
            value,
        })
    }

    /// Most regret first, then the most valuable, then the name.
    fn order(&self, other: &Self, servers: &[Server]) -> Ordering {
        other
            .regret
            .total_cmp(&self.regret)
            .then_with(|| other.value.total_cmp(&self.value))
            .then_with(|| servers[self.at].name.cmp(&servers[other.at].name))
            .then_with(|| self.at.cmp(&other.at))
    }
}

fn greedy(state: &mut State<'_>, members: &[usize]) {
    let mut turns: Vec<Turn> = members
        .iter()
        .filter(|&&at| state.picks[at].is_none())
        .filter_map(|&at| Turn::new(state, at, 0))
        .collect();
    let servers = state.servers;
    // Sorted backwards, so that the next one is at the end.
    turns.sort_by(|a, b| b.order(a, servers));
    while let Some(turn) = turns.pop() {
        let candidate = state.options[turn.at][turn.next].candidate;
        if state.try_whole(turn.at, candidate) {
            continue;
        }
        if let Some(again) = Turn::new(state, turn.at, turn.next + 1) {
            let place = turns.partition_point(|other| again.order(other, servers).is_lt());
            turns.insert(place, again);
        }
    }
}
