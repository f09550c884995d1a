//! The table of messages: which field of which number is what.

use std::{
    collections::{BTreeMap, HashMap},
    io::Read,
    sync::LazyLock,
};

static PACKED: &[u8] = include_bytes!("../../../schemas/messages.txt.gz");

/// What a field holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    String,
    Bytes,
    Int,
    Bool,
    Double,
    Quantity,
    Time,
    MicroTime,
    IntOrString,
    /// A message whose one field is a list of strings.
    Strings,
    /// A message whose one field is JSON text.
    Json,
    Message(&'static str),
    List(Box<Kind>),
    Map(Box<Kind>),
}

#[derive(Debug)]
pub(super) struct Field {
    /// The JSON name; `.` when the message's fields stand in the holder's JSON.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

#[derive(Debug, Default)]
pub(super) struct Message {
    pub(super) fields: BTreeMap<u32, Field>,
}

static TEXT: LazyLock<String> = LazyLock::new(|| {
    let mut text = String::new();
    flate2::read::GzDecoder::new(PACKED)
        .read_to_string(&mut text)
        .expect("the table is a file of this crate that a test reads");
    text
});

static MESSAGES: LazyLock<HashMap<&'static str, Message>> = LazyLock::new(|| {
    TEXT.split("\n\n")
        .filter_map(|block| {
            let mut lines = block.lines();
            let name = lines.next().filter(|name| !name.is_empty())?;
            Some((
                name,
                Message {
                    fields: lines.filter_map(field).collect(),
                },
            ))
        })
        .collect()
});

/// The message of a type by its full name.
pub(super) fn named(name: &str) -> Option<&'static Message> {
    MESSAGES.get(name)
}

/// How many messages the table has, for its test.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = (&'static str, &'static Message)> {
    MESSAGES.iter().map(|(name, message)| (*name, message))
}

/// Reads `NUMBER NAME KIND...`.
fn field(line: &'static str) -> Option<(u32, Field)> {
    let mut words = line.split(' ');
    let number = words.next()?.parse().ok()?;
    let name = words.next()?;
    Some((
        number,
        Field {
            name,
            kind: kind(&mut words)?,
        },
    ))
}

fn kind(words: &mut std::str::Split<'static, char>) -> Option<Kind> {
    Some(match words.next()? {
        "string" => Kind::String,
        "bytes" => Kind::Bytes,
        "int" => Kind::Int,
        "bool" => Kind::Bool,
        "double" => Kind::Double,
        "quantity" => Kind::Quantity,
        "time" => Kind::Time,
        "microtime" => Kind::MicroTime,
        "intorstring" => Kind::IntOrString,
        "strings" => Kind::Strings,
        "raw" | "fields" | "json" => Kind::Json,
        "message" => Kind::Message(words.next()?),
        "list" => Kind::List(Box::new(kind(words)?)),
        "map" => Kind::Map(Box::new(kind(words)?)),
        _ => return None,
    })
}
