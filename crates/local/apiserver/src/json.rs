//! Reading JSON bodies, and noticing members that stand twice.

use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads a body. The second value names members that stand more than once, as
/// `data.a`; the last one counts.
///
/// # Errors
/// What is wrong, with line and column.
pub(crate) fn read(bytes: &[u8]) -> Result<(Value, Vec<String>), serde_json::Error> {
    let mut found = Found {
        path: String::new(),
        twice: Vec::new(),
    };
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Seed(&mut found).deserialize(&mut reader)?;
    reader.end()?;
    Ok((value, found.twice))
}

struct Found {
    path: String,
    twice: Vec<String>,
}

impl Found {
    /// Does something one level deeper.
    fn below<T>(&mut self, part: fmt::Arguments<'_>, work: impl FnOnce(&mut Self) -> T) -> T {
        use fmt::Write as _;
        let length = self.path.len();
        let _ = self.path.write_fmt(part);
        let result = work(self);
        self.path.truncate(length);
        result
    }
}

struct Seed<'a>(&'a mut Found);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        loop {
            let part = format_args!("[{}]", values.len());
            match self.0.below(part, |found| list.next_element_seed(Seed(found)))? {
                Some(value) => values.push(value),
                None => return Ok(Value::Array(values)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let dot = if self.0.path.is_empty() { "" } else { "." };
            let part = format_args!("{dot}{name}");
            let twice = map.contains_key(&name);
            let value = self.0.below(part, |found| {
                if twice {
                    found.twice.push(found.path.clone());
                }
                members.next_value_seed(Seed(found))
            })?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_that_stand_twice_are_named_and_the_last_counts() {
        let text = r#"{"a": 1, "b": [{"c": 1, "c": 2.5}], "a": null, "d": -3, "e": "x", "f": true}"#;
        let (value, twice) = read(text.as_bytes()).unwrap();
        assert_eq!(
            value,
            json!({"a": null, "b": [{"c": 2.5}], "d": -3, "e": "x", "f": true})
        );
        assert_eq!(twice, ["b[0].c", "a"]);
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        for text in ["", "{", "{} {}", "[1,]", "nul", "\"a"] {
            assert!(
                read(text.as_bytes()).unwrap_err().to_string().contains("line 1"),
                "{text}"
            );
        }
        assert!(read("[".repeat(100_000).as_bytes()).is_err(), "depth is bounded");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_as_serde_json_reads_them(text in "[\\[\\]{}:,\"a0-9.e \\-]{0,40}") {
            let ours = read(text.as_bytes()).ok().map(|(value, _)| value);
            proptest::prop_assert_eq!(ours, serde_json::from_str::<Value>(&text).ok());
        }
    }
}
