//! What value a formula has.

use super::expr::{Binary, Each, Expr, Function, Value};

impl Expr {
    /// Its value; `item` is what `#` stands for.
    pub(super) fn value(&self, triggers: &[Option<f64>], item: Option<&Value>) -> Result<Value, String> {
        let of = |one: &Self| one.value(triggers, item);
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::Trigger(place) => Ok(triggers.get(*place).copied().flatten().map_or(Value::Nil, Value::Float)),
            Self::Item => item.cloned().ok_or_else(|| "# stands for nothing here".to_owned()),
            Self::List(items) => Ok(Value::List(items.iter().map(of).collect::<Result<_, _>>()?)),
            Self::Not(one) => Ok(Value::Bool(!of(one)?.truth()?)),
            Self::Negative(one) => match of(one)? {
                Value::Int(value) => Ok(Value::Int(value.wrapping_neg())),
                other => Ok(Value::Float(-other.number()?)),
            },
            Self::Positive(one) => of(one),
            Self::Else(two) => match of(&two[0])? {
                Value::Nil => of(&two[1]),
                value => Ok(value),
            },
            Self::If(three) => of(if of(&three[0])?.truth()? { &three[1] } else { &three[2] }),
            Self::At(two) => at(of(&two[0])?, &of(&two[1])?),
            Self::Binary(Binary::And, two) => Ok(Value::Bool(of(&two[0])?.truth()? && of(&two[1])?.truth()?)),
            Self::Binary(Binary::Or, two) => Ok(Value::Bool(of(&two[0])?.truth()? || of(&two[1])?.truth()?)),
            Self::Binary(binary, two) => binary.of(&of(&two[0])?, &of(&two[1])?),
            Self::Call(function, arguments) => {
                let arguments: Vec<Value> = arguments.iter().map(of).collect::<Result<_, _>>()?;
                function.of(&arguments)
            }
            Self::Each(each, two) => {
                let list = of(&two[0])?.list()?;
                each.of(list, |item| two[1].value(triggers, Some(item)))
            }
        }
    }
}

impl Value {
    fn truth(&self) -> Result<bool, String> {
        match self {
            Self::Bool(value) => Ok(*value),
            other => Err(format!("{other} is neither true nor false")),
        }
    }

    pub(super) fn number(&self) -> Result<f64, String> {
        match self {
            Self::Int(value) => Ok(*value as f64),
            Self::Float(value) => Ok(*value),
            Self::Nil => Err("a trigger has no number".to_owned()),
            other => Err(format!("{other} is no number")),
        }
    }

    fn list(self) -> Result<Vec<Self>, String> {
        match self {
            Self::List(items) => Ok(items),
            other => Err(format!("{other} is no list")),
        }
    }

    fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Int(_) | Self::Float(_), Self::Int(_) | Self::Float(_)) => self.number() == other.number(),
            (Self::List(ours), Self::List(theirs)) => {
                ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| a.equals(b))
            }
            _ => self == other,
        }
    }
}

impl Binary {
    fn of(self, left: &Value, right: &Value) -> Result<Value, String> {
        match self {
            Self::Equal => return Ok(Value::Bool(left.equals(right))),
            Self::Unequal => return Ok(Value::Bool(!left.equals(right))),
            Self::In => {
                let items = right.clone().list()?;
                return Ok(Value::Bool(items.iter().any(|item| item.equals(left))));
            }
            _ => {}
        }
        if let (Value::Int(a), Value::Int(b)) = (left, right) {
            match self {
                Self::Plus => return Ok(Value::Int(a.wrapping_add(*b))),
                Self::Minus => return Ok(Value::Int(a.wrapping_sub(*b))),
                Self::Times => return Ok(Value::Int(a.wrapping_mul(*b))),
                Self::Remainder if *b == 0 => return Err("a remainder of a division by 0".to_owned()),
                Self::Remainder => return Ok(Value::Int(a.wrapping_rem(*b))),
                _ => {}
            }
        }
        let (a, b) = (left.number()?, right.number()?);
        Ok(match self {
            Self::Plus => Value::Float(a + b),
            Self::Minus => Value::Float(a - b),
            Self::Times => Value::Float(a * b),
            Self::Over => Value::Float(a / b),
            Self::Power => Value::Float(a.powf(b)),
            Self::Less => Value::Bool(a < b),
            Self::AtMost => Value::Bool(a <= b),
            Self::More => Value::Bool(a > b),
            Self::AtLeast => Value::Bool(a >= b),
            _ => return Err("% is of whole numbers: int(a) makes one".to_owned()),
        })
    }
}

fn at(list: Value, place: &Value) -> Result<Value, String> {
    let Value::Int(place) = place else {
        return Err("the place of an item is a whole number".to_owned());
    };
    let mut items = list.list()?;
    let length = items.len();
    let from_start = usize::try_from(*place).ok();
    // Below 0 it counts from the end.
    let from_end = || length.checked_sub(usize::try_from(place.checked_neg()?).ok()?);
    let index = from_start.or_else(from_end).filter(|index| *index < length);
    let index = index.ok_or_else(|| format!("there is no item {place} among {length}"))?;
    Ok(items.swap_remove(index))
}

/// All numbers of arguments, those of lists among them.
fn flat<'v>(arguments: &'v [Value], into: &mut Vec<&'v Value>) -> Result<(), String> {
    for argument in arguments {
        match argument {
            Value::List(items) => flat(items, into)?,
            other => {
                other.number()?;
                into.push(other);
            }
        }
    }
    Ok(())
}

impl Function {
    fn of(self, arguments: &[Value]) -> Result<Value, String> {
        if self.is_of_many() {
            let mut all = Vec::new();
            flat(arguments, &mut all)?;
            return self.of_many(&all);
        }
        let [one] = arguments else {
            return Err("it is of one".to_owned());
        };
        match (self, one) {
            (Self::Len, Value::List(items)) => Ok(Value::Int(i64::try_from(items.len()).unwrap_or(i64::MAX))),
            (Self::Sum, Value::List(items)) => {
                let add = |sum: Value, item: &Value| Binary::Plus.of(&sum, item);
                items.iter().try_fold(Value::Int(0), add)
            }
            (Self::Abs, Value::Int(value)) => Ok(Value::Int(value.wrapping_abs())),
            (Self::Int, Value::Int(_)) => Ok(one.clone()),
            _ => self.of_number(one.number()?),
        }
    }

    fn of_number(self, value: f64) -> Result<Value, String> {
        Ok(match self {
            Self::Abs => Value::Float(value.abs()),
            Self::Ceil => Value::Float(value.ceil()),
            Self::Floor => Value::Float(value.floor()),
            Self::Round => Value::Float(value.round()),
            Self::Float => Value::Float(value),
            // What an int makes of others depends on the processor.
            Self::Int if value.abs() < i64::MAX as f64 => Value::Int(value as i64),
            Self::Int => return Err(format!("{value} is no whole number that can be")),
            _ => return Err("it is of a list".to_owned()),
        })
    }

    fn of_many(self, all: &[&Value]) -> Result<Value, String> {
        let numbers: Vec<f64> = all.iter().map(|value| value.number()).collect::<Result<_, _>>()?;
        let best = |better: fn(f64, f64) -> bool| {
            let mut best = 0;
            for (i, number) in numbers.iter().enumerate() {
                if better(*number, numbers[best]) {
                    best = i;
                }
            }
            all.get(best).map_or(Value::Nil, |value| (*value).clone())
        };
        Ok(match self {
            Self::Max => best(|a, b| a > b),
            Self::Min => best(|a, b| a < b),
            Self::Mean if numbers.is_empty() => Value::Float(0.0),
            Self::Mean => Value::Float(numbers.iter().sum::<f64>() / numbers.len() as f64),
            _ => Value::Float(median(numbers)),
        })
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => 0.0,
        even if even.is_multiple_of(2) => f64::midpoint(numbers[middle - 1], numbers[middle]),
        _ => numbers[middle],
    }
}

impl Each {
    fn of(self, items: Vec<Value>, question: impl Fn(&Value) -> Result<Value, String>) -> Result<Value, String> {
        if self == Self::Map {
            return Ok(Value::List(items.iter().map(question).collect::<Result<_, _>>()?));
        }
        let mut kept = Vec::new();
        let total = items.len();
        for item in items {
            let holds = question(&item)?.truth()?;
            match (self, holds) {
                (Self::All, false) => return Ok(Value::Bool(false)),
                (Self::Any, true) => return Ok(Value::Bool(true)),
                (Self::None, true) => return Ok(Value::Bool(false)),
                _ => {}
            }
            if holds {
                kept.push(item);
            }
        }
        Ok(match self {
            Self::All => Value::Bool(kept.len() == total),
            Self::Any => Value::Bool(false),
            Self::None => Value::Bool(kept.is_empty()),
            Self::One => Value::Bool(kept.len() == 1),
            Self::Count => Value::Int(i64::try_from(kept.len()).unwrap_or(i64::MAX)),
            Self::Filter | Self::Map => Value::List(kept),
        })
    }
}
