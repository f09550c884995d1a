//! The replica calculator: what one metric alone would have.

use crate::spec::{Metric, ResourceTarget, Settings, Target, Tolerance};
use crate::view::{Phase, Pod, Reading, Ready, Sample, View};
use units::Instant;

/// What one metric alone would have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Replicas; the target's own number when the usage is near enough.
    pub replicas: u32,
    /// The usage, for `status.currentMetrics`.
    pub current: Current,
}

/// The usage of one metric, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Current {
    /// Of the whole.
    Value(i64),
    /// Per Pod.
    AverageValue(i64),
    /// In percent of the request, and per Pod.
    Utilization {
        /// Percent of the request.
        percent: i32,
        /// Per Pod, in thousandths.
        average_milli: i64,
    },
}

/// Why a metric proposes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It could not be read; why.
    Unavailable(String),
    /// The selector selects no Pod.
    NoPods,
    /// No Pod that counts has a sample.
    NoSamples,
    /// The samples are of other Pods, or nothing is requested.
    NoMatch,
    /// A Pod requests nothing of the resource; which.
    MissingRequest(String),
}

/// What `metric` alone would have. `tolerance` is [`crate::Spec::tolerance`].
///
/// # Errors
/// [`Failure`] when the reading or the Pods do not allow an answer; a missing
/// value is never 0.
pub fn calculate(
    metric: &Metric,
    reading: &Reading<'_>,
    view: &View<'_>,
    tolerance: Tolerance,
    settings: &Settings,
    now: Instant,
) -> Result<Proposal, Failure> {
    if let Reading::Failed(why) = reading {
        return Err(Failure::Unavailable((*why).to_owned()));
    }
    match metric {
        Metric::Resource { name, target } | Metric::ContainerResource { name, target, .. } => {
            let aim = match *target {
                ResourceTarget::Utilization(percent) => Aim::Percent(percent),
                ResourceTarget::AverageValue(milli) => Aim::Average(milli),
            };
            let cpu = (name == "cpu").then_some(*settings);
            per_pod(aim, reading, view, tolerance, cpu, now, "resource")
        }
        Metric::Pods { average_milli, .. } => {
            let aim = Aim::Average(*average_milli);
            per_pod(aim, reading, view, tolerance, None, now, "custom")
        }
        Metric::Object { target, .. } => of_sum(*target, reading, view, tolerance, "custom"),
        Metric::External { target, .. } => of_sum(*target, reading, view, tolerance, "external"),
    }
}

/// A number of replicas from a float: rounded up, never below 0, saturated.
fn replicas(wanted: f64) -> u32 {
    u32::try_from(wanted.ceil() as i32).unwrap_or(0)
}

/// Metrics that are one number for the whole target.
fn of_sum(
    target: Target,
    reading: &Reading<'_>,
    view: &View<'_>,
    tolerance: Tolerance,
    api: &str,
) -> Result<Proposal, Failure> {
    let Reading::Series(series) = reading else {
        return Err(Failure::Unavailable("the values are per Pod".into()));
    };
    if series.is_empty() {
        return Err(Failure::Unavailable(format!(
            "no metrics returned from {api} metrics API"
        )));
    }
    match target {
        Target::Value(target) => {
            let usage = series.iter().fold(0i64, |sum, v| sum.saturating_add(*v));
            let ratio = usage as f64 / target as f64;
            let replicas = if view.spec_replicas == 0 {
                replicas(ratio)
            } else if tolerance.holds(ratio) {
                view.spec_replicas
            } else if view.pods.is_empty() {
                return Err(Failure::NoPods);
            } else {
                let ready = view.pods.iter().filter(|pod| pod.serves()).count();
                replicas(ratio * ready as f64)
            };
            Ok(Proposal {
                replicas,
                current: Current::Value(usage),
            })
        }
        Target::AverageValue(target) => {
            let usage = sum_to_share(series, api);
            let ratio = usage as f64 / (target as f64 * f64::from(view.status_replicas));
            let replicas = if tolerance.holds(ratio) {
                view.status_replicas
            } else {
                replicas(usage as f64 / target as f64)
            };
            let average = if usage == i64::MAX {
                usage
            } else {
                (usage as f64 / f64::from(view.status_replicas.max(1))).ceil() as i64
            };
            Ok(Proposal {
                replicas,
                current: Current::AverageValue(average),
            })
        }
    }
}

/// The sum of the series for a target per replica. The real controller takes a
/// sum of external series below zero for one that overflowed.
fn sum_to_share(series: &[i64], api: &str) -> i64 {
    let mut sum = 0i64;
    for value in series {
        sum = sum.saturating_add(*value);
        if sum < 0 && api == "external" {
            return i64::MAX;
        }
    }
    sum
}

/// What is wanted per Pod.
#[derive(Clone, Copy)]
enum Aim {
    Percent(u32),
    Average(i64),
}

/// How a Pod enters the sum.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// With its sample.
    Counted,
    /// It should have a sample.
    Missing,
    /// Its sample would mislead.
    Unready,
    /// It is going or gone.
    Ignored,
}

fn class(pod: &Pod, sample: Option<Sample>, cpu: Option<Settings>, now: Instant) -> Class {
    if pod.deleted || pod.phase == Phase::Failed {
        return Class::Ignored;
    }
    if pod.phase == Phase::Pending {
        return Class::Unready;
    }
    let Some(sample) = sample else { return Class::Missing };
    let Some(settings) = cpu else { return Class::Counted };
    let (Some((ready, since)), Some(started)) = (pod.ready, pod.started) else {
        return Class::Unready;
    };
    let unready = if started + settings.cpu_initialisation > now {
        // The sample must be of the time since it became ready.
        ready == Ready::False || sample.at < since + sample.window
    } else {
        // It is unready and never was ready.
        ready == Ready::False && started + settings.initial_readiness_delay > since
    };
    if unready { Class::Unready } else { Class::Counted }
}

/// Sums over the Pods that have a value, real or assumed.
#[derive(Clone, Copy, Default)]
struct Sums {
    usage: i128,
    requests: i128,
    pods: usize,
}

impl Sums {
    fn add(&mut self, usage: i64, request: i64) {
        self.usage += i128::from(usage);
        self.requests += i128::from(request);
        self.pods += 1;
    }

    /// Usage over target, and the usage as the status shows it.
    fn ratio(&self, aim: Aim, strays: &[i64]) -> Result<(f64, Current), Failure> {
        match aim {
            Aim::Percent(target) => {
                if self.requests == 0 || self.pods == 0 {
                    return Err(Failure::NoMatch);
                }
                let percent = saturated(self.usage * 100 / self.requests);
                let percent = i32::try_from(percent).unwrap_or(if percent < 0 { i32::MIN } else { i32::MAX });
                let current = Current::Utilization {
                    percent,
                    average_milli: saturated(self.usage / self.pods as i128),
                };
                Ok((f64::from(percent) / f64::from(target), current))
            }
            Aim::Average(target) => {
                let total = self.usage + strays.iter().map(|v| i128::from(*v)).sum::<i128>();
                let entries = (self.pods + strays.len()).max(1);
                let average = saturated(total / entries as i128);
                Ok((average as f64 / target as f64, Current::AverageValue(average)))
            }
        }
    }
}

fn saturated(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// Metrics that are one number for each Pod.
fn per_pod(
    aim: Aim,
    reading: &Reading<'_>,
    view: &View<'_>,
    tolerance: Tolerance,
    cpu: Option<Settings>,
    now: Instant,
    api: &str,
) -> Result<Proposal, Failure> {
    let Reading::PerPod {
        samples,
        strays,
        requests,
    } = *reading
    else {
        return Err(Failure::Unavailable("the values are not per Pod".into()));
    };
    if strays.is_empty() && samples.iter().all(Option::is_none) {
        return Err(Failure::Unavailable(format!(
            "no metrics returned from {api} metrics API"
        )));
    }
    if view.pods.is_empty() {
        return Err(Failure::NoPods);
    }
    let sample = |i: usize| samples.get(i).copied().flatten();
    let class = |i: usize, pod: &Pod| class(pod, sample(i), cpu, now);
    let (mut counted, mut missing, mut unready) = (0usize, 0usize, 0usize);
    for (i, pod) in view.pods.iter().enumerate() {
        match class(i, pod) {
            Class::Counted => counted += 1,
            Class::Missing => missing += 1,
            Class::Unready => unready += 1,
            Class::Ignored => {}
        }
    }
    if counted + strays.len() == 0 {
        return Err(Failure::NoSamples);
    }
    let requests: &[i64] = match (aim, requests) {
        (Aim::Average(_), _) => &[],
        (Aim::Percent(_), Ok(requests)) if requests.len() >= view.pods.len() => requests,
        (Aim::Percent(_), Ok(_)) => return Err(Failure::MissingRequest("missing requests of some Pods".into())),
        (Aim::Percent(_), Err(why)) => return Err(Failure::MissingRequest(why.to_owned())),
    };
    let request = |i: usize| requests.get(i).copied().unwrap_or(0);

    let mut sums = Sums::default();
    for (i, pod) in view.pods.iter().enumerate() {
        if let (Class::Counted, Some(sample)) = (class(i, pod), sample(i)) {
            sums.add(sample.milli, request(i));
        }
    }
    let (ratio, current) = sums.ratio(aim, strays)?;
    let keep = Proposal {
        replicas: view.spec_replicas,
        current,
    };

    let up_with_unready = unready > 0 && ratio > 1.0;
    if !up_with_unready && missing == 0 {
        if tolerance.holds(ratio) {
            return Ok(keep);
        }
        return Ok(Proposal {
            replicas: replicas(ratio * counted as f64),
            current,
        });
    }

    // Assume of the others whatever moves the least: on the way down a missing
    // Pod uses what it may, on the way up it and an unready one use nothing.
    for (i, pod) in view.pods.iter().enumerate() {
        match class(i, pod) {
            Class::Missing if ratio < 1.0 => {
                let assumed = match aim {
                    Aim::Percent(target) => saturated(i128::from(request(i)) * i128::from(target.max(100)) / 100),
                    Aim::Average(target) => target,
                };
                sums.add(assumed, request(i));
            }
            Class::Missing if ratio > 1.0 => sums.add(0, request(i)),
            Class::Unready if up_with_unready => sums.add(0, request(i)),
            _ => {}
        }
    }
    let (again, _) = sums.ratio(aim, strays)?;
    if tolerance.holds(again) || (ratio < 1.0 && again > 1.0) || (ratio > 1.0 && again < 1.0) {
        return Ok(keep);
    }
    let wanted = replicas(again * (sums.pods + strays.len()) as f64);
    if (again < 1.0 && wanted > view.spec_replicas) || (again > 1.0 && wanted < view.spec_replicas) {
        return Ok(keep);
    }
    Ok(Proposal {
        replicas: wanted,
        current,
    })
}

#[cfg(test)]
mod tests;
