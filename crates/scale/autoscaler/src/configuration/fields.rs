//! One YAML or JSON document of a ConfigMap, read field by field, so that
//! every refusal can name its place.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use thiserror::Error;

/// Why a ConfigMap cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("ConfigMap {configmap}, key \"{key}\"{}: {problem}", InField(field.as_deref()))]
pub struct ConfigError {
    /// `namespace/name`.
    pub configmap: String,
    /// Key of its data.
    pub key: String,
    /// The field, if it is one that is at fault.
    pub field: Option<String>,
    /// What is wrong, and the remedy.
    pub problem: String,
}

struct InField<'a>(Option<&'a str>);

impl fmt::Display for InField<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |field| write!(f, ", field {field}"))
    }
}

/// A mapping of which each field is taken once; what is left at the end is unknown.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    configmap: String,
    key: String,
    /// Path before a field's name: `data[2].` inside a list.
    prefix: String,
    values: BTreeMap<String, Value>,
    known: Vec<&'static str>,
}

/// Longest piece of a user's text that is repeated in an error.
const QUOTED: usize = 60;

impl Fields {
    /// Reads the document under `key`; an empty one has no fields.
    pub(super) fn read(configmap: &str, key: &str, text: &str) -> Result<Self, ConfigError> {
        let error = |problem: String| ConfigError {
            configmap: configmap.to_owned(),
            key: key.to_owned(),
            field: None,
            problem,
        };
        let value: Value = if text.trim().is_empty() {
            Value::Null
        } else {
            serde_saphyr::from_str(text)
                .map_err(|why| error(format!("cannot be read: {}", one_line(&why.to_string()))))?
        };
        let values = match value {
            Value::Null => BTreeMap::new(),
            Value::Object(values) => values.into_iter().collect(),
            other => {
                return Err(error(format!(
                    "is {}, not a mapping: write one `field: value` per line",
                    kind_of(&other)
                )));
            }
        };
        Ok(Self {
            configmap: configmap.to_owned(),
            key: key.to_owned(),
            prefix: String::new(),
            values,
            known: Vec::new(),
        })
    }

    /// An error about `field` of this document.
    pub(super) fn refuse(&self, field: &str, problem: impl Into<String>) -> ConfigError {
        ConfigError {
            configmap: self.configmap.clone(),
            key: self.key.clone(),
            field: Some(format!("{}{field}", self.prefix)),
            problem: problem.into(),
        }
    }

    fn take(&mut self, field: &'static str) -> Result<Option<Value>, ConfigError> {
        self.known.push(field);
        match self.values.remove(field) {
            Some(Value::Null) => Err(self.refuse(field, "has no value: give it one, or take the field out")),
            value => Ok(value),
        }
    }

    /// A finite number, if the field is there. Digits in quotes count too.
    pub(super) fn number(&mut self, field: &'static str) -> Result<Option<f64>, ConfigError> {
        let Some(value) = self.take(field)? else {
            return Ok(None);
        };
        let number = match &value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number.filter(|number| number.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => Err(self.refuse(field, format!("is {}: it must be a number", shown(&value)))),
        }
    }

    /// Yes or no, if the field is there.
    pub(super) fn switch(&mut self, field: &'static str) -> Result<Option<bool>, ConfigError> {
        let Some(value) = self.take(field)? else {
            return Ok(None);
        };
        let switch = match &value {
            Value::Bool(switch) => Some(*switch),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match switch {
            Some(switch) => Ok(Some(switch)),
            None => Err(self.refuse(field, format!("is {}: it must be true or false", shown(&value)))),
        }
    }

    /// A text, if the field is there; may be empty.
    pub(super) fn text(&mut self, field: &'static str) -> Result<Option<String>, ConfigError> {
        match self.take(field)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            // A model may be called 7b or 42 without quotes.
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
            Some(other) => Err(self.refuse(field, format!("is {}: it must be a text", kind_of(&other)))),
        }
    }

    /// A text that must be there and not be empty.
    pub(super) fn name(&mut self, field: &'static str, what: &str) -> Result<String, ConfigError> {
        match self.text(field)? {
            Some(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
            Some(_) => Err(self.refuse(field, format!("is empty: it must be {what}"))),
            None => Err(self.refuse(field, format!("is missing: it must be {what}"))),
        }
    }

    /// A length of time longer than 0, if the field is there.
    pub(super) fn duration(&mut self, field: &'static str) -> Result<Option<Duration>, ConfigError> {
        let Some(value) = self.take(field)? else {
            return Ok(None);
        };
        let duration = value.as_str().and_then(|text| duration(text).ok());
        match duration.filter(|duration| !duration.is_zero()) {
            Some(duration) => Ok(Some(duration)),
            None => Err(self.refuse(
                field,
                format!(
                    "is {}: it must be a duration above 0, such as 90s, 10m or 1h30m",
                    shown(&value)
                ),
            )),
        }
    }

    /// A mapping of names of the user's choice, if the field is there.
    pub(super) fn mapping(&mut self, field: &'static str) -> Result<Option<BTreeMap<String, Value>>, ConfigError> {
        match self.take(field)? {
            None => Ok(None),
            Some(Value::Object(values)) => Ok(Some(values.into_iter().collect())),
            Some(other) => Err(self.refuse(field, format!("is {}: it must be a mapping", kind_of(&other)))),
        }
    }

    /// The texts of a list, if the field is there.
    pub(super) fn texts(&mut self, field: &'static str) -> Result<Vec<String>, ConfigError> {
        let items = match self.take(field)? {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(other) => return Err(self.refuse(field, format!("is {}: it must be a list", kind_of(&other)))),
        };
        let read = |(at, item): (usize, Value)| match item {
            Value::String(text) => Ok(text),
            other => Err(self.refuse(
                &format!("{field}[{at}]"),
                format!("is {}: it must be a text", kind_of(&other)),
            )),
        };
        items.into_iter().enumerate().map(read).collect()
    }

    /// The mappings of a list, if the field is there.
    pub(super) fn list(&mut self, field: &'static str) -> Result<Vec<Self>, ConfigError> {
        let items = match self.take(field)? {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(other) => return Err(self.refuse(field, format!("is {}: it must be a list", kind_of(&other)))),
        };
        let read = |(at, item): (usize, Value)| match item {
            Value::Object(values) => Ok(Self {
                configmap: self.configmap.clone(),
                key: self.key.clone(),
                prefix: format!("{}{field}[{at}].", self.prefix),
                values: values.into_iter().collect(),
                known: Vec::new(),
            }),
            other => Err(self.refuse(
                &format!("{field}[{at}]"),
                format!("is {}: it must be a mapping", kind_of(&other)),
            )),
        };
        items.into_iter().enumerate().map(read).collect()
    }

    /// Refuses what is left.
    pub(super) fn finish(&mut self) -> Result<(), ConfigError> {
        let Some((unknown, _)) = self.values.pop_first() else {
            return Ok(());
        };
        self.known.sort_unstable();
        let unknown: String = unknown.chars().take(QUOTED).collect();
        Err(self.refuse(
            &unknown,
            format!("is not known: take it out, or write one of {}", self.known.join(", ")),
        ))
    }
}

/// Reads `90s`, `1h30m`, `500ms`, `1.5h`; a plain `0` too.
///
/// # Errors
/// A sentence that shows what can be written.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{}` is no duration: write 500ms, 90s, 10m or 1h30m", quoted(text));
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let unit_ends = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_ends);
        let scale = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        seconds += number.parse::<f64>().map_err(|_| wrong())? * scale;
        rest = tail;
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{}`", quoted(text)),
        Value::Array(_) | Value::Object(_) => kind_of(value).to_owned(),
        other => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    text.chars().take(QUOTED).collect()
}

/// The first line of a parser's report, without its drawing of the place.
fn one_line(report: &str) -> String {
    let line = report.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, millis) in [
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("500ms", 500),
            ("1m0.5s", 60_500),
            ("0", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "10", "m", "-5m", "10 minutes", "1..5s", "9e99h", "5m3"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_document_that_is_no_mapping_is_named() {
        for text in ["[1, 2]", "just text", "a: [", "7"] {
            let error = Fields::read("ns/c", "default", text).unwrap_err().to_string();
            let place = "ConfigMap ns/c, key \"default\": ";
            assert!(error.starts_with(place), "{error}");
        }
        assert!(Fields::read("ns/c", "default", " \n").unwrap().finish().is_ok());
    }
}
