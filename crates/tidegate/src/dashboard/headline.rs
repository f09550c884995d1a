//! The sentence at the top of the page: always true, never from missing data.
//!
//! A model is judged from the worst downwards, and the fleet is as well as its
//! worst model. "Holding" is said only of a promise that exists and was
//! measured; traffic without either is "Serving".

use super::facts::{Facts, Fleet};
use super::say::{capital, cost, count, span};
use serde::Serialize;

/// How things are, mildest first: the order decides which model speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// Nothing is configured.
    Empty,
    /// No replica runs and none is wanted.
    Asleep,
    /// Nothing arrives, waits or runs.
    Idle,
    /// Requests are served; there is no promise or nothing measured to compare.
    Serving,
    /// Requests are served within the promise.
    Holding,
    /// No replica serves yet, but one is coming.
    Starting,
    /// The promise is not kept now.
    Behind,
    /// Something is wrong that load does not explain.
    Broken,
    /// The gateway tells nothing.
    Unknown,
}

/// The sentence, cut where its colour ends.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Headline {
    /// Decides colour and glyph.
    pub(super) level: Level,
    /// The first word.
    pub(super) word: &'static str,
    /// The rest, with a full stop.
    pub(super) text: String,
}

impl Headline {
    fn new(level: Level, word: &'static str, text: impl Into<String>) -> Self {
        Self {
            level,
            word,
            text: text.into(),
        }
    }

    /// What is said when the gateway tells nothing.
    pub(super) fn silent(why: &str) -> Self {
        Self::new(
            Level::Unknown,
            "Unknown",
            format!("{}.", capital(why.trim_end_matches('.'))),
        )
    }
}

/// Shortest wait of the oldest request that counts as behind where nothing was promised.
const PATIENCE_MS: f64 = 1_000.0;

/// The sentence for all models together. `models` holds only what was measured
/// freshly; `all` counts every replica.
pub(super) fn headline(models: &[Facts], all: &Fleet) -> Headline {
    let judged = models.iter().map(|facts| (judge(facts), facts));
    let worst = judged.max_by(|(a, left), (b, right)| {
        a.level
            .cmp(&b.level)
            .then(strain(left).total_cmp(&strain(right)))
            .then(right.model.cmp(&left.model))
    });
    match worst {
        None if all.variants == 0 => Headline::new(
            Level::Empty,
            "Empty",
            "No model is served: there is no pool and no variant.",
        ),
        None => Headline::new(Level::Unknown, "Unknown", "The gateway knows no pool yet."),
        Some((mut headline, facts)) => {
            if models.len() > 1 {
                headline.text = format!("{}: {}", facts.model, headline.text);
            } else {
                headline.text = capital(&headline.text);
            }
            if matches!(headline.level, Level::Holding | Level::Serving | Level::Idle) {
                headline.text.push_str(&standing(all));
            }
            headline.text.push('.');
            headline
        }
    }
}

/// How close to its promise a model is, to choose among equals.
fn strain(facts: &Facts) -> f64 {
    let share = |p99: Option<f64>, slo: Option<f64>| p99.zip(slo).map_or(0.0, |(p99, slo)| p99 / slo.max(1e-9));
    let wait = facts.oldest_wait_ms.map_or(0.0, |wait| {
        wait as f64 / facts.ttft_slo_ms.unwrap_or(PATIENCE_MS).max(1e-9)
    });
    share(facts.ttft_p99_ms, facts.ttft_slo_ms)
        .max(share(facts.itl_p99_ms, facts.itl_slo_ms))
        .max(wait)
}

/// One model's level and sentence, without the full stop.
fn judge(facts: &Facts) -> Headline {
    let fleet = &facts.fleet;
    if fleet.serving == 0 && fleet.failed > 0 && fleet.starting == 0 {
        let because = fleet
            .failure
            .as_ref()
            .map_or_else(String::new, |why| format!(" ({})", why.trim_end_matches('.')));
        let waiting = if facts.queued > 0 {
            format!("; {}", waiting(facts))
        } else {
            String::new()
        };
        let failed = count(fleet.failed, "replica");
        return Headline::new(
            Level::Broken,
            "Broken",
            format!("no replica serves, {failed} failed{because}{waiting}"),
        );
    }
    if facts.broken > 0 && facts.broken * 20 >= facts.ended {
        let window = facts
            .span_ms
            .map_or_else(String::new, |ms| format!(" in the last {}", span(ms as f64)));
        let text = format!(
            "{} of {} failed at a model server{window}",
            facts.broken,
            count(facts.ended, "request")
        );
        return Headline::new(Level::Broken, "Broken", format!("{text}; {}", remedy(facts)));
    }
    let unserved = fleet.variants > 0 && fleet.serving == 0;
    if unserved && (fleet.starting + fleet.pending > 0 || fleet.desired.is_some_and(|n| n > 0)) {
        let first = if facts.queued > 0 {
            waiting(facts)
        } else {
            "no replica serves yet".to_owned()
        };
        return Headline::new(Level::Starting, "Starting", format!("{first}; {}", remedy(facts)));
    }
    if let Some(trouble) = behind(facts) {
        return Headline::new(Level::Behind, "Behind", format!("{trouble}; {}", remedy(facts)));
    }
    if unserved {
        return Headline::new(Level::Asleep, "Asleep", asleep(facts));
    }
    let quiet = facts.queued == 0 && facts.in_flight == 0 && (facts.arrived == 0 || facts.span_ms.is_none());
    if quiet {
        let text = match facts.quiet_ms {
            Some(ms) => format!("no request for {}", span(ms as f64)),
            None if !facts.ever_arrived => "no request yet".to_owned(),
            None => "nothing waits and nothing runs".to_owned(),
        };
        return Headline::new(Level::Idle, "Idle", text);
    }
    match (facts.ttft_p99_ms, facts.ttft_slo_ms) {
        (Some(p99), Some(slo)) => Headline::new(
            Level::Holding,
            "Holding",
            format!("TTFT p99 {} of {}", span(p99), span_of_promise(slo)),
        ),
        (Some(p99), None) => Headline::new(Level::Serving, "Serving", format!("TTFT p99 {}, no SLO set", span(p99))),
        (None, _) => {
            let text = format!(
                "{} in flight, no first token in the last 10 s",
                count(facts.in_flight, "request")
            );
            Headline::new(Level::Serving, "Serving", text)
        }
    }
}

/// What is behind, if anything is.
fn behind(facts: &Facts) -> Option<String> {
    let patience = facts.ttft_slo_ms.unwrap_or(PATIENCE_MS);
    let window = || {
        facts
            .span_ms
            .map_or_else(String::new, |ms| format!(" in the last {}", span(ms as f64)))
    };
    if facts.turned_away > 0 {
        let away = format!("{} turned away{}", count(facts.turned_away, "request"), window());
        return Some(if facts.queued > 0 {
            format!("{away}, {}", waiting(facts))
        } else {
            away
        });
    }
    if facts.queued > 0 && facts.oldest_wait_ms.is_some_and(|wait| wait as f64 > patience) {
        return Some(waiting(facts));
    }
    let missed = |name: &str, p99: Option<f64>, slo: Option<f64>| {
        let (p99, slo) = p99.zip(slo)?;
        (p99 > slo).then(|| format!("{name} p99 {} of {}", span(p99), span_of_promise(slo)))
    };
    missed("TTFT", facts.ttft_p99_ms, facts.ttft_slo_ms).or_else(|| missed("ITL", facts.itl_p99_ms, facts.itl_slo_ms))
}

/// A promised span is a round number: without decimals that say nothing.
fn span_of_promise(ms: f64) -> String {
    let said = span(ms);
    said.replace(".0 ", " ")
}

/// `22 requests wait 1.4 s`.
fn waiting(facts: &Facts) -> String {
    let verb = if facts.queued == 1 { "waits" } else { "wait" };
    let long = facts
        .oldest_wait_ms
        .map_or_else(String::new, |ms| format!(" {}", span(ms as f64)));
    format!("{} {verb}{long}", count(facts.queued, "request"))
}

/// What is being done about it, or that nothing is.
fn remedy(facts: &Facts) -> String {
    let fleet = &facts.fleet;
    let because = |why: &Option<String>| {
        why.as_ref()
            .map_or_else(String::new, |why| format!(" ({})", why.trim_end_matches('.')))
    };
    if fleet.starting > 0 {
        return starting(fleet);
    }
    if fleet.pending > 0 {
        let verb = if fleet.pending == 1 { "waits" } else { "wait" };
        return format!(
            "{} {verb} for a place{}",
            count(fleet.pending, "replica"),
            because(&fleet.pending_because)
        );
    }
    let here = fleet.serving + fleet.draining + fleet.failed + fleet.asleep;
    if let Some(more) = fleet
        .desired
        .and_then(|desired| desired.checked_sub(here))
        .filter(|more| *more > 0)
    {
        return format!("{more} more wanted");
    }
    if fleet.failed > 0 {
        return format!("{} failed{}", count(fleet.failed, "replica"), because(&fleet.failure));
    }
    if facts.queue_growth.is_some_and(|growth| growth < 0) {
        return format!("the queue shrinks; {}", serve(fleet.serving));
    }
    if fleet.variants > 0 && fleet.serving >= fleet.max {
        return format!("{}, the most allowed", serve(fleet.serving));
    }
    if fleet.alive() == 0 {
        "no replica is wanted yet".to_owned()
    } else {
        serve(fleet.serving)
    }
}

fn serve(n: u64) -> String {
    format!("{} {}", count(n, "replica"), if n == 1 { "serves" } else { "serve" })
}

/// `2 replicas are starting, first in 6 s`.
fn starting(fleet: &Fleet) -> String {
    let (verb, when) = if fleet.starting == 1 {
        ("is", "ready")
    } else {
        ("are", "first")
    };
    let text = format!("{} {verb} starting", count(fleet.starting, "replica"));
    match fleet.first_in_ms {
        Some(left) if left >= 1_000 => format!(
            "{text}, {when} in {}",
            span((left as f64 / 1e3).round() * 1e3).replace(".0 ", " ")
        ),
        Some(left) if left > -1_000 => format!("{text}, {when} any moment"),
        Some(left) => format!("{text}, {} later than usual", span((-left) as f64)),
        None => text,
    }
}

fn asleep(facts: &Facts) -> String {
    let fleet = &facts.fleet;
    match fleet.asleep {
        0 if fleet.draining > 0 => format!(
            "{} draining, none is wanted; the next request wakes one",
            fleet.draining
        ),
        0 if fleet.max == 0 => "no replica runs, and none is allowed".to_owned(),
        0 => "no replica runs; the next request wakes one".to_owned(),
        1 => "1 replica sleeps; the next request wakes it".to_owned(),
        n => format!("{n} replicas sleep; the next request wakes one"),
    }
}

/// The fleet in a clause, for sentences of calm.
fn standing(all: &Fleet) -> String {
    let mut text = String::new();
    if all.variants > 0 {
        text.push_str(&format!("; {}", count(all.serving, "replica")));
        if let Some(per_hour) = all.cost_per_hour {
            text.push_str(&format!(", {}", cost(per_hour)));
        }
    }
    if all.starting > 0 {
        text.push_str(&format!("; {}", starting(all)));
    }
    if all.draining > 0 {
        text.push_str(&format!("; {} draining", all.draining));
    }
    if all.failed > 0 {
        text.push_str(&format!("; {} failed", all.failed));
    }
    text
}

#[cfg(test)]
mod tests;
