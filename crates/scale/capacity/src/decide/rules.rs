//! The rules: each looks at one load and says what it needs.

use super::{Load, Memory, Policy, Reason, RuleSaid, Targets, Verdict};
use crate::view::Slo;
use units::Instant;

mod amount;
mod demand;
mod judge;
mod model;
mod percent;
mod promise;
mod slo;
mod tried;
mod vote;
mod words;

pub(super) use judge::{Judged, judge};
pub(crate) use model::Models;
pub(crate) use promise::Kind;
pub(crate) use tried::Tried;
pub(super) use words::{load_words, queue_words, would_change};

/// Absorbs rounding: .65 and .75 in use leave exactly .10 spare, whatever the
/// last bit says.
const EPSILON: f64 = 1e-9;

/// What the rules said.
#[derive(Debug)]
pub(super) struct Said {
    /// Each of them.
    pub(super) rules: Vec<RuleSaid>,
    /// The reason and cause, if any asks for more.
    pub(super) up: Option<(Reason, String)>,
    /// Slots asked for by those that ask for more.
    pub(super) needs: f64,
    /// Least slots that keep every load well under its trigger.
    pub(super) needs_to_keep: f64,
    /// Whether a request waits (or is at an endpoint) while nothing is asked for.
    pub(super) asked_from_zero: bool,
    /// What no number of replicas can give, as sentences.
    pub(super) bounds: Vec<String>,
    /// What would change that.
    pub(super) changes: Vec<String>,
}

/// What every rule is asked about.
struct Ask<'a, 'l> {
    load: &'a Load<'l>,
    policy: &'a Policy,
    have: Have,
    slo: Option<Slo>,
    judged: &'a Judged,
    memory: &'a mut Memory,
    now: Instant,
}

impl Ask<'_, '_> {
    /// Whether a load above its trigger counts: if it is urgent or has lasted.
    fn lasting(&mut self, rule: &'static str, above: bool, urgent: bool) -> bool {
        let lasts = self.memory.above_for(rule, above, self.now) >= self.policy.up_after;
        above && (urgent || lasts)
    }
}

/// Asks every rule.
///
/// `targets` are the replicas asked for, within bounds: what they come to is
/// what there is to compare with.
pub(super) fn ask(
    view: &crate::ModelView,
    load: &Load<'_>,
    judged: &Judged,
    targets: &Targets,
    policy: &Policy,
    memory: &mut Memory,
    now: Instant,
) -> Said {
    let have = Have {
        slots: targets.live_capacity(load),
        coming: targets.coming(load),
    };
    let mut ask = Ask {
        load,
        policy,
        have,
        slo: view.slo,
        judged,
        memory,
        now,
    };
    let tokens = amount::tokens(&mut ask, view);
    let by_tokens = tokens.said.verdict != Verdict::Unknown;
    let all = vec![
        percent::kv_cache(&mut ask, by_tokens),
        percent::waiting_inside(&mut ask, by_tokens),
        percent::saturated_share(&mut ask),
        tokens,
        amount::throughput(&mut ask, view),
        demand::slots(&mut ask),
        demand::queue_wait(&ask),
        slo::slo(&mut ask),
        demand::lesson(&ask),
    ];
    let tally = vote::tally(&all, have);
    let up = tally.up.map(|(mut reason, mut causes)| {
        if load.queued() > 0 {
            causes.insert(0, queue_words(load));
            reason = Reason::QueueWaiting;
        }
        if causes.is_empty() {
            // More is never asked for without a word.
            let asks = all.iter().filter(|rule| rule.said.verdict == Verdict::Up);
            causes.extend(asks.map(|rule| rule.said.says.clone()));
        }
        (reason, causes.join(", "))
    });
    let mut said = Said {
        rules: Vec::with_capacity(all.len()),
        up,
        needs: tally.needs,
        needs_to_keep: tally.keep,
        asked_from_zero: load.queued() > 0 || load.demand.is_some_and(|demand| demand.in_flight > 0),
        bounds: Vec::new(),
        changes: Vec::new(),
    };
    for rule in all {
        said.bounds.extend(rule.bounds);
        said.changes.extend(rule.changes);
        said.rules.push(rule.said);
    }
    said
}

/// What there is: slots that serve or come, replicas on their way.
#[derive(Clone, Copy)]
struct Have {
    slots: f64,
    coming: u32,
}

struct Rule {
    said: RuleSaid,
    /// Slots below which this load would be too near its trigger.
    keep: f64,
    reason: Reason,
    cause: Option<String>,
    bounds: Vec<String>,
    changes: Vec<String>,
}

fn rule(name: &'static str, verdict: Verdict, needs: Option<f64>, keep: f64, says: String) -> Rule {
    Rule {
        said: RuleSaid {
            rule: name,
            verdict,
            needs,
            says,
        },
        keep,
        reason: Reason::Saturated,
        cause: None,
        bounds: Vec::new(),
        changes: Vec::new(),
    }
}

/// A rule that cannot tell, and why.
fn unknown(name: &'static str, why: impl Into<String>) -> Rule {
    rule(name, Verdict::Unknown, None, 0.0, why.into())
}

/// Up or, when a capacity below `have` would do, down.
fn verdict(up: bool, keep: f64, have: Have) -> Verdict {
    match () {
        () if up => Verdict::Up,
        () if keep < have.slots => Verdict::Down,
        () => Verdict::Hold,
    }
}

/// Slots of the smallest replica that serves; what a scale-down takes at least.
fn one_replica(load: &Load<'_>) -> f64 {
    let serving = load.stands.iter().filter(|stand| stand.ready > 0);
    serving.map(|stand| stand.slots).reduce(f64::min).unwrap_or(0.0)
}

/// Anything above what there is makes the plan add one replica.
fn one_more(have: f64) -> f64 {
    have + 1e-3
}
