//! What kind of value a formula has, before it has one.

use super::expr::{Binary, Each, Expr, Function, Value, name_of};

/// What is known of a value before there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Nil,
    Bool,
    Int,
    Float,
    List,
    /// It depends.
    Any,
}

impl Kind {
    fn is(self, kinds: &[Self]) -> bool {
        self == Self::Any || kinds.contains(&self)
    }

    /// Whether it is a number, or may be.
    pub(super) fn is_number(self) -> bool {
        self.is(&[Self::Int, Self::Float])
    }

    /// Of one of two.
    fn or(self, other: Self) -> Self {
        if self == other { self } else { Self::Any }
    }
}

impl Expr {
    /// What kind of value it has; whatever branch is taken, so that a mistake
    /// shows before the day it counts.
    pub(super) fn kind(&self) -> Result<Kind, String> {
        let number = |what: &str, kind: Kind| match kind.is_number() {
            true => Ok(kind),
            false => Err(format!("{what} is of numbers")),
        };
        let truth = |what: &str, kind: Kind| match kind.is(&[Kind::Bool]) {
            true => Ok(Kind::Bool),
            false => Err(format!("{what} is of what is true or false")),
        };
        match self {
            Self::Literal(value) => Ok(value.kind()),
            Self::Trigger(_) => Ok(Kind::Float),
            Self::Item => Ok(Kind::Any),
            Self::List(items) => items
                .iter()
                .try_for_each(|item| item.kind().map(drop))
                .map(|()| Kind::List),
            Self::Not(one) => truth("!", one.kind()?),
            Self::Negative(one) => number("-", one.kind()?),
            Self::Positive(one) => number("+", one.kind()?),
            Self::Else(two) => Ok(two[0].kind()?.or(two[1].kind()?)),
            Self::If(three) => {
                truth("what stands before ?", three[0].kind()?)?;
                Ok(three[1].kind()?.or(three[2].kind()?))
            }
            Self::At(two) => match (two[0].kind()?, two[1].kind()?) {
                (list, place) if list.is(&[Kind::List]) && place.is(&[Kind::Int]) => Ok(Kind::Any),
                _ => Err("[ ] is of a list and the place of an item".to_owned()),
            },
            Self::Each(each, two) => {
                let name = name_of(&Each::ALL, *each);
                if !two[0].kind()?.is(&[Kind::List]) {
                    return Err(format!("{name} is of a list"));
                }
                let of_item = two[1].kind()?;
                match each {
                    Each::Map => Ok(Kind::List),
                    _ => truth(&format!("the question of {name}"), of_item).map(|_| match each {
                        Each::Count => Kind::Int,
                        Each::Filter => Kind::List,
                        _ => Kind::Bool,
                    }),
                }
            }
            Self::Call(function, arguments) => of_call(*function, arguments),
            Self::Binary(binary, two) => of_two(*binary, two[0].kind()?, two[1].kind()?),
        }
    }
}

fn of_call(function: Function, arguments: &[Expr]) -> Result<Kind, String> {
    let name = name_of(&Function::ALL, function);
    let kinds: Vec<Kind> = arguments.iter().map(Expr::kind).collect::<Result<_, _>>()?;
    let numbers_or_lists = |kinds: &[Kind]| kinds.iter().all(|kind| kind.is(&[Kind::Int, Kind::Float, Kind::List]));
    if function.is_of_many() {
        if kinds.is_empty() || !numbers_or_lists(&kinds) {
            return Err(format!("{name} is of numbers, or of a list of them"));
        }
        return Ok(match function {
            Function::Mean | Function::Median => Kind::Float,
            _ => Kind::Any,
        });
    }
    let [one] = kinds[..] else {
        return Err(format!("{name} is of one"));
    };
    match function {
        Function::Len | Function::Sum if !one.is(&[Kind::List]) => Err(format!("{name} is of a list")),
        Function::Len => Ok(Kind::Int),
        Function::Sum => Ok(Kind::Any),
        _ if !one.is_number() => Err(format!("{name} is of a number")),
        Function::Int => Ok(Kind::Int),
        Function::Abs => Ok(one),
        _ => Ok(Kind::Float),
    }
}

fn of_two(binary: Binary, left: Kind, right: Kind) -> Result<Kind, String> {
    let both = |kinds: &[Kind]| left.is(kinds) && right.is(kinds);
    let comparable =
        || left == right || both(&[Kind::Int, Kind::Float]) || left.is(&[Kind::Nil]) || right.is(&[Kind::Nil]);
    match binary {
        Binary::And | Binary::Or if both(&[Kind::Bool]) => Ok(Kind::Bool),
        Binary::And | Binary::Or => Err("and, or are of what is true or false".to_owned()),
        Binary::Equal | Binary::Unequal if comparable() => Ok(Kind::Bool),
        Binary::Equal | Binary::Unequal => Err("== holds two of different kinds against each other".to_owned()),
        Binary::In if right.is(&[Kind::List]) => Ok(Kind::Bool),
        Binary::In => Err("in is of an item and a list".to_owned()),
        Binary::Less | Binary::AtMost | Binary::More | Binary::AtLeast if both(&[Kind::Int, Kind::Float]) => {
            Ok(Kind::Bool)
        }
        Binary::Less | Binary::AtMost | Binary::More | Binary::AtLeast => Err("< and > are of numbers".to_owned()),
        Binary::Remainder if both(&[Kind::Int]) => Ok(Kind::Int),
        Binary::Remainder => Err("% is of whole numbers: int(a) makes one".to_owned()),
        _ if !both(&[Kind::Int, Kind::Float]) => Err("+ - * / ** are of numbers".to_owned()),
        Binary::Over | Binary::Power => Ok(Kind::Float),
        _ if left == Kind::Int && right == Kind::Int => Ok(Kind::Int),
        _ if left == Kind::Float || right == Kind::Float => Ok(Kind::Float),
        _ => Ok(Kind::Any),
    }
}

impl Value {
    fn kind(&self) -> Kind {
        match self {
            Self::Nil => Kind::Nil,
            Self::Bool(_) => Kind::Bool,
            Self::Int(_) => Kind::Int,
            Self::Float(_) => Kind::Float,
            Self::List(_) => Kind::List,
        }
    }
}
