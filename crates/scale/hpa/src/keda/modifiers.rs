//! `scalingModifiers`: one metric composed of all triggers, in their place.

use super::formula::{Formula, Refused};
use super::{Answer, Reported, ScaledObject, State, Told, Trigger, Workload, told};
use std::fmt;

/// What the one metric is called in the generated HPA.
pub const COMPOSITE: &str = "composite-metric";

/// `advanced.scalingModifiers`.
#[derive(Clone, Debug, PartialEq)]
pub struct Modifiers {
    formula: Formula,
    target: f64,
    /// KEDA knows a fallback only beside a target that is written as a whole number.
    pub(super) allows_fallback: bool,
    activation_target: f64,
    /// `metricType`: whether the target is per replica (`AverageValue`, the
    /// default) or for the whole.
    pub per_replica: bool,
}

/// Why modifiers are not taken: the field and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadModifiers {
    /// `formula`.
    Formula(Refused),
    /// `target` is no number above 0: as it is written.
    Target(String),
    /// `activationTarget` is no number: as it is written.
    ActivationTarget(String),
    /// Two triggers have this name.
    Twice(String),
}

impl fmt::Display for BadModifiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Formula(why) => why.fmt(f),
            Self::Target(is) => write!(
                f,
                "scalingModifiers.target: {is:?} is no number above 0, which the formula is held against"
            ),
            Self::ActivationTarget(is) => write!(f, "scalingModifiers.activationTarget: {is:?} is no number"),
            Self::Twice(name) => write!(f, "triggers: two are called {name}: the formula must tell them apart"),
        }
    }
}

impl std::error::Error for BadModifiers {}

impl Modifiers {
    /// Modifiers of these triggers, per replica and activated by any value
    /// above 0. Triggers that have no name are asked, and count for nothing.
    ///
    /// # Errors
    /// What cannot be used.
    pub fn new(formula: &str, target: &str, triggers: &[Trigger]) -> Result<Self, BadModifiers> {
        let named = triggers.iter().map(|trigger| trigger.name.as_str());
        let names: Vec<&str> = named.filter(|name| !name.is_empty()).collect();
        for (i, name) in names.iter().enumerate() {
            if names[..i].contains(name) {
                return Err(BadModifiers::Twice((*name).to_owned()));
            }
        }
        let number = target.parse::<f64>().ok().filter(|number| *number > 0.0);
        let number = number.filter(|number| number.is_finite());
        Ok(Self {
            target: number.ok_or_else(|| BadModifiers::Target(target.to_owned()))?,
            formula: Formula::new(formula, &names).map_err(BadModifiers::Formula)?,
            allows_fallback: target.parse::<i64>().is_ok(),
            activation_target: 0.0,
            per_replica: true,
        })
    }

    /// With `activationTarget` as it is written; nothing is 0.
    ///
    /// # Errors
    /// When it is no number.
    pub fn activated_above(mut self, target: &str) -> Result<Self, BadModifiers> {
        if !target.is_empty() {
            let number = target.parse().ok().filter(|number: &f64| !number.is_nan());
            self.activation_target = number.ok_or_else(|| BadModifiers::ActivationTarget(target.to_owned()))?;
        }
        Ok(self)
    }

    /// `target` as the generated HPA and the fallback carry it.
    pub(super) const fn target(&self) -> f64 {
        self.target
    }

    /// Whether a composed value activates: strictly above.
    pub(super) fn activates(&self, milli: i64) -> bool {
        as_approximate_float(milli) > self.activation_target
    }
}

/// As Kubernetes makes a number of a quantity in thousandths: the product, not
/// the quotient, which can differ in the last digit.
fn as_approximate_float(milli: i64) -> f64 {
    milli as f64 * 1e-3
}

/// What all triggers come to, and whether one failed that nothing stands in for.
#[derive(Debug)]
pub(super) struct Composed {
    pub(super) value: Result<Reported, String>,
    pub(super) failed: bool,
    /// Some trigger failed more often than the fallback allows.
    pub(super) fallback: bool,
}

/// Asks `modifiers` what the triggers' answers come to.
pub(super) fn compose(
    object: &ScaledObject,
    modifiers: &Modifiers,
    state: &mut State,
    answers: &[Answer],
    workload: Workload,
) -> Composed {
    let absent = Answer::Failed(String::new());
    let mut values: Vec<(&str, f64)> = Vec::new();
    let (mut stands_in, mut failure, mut any_over) = (None, None, false);
    for (i, trigger) in object.triggers.iter().enumerate() {
        match told(object, state, i, answers.get(i).unwrap_or(&absent), workload) {
            Ok(Told::Value(milli)) => values.push((&trigger.name, as_approximate_float(milli))),
            Ok(Told::Absent) => any_over = true,
            Ok(Told::Fallback(milli)) => {
                any_over = true;
                stands_in = stands_in.or(Some(milli));
            }
            Err(why) => failure = failure.or(Some(why)),
        }
    }
    let failed = failure.is_some();
    let value = match (stands_in, failure) {
        // What stands in for one stands in for the whole.
        (Some(milli), _) => Ok(Reported { milli, fallback: true }),
        (None, Some(why)) => Err(why),
        (None, None) => formula_of(object, modifiers, &values),
    };
    Composed {
        value,
        failed,
        fallback: any_over,
    }
}

fn formula_of(object: &ScaledObject, modifiers: &Modifiers, values: &[(&str, f64)]) -> Result<Reported, String> {
    let of = |name: &str| values.iter().find(|(is, _)| *is == name).map(|(_, value)| *value);
    let value = match modifiers.formula.value(&of)? {
        Some(value) => value,
        None => {
            let fallback = object
                .fallback
                .ok_or("the formula comes to nothing, and there is no fallback")?;
            f64::from(fallback.replicas) * modifiers.target
        }
    };
    let milli = value * 1000.0;
    // KEDA hands on what its processor makes of such a number.
    if milli.is_nan() || milli.abs() >= i64::MAX as f64 {
        return Err(format!("the formula comes to {value}, which no metric can carry"));
    }
    Ok(Reported {
        milli: milli as i64,
        fallback: false,
    })
}

#[cfg(test)]
mod tests;
