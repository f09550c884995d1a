//! What a formula is once it is read, and what comes of it.

use std::fmt;

/// A formula, or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expr {
    Literal(Value),
    /// By its place among the names.
    Trigger(usize),
    /// `#`: the item that a function of lists looks at.
    Item,
    List(Vec<Self>),
    Not(Box<Self>),
    Negative(Box<Self>),
    /// `+` before a number.
    Positive(Box<Self>),
    Binary(Binary, Box<[Self; 2]>),
    /// `??`
    Else(Box<[Self; 2]>),
    /// `? :`
    If(Box<[Self; 3]>),
    /// `list[place]`
    At(Box<[Self; 2]>),
    Call(Function, Vec<Self>),
    /// A function that looks at each item of a list by an expression.
    Each(Each, Box<[Self; 2]>),
}

/// What comes of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    List(Vec<Self>),
}

/// For people.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("nil"),
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::List(items) => write!(f, "a list of {}", items.len()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
    In,
    Plus,
    Minus,
    Times,
    Over,
    Remainder,
    Power,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Abs,
    Ceil,
    Floor,
    Round,
    Float,
    Int,
    Len,
    Max,
    Min,
    Mean,
    Median,
    Sum,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Each {
    All,
    Any,
    Count,
    Filter,
    Map,
    None,
    One,
}

impl Function {
    pub(super) const ALL: [(&'static str, Self); 12] = [
        ("abs", Self::Abs),
        ("ceil", Self::Ceil),
        ("float", Self::Float),
        ("floor", Self::Floor),
        ("int", Self::Int),
        ("len", Self::Len),
        ("max", Self::Max),
        ("mean", Self::Mean),
        ("median", Self::Median),
        ("min", Self::Min),
        ("round", Self::Round),
        ("sum", Self::Sum),
    ];

    /// Whether it is of numbers, as many as there are, or of lists of them.
    pub(super) const fn is_of_many(self) -> bool {
        matches!(self, Self::Max | Self::Min | Self::Mean | Self::Median)
    }
}

impl Each {
    pub(super) const ALL: [(&'static str, Self); 7] = [
        ("all", Self::All),
        ("any", Self::Any),
        ("count", Self::Count),
        ("filter", Self::Filter),
        ("map", Self::Map),
        ("none", Self::None),
        ("one", Self::One),
    ];
}

pub(super) fn name_of<T: Copy + PartialEq>(all: &[(&'static str, T)], one: T) -> &'static str {
    all.iter().find(|(_, is)| *is == one).map_or("", |(name, _)| *name)
}
