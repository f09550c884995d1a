//! The formula of `scalingModifiers`: one number out of those of the triggers.
//!
//! KEDA runs formulas by the library [Expr](https://expr-lang.org), a language of
//! many uses; here is what numbers need of it, by the same precedences and
//! kinds. What is not here is refused by name, and so is what Expr reads in ways
//! of its own (`a ?? b + c`). `tests/keda` holds both against each other.

mod expr;
mod kind;
mod read;
mod reckon;

use expr::{Expr, Value};
use std::fmt;

/// A formula over named triggers.
#[derive(Clone, Debug, PartialEq)]
pub struct Formula {
    text: String,
    names: Vec<String>,
    expr: Expr,
}

/// Why a formula is not taken, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scalingModifiers.formula: {}", self.0)
    }
}

impl std::error::Error for Refused {}

impl Formula {
    /// Reads a formula over triggers of these names.
    ///
    /// # Errors
    /// What is wrong with it; as KEDA does, it is tried once with -1 for all.
    pub fn new(text: &str, names: &[&str]) -> Result<Self, Refused> {
        let refused = |why: String| Refused(format!("{text}: {why}"));
        let expr = read::read(text, names).map_err(refused)?;
        let kind = expr.kind().map_err(refused)?;
        if !kind.is_number() {
            return Err(refused("it is no number".to_owned()));
        }
        let formula = Self {
            text: text.to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            expr,
        };
        match formula.value(&|_| Some(-1.0)).map_err(Refused)? {
            Some(_) => Ok(formula),
            None => Err(refused("where each trigger has a number, it has none".to_owned())),
        }
    }

    /// Its value over the triggers' values; `None` where neither they nor the
    /// formula say one.
    ///
    /// # Errors
    /// What cannot be reckoned, such as with a trigger that has no number.
    pub fn value(&self, of: &dyn Fn(&str) -> Option<f64>) -> Result<Option<f64>, String> {
        let triggers: Vec<Option<f64>> = self.names.iter().map(|name| of(name)).collect();
        let failed = |why: String| format!("formula {}: {why}", self.text);
        match self.expr.value(&triggers, None).map_err(failed)? {
            Value::Nil if self.text.contains("??") => Ok(None),
            // Where KEDA sees `float(` in front it makes no float of the whole.
            Value::Int(_) if self.text.starts_with("float(") && !self.text.contains("??") => {
                Err(failed("it is an int where a float is promised".to_owned()))
            }
            value => value.number().map(Some).map_err(failed),
        }
    }
}

#[cfg(test)]
mod tests;
