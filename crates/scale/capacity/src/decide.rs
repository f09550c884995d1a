//! The decision: rules say what they need, the plan gives it, bounds clamp it.

use crate::explain::{Explanation, Metrics, MetricsWord, RuleSaid, Verdict};
use crate::load::{Load, Stand};
use crate::plan::{Obstacles, Targets};
use crate::view::{GatewayView, ModelView};
use crate::words::{count, short_name, time};
use crate::{Memory, Policy, Reason};
use units::Instant;

mod rules;

pub(crate) use rules::{Kind, Models, Tried};

/// What is decided for one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Model name.
    pub model: String,
    /// Namespace of its variants.
    pub namespace: String,
    /// One entry per variant, by name.
    pub variants: Vec<VariantDecision>,
    /// The whole decision as one line.
    pub sentence: String,
    /// Everything behind it but the signals, see [`crate::inputs`].
    pub explanation: Explanation,
}

impl Decision {
    /// Whether any variant is to change.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.variants.iter().any(|variant| variant.from != variant.to)
    }
}

/// What is decided for one variant.
#[derive(Clone, Debug, PartialEq)]
pub struct VariantDecision {
    /// Its name.
    pub name: String,
    /// Replicas its target is asked for now.
    pub from: u32,
    /// Replicas it should be asked for.
    pub to: u32,
    /// Why, in a word.
    pub reason: Reason,
    /// Why, in a sentence.
    pub sentence: String,
    /// Whether its signals can be acted on.
    pub metrics: Metrics,
    /// Whether it breaks what is promised even with one request, where another
    /// variant may not: it only serves what the others cannot.
    pub too_slow: bool,
}

/// Which way a model goes, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Course {
    /// The first replica, for a held request.
    Wake,
    /// More, because of these loads.
    Up { reason: Reason, cause: String },
    /// More would be needed and is on its way.
    Starting { cause: String },
    /// Nothing to do for `idle`.
    Idle,
    /// Less, because the rest will do.
    Down,
    /// As it is; fewer might do but nobody can tell.
    Uncovered,
    /// As it is; fewer would do, `left` from now.
    Stabilizing { left: std::time::Duration },
    /// As it is: it fits.
    Hold,
    /// Nothing is known.
    Blind,
}

/// Decides how many replicas each variant of a model should have.
///
/// Deterministic: the same view (in any order), policy, memory and time give
/// the same decision, and carrying it out changes nothing further.
#[must_use]
pub fn decide(view: &ModelView, policy: &Policy, memory: &mut Memory, now: Instant) -> Decision {
    let mut load = Load::survey(view, policy, memory, now);
    memory.note_work(&load, now);
    // Of nothing at all every signal is fresh.
    memory.note_coverage(load.covered() && !load.blind(), now);
    if !load.blind() {
        memory.lessons.note(load.asked(), now);
    }

    let judged = rules::judge(view, &mut load, policy, memory, now);
    let mut obstacles = Obstacles::default();
    let mut targets = Targets::as_wanted(&load);
    targets.clamp(&load, &mut obstacles);

    let said = rules::ask(view, &load, &judged, &targets, policy, memory, now);
    let targets_before = targets.clone();
    let course = steer(&said, &load, policy, memory, now, &mut targets, &mut obstacles);

    let mut sentence = sentence(view, &load, &targets, &course, &obstacles, policy, memory, now);
    for bound in &said.bounds {
        sentence.push_str("; ");
        sentence.push_str(bound);
    }
    let variants = verdicts(view, &load, &targets, &course, &obstacles, &sentence);
    let mut explanation = Explanation {
        rules: said.rules,
        bounds: obstacles.says,
        would_change: rules::would_change(&load, targets_before.live_capacity(&load), policy, memory, now),
    };
    explanation.bounds.extend(said.bounds);
    explanation.would_change.extend(said.changes);
    if let Some((_, why)) = &load.gateway_silent {
        explanation.bounds.push(why.clone());
    }
    Decision {
        model: view.model.clone(),
        namespace: view.namespace.clone(),
        variants,
        sentence,
        explanation,
    }
}

/// Chooses the course and moves the targets along it.
fn steer(
    said: &rules::Said,
    load: &Load<'_>,
    policy: &Policy,
    memory: &mut Memory,
    now: Instant,
    targets: &mut Targets,
    obstacles: &mut Obstacles,
) -> Course {
    let patience = memory.patience(policy);
    // A need is part of the window even while the answer is "more".
    let peak = load.covered().then(|| memory.peak(said.needs_to_keep, patience, now));
    if load.blind() {
        return Course::Blind;
    }
    if load.wanted() == 0 && targets.0.iter().all(|target| *target == 0) && said.asked_from_zero {
        targets.wake_one(load, obstacles);
        return Course::Wake;
    }
    if let Some((reason, cause)) = &said.up {
        let full = match load.demand {
            Some(demand) => demand.queued > 0 && load.oldest_wait() >= policy.queue_wait,
            None => true,
        };
        memory.lessons.note_up(full, now);
        let before = targets.clone();
        targets.raise(said.needs, load, obstacles);
        return if *targets == before && obstacles.at_maximum.is_empty() && obstacles.not_starting.is_empty() {
            Course::Starting { cause: cause.clone() }
        } else {
            Course::Up {
                reason: *reason,
                cause: cause.clone(),
            }
        };
    }
    let Some(peak) = peak else {
        let mut fewer = targets.clone();
        fewer.lower(said.needs_to_keep, load, &mut Obstacles::default());
        return if fewer == *targets {
            Course::Hold
        } else {
            Course::Uncovered
        };
    };
    if memory.idle_for(now) >= policy.zero_after && load.known_idle() {
        targets.lower_to_minimum(load, obstacles);
        return Course::Idle;
    }
    let watched = memory
        .covered_since
        .map_or_else(Default::default, |since| now.since(since));
    let mut fewer = targets.clone();
    let mut bounds = Obstacles::default();
    if watched >= patience {
        fewer.lower(peak, load, &mut bounds);
        if fewer != *targets {
            memory.lessons.note_down(load.live_capacity(), now);
            *targets = fewer;
            obstacles.at_minimum.append(&mut bounds.at_minimum);
            return Course::Down;
        }
    }
    fewer.lower(said.needs_to_keep, load, &mut bounds);
    obstacles.at_minimum.append(&mut bounds.at_minimum);
    if fewer == *targets {
        return Course::Hold;
    }
    let left = memory.time_to_lower(said.needs_to_keep, patience, now);
    Course::Stabilizing { left }
}

#[expect(
    clippy::too_many_arguments,
    reason = "the sentence draws on everything the decision was taken from"
)]
fn sentence(
    view: &ModelView,
    load: &Load<'_>,
    targets: &Targets,
    course: &Course,
    obstacles: &Obstacles,
    policy: &Policy,
    memory: &Memory,
    now: Instant,
) -> String {
    let from = load.wanted();
    let to: u32 = targets.0.iter().sum();
    let moves = targets.moves(load, &view.model);
    let head = if moves.is_empty() {
        format!("{} stays at {from}", view.model)
    } else {
        format!("{} {from} -> {to}", view.model)
    };
    let why = match course {
        Course::Wake => format!("a request is held and nothing serves ({})", rules::queue_words(load)),
        Course::Up { cause, .. } if moves.is_empty() => {
            format!("{cause}; no more to be had: {}", obstacles.says.join("; "))
        }
        Course::Up { cause, .. } => cause.clone(),
        Course::Starting { cause } => {
            let coming = load.coming() as usize;
            format!("{cause}; {} on the way", count(coming, "replica is", "replicas are"))
        }
        Course::Idle if from == 0 && to == 0 => {
            format!("idle for {}; the next request wakes it", time(memory.idle_for(now)))
        }
        Course::Idle => format!("no request for {}", time(memory.idle_for(now))),
        Course::Down => format!(
            "the rest covers the highest load of the last {} ({})",
            time(memory.patience(policy)),
            rules::load_words(load)
        ),
        Course::Uncovered => format!(
            "fewer may do ({}), but {}",
            rules::load_words(load),
            uncovered_words(load)
        ),
        Course::Stabilizing { left } => {
            format!(
                "fewer would do ({}), if the load stays low for {} more",
                rules::load_words(load),
                time(*left)
            )
        }
        Course::Hold if from == 0 => "nothing is asked of it".to_owned(),
        Course::Hold if load.coming() > 0 => {
            let coming = count(load.coming() as usize, "replica is", "replicas are");
            format!("{}; {coming} on the way", rules::load_words(load))
        }
        Course::Hold => rules::load_words(load),
        Course::Blind => format!("nothing is known of its load: {}", uncovered_words(load)),
    };
    let why = match &obstacles.forced[..] {
        [] => why,
        forced => format!("{}; {why}", forced.join("; ")),
    };
    if moves.is_empty() {
        format!("{head}: {why}")
    } else {
        format!("{head}: {why}; {moves}")
    }
}

fn uncovered_words(load: &Load<'_>) -> String {
    let silent: Vec<String> = load
        .stands
        .iter()
        .flat_map(|stand| stand.silent.iter().map(|(name, _, why)| format!("{name} ({why})")))
        .collect();
    let mut parts = Vec::new();
    if !silent.is_empty() {
        parts.push(format!(
            "{} of {} ready replicas tell no fresh signals: {}",
            silent.len(),
            load.ready_replicas,
            crate::words::some_of(&silent)
        ));
    }
    parts.extend(load.gateway_silent.iter().map(|(_, why)| why.clone()));
    if parts.is_empty() {
        parts.push("no gateway is configured and no replica is ready".to_owned());
    }
    parts.join("; ")
}

/// One verdict per variant, from the course of the whole.
fn verdicts(
    view: &ModelView,
    load: &Load<'_>,
    targets: &Targets,
    course: &Course,
    obstacles: &Obstacles,
    sentence: &str,
) -> Vec<VariantDecision> {
    let decide_one = |(i, stand): (usize, &Stand<'_>)| {
        let (from, to) = (stand.variant.wanted, targets.0[i]);
        let reason = reason_of(i, stand, from, to, load, course, obstacles);
        VariantDecision {
            name: stand.variant.name.clone(),
            from,
            to,
            reason,
            sentence: variant_sentence(view, stand, from, to, reason, sentence),
            metrics: metrics_of(view, stand, load),
            too_slow: stand.too_slow.is_some(),
        }
    };
    load.stands.iter().enumerate().map(decide_one).collect()
}

fn reason_of(
    i: usize,
    stand: &Stand<'_>,
    from: u32,
    to: u32,
    load: &Load<'_>,
    course: &Course,
    obstacles: &Obstacles,
) -> Reason {
    let at_maximum = obstacles.at_maximum.contains(&i);
    if to > from {
        return match course {
            Course::Wake => Reason::ScaleFromZero,
            Course::Up { reason, .. } => *reason,
            _ => Reason::AtMinimum,
        };
    }
    if to < from {
        return match course {
            Course::Idle => Reason::Idle,
            _ if to == stand.variant.max && at_maximum => Reason::AtMaximum,
            _ if stand.too_slow.is_some() => Reason::TooSlow,
            _ if cheaper_serves(stand, load) => Reason::DearerThanNeeded,
            _ => Reason::LessNeeded,
        };
    }
    match course {
        _ if obstacles.not_starting.contains(&i) => Reason::NotStarting,
        Course::Blind => Reason::MetricsUnavailable,
        Course::Up { .. } | Course::Wake if at_maximum => Reason::AtMaximum,
        Course::Idle if to > 0 => Reason::AtMinimum,
        Course::Idle => Reason::Idle,
        _ if to == 0 && stand.too_slow.is_some() && load.wanted() > 0 => Reason::TooSlow,
        _ if to == 0 && cheaper_serves(stand, load) => Reason::DearerThanNeeded,
        _ if to == 0 && load.wanted() == 0 => Reason::Idle,
        Course::Starting { .. } | Course::Hold if stand.coming > 0 => Reason::Starting,
        Course::Uncovered if !stand.silent.is_empty() || to > stand.variant.min => Reason::WaitingForCoverage,
        Course::Stabilizing { .. } if to > stand.variant.min => Reason::Stabilizing,
        _ if obstacles.at_minimum.contains(&i) && to == stand.variant.min => Reason::AtMinimum,
        _ => Reason::CoversDemand,
    }
}

/// Whether another variant serves for less.
fn cheaper_serves(stand: &Stand<'_>, load: &Load<'_>) -> bool {
    load.stands
        .iter()
        .any(|other| other.variant.wanted > 0 && other.too_slow.is_none() && other.price < stand.price)
}

fn variant_sentence(view: &ModelView, stand: &Stand<'_>, from: u32, to: u32, reason: Reason, all: &str) -> String {
    let name = short_name(&stand.variant.name, &view.model);
    match reason {
        Reason::DearerThanNeeded if from == to => {
            format!("{name} stays at {to}: cheaper variants cover the demand ({all})")
        }
        Reason::TooSlow if from == to => {
            format!("{name} stays at {to}: it is too slow for the SLO ({all})")
        }
        Reason::NotStarting => {
            format!(
                "{name} stays at {to}: {} ({all})",
                stand.stuck_why.as_deref().unwrap_or("its replicas do not start")
            )
        }
        _ => all.to_owned(),
    }
}

fn metrics_of(view: &ModelView, stand: &Stand<'_>, load: &Load<'_>) -> Metrics {
    let mut word = MetricsWord::Found;
    let mut parts = Vec::new();
    let ready = stand.ready_replicas.len();
    if !stand.silent.is_empty() {
        word = stand
            .silent
            .iter()
            .map(|(_, word, _)| *word)
            .max()
            .unwrap_or(MetricsWord::Missing);
        let names: Vec<String> = stand
            .silent
            .iter()
            .map(|(name, _, why)| format!("{name} ({why})"))
            .collect();
        parts.push(format!(
            "{} of {} without fresh signals: {}",
            stand.silent.len(),
            count(ready, "ready replica", "ready replicas"),
            crate::words::some_of(&names)
        ));
    } else if ready > 0 {
        parts.push(format!(
            "all signals of {} are fresh",
            count(ready, "ready replica", "ready replicas")
        ));
    } else {
        parts.push("no ready replica to measure".to_owned());
    }
    match (&load.gateway_silent, &view.gateway) {
        (Some((worse, why)), _) => {
            word = word.max(*worse);
            parts.push(why.clone());
        }
        (None, GatewayView::Present { by, .. }) => parts.push(format!("the {}'s are fresh", by.as_str())),
        (None, GatewayView::Absent) if ready == 0 => {
            word = word.max(MetricsWord::Missing);
            parts.push("no gateway is configured that would see a request".to_owned());
        }
        (None, GatewayView::Absent) => {}
    }
    Metrics {
        word,
        says: parts.join("; "),
    }
}

#[cfg(test)]
pub(crate) mod tests;
