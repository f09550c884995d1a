//! One pass of the controller over one HPA.

use crate::calculate::{Current, Failure, calculate};
use crate::limit::{self, Changes};
use crate::outcome::{Able, Active, Event, Limited, Outcome, Rescale};
use crate::spec::{Metric, Spec};
use crate::stabilise::Recommendations;
use crate::view::{Reading, View};
use std::time::Duration;
use units::Instant;

/// What earlier passes left. The caller owns it, one for each HPA, and drops it
/// with the object. It is bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// What was recommended.
    pub recommendations: Recommendations,
    /// What was added.
    pub added: Changes,
    /// What was removed.
    pub removed: Changes,
    /// Whether it was the HPA that left the target without replicas: the
    /// condition ScaledToZero of the object, where the gate is on.
    pub scaled_to_zero: bool,
    /// Where the change of the last pass is remembered; true is added.
    last: Option<(bool, usize)>,
}

impl State {
    /// Forgets the change of the last pass: it could not be written.
    pub(crate) fn forget_last(&mut self) {
        match self.last.take() {
            Some((true, place)) => self.added.forget(place),
            Some((false, place)) => self.removed.forget(place),
            None => {}
        }
    }
}

/// What a pass has to do, seen the target's replicas alone.
enum Need {
    Metrics,
    Nothing,
    Bound(u32, Rescale),
}

fn need(spec: &Spec, state: &State, current: u32) -> Need {
    if current == 0 {
        let ours = spec.settings.scale_to_zero && state.scaled_to_zero;
        if ours && (spec.min_replicas != 0 || has_whole(spec)) {
            Need::Metrics
        } else {
            Need::Nothing
        }
    } else if current > spec.max_replicas {
        Need::Bound(spec.max_replicas, Rescale::AboveMax)
    } else if current < spec.min_replicas {
        Need::Bound(spec.min_replicas, Rescale::BelowMin)
    } else {
        Need::Metrics
    }
}

/// Whether some metric can be read without any Pod.
fn has_whole(spec: &Spec) -> bool {
    let whole = |metric: &Metric| matches!(metric, Metric::Object { .. } | Metric::External { .. });
    spec.metrics.iter().any(whole)
}

/// Whether [`step`] looks at the readings: not while the target is out of the
/// bounds or was set to 0 by somebody else. Without need, none must be fetched.
#[must_use]
pub fn needs_metrics(spec: &Spec, state: &State, current: u32) -> bool {
    matches!(need(spec, state, current), Need::Metrics)
}

/// One pass: what the target's `spec.replicas` should be, and why.
///
/// The pass takes its change for done; a caller whose write fails says so with
/// [`Outcome::write_failed`].
pub fn step(spec: &Spec, state: &mut State, view: &View<'_>, now: Instant) -> Outcome {
    let current = view.spec_replicas.min(crate::MOST_REPLICAS);
    state.last = None;
    state.recommendations.seed(current, now);
    let mut outcome = Outcome::unchanged(current);
    match need(spec, state, current) {
        Need::Nothing => {
            outcome.active = Some(Active::ScalingDisabled);
            outcome.computed = true;
        }
        Need::Bound(desired, why) => {
            outcome.computed = true;
            rescale(spec, state, &mut outcome, desired, why, now);
        }
        Need::Metrics => by_metrics(spec, state, view, now, &mut outcome),
    }
    outcome
}

fn by_metrics(spec: &Spec, state: &mut State, view: &View<'_>, now: Instant, outcome: &mut Outcome) {
    let current = outcome.current;
    let Some((metric, proposed)) = proposal(spec, view, now, outcome) else {
        return;
    };
    outcome.computed = true;
    outcome.proposed = Some(proposed);
    let mut why = match proposed {
        _ if proposed > current => Rescale::Above { metric },
        _ if proposed < current => Rescale::AllBelow,
        _ => Rescale::Unsaid,
    };
    let (stable, limited);
    (outcome.able, stable) = stabilised(spec, state, current, proposed, now);
    let mut desired;
    (desired, limited) = match &spec.behavior {
        None => limit::older(current, stable, spec.min_replicas, spec.max_replicas),
        Some(behavior) => {
            let made = (&state.added, &state.removed);
            let bounds = (spec.min_replicas, spec.max_replicas);
            limit::by_policies(behavior, made, current, stable, bounds, now)
        }
    };
    outcome.limited = Some(limited);
    // Only the gate lets a target without replicas come here, and min may have
    // been raised since.
    if current == 0 && desired < spec.min_replicas {
        desired = spec.min_replicas;
        if why == Rescale::Unsaid {
            why = Rescale::BelowMin;
        }
    }
    if desired != current {
        rescale(spec, state, outcome, desired, why, now);
    }
}

/// The largest proposal and the metric that made it, if the metrics that failed
/// allow one: with some missing there is no way down.
fn proposal(spec: &Spec, view: &View<'_>, now: Instant, outcome: &mut Outcome) -> Option<(usize, u32)> {
    if let Some((event, active)) = Active::of_selection(view.selection) {
        outcome.active = Some(active.clone());
        outcome.events.extend(event);
        outcome.events.push(Event::FailedCompute(active));
        return None;
    }
    let tolerance = spec.tolerance();
    let mut failed: Option<(usize, usize, Failure)> = None;
    let mut best: Option<(usize, u32)> = None;
    outcome.statuses.reserve(spec.metrics.len());
    for (i, metric) in spec.metrics.iter().enumerate() {
        let nothing = Reading::Failed("it was not read");
        let reading = view.readings.get(i).unwrap_or(&nothing);
        match calculate(metric, reading, view, tolerance, &spec.settings, now) {
            Ok(proposal) => {
                outcome.statuses.push(Some(proposal.current));
                if best.is_none_or(|(_, replicas)| replicas == 0 || proposal.replicas > replicas) {
                    best = Some((i, proposal.replicas));
                }
            }
            Err(failure) => {
                outcome.statuses.push(None::<Current>);
                outcome.events.push(Event::FailedGet {
                    metric: i,
                    failure: failure.clone(),
                });
                failed = match failed {
                    None => Some((i, 1, failure)),
                    Some((first, count, failure)) => Some((first, count + 1, failure)),
                };
            }
        }
    }
    let Some((metric, failed_count, failure)) = failed else {
        let (metric, replicas) = best?;
        outcome.active = Some(Active::ValidMetricFound { metric });
        return Some((metric, replicas));
    };
    match best {
        Some((metric, replicas)) if replicas >= view.spec_replicas => {
            outcome.active = Some(Active::ValidMetricFound { metric });
            Some((metric, replicas))
        }
        _ => {
            let active = Active::Failed {
                metric,
                failed: failed_count,
                failure,
            };
            outcome.active = Some(active.clone());
            outcome.events.push(Event::FailedCompute(active));
            None
        }
    }
}

fn stabilised(spec: &Spec, state: &mut State, current: u32, proposed: u32, now: Instant) -> (Able, u32) {
    let downscale = spec.settings.downscale_stabilisation;
    let log = &mut state.recommendations;
    let (stable, held) = match &spec.behavior {
        None => (log.highest(proposed, downscale, now), Able::ScaleDownStabilized),
        Some(behavior) => {
            let up = behavior.up.window.unwrap_or(Duration::ZERO);
            let down = behavior.down.window.unwrap_or(downscale);
            let held = if proposed >= current {
                Able::ScaleUpStabilized
            } else {
                Able::ScaleDownStabilized
            };
            (log.between(current, proposed, up, down, now), held)
        }
    };
    if stable == proposed {
        (Able::ReadyForNewScale, stable)
    } else {
        (held, stable)
    }
}

fn rescale(spec: &Spec, state: &mut State, outcome: &mut Outcome, desired: u32, why: Rescale, now: Instant) {
    let current = outcome.current;
    if let Some(behavior) = &spec.behavior {
        state.last = Some(if desired > current {
            (true, state.added.remember(desired - current, &behavior.up, now))
        } else {
            (false, state.removed.remember(current - desired, &behavior.down, now))
        });
    }
    outcome.desired = desired;
    outcome.rescale = Some(why);
    outcome.able = Able::SucceededRescale { to: desired };
    outcome.events.push(Event::SuccessfulRescale { to: desired, why });
    if spec.settings.scale_to_zero {
        let to_zero = current > 0 && desired == 0 && spec.min_replicas == 0 && has_whole(spec);
        state.scaled_to_zero = to_zero;
        outcome.scaled_to_zero = Some(to_zero);
    }
}

impl Outcome {
    /// The write of `desired` failed because of `error`: the change did not
    /// happen, and the conditions and Events say so.
    pub fn write_failed(&mut self, state: &mut State, error: &str) {
        let Some(why) = self.rescale.take() else { return };
        state.forget_last();
        if let Some(zero) = self.scaled_to_zero.take() {
            // Zero is only ever reached from above it, and left from it.
            state.scaled_to_zero = !zero && self.current == 0;
        }
        let to = std::mem::replace(&mut self.desired, self.current);
        self.computed = false;
        self.able = Able::FailedUpdateScale {
            error: error.to_owned(),
        };
        self.events
            .retain(|event| !matches!(event, Event::SuccessfulRescale { .. }));
        self.events.push(Event::FailedRescale {
            to,
            why,
            error: error.to_owned(),
        });
    }
}

/// Whether the metrics held the target at or under its limits.
impl Limited {
    /// Whether the answer was cut.
    #[must_use]
    pub fn cut(self) -> bool {
        self != Self::DesiredWithinRange
    }
}

#[cfg(test)]
mod tests;
