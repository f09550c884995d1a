//! Reads the protobuf bodies that typed clients send, as the JSON they stand for.
//!
//! Which fields a message has is a table (`schemas/messages.txt.gz`, made by
//! `schemas/generate`): the decoder itself knows only the wire format and the few
//! types that have a JSON form of their own.

mod messages;
mod wire;

use super::{Gvk, schema};
use base64::{Engine, engine::general_purpose::STANDARD};
use messages::{Kind, Message};
use serde_json::{Map, Value, json};
use wire::{Reader, Wire};

/// Why a protobuf body cannot be read; answered as 400 BadRequest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub String);

type Outcome<T> = Result<T, DecodeError>;

fn fail<T>(message: impl Into<String>) -> Outcome<T> {
    Err(DecodeError(message.into()))
}

const MAGIC: &[u8] = b"k8s\0";
/// Longest body that is read.
const MAX_BYTES: usize = 3 << 20;
/// Deepest nesting of messages.
const MAX_DEPTH: usize = 64;
/// Most values one body may hold: a value in memory is much larger than its bytes.
const MAX_VALUES: usize = 400_000;

/// Whether the body starts with the magic of Kubernetes protobuf.
pub fn is_protobuf(body: &[u8]) -> bool {
    body.starts_with(MAGIC)
}

/// Decodes a Kubernetes protobuf body to the JSON object it stands for. Fields have
/// the values that were sent, also empty ones: [`Schema::prune`](schema::Schema::prune)
/// gives the object its usual form.
///
/// # Errors
/// What is not Kubernetes protobuf, a kind without a table, a body that is truncated,
/// too long, too deep or has too many values.
pub fn decode(body: &[u8]) -> Outcome<Value> {
    let Some(envelope) = body.strip_prefix(MAGIC) else {
        return fail("the body is not Kubernetes protobuf: it does not start with the bytes \"k8s\\0\"");
    };
    if body.len() > MAX_BYTES {
        return fail(format!(
            "the body has {} bytes, {MAX_BYTES} are the most that is read",
            body.len()
        ));
    }
    let (mut api_version, mut kind, mut raw, mut encoding) = (String::new(), String::new(), &[][..], &[][..]);
    let mut reader = Reader::new(envelope);
    while let Some((number, value)) = reader.field()? {
        match (number, value) {
            (1, Wire::Bytes(meta)) => {
                let mut meta = Reader::new(meta);
                while let Some((number, value)) = meta.field()? {
                    match (number, value) {
                        (1, Wire::Bytes(text)) => api_version = utf8(text)?,
                        (2, Wire::Bytes(text)) => kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            (3, Wire::Bytes(bytes)) => encoding = bytes,
            _ => {}
        }
    }
    if !encoding.is_empty() {
        return fail("the body's content is encoded once more, which is not supported");
    }
    let Some(message) = root(&api_version, &kind) else {
        return fail(format!(
            "no protobuf form is known of kind {kind:?} in version {api_version:?}; send JSON"
        ));
    };
    let mut decoder = Decoder { values: 0 };
    let mut object = decoder.message(message, raw, 0)?;
    object.insert("apiVersion".to_owned(), json!(api_version));
    object.insert("kind".to_owned(), json!(kind));
    Ok(Value::Object(object))
}

fn utf8(bytes: &[u8]) -> Outcome<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| DecodeError("a string is not UTF-8".to_owned()))
}

/// The message of a kind; options belong to every group alike.
fn root(api_version: &str, kind: &str) -> Option<&'static Message> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    match schema::definition_name(&Gvk::new(group, version, kind)) {
        Some(name) => messages::named(name),
        None if kind.ends_with("Options") => messages::named(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}")),
        None => None,
    }
}

struct Decoder {
    values: usize,
}

impl Decoder {
    fn message(&mut self, message: &Message, bytes: &[u8], depth: usize) -> Outcome<Map<String, Value>> {
        if depth > MAX_DEPTH {
            return fail(format!("messages nest deeper than {MAX_DEPTH} levels"));
        }
        let mut object = Map::new();
        let mut reader = Reader::new(bytes);
        while let Some((number, wire)) = reader.field()? {
            let Some(field) = message.fields.get(&number) else {
                continue;
            };
            let place = |e: DecodeError| DecodeError(format!("{}: {}", field.name, e.0));
            match &field.kind {
                Kind::Message(name) if field.name == "." => {
                    // Its fields stand in the holder's JSON.
                    let (Some(inner), Wire::Bytes(bytes)) = (messages::named(name), wire) else {
                        continue;
                    };
                    object.extend(self.message(inner, bytes, depth + 1)?);
                }
                Kind::List(element) => {
                    let list = object.entry(field.name).or_insert_with(|| json!([]));
                    let Value::Array(list) = list else { continue };
                    match (&**element, wire) {
                        (Kind::Int | Kind::Bool, Wire::Bytes(packed)) => {
                            let mut packed = Reader::new(packed);
                            while let Some(number) = packed.packed()? {
                                list.push(self.value(element, Wire::Varint(number), depth).map_err(place)?);
                            }
                        }
                        (_, wire) => list.push(self.value(element, wire, depth).map_err(place)?),
                    }
                }
                Kind::Map(value) => {
                    let Wire::Bytes(bytes) = wire else {
                        return fail(format!("{}: a map's entry is no message", field.name));
                    };
                    let (key, value) = self.entry(value, bytes, depth + 1).map_err(place)?;
                    let map = object.entry(field.name).or_insert_with(|| json!({}));
                    if let Value::Object(map) = map {
                        map.insert(key, value);
                    }
                }
                kind => {
                    let value = self.value(kind, wire, depth).map_err(place)?;
                    object.insert(field.name.to_owned(), value);
                }
            }
        }
        Ok(object)
    }

    fn entry(&mut self, kind: &Kind, bytes: &[u8], depth: usize) -> Outcome<(String, Value)> {
        let (mut key, mut value) = (String::new(), None);
        let mut reader = Reader::new(bytes);
        while let Some((number, wire)) = reader.field()? {
            match (number, wire) {
                (1, Wire::Bytes(text)) => key = utf8(text)?,
                (2, wire) => value = Some(self.value(kind, wire, depth)?),
                _ => {}
            }
        }
        // An entry without a value has the empty one.
        let empty = || match kind {
            Kind::String | Kind::Bytes => json!(""),
            Kind::Int => json!(0),
            _ => Value::Null,
        };
        Ok((key, value.unwrap_or_else(empty)))
    }

    fn value(&mut self, kind: &Kind, wire: Wire<'_>, depth: usize) -> Outcome<Value> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return fail(format!("the body holds more than {MAX_VALUES} values"));
        }
        Ok(match (kind, wire) {
            (Kind::String, Wire::Bytes(bytes)) => json!(utf8(bytes)?),
            (Kind::Bytes, Wire::Bytes(bytes)) => json!(STANDARD.encode(bytes)),
            (Kind::Int, Wire::Varint(number)) => json!(number.cast_signed()),
            (Kind::Bool, Wire::Varint(number)) => json!(number != 0),
            (Kind::Double, Wire::Fixed64(bits)) => json!(f64::from_bits(bits)),
            (Kind::Quantity, Wire::Bytes(bytes)) => match text_field(bytes, 1)? {
                text if text.is_empty() => json!("0"),
                text => json!(text),
            },
            (Kind::Time, Wire::Bytes(bytes)) => time(bytes, false)?,
            (Kind::MicroTime, Wire::Bytes(bytes)) => time(bytes, true)?,
            (Kind::IntOrString, Wire::Bytes(bytes)) => match numbers(bytes)? {
                [1, _] => json!(text_field(bytes, 3)?),
                [_, number] => json!(number),
            },
            (Kind::Strings, Wire::Bytes(bytes)) => {
                let mut texts = Vec::new();
                let mut reader = Reader::new(bytes);
                while let Some((number, wire)) = reader.field()? {
                    if let (1, Wire::Bytes(text)) = (number, wire) {
                        texts.push(self.value(&Kind::String, Wire::Bytes(text), depth)?);
                    }
                }
                Value::Array(texts)
            }
            (Kind::Json, Wire::Bytes(bytes)) => {
                let mut raw = &[][..];
                let mut reader = Reader::new(bytes);
                while let Some((number, wire)) = reader.field()? {
                    if let (1, Wire::Bytes(bytes)) = (number, wire) {
                        raw = bytes;
                    }
                }
                match raw {
                    [] => Value::Null,
                    raw => serde_json::from_slice(raw).map_err(|e| DecodeError(format!("embedded JSON: {e}")))?,
                }
            }
            (Kind::Message(name), Wire::Bytes(bytes)) => match messages::named(name) {
                Some(message) => Value::Object(self.message(message, bytes, depth + 1)?),
                None => json!({}),
            },
            (_, wire) => return fail(format!("a value of another wire type ({})", wire.name())),
        })
    }
}

/// The string field of a small message.
fn text_field(bytes: &[u8], wanted: u32) -> Outcome<String> {
    let mut text = String::new();
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        if let (true, Wire::Bytes(bytes)) = (number == wanted, wire) {
            text = utf8(bytes)?;
        }
    }
    Ok(text)
}

/// The number fields 1 and 2 of a small message.
fn numbers(bytes: &[u8]) -> Outcome<[i64; 2]> {
    let mut found = [0; 2];
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        if let (1 | 2, Wire::Varint(value)) = (number, wire) {
            found[number as usize - 1] = value.cast_signed();
        }
    }
    Ok(found)
}

/// Seconds and nanoseconds as RFC 3339; an empty message is no time.
fn time(bytes: &[u8], micro: bool) -> Outcome<Value> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let [seconds, nanos] = numbers(bytes)?;
    let moment = i32::try_from(nanos)
        .ok()
        .and_then(|nanos| jiff::Timestamp::new(seconds, nanos).ok());
    let Some(moment) = moment else {
        return fail("a time is out of range");
    };
    let form = if micro {
        "%Y-%m-%dT%H:%M:%S.%6fZ"
    } else {
        "%Y-%m-%dT%H:%M:%SZ"
    };
    Ok(json!(moment.strftime(form).to_string()))
}

#[cfg(test)]
mod tests;
