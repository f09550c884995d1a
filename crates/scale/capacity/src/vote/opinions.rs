//! What each analyzer of this crate has to say in a vote.

use super::Says;
use crate::saturation::percent;
use crate::saturation::tokens::TokenAnalysis;
use crate::throughput::Throughput;

/// Replicas more or less; ready ones are what the analysis is about.
impl From<&percent::Analysis> for Says {
    fn from(analysis: &percent::Analysis) -> Self {
        if analysis.judged == 0 {
            return Self::Unknown {
                why: analysis.said.clone(),
            };
        }
        let ready = u32::try_from(analysis.ready).unwrap_or(u32::MAX);
        Self::Capacity {
            required: f64::from(analysis.wanted.saturating_sub(ready)),
            spare: f64::from(u32::from(analysis.down_safe)),
            per_replica: 1.0,
        }
    }
}

/// Tokens; a replica is worth the mean of those there and coming.
impl From<&TokenAnalysis> for Says {
    fn from(analysis: &TokenAnalysis) -> Self {
        let replicas = analysis
            .variants
            .iter()
            .map(|variant| f64::from(variant.ready) + f64::from(variant.pending));
        let each = analysis.variants.iter().map(|variant| variant.per_replica);
        says(
            analysis.known,
            [analysis.required, analysis.spare, analysis.anticipated],
            replicas.sum(),
            each,
            analysis.said.first(),
        )
    }
}

/// Tokens per second; a replica is worth the mean of those there and coming.
impl From<&Throughput> for Says {
    fn from(analysis: &Throughput) -> Self {
        let each = analysis.variants.iter().filter_map(|variant| variant.per_replica);
        says(
            analysis.known,
            [analysis.required, analysis.spare, analysis.anticipated],
            f64::from(analysis.replicas),
            each,
            Some(&analysis.said),
        )
    }
}

fn says(
    known: bool,
    [required, spare, anticipated]: [f64; 3],
    replicas: f64,
    each: impl Iterator<Item = f64>,
    said: Option<&String>,
) -> Says {
    let unknown = |why: String| Says::Unknown { why };
    if !known {
        return unknown(said.cloned().unwrap_or_default());
    }
    // With none there or coming, the smallest there could be: rather one too many.
    let per_replica = if replicas > 0.0 && anticipated > 0.0 {
        anticipated / replicas
    } else {
        each.filter(|each| *each > 0.0).fold(f64::INFINITY, f64::min)
    };
    if per_replica.is_finite() {
        Says::Capacity {
            required,
            spare,
            per_replica,
        }
    } else {
        unknown("nobody knows what a replica is worth".to_owned())
    }
}
