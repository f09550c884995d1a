//! Several analyzers, one number of replicas.
//!
//! Each analyzer says what it misses or can spare, in a unit of its own, and
//! what one replica is worth in that unit; that makes its vote, in replicas.
//! - More is taken when any of them asks for more. The highest vote `e`
//!   counts, pulled towards the votes `v_i` of those with a higher score:
//!   `e - sum((e - v_i) max(0, s_i - s_e)) / sum(s)`; at least one more.
//! - Less is taken only when all of them agree, and then the least of it: a
//!   vote that were pulled lower would be asked back by its owner next time.
//! - The safety floor, the analyzer that sees saturation, is never overruled:
//!   the answer is not below its vote, and while it does not know, nothing goes.
//!
//! An analyzer whose data are older than the window has no vote.

mod opinions;
#[cfg(test)]
mod tests;
use crate::words;
use std::time::Duration;
use units::Instant;

/// What an analyzer has to say of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Opinion {
    /// The analyzer's name.
    pub analyzer: String,
    /// How much it counts; one that is no number above 0 counts next to nothing.
    pub score: f64,
    /// Whether it is the safety floor.
    pub floor: bool,
    /// When its data were true.
    pub at: Instant,
    /// What it says.
    pub says: Says,
}

/// Missing and spare capacity, in the analyzer's own unit.
#[derive(Clone, Debug, PartialEq)]
pub enum Says {
    /// It knows.
    Capacity {
        /// What is missing; 0 if nothing.
        required: f64,
        /// What could go; 0 if nothing.
        spare: f64,
        /// What one replica is worth, above 0.
        per_replica: f64,
    },
    /// It does not.
    Unknown {
        /// Why.
        why: String,
    },
}

/// Which way a tally goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// More replicas.
    Up,
    /// Fewer.
    Down,
    /// As many.
    Hold,
    /// As many, because nobody knows.
    Unknown,
}

/// An analyzer's vote.
#[derive(Clone, Debug, PartialEq)]
pub struct Vote {
    /// The analyzer's name.
    pub analyzer: String,
    /// Replicas it would have; None when it has no vote.
    pub replicas: Option<f64>,
    /// In a sentence.
    pub said: String,
}

/// What all of them together say.
#[derive(Clone, Debug, PartialEq)]
pub struct Tally {
    /// Replicas of the model.
    pub replicas: u32,
    /// Which way that is.
    pub direction: Direction,
    /// In the order given.
    pub votes: Vec<Vote>,
    /// Why, in a sentence.
    pub said: String,
}

/// Smallest score that counts.
const LEAST_SCORE: f64 = 1e-6;
/// Most replicas a vote may be about; more is a mistake of its analyzer.
const MOST_REPLICAS: f64 = 1e6;
/// Shares of a replica below this are rounding.
const EDGE: f64 = 1e-9;

struct Ballot {
    replicas: f64,
    score: f64,
    floor: bool,
}

/// Adds up what the analyzers say of a model with `current` replicas.
#[must_use]
pub fn tally(current: u32, opinions: &[Opinion], window: Duration, now: Instant) -> Tally {
    let mut ballots = Vec::new();
    let mut votes = Vec::new();
    for opinion in opinions {
        let (replicas, said) = cast(current, opinion, window, now);
        if let Some(replicas) = replicas {
            let known = opinion.score.is_finite() && opinion.score > LEAST_SCORE;
            ballots.push(Ballot {
                replicas,
                score: if known { opinion.score.min(1e9) } else { LEAST_SCORE },
                floor: opinion.floor,
            });
        }
        votes.push(Vote {
            analyzer: opinion.analyzer.clone(),
            replicas,
            said,
        });
    }
    let (replicas, direction, said) = decide(current, opinions, &ballots);
    Tally {
        replicas,
        direction,
        votes,
        said,
    }
}

fn cast(current: u32, opinion: &Opinion, window: Duration, now: Instant) -> (Option<f64>, String) {
    let name = &opinion.analyzer;
    let age = now.since(opinion.at);
    if age > window {
        let said = format!("{name} has no vote: its data are {} old", words::time(age));
        return (None, said);
    }
    let (required, spare, per_replica) = match &opinion.says {
        Says::Unknown { why } => return (None, format!("{name} has no vote: {why}")),
        Says::Capacity {
            required,
            spare,
            per_replica,
        } => (*required, *spare, *per_replica),
    };
    let sane = required.is_finite() && spare.is_finite() && per_replica.is_finite() && per_replica > 0.0;
    if !sane {
        return (
            None,
            format!("{name} has no vote: it does not know what a replica is worth"),
        );
    }
    let base = f64::from(current);
    if required > 0.0 {
        let wants = (base + required / per_replica).min(MOST_REPLICAS.max(base));
        (Some(wants), format!("{name} asks for {}", words::number(wants)))
    } else {
        // Only whole replicas can go.
        let less = (spare.max(0.0) / per_replica + EDGE).floor();
        let wants = (base - less).max(0.0);
        let said = if less >= 1.0 {
            format!("{name} would do with {}", words::number(wants))
        } else {
            format!("{name} is content with {current}")
        };
        (Some(wants), said)
    }
}

fn decide(current: u32, opinions: &[Opinion], ballots: &[Ballot]) -> (u32, Direction, String) {
    let base = f64::from(current);
    let whole = |replicas: f64| (replicas - EDGE).ceil().max(0.0) as u32;
    let Some(highest) = ballots.iter().max_by(|a, b| {
        a.replicas
            .total_cmp(&b.replicas)
            .then_with(|| a.score.total_cmp(&b.score))
    }) else {
        return (
            current,
            Direction::Unknown,
            format!("no analyzer has a vote: {current} stay"),
        );
    };
    let floor = ballots
        .iter()
        .filter(|ballot| ballot.floor)
        .map(|ballot| ballot.replicas)
        .max_by(f64::total_cmp);
    if highest.replicas > base + EDGE {
        let scores: f64 = ballots.iter().map(|ballot| ballot.score).sum();
        let pull: f64 = ballots
            .iter()
            .map(|ballot| (highest.replicas - ballot.replicas) * (ballot.score - highest.score).max(0.0))
            .sum();
        let combined = highest.replicas - pull / scores;
        let least = floor.map_or(0, whole).max(current.saturating_add(1));
        let replicas = whole(combined).clamp(least, whole(highest.replicas).max(least));
        let said = format!(
            "{replicas}: the highest vote is {}, all votes by score make {}",
            words::number(highest.replicas),
            words::number(combined)
        );
        return (replicas, Direction::Up, said);
    }
    if whole(highest.replicas) >= current {
        let said = format!("{current} stay: not every analyzer can spare one");
        return (current, Direction::Hold, said);
    }
    if opinions.iter().any(|opinion| opinion.floor) && floor.is_none() {
        let said = format!("{current} stay: less would do, and the safety floor has no vote");
        return (current, Direction::Hold, said);
    }
    let replicas = whole(highest.replicas);
    let said = format!("{replicas}: every analyzer can spare as many");
    (replicas, Direction::Down, said)
}
