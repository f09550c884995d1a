//! How many replicas a load needs, and what they cost.

use super::{Performance, QueueError, QueueModel, Sizing, Targets, check};

/// Most replicas an allocation asks for; beyond, the load is a mistake.
const MAX_REPLICAS: f64 = 1_000_000.0;

/// A load that replicas of one kind should carry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ask {
    /// Requests per second in all.
    pub rate: f64,
    /// Generated tokens per second in all; where given, it stands in place of
    /// the rate.
    pub tokens_per_second: Option<f64>,
    /// What each replica keeps to.
    pub targets: Targets,
    /// Least replicas.
    pub min_replicas: u32,
    /// Cost of one replica per hour.
    pub replica_cost: f64,
}

/// Replicas that carry a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allocation {
    /// How many.
    pub replicas: u32,
    /// What they cost per hour.
    pub cost: f64,
    /// What one of them stands; none without load.
    pub sizing: Option<Sizing>,
    /// What each of them does with its share of the load; none without load.
    pub each: Option<Performance>,
}

impl Allocation {
    /// The answer in a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        match &self.sizing {
            Some(sizing) => format!(
                "{} for {:.2} per hour; {}",
                crate::words::count(self.replicas as usize, "replica", "replicas"),
                self.cost,
                sizing.sentence()
            ),
            None => format!("no load: the minimum of {}", self.replicas),
        }
    }
}

/// The fewest replicas of a kind that carry a load within its targets.
///
/// # Errors
/// A target that this kind cannot meet, and numbers that make no sense.
pub fn allocate(model: &QueueModel, ask: &Ask) -> Result<Allocation, QueueError> {
    check(
        "ask.rate",
        ask.rate,
        ask.rate.is_finite() && ask.rate >= 0.0,
        "must be requests per second of at least 0",
    )?;
    check(
        "ask.replicaCost",
        ask.replica_cost,
        ask.replica_cost.is_finite() && ask.replica_cost >= 0.0,
        "must be a cost of at least 0",
    )?;
    let total = match ask.tokens_per_second {
        Some(tokens) => {
            check(
                "ask.tokensPerSecond",
                tokens,
                tokens.is_finite() && tokens >= 0.0,
                "must be tokens per second of at least 0",
            )?;
            tokens / model.replica().load.output_tokens
        }
        None => ask.rate,
    };
    let targets = Targets {
        throughput: ask.targets.throughput || ask.tokens_per_second.is_some(),
        ..ask.targets
    };
    if !total.is_normal() {
        return Ok(Allocation {
            replicas: ask.min_replicas,
            cost: ask.replica_cost * f64::from(ask.min_replicas),
            sizing: None,
            each: None,
        });
    }
    let sizing = model.size(&targets)?;
    // What is served counts: at the top of the range some requests are lost.
    let needed = (total / sizing.there.throughput).ceil();
    check(
        "ask.rate",
        total,
        needed <= MAX_REPLICAS,
        "needs more than a million replicas",
    )?;
    let replicas = (needed as u32).max(ask.min_replicas).max(1);
    Ok(Allocation {
        replicas,
        cost: ask.replica_cost * f64::from(replicas),
        sizing: Some(sizing),
        each: Some(model.at(total / f64::from(replicas))?),
    })
}
