//! KEDA's half of a ScaledObject: activation, cooldown, fallback, and the HPA
//! that it generates for the rest.
//!
//! Two loops share a ScaledObject. [`poll`] runs every
//! [`ScaledObject::polling_interval`] and moves the target between its resting
//! number and its first replica; the generated HPA ([`hpa_of`]) asks KEDA's
//! metrics server ([`metric`]) in each of its own passes and does the rest.
//! With [`Modifiers`] one metric, composed of all triggers by a formula, takes
//! the place of theirs in both ([`composite`]). Facts are those of KEDA 2.21.

mod formula;
mod modifiers;
mod scaler;

pub use formula::{Formula, Refused};
pub use modifiers::{BadModifiers, COMPOSITE, Modifiers};
pub use scaler::{Answer, milli, prometheus};

use crate::spec::{Behavior, Metric, Select, Spec, Target};
use std::time::Duration;
use units::Instant;

/// A ScaledObject after its defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaledObject {
    /// `pollingInterval`.
    pub polling_interval: Duration,
    /// `cooldownPeriod`: rest only so long after the last activity.
    pub cooldown: Duration,
    /// `initialCooldownPeriod`: rest only so long after `created` when there
    /// was never activity.
    pub initial_cooldown: Duration,
    /// `idleReplicaCount`.
    pub idle_replicas: Option<u32>,
    /// `minReplicaCount`.
    pub min_replicas: u32,
    /// `maxReplicaCount`.
    pub max_replicas: u32,
    /// `triggers`.
    pub triggers: Vec<Trigger>,
    /// `advanced.scalingModifiers`.
    pub modifiers: Option<Modifiers>,
    /// `fallback`.
    pub fallback: Option<Fallback>,
    /// `advanced.horizontalPodAutoscalerConfig.behavior`, after the API
    /// server's defaults.
    pub behavior: Option<Behavior>,
    /// The annotations that pause it.
    pub pause: Pause,
    /// `autoscaling.keda.sh/force-activation`: active whatever the triggers say.
    pub force_activation: bool,
    /// `metadata.creationTimestamp`.
    pub created: Instant,
}

impl ScaledObject {
    /// KEDA's defaults with these triggers.
    #[must_use]
    pub fn new(triggers: Vec<Trigger>, created: Instant) -> Self {
        Self {
            polling_interval: Duration::from_secs(30),
            cooldown: Duration::from_secs(300),
            initial_cooldown: Duration::ZERO,
            idle_replicas: None,
            min_replicas: 0,
            max_replicas: 100,
            triggers,
            modifiers: None,
            fallback: None,
            behavior: None,
            pause: Pause::default(),
            force_activation: false,
            created,
        }
    }

    /// Where the target rests while nothing is active.
    #[must_use]
    pub fn resting(&self) -> u32 {
        self.idle_replicas.unwrap_or(self.min_replicas)
    }

    /// The fallback, where KEDA uses it.
    fn usable_fallback(&self) -> Option<Fallback> {
        let allowed = self
            .modifiers
            .as_ref()
            .is_none_or(|modifiers| modifiers.allows_fallback);
        self.fallback.filter(|_| allowed)
    }
}

/// A trigger with an external metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Trigger {
    /// `name`, by which a formula calls it; empty if it has none.
    pub name: String,
    /// Name of the metric in the generated HPA, such as `s0-prometheus`.
    pub metric: String,
    /// Target of the metric.
    pub threshold: f64,
    /// Active strictly above it.
    pub activation_threshold: f64,
    /// `metricType`: whether the threshold is per replica (`AverageValue`, the
    /// default) or for the whole.
    pub per_replica: bool,
}

impl Trigger {
    /// A trigger per replica that any value above 0 activates.
    #[must_use]
    pub fn new(metric: impl Into<String>, threshold: f64) -> Self {
        Self {
            name: String::new(),
            metric: metric.into(),
            threshold,
            activation_threshold: 0.0,
            per_replica: true,
        }
    }

    /// This, with the name that a formula calls it by.
    #[must_use]
    pub fn called(self, name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..self
        }
    }
}

/// `fallback`: what to report once a trigger failed too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// More failures in a row than these.
    pub failure_threshold: u32,
    /// Replicas wanted then.
    pub replicas: u32,
    /// How they meet the replicas that are there.
    pub behavior: FallbackBehavior,
}

/// `fallback.behavior`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FallbackBehavior {
    /// The fallback's number.
    Static,
    /// What the target has.
    CurrentReplicas,
    /// The larger of both.
    CurrentReplicasIfHigher,
    /// The smaller of both.
    CurrentReplicasIfLower,
    /// None: the formula says by `??` what a trigger without a number is.
    ScalingModifiers,
}

/// The annotations that stop KEDA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pause {
    /// `autoscaling.keda.sh/paused`: no poll acts.
    pub all: bool,
    /// `autoscaling.keda.sh/paused-replicas`: nor does any here, but for setting
    /// this number. Its HPA is gone the while, as it is in the case above.
    pub at: Option<u32>,
    /// `autoscaling.keda.sh/paused-scale-in`.
    pub scale_in: bool,
    /// `autoscaling.keda.sh/paused-scale-out`.
    pub scale_out: bool,
}

/// What earlier polls left; the caller owns it, one for each ScaledObject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// `status.lastActiveTime`.
    pub last_active: Option<Instant>,
    /// Failures in a row of each trigger, in their order.
    failures: Vec<u32>,
}

impl State {
    /// Failures in a row of the trigger at `index`.
    #[must_use]
    pub fn failures(&self, index: usize) -> u32 {
        self.failures.get(index).copied().unwrap_or(0)
    }

    fn count(&mut self, object: &ScaledObject, index: usize, failed: bool) -> u32 {
        self.failures.resize(object.triggers.len(), 0);
        let Some(count) = self.failures.get_mut(index) else {
            return 0;
        };
        *count = if failed { count.saturating_add(1) } else { 0 };
        *count
    }
}

/// The target as KEDA sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// `spec.replicas`.
    pub replicas: u32,
    /// Pods that are running and ready.
    pub ready: u32,
}

/// What a poll decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poll {
    /// `spec.replicas` to write, if it changes.
    pub replicas: Option<u32>,
    /// The condition Active.
    pub active: Activity,
    /// The condition Ready.
    pub ready: Health,
    /// The condition Fallback: some trigger failed too often.
    pub fallback: bool,
}

/// Reason of the condition Active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Some trigger is active.
    ScalerActive,
    /// None is.
    ScalerNotActive,
    /// None is, but one was a short time ago.
    ScalerCooldown,
    /// Nothing was asked.
    Paused,
}

/// Reason of the condition Ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Ready is True.
    ScaledObjectReady,
    /// Ready is Unknown: some triggers are active, others failed.
    PartialTriggerError,
    /// Ready is False: no trigger is active and some failed.
    TriggerError,
}

/// One turn of the activation loop. `answers` are those of the triggers in
/// their order; one that is absent failed.
pub fn poll(object: &ScaledObject, state: &mut State, workload: Workload, answers: &[Answer], now: Instant) -> Poll {
    let mut decided = Poll {
        replicas: None,
        active: Activity::Paused,
        ready: Health::ScaledObjectReady,
        fallback: false,
    };
    if let Some(at) = object.pause.at {
        decided.replicas = (workload.replicas != at).then_some(at);
        return decided;
    }
    if object.pause.all {
        return decided;
    }
    let (mut active, mut failed) = (object.force_activation, false);
    if let Some(modifiers) = &object.modifiers {
        let composed = modifiers::compose(object, modifiers, state, answers, workload);
        (failed, decided.fallback) = (composed.failed, composed.fallback);
        // One failure, and what the others come to does not count.
        active |= !failed && composed.value.is_ok_and(|value| modifiers.activates(value.milli));
    } else {
        let absent = Answer::Failed(String::new());
        for (i, trigger) in object.triggers.iter().enumerate() {
            let answer = answers.get(i).unwrap_or(&absent);
            match metric(object, state, i, answer, workload) {
                Ok(Reported { fallback: true, .. }) => {
                    active = true;
                    decided.fallback = true;
                }
                Ok(_) => active |= matches!(answer, Answer::Value(v) if *v > trigger.activation_threshold),
                Err(_) => failed = true,
            }
        }
    }
    let current = workload.replicas;
    if active {
        decided.active = Activity::ScalerActive;
        if current == 0 || (object.idle_replicas.is_some() && current < object.min_replicas) {
            if !object.pause.scale_out {
                decided.replicas = Some(object.min_replicas.max(1));
                state.last_active = Some(now);
            }
        } else if failed {
            // Activity with an error does not count for the cooldown.
            decided.ready = Health::PartialTriggerError;
        } else {
            state.last_active = Some(now);
        }
        return decided;
    }
    decided.active = Activity::ScalerNotActive;
    if failed && object.fallback.is_some_and(|fallback| fallback.replicas != 0) {
        // Resting at 0 would stop the HPA, and the fallback with it.
    } else if failed && object.fallback.is_none() {
        decided.ready = Health::TriggerError;
    } else if object.idle_replicas.is_some_and(|idle| current > idle) || (current > 0 && object.min_replicas == 0) {
        if !object.pause.scale_in {
            rest(object, state, &mut decided, current, now);
        }
    } else if object.idle_replicas.is_none() && current < object.min_replicas {
        decided.replicas = Some(object.min_replicas);
    }
    decided
}

fn rest(object: &ScaledObject, state: &State, decided: &mut Poll, current: u32, now: Instant) {
    let over = match state.last_active {
        Some(last) => now.since(last) > object.cooldown,
        None => now.since(object.created) > object.initial_cooldown,
    };
    if over {
        let resting = object.resting();
        decided.replicas = (resting != current).then_some(resting);
    } else {
        decided.active = Activity::ScalerCooldown;
    }
}

/// What KEDA's metrics server tells the HPA of a trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported {
    /// The value, in thousandths.
    pub milli: i64,
    /// Whether the fallback made it.
    pub fallback: bool,
}

/// What the metrics server answers for the trigger at `index`, and the same
/// count of failures that a poll keeps: each request is one.
///
/// # Errors
/// What the trigger said, while it failed no more often than the fallback
/// allows, or for good without one; also when a fallback for the whole has no
/// ready replica to divide by.
pub fn metric(
    object: &ScaledObject,
    state: &mut State,
    index: usize,
    answer: &Answer,
    workload: Workload,
) -> Result<Reported, String> {
    let (milli, fallback) = match told(object, state, index, answer, workload)? {
        Told::Value(milli) => (milli, false),
        Told::Fallback(milli) => (milli, true),
        // What KEDA writes down for nothing, where no formula reads it.
        Told::Absent => (-1000, false),
    };
    Ok(Reported { milli, fallback })
}

/// What the metrics server answers for [`COMPOSITE`]: all triggers are asked.
///
/// # Errors
/// What a trigger said, as for [`metric`]; why the formula has no value; that
/// there are no modifiers.
pub fn composite(
    object: &ScaledObject,
    state: &mut State,
    answers: &[Answer],
    workload: Workload,
) -> Result<Reported, String> {
    let modifiers = object
        .modifiers
        .as_ref()
        .ok_or("the ScaledObject has no scalingModifiers")?;
    modifiers::compose(object, modifiers, state, answers, workload).value
}

/// What a trigger's answer comes to after those before it, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Value(i64),
    /// What the fallback puts in its place.
    Fallback(i64),
    /// It failed too often, and the formula is to say what holds.
    Absent,
}

fn told(
    object: &ScaledObject,
    state: &mut State,
    index: usize,
    answer: &Answer,
    workload: Workload,
) -> Result<Told, String> {
    let why = match answer {
        Answer::Value(value) => {
            state.count(object, index, false);
            return Ok(Told::Value(milli(*value)));
        }
        Answer::Failed(why) => why.clone(),
    };
    let failures = state.count(object, index, true);
    let (Some(fallback), Some(trigger)) = (object.usable_fallback(), object.triggers.get(index)) else {
        return Err(why);
    };
    if failures <= fallback.failure_threshold {
        return Err(why);
    }
    let replicas = match fallback.behavior {
        FallbackBehavior::Static => fallback.replicas,
        FallbackBehavior::CurrentReplicas => workload.replicas,
        FallbackBehavior::CurrentReplicasIfHigher => fallback.replicas.max(workload.replicas),
        FallbackBehavior::CurrentReplicasIfLower => fallback.replicas.min(workload.replicas),
        FallbackBehavior::ScalingModifiers => return Ok(Told::Absent),
    };
    let (target, per_replica) = match &object.modifiers {
        Some(modifiers) => (modifiers.target(), modifiers.per_replica),
        // The threshold as the generated HPA carries it.
        None => (milli(trigger.threshold) as f64 / 1000.0, trigger.per_replica),
    };
    let mut replicas = f64::from(replicas);
    if !per_replica {
        if workload.ready == 0 {
            return Err(format!(
                "error performing fallback: no ready replica to divide by ({why})"
            ));
        }
        replicas /= f64::from(workload.ready);
    }
    Ok(Told::Fallback((target * 1000.0 * replicas) as i64))
}

/// The HPA that KEDA generates: at least 1 replica, one external metric for
/// each trigger, or [`COMPOSITE`] for all; and a pause as a direction that is
/// disabled.
#[must_use]
pub fn hpa_of(object: &ScaledObject, namespace: &str) -> Spec {
    let of = |metric: &str, target: i64, per_replica: bool| {
        let target = if per_replica {
            Target::AverageValue(target)
        } else {
            Target::Value(target)
        };
        Metric::external(metric.to_owned(), target)
    };
    let metrics = match &object.modifiers {
        Some(modifiers) => vec![of(
            COMPOSITE,
            (modifiers.target() * 1000.0) as i64,
            modifiers.per_replica,
        )],
        None => {
            let triggers = object.triggers.iter();
            let metric = |trigger: &Trigger| of(&trigger.metric, milli(trigger.threshold), trigger.per_replica);
            triggers.map(metric).collect()
        }
    };
    let mut behavior = object.behavior.clone();
    if object.pause.scale_in {
        behavior.get_or_insert_default().down.select = Select::Disabled;
    }
    if object.pause.scale_out {
        behavior.get_or_insert_default().up.select = Select::Disabled;
    }
    Spec {
        namespace: namespace.to_owned(),
        behavior,
        ..Spec::new(object.min_replicas.max(1), object.max_replicas, metrics)
    }
}

#[cfg(test)]
mod tests;
