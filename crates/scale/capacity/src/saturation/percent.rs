//! Saturation in percent: the share of the KV cache in use and the requests
//! waiting inside the engine, per replica.
//!
//! Two shares tell that more is needed; they say little about how much. What
//! they say is used: where the caches of n replicas are filled to a sum that
//! m would hold under the trigger, m are wanted, and never more than twice n.

use super::{EDGE, Mode, usable};
use crate::words;
use std::collections::BTreeMap;

/// When a replica and when a model is full.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// A replica is saturated at this share of its KV cache, above 0, at most 1.
    pub kv: f64,
    /// A replica is saturated with this many requests waiting, above 0.
    pub waiting: f64,
    /// More is needed when on average no more than this share is spare.
    pub kv_spare: f64,
    /// More is needed when on average less than this many requests are spare.
    pub waiting_spare: f64,
    /// More is needed when at least this share of the replicas is saturated,
    /// whatever the mean. [`Mode::Guarded`] only.
    pub saturated_share: f64,
    /// How far below its trigger each mean must stay once a replica has gone,
    /// as a share of the trigger. [`Mode::Guarded`] only.
    pub hysteresis: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            kv: 0.80,
            waiting: 5.0,
            kv_spare: 0.10,
            waiting_spare: 3.0,
            saturated_share: 0.5,
            hysteresis: 0.20,
        }
    }
}

/// What one ready replica says. None: not known, or too old to count.
#[derive(Clone, Debug, PartialEq)]
pub struct Replica {
    /// The variant it belongs to.
    pub variant: String,
    /// Share of the KV cache in use, 0 to 1.
    pub kv: Option<f64>,
    /// Requests waiting inside the engine.
    pub waiting: Option<f64>,
}

/// A variant as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Its name, unique in the model.
    pub name: String,
    /// Cost of one replica per hour, from its specification.
    pub cost: f64,
    /// Replicas the target is asked for now.
    pub current: u32,
    /// Of these, on the way and expected to come.
    pub pending: u32,
    /// What was decided last, if anything was; used by [`Mode::AsPublished`].
    pub desired: Option<u32>,
    /// Least replicas.
    pub min: u32,
    /// Most replicas.
    pub max: u32,
}

/// How full the model is.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// Replicas that are ready, silent ones too.
    pub ready: usize,
    /// Replicas with at least one figure.
    pub judged: usize,
    /// Replicas that should have spoken and did not, or only half.
    pub silent: usize,
    /// Of the judged, those at or above a threshold.
    pub saturated: usize,
    /// Mean share of the KV cache that is spare below the threshold; below 0
    /// when the mean is above it. None when nobody told.
    pub spare_kv: Option<f64>,
    /// Mean requests that are spare below the threshold.
    pub spare_waiting: Option<f64>,
    /// Whether more is needed.
    pub up: bool,
    /// Whether one replica less would still do. False when not known.
    pub down_safe: bool,
    /// Ready replicas that would carry what is seen, when more is needed.
    pub wanted: u32,
    /// Why, in a sentence.
    pub said: String,
}

/// What one variant should have.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The variant.
    pub variant: String,
    /// Replicas it should have.
    pub replicas: u32,
    /// Why, in a sentence.
    pub why: String,
}

/// Judges the ready replicas of a model. `ready` is how many there are: those
/// of which nothing came at all count as silent.
#[must_use]
pub fn analyze(thresholds: &Thresholds, mode: Mode, replicas: &[Replica], ready: usize) -> Analysis {
    match mode {
        Mode::Guarded => guarded(thresholds, replicas, ready),
        Mode::AsPublished => published(thresholds, replicas),
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (n, sum) = values.fold((0u32, 0.0), |(n, sum), value| (n + 1, sum + value));
    (n > 0).then(|| sum / f64::from(n))
}

fn guarded(at: &Thresholds, replicas: &[Replica], ready: usize) -> Analysis {
    let kvs = || replicas.iter().filter_map(|replica| usable(replica.kv));
    let queues = || replicas.iter().filter_map(|replica| usable(replica.waiting));
    let full = |replica: &&Replica| {
        usable(replica.kv).is_some_and(|kv| kv >= at.kv - EDGE)
            || usable(replica.waiting).is_some_and(|waiting| waiting >= at.waiting - EDGE)
    };
    let saturated = replicas.iter().filter(full).count();
    let judged = replicas
        .iter()
        .filter(|replica| usable(replica.kv).or(usable(replica.waiting)).is_some())
        .count();
    let whole = replicas
        .iter()
        .filter(|replica| usable(replica.kv).is_some() && usable(replica.waiting).is_some())
        .count();
    let silent = ready.max(replicas.len()) - whole;

    let (kv, waiting) = (mean(kvs()), mean(queues()));
    let spare_kv = kv.map(|kv| at.kv - kv);
    let spare_waiting = waiting.map(|waiting| at.waiting - waiting);
    let short_kv = spare_kv.is_some_and(|spare| spare <= at.kv_spare + EDGE);
    let short_waiting = spare_waiting.is_some_and(|spare| spare < at.waiting_spare - EDGE);
    let share = saturated as f64 / judged.max(1) as f64;
    let crowded = saturated > 0 && share >= at.saturated_share - EDGE;
    let up = short_kv || short_waiting || crowded;

    let kv_limit = at.kv - at.kv_spare;
    let waiting_limit = at.waiting - at.waiting_spare;
    let n = judged as f64;
    let after = |mean: f64| mean * n / (n - 1.0);
    let stays =
        |mean: Option<f64>, limit: f64| mean.is_some_and(|mean| after(mean) <= limit * (1.0 - at.hysteresis) + EDGE);
    let down_safe =
        !up && silent == 0 && saturated == 0 && judged >= 2 && stays(kv, kv_limit) && stays(waiting, waiting_limit);

    let ready_count = u32::try_from(ready.max(replicas.len())).unwrap_or(u32::MAX);
    let wanted = if up {
        // A replica that is silent is as full as the others are.
        let all = kv.unwrap_or(0.0) * f64::from(ready_count);
        let carried = if kv_limit > 0.0 {
            (all / kv_limit - EDGE).ceil()
        } else {
            0.0
        };
        (carried as u32).clamp(ready_count.saturating_add(1), ready_count.saturating_mul(2).max(1))
    } else {
        ready_count
    };
    let figures = format!(
        "mean KV cache {}, mean queue {}, {saturated} of {judged} saturated",
        kv.map_or("unknown".to_owned(), words::percent),
        waiting.map_or("unknown".to_owned(), words::number),
    );
    let verdict = if judged == 0 {
        "nothing is known of any replica"
    } else if short_kv {
        "the KV cache is nearly full"
    } else if short_waiting {
        "requests wait inside the engines"
    } else if crowded {
        "too many replicas are saturated, whatever the mean"
    } else if down_safe {
        "one replica less would do"
    } else if silent > 0 {
        "enough; none is taken away while replicas are silent"
    } else {
        "enough, and none to spare"
    };
    let silence = match silent {
        0 => String::new(),
        n => format!(", {n} silent"),
    };
    Analysis {
        ready: ready.max(replicas.len()),
        judged,
        silent,
        saturated,
        spare_kv,
        spare_waiting,
        up,
        down_safe,
        wanted,
        said: format!("{verdict}: {figures}{silence}"),
    }
}

fn published(at: &Thresholds, replicas: &[Replica]) -> Analysis {
    // What is missing is 0 there.
    let figures: Vec<(f64, f64)> = replicas
        .iter()
        .map(|replica| {
            (
                usable(replica.kv).unwrap_or(0.0),
                usable(replica.waiting).unwrap_or(0.0),
            )
        })
        .collect();
    let healthy: Vec<(f64, f64)> = figures
        .iter()
        .copied()
        .filter(|(kv, waiting)| *kv < at.kv && *waiting < at.waiting)
        .collect();
    let n = healthy.len() as f64;
    let spare_kv = mean(healthy.iter().map(|(kv, _)| at.kv - kv)).unwrap_or(0.0);
    let spare_waiting = mean(healthy.iter().map(|(_, waiting)| at.waiting - waiting)).unwrap_or(0.0);
    let (short_kv, short_waiting) = (spare_kv < at.kv_spare, spare_waiting < at.waiting_spare);
    let after = |threshold: f64, spare: f64| threshold - (threshold - spare) * n / (n - 1.0);
    let down_safe = healthy.len() >= 2
        && after(at.kv, spare_kv) >= at.kv_spare
        && after(at.waiting, spare_waiting) >= at.waiting_spare;
    let why = match (short_kv, short_waiting) {
        (true, true) => "KV and queue spare low",
        (true, false) => "KV spare low",
        (false, true) => "queue spare low",
        (false, false) => "enough",
    };
    let count = u32::try_from(replicas.len()).unwrap_or(u32::MAX);
    let up = !replicas.is_empty() && (short_kv || short_waiting);
    Analysis {
        ready: replicas.len(),
        judged: replicas.len(),
        silent: 0,
        saturated: figures.len() - healthy.len(),
        spare_kv: Some(spare_kv),
        spare_waiting: Some(spare_waiting),
        up,
        down_safe,
        wanted: count.saturating_add(u32::from(up)),
        said: why.to_owned(),
    }
}

/// What each variant should have, in the order given.
#[must_use]
pub fn targets(analysis: &Analysis, mode: Mode, variants: &[Variant], replicas: &[Replica]) -> Vec<Target> {
    match mode {
        Mode::Guarded => guarded_targets(analysis, variants),
        Mode::AsPublished => published_targets(analysis, variants, replicas),
    }
}

fn guarded_targets(analysis: &Analysis, variants: &[Variant]) -> Vec<Target> {
    let mut targets: Vec<Target> = variants
        .iter()
        .map(|variant| {
            // Bounds clamp and never freeze: the base is what there is.
            let replicas = variant.current.clamp(variant.min, variant.max.max(variant.min));
            let why = match replicas {
                r if r > variant.current => format!("the minimum is {}", variant.min),
                r if r < variant.current => format!("the maximum is {}", variant.max),
                _ => "no change".to_owned(),
            };
            Target {
                variant: variant.name.clone(),
                replicas,
                why,
            }
        })
        .collect();
    let mut order: Vec<usize> = (0..variants.len()).collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (&variants[a], &variants[b]);
        a.cost.total_cmp(&b.cost).then_with(|| a.name.cmp(&b.name))
    });
    if analysis.up {
        let coming: u32 = variants
            .iter()
            .zip(&targets)
            .map(|(variant, target)| variant.pending + target.replicas.saturating_sub(variant.current))
            .fold(0, u32::saturating_add);
        let ready: u32 = variants
            .iter()
            .map(|variant| variant.current.saturating_sub(variant.pending))
            .fold(0, u32::saturating_add);
        let more = analysis.wanted.max(ready.saturating_add(1)) - ready;
        if more <= coming {
            if let Some(&first) = order.first() {
                targets[first].why = format!("more is needed, and {coming} on the way cover it");
            }
            return targets;
        }
        let mut more = more - coming;
        for at in order {
            let room = variants[at].max.saturating_sub(targets[at].replicas);
            let added = room.min(more);
            if added > 0 {
                targets[at].replicas += added;
                targets[at].why = format!("{added} more on the cheapest variant with room; {}", analysis.said);
                more -= added;
            } else if more > 0 {
                targets[at].why = format!("more is needed, and its maximum is {}", variants[at].max);
            }
        }
    } else if analysis.down_safe {
        // Something on the way shows that the last step has not landed yet.
        if variants.iter().any(|variant| variant.pending > 0) {
            return targets;
        }
        let dearest = order
            .iter()
            .rev()
            .copied()
            .find(|&at| targets[at].replicas > variants[at].min.max(1));
        // The last replica of a variant may go while another one serves.
        let dearest = dearest.or_else(|| {
            let serving = targets.iter().filter(|target| target.replicas > 0).count();
            order
                .iter()
                .rev()
                .copied()
                .find(|&at| serving > 1 && targets[at].replicas > variants[at].min)
        });
        if let Some(at) = dearest {
            targets[at].replicas -= 1;
            targets[at].why = format!("one less on the dearest variant; {}", analysis.said);
        }
    }
    targets
}

fn published_targets(analysis: &Analysis, variants: &[Variant], replicas: &[Replica]) -> Vec<Target> {
    let mut reporting: BTreeMap<&str, u32> = BTreeMap::new();
    for replica in replicas {
        *reporting.entry(replica.variant.as_str()).or_default() += 1;
    }
    let target = |variant: &Variant, replicas: u32, why: &str| Target {
        variant: variant.name.clone(),
        replicas,
        why: why.to_owned(),
    };
    if reporting.is_empty() {
        return variants.iter().map(|v| target(v, v.current, "no analysis")).collect();
    }
    let analyzed: Vec<&Variant> = variants
        .iter()
        .filter(|v| reporting.contains_key(v.name.as_str()))
        .collect();
    let wish = |v: &Variant| v.desired.filter(|desired| *desired != 0 && *desired != v.current);
    let moving = analyzed
        .iter()
        .any(|v| wish(v).is_some() || reporting.get(v.name.as_str()) != Some(&v.current));
    if moving {
        return analyzed
            .iter()
            .map(|v| target(v, wish(v).unwrap_or(v.current), "frozen in transition"))
            .collect();
    }
    let mut targets: Vec<Target> = analyzed.iter().map(|v| target(v, v.current, "no change")).collect();
    let rank = |a: &usize, b: &usize| {
        let (a, b) = (analyzed[*a], analyzed[*b]);
        a.cost.total_cmp(&b.cost).then_with(|| a.name.cmp(&b.name))
    };
    if analysis.up {
        let cheapest = (0..analyzed.len()).filter(|&at| analyzed[at].pending == 0).min_by(rank);
        if let Some(at) = cheapest {
            targets[at].replicas += 1;
            targets[at].why = "one more on the cheapest".to_owned();
        }
    } else if analysis.down_safe {
        let dearest = (0..analyzed.len()).filter(|&at| targets[at].replicas > 1).max_by(rank);
        if let Some(at) = dearest {
            targets[at].replicas -= 1;
            targets[at].why = "one less on the dearest".to_owned();
        }
    }
    targets
}

#[cfg(test)]
mod tests;
