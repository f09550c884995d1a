//! Columns of custom resources: `additionalPrinterColumns` with simple JSONPath.

use super::human;
use jiff::Timestamp;
use serde_json::{Value, json};

/// One printer column of a CRD version.
#[derive(Debug, Clone)]
pub(super) struct Column {
    name: String,
    kind: String,
    format: String,
    description: String,
    priority: i64,
    path: Option<Vec<Step>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Member(String),
    Index(i64),
    All,
    /// Elements whose path compares so with the value.
    Where(Vec<Step>, Comparison, Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Exists,
}

/// The columns behind the name; without any, the age.
pub(super) fn columns(version: &Value) -> Vec<Column> {
    let declared = version["additionalPrinterColumns"]
        .as_array()
        .filter(|columns| !columns.is_empty());
    let age = [
        json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp",
        "description": "When the object was created; shown as the time since."}),
    ];
    declared
        .map_or(&age[..], Vec::as_slice)
        .iter()
        .map(Column::read)
        .collect()
}

impl Column {
    fn read(source: &Value) -> Self {
        let text = |key: &str| source[key].as_str().unwrap_or_default().to_owned();
        let path = text("jsonPath");
        let description = match text("description") {
            none if none.is_empty() => format!("Custom resource definition column (in JSONPath format): {path}"),
            own => own,
        };
        Self {
            name: text("name"),
            kind: text("type"),
            format: text("format"),
            description,
            priority: source["priority"].as_i64().unwrap_or(0),
            path: parse(&path),
        }
    }

    pub(super) fn definition(&self) -> Value {
        json!({"name": self.name, "type": self.kind, "format": self.format, "description": self.description,
            "priority": self.priority})
    }

    /// The cell: null when the path leads nowhere or to another type.
    pub(super) fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let Some(path) = &self.path else { return Value::Null };
        let Some(value) = select(path, vec![object]).into_iter().next() else {
            return Value::Null;
        };
        match (self.kind.as_str(), value) {
            ("string", Value::Null) => json!(""),
            ("string", Value::String(text)) => json!(text),
            ("string", other) => json!(other.to_string()),
            ("integer", Value::Number(number)) => number.as_i64().or(number.as_f64().map(|n| n as i64)).into(),
            ("number", Value::Number(number)) => json!(number),
            ("boolean", Value::Bool(flag)) => json!(flag),
            ("date", Value::String(text)) => match text.parse::<Timestamp>() {
                Ok(then) => json!(human::duration(human::between(then, now))),
                Err(_) => json!("<invalid>"),
            },
            _ => Value::Null,
        }
    }
}

fn select<'a>(path: &[Step], start: Vec<&'a Value>) -> Vec<&'a Value> {
    path.iter().fold(start, |found, step| {
        found.into_iter().flat_map(|value| follow(step, value)).collect()
    })
}

fn follow<'a>(step: &Step, value: &'a Value) -> Vec<&'a Value> {
    let elements = || match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    };
    match step {
        Step::Member(name) => value.get(name).into_iter().collect(),
        Step::Index(index) => {
            let Some(list) = value.as_array() else {
                return Vec::new();
            };
            let at = if *index < 0 {
                index.saturating_add(list.len() as i64)
            } else {
                *index
            };
            usize::try_from(at)
                .ok()
                .and_then(|at| list.get(at))
                .into_iter()
                .collect()
        }
        Step::All => elements(),
        Step::Where(path, comparison, wanted) => elements()
            .into_iter()
            .filter(|element| {
                let found = select(path, vec![element]).into_iter().next();
                match comparison {
                    Comparison::Exists => found.is_some(),
                    Comparison::Equal => found.is_some_and(|f| same(f, wanted)),
                    Comparison::Unequal => found.is_some_and(|f| !same(f, wanted)),
                }
            })
            .collect(),
    }
}

/// Equal values; a number equals its text.
fn same(found: &Value, wanted: &Value) -> bool {
    found == wanted || found.as_f64().zip(wanted.as_f64()).is_some_and(|(a, b)| a == b)
}

/// Reads `.a.b[0]['c.d'][?(@.type=="Ready")].status`; `None` for what it is not.
fn parse(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.trim();
    rest = rest.strip_prefix('$').unwrap_or(rest);
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let end = closing(after)?;
            steps.push(bracket(after[..end].trim())?);
            rest = &after[end + 1..];
            continue;
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
        if rest.starts_with('[') {
            continue;
        }
        let (name, after) = member(rest);
        if name.is_empty() {
            // A dot alone is the object itself; a second one (recursion) is not simple.
            return after.is_empty().then_some(steps);
        }
        steps.push(if name == "*" { Step::All } else { Step::Member(name) });
        rest = after;
    }
    Some(steps)
}

/// A member's name up to the next dot or bracket; a backslash keeps either.
fn member(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => {
                name.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '.' | '[' => return (name, &text[at..]),
            _ => name.push(c),
        }
    }
    (name, "")
}

/// Where the bracket closes that is open, quotes and inner brackets apart.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), _) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[' | '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn unquote(text: &str) -> Option<&str> {
    ['\'', '"'].iter().find_map(|q| text.strip_prefix(*q)?.strip_suffix(*q))
}

fn bracket(text: &str) -> Option<Step> {
    if text == "*" {
        return Some(Step::All);
    }
    if let Some(name) = unquote(text) {
        return Some(Step::Member(name.replace('\\', "")));
    }
    if let Some(condition) = text.strip_prefix("?(").and_then(|t| t.strip_suffix(')')) {
        return filter(condition.trim());
    }
    text.parse().ok().map(Step::Index)
}

fn filter(condition: &str) -> Option<Step> {
    let (left, comparison, right) = match (condition.split_once("=="), condition.split_once("!=")) {
        (Some((left, right)), _) => (left, Comparison::Equal, right),
        (None, Some((left, right))) => (left, Comparison::Unequal, right),
        (None, None) => (condition, Comparison::Exists, ""),
    };
    let path = parse(left.trim().strip_prefix('@')?)?;
    let right = right.trim();
    let wanted = match unquote(right) {
        Some(text) => json!(text),
        None if comparison == Comparison::Exists => Value::Null,
        None => serde_json::from_str(right).ok()?,
    };
    Some(Step::Where(path, comparison, wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_select_what_they_name() {
        let object =
            json!({"a": {"b.c": 1, "l": [{"type": "X", "s": "x"}, {"type": "Y", "s": "y", "n": 3}]}, "0": true});
        for (path, expected) in [
            (".a.l[0].s", json!(["x"])),
            (".a.l[-1].s", json!(["y"])),
            (".a.l[*].s", json!(["x", "y"])),
            (".a.l[?(@.type=='Y')].s", json!(["y"])),
            (".a.l[?(@.type==\"X\")].s", json!(["x"])),
            (".a.l[?(@.type!='X')].s", json!(["y"])),
            (".a.l[?(@.n==3)].s", json!(["y"])),
            (".a.l[?(@.n)].s", json!(["y"])),
            (".a['b.c']", json!([1])),
            (".a.b\\.c", json!([1])),
            (".a.none.deep", json!([])),
            ("$.0", json!([true])),
        ] {
            let steps = parse(path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!(json!(select(&steps, vec![&object])), expected, "{path}");
        }
        for path in [".a[", ".a[x]", "..a", ".a[?(b==1)]"] {
            assert_eq!(parse(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_path_panics(path in "[$.a*'\"@?()=!\\[\\]0-9\\\\ é-]{0,20}") {
            if let Some(steps) = parse(&path) {
                select(&steps, vec![&json!({"a": [1, {"a": 2}]})]);
            }
        }
    }
}
