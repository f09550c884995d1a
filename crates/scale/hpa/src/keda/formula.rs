//! The formula of `scalingModifiers`: one number out of those of the triggers.
//!
//! KEDA runs formulas by [Expr](https://expr-lang.org); here the crate of that
//! name does, for formulas of numbers. A formula is looked through before it is
//! believed, because two implementations of a language agree on what is usual:
//! what they read differently (`a ?? b + c`), and what a number of replicas has
//! no use for (texts, ranges, clocks), is refused by name. What is left has the
//! same value here and there, to the last digits of a power.

mod scan;

use expr::{Context, Program, Value};
use std::fmt;

/// A formula over named triggers.
#[derive(Clone)]
pub struct Formula {
    text: String,
    names: Vec<String>,
    program: Program,
    /// Whether its author says what holds where a trigger has no number.
    may_be_absent: bool,
}

/// Why a formula is not taken, with the place and the remedy.
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
        scan::check(text, names).map_err(Refused)?;
        let may_be_absent = text.contains("??");
        // KEDA's own wrapping: a number of any kind is made the one kind that it takes.
        let whole = if may_be_absent {
            format!(
                "let _kedaCompositeResult = ({text}); _kedaCompositeResult == nil ? nil : float(_kedaCompositeResult)"
            )
        } else if text.starts_with("float(") {
            text.to_owned()
        } else {
            format!("float({text})")
        };
        let program = expr::compile(&whole).map_err(|error| Refused(format!("{text}: {error}")))?;
        let formula = Self {
            text: text.to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            program,
            may_be_absent,
        };
        formula.run(&|_| Some(-1.0)).map_err(Refused)?;
        Ok(formula)
    }

    /// Its value over the triggers' values; `None` where neither they nor the
    /// formula say one.
    ///
    /// # Errors
    /// What cannot be reckoned, such as with a trigger that has no number.
    pub fn value(&self, of: &dyn Fn(&str) -> Option<f64>) -> Result<Option<f64>, String> {
        match self.run(of)? {
            Value::Float(value) => Ok(Some(value)),
            Value::Nil if self.may_be_absent => Ok(None),
            other => Err(format!("formula {} returned {other}, which is no number", self.text)),
        }
    }

    fn run(&self, of: &dyn Fn(&str) -> Option<f64>) -> Result<Value, String> {
        let values = self.names.iter().map(|name| {
            let value = of(name).map_or(Value::Nil, Value::Float);
            (name, value)
        });
        let context: Context = values.collect();
        expr::run(&self.program, &context).map_err(|error| format!("formula {}: {error}", self.text))
    }
}

impl PartialEq for Formula {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, &self.names) == (&other.text, &other.names)
    }
}

impl fmt::Debug for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Formula").field(&self.text).finish()
    }
}

#[cfg(test)]
mod tests;
