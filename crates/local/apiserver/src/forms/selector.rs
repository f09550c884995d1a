//! Which objects a request asks for: label selectors with upstream's grammar and
//! error texts, and field selectors with the fields each resource offers.

mod lexer;

use super::words;
use lexer::{Token, scan};
use serde_json::Value;

/// Why a selector cannot be used; answered as 400 BadRequest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);

fn fail<T>(message: impl Into<String>) -> Result<T, SelectorError> {
    Err(SelectorError(message.into()))
}

/// A label selector.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
    Above(i64),
    Below(i64),
}

impl Labels {
    /// Reads a `labelSelector`: `a=b,c!=d,e in (x,y),f,!g,n>3`.
    ///
    /// # Errors
    /// Upstream's sentence about what was found and what was expected.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        Parser {
            tokens: scan(text),
            next: 0,
        }
        .selector()
        .map(|requirements| Self { requirements })
    }

    /// Reads a `metav1.LabelSelector` object (`matchLabels`, `matchExpressions`).
    /// An empty selector selects everything; a malformed expression selects nothing.
    pub fn from_object(selector: &Value) -> Self {
        let mut requirements = Vec::new();
        if let Some(labels) = selector["matchLabels"].as_object() {
            for (key, value) in labels {
                let value = value.as_str().unwrap_or_default().to_owned();
                requirements.push(Requirement {
                    key: key.clone(),
                    test: Test::In(vec![value]),
                });
            }
        }
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let strings = |v: &Value| v.as_str().map(str::to_owned);
            let values = || {
                expression["values"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(strings)
                    .collect()
            };
            let test = match expression["operator"].as_str() {
                Some("In") => Test::In(values()),
                Some("NotIn") => Test::NotIn(values()),
                Some("Exists") => Test::Exists,
                Some("DoesNotExist") => Test::Absent,
                _ => Test::In(Vec::new()),
            };
            requirements.push(Requirement {
                key: strings(&expression["key"]).unwrap_or_default(),
                test,
            });
        }
        Self { requirements }
    }

    /// Whether the object's `metadata.labels` satisfy every requirement.
    pub fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.matches_labels(labels)
    }

    /// Whether a map of labels satisfies every requirement.
    pub fn matches_labels(&self, labels: &Value) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.holds(labels[&requirement.key].as_str()))
    }

    /// Whether everything matches.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|v| v.parse::<i64>().ok());
        match &self.test {
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::In(values) => value.is_some_and(|v| values.iter().any(|w| w == v)),
            Test::NotIn(values) => value.is_none_or(|v| values.iter().all(|w| w != v)),
            Test::Above(bound) => number().is_some_and(|n| n > *bound),
            Test::Below(bound) => number().is_some_and(|n| n < *bound),
        }
    }
}

struct Parser {
    tokens: Vec<(Token, String)>,
    next: usize,
}

impl Parser {
    /// The token at hand; past the end it stays the end.
    fn peek(&self) -> (Token, &str) {
        match self.tokens.get(self.next) {
            Some((token, text)) => (*token, text),
            None => (Token::End, ""),
        }
    }

    /// The token at hand where `in` and `notin` are mere words.
    fn peek_word(&self) -> (Token, &str) {
        match self.peek() {
            (Token::In | Token::NotIn, text) => (Token::Word, text),
            other => other,
        }
    }

    fn take_word(&mut self) -> (Token, String) {
        let (token, text) = self.peek_word();
        let taken = (token, text.to_owned());
        self.next += 1;
        taken
    }

    fn selector(mut self) -> Result<Vec<Requirement>, SelectorError> {
        let mut requirements = Vec::new();
        loop {
            match self.peek_word() {
                (Token::End, _) => return Ok(requirements),
                (Token::Word | Token::Not, _) => {
                    let requirement = self
                        .requirement()
                        .map_err(|e| SelectorError(format!("unable to parse requirement: {}", e.0)))?;
                    requirements.push(requirement);
                    match self.take_word() {
                        (Token::End, _) => return Ok(requirements),
                        (Token::Comma, _) => {
                            let (token, found) = self.peek_word();
                            if !matches!(token, Token::Word | Token::Not) {
                                return fail(format!("found '{found}', expected: identifier after ','"));
                            }
                        }
                        (_, found) => return fail(format!("found '{found}', expected: ',' or 'end of string'")),
                    }
                }
                (_, found) => return fail(format!("found '{found}', expected: !, identifier, or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let (mut token, mut key) = self.take_word();
        let negated = token == Token::Not;
        if negated {
            (token, key) = self.take_word();
        }
        if token != Token::Word {
            return fail(format!("found '{key}', expected: identifier"));
        }
        let wrong = words::qualified_name(&key);
        if !wrong.is_empty() {
            return fail(format!("<nil>: Invalid value: {key:?}: {}", wrong.join("; ")));
        }
        if negated {
            return Ok(Requirement {
                key,
                test: Test::Absent,
            });
        }
        if matches!(self.peek_word().0, Token::End | Token::Comma) {
            return Ok(Requirement {
                key,
                test: Test::Exists,
            });
        }
        let (operator, found) = self.peek();
        let found = found.to_owned();
        self.next += 1;
        let values = match operator {
            Token::In | Token::NotIn => self.values()?,
            Token::Equal | Token::DoubleEqual | Token::NotEqual | Token::Greater | Token::Less => {
                vec![self.exact_value()?]
            }
            _ => return fail(format!("found '{found}', expected: in, notin, =, ==, !=, gt, lt")),
        };
        let mut complaints = Vec::new();
        let mut bound = 0;
        if matches!(operator, Token::Greater | Token::Less) {
            match values[0].parse::<i64>() {
                Ok(number) => bound = number,
                Err(_) => complaints.push(format!(
                    "values[0]: Invalid value: {:?}: for 'Gt', 'Lt' operators, the value must be an integer",
                    values[0]
                )),
            }
        }
        for (position, value) in values.iter().enumerate() {
            let wrong = words::label_value(value);
            if !wrong.is_empty() {
                complaints.push(format!(
                    "values[{position}][{key}]: Invalid value: {value:?}: {}",
                    wrong.join("; ")
                ));
            }
        }
        match &complaints[..] {
            [] => {}
            [one] => return fail(one.clone()),
            many => return fail(format!("[{}]", many.join(", "))),
        }
        let test = match operator {
            Token::NotIn | Token::NotEqual => Test::NotIn(values),
            Token::Greater => Test::Above(bound),
            Token::Less => Test::Below(bound),
            _ => Test::In(values),
        };
        Ok(Requirement { key, test })
    }

    /// The one value of `=`, `==`, `!=`, `>`, `<`; nothing means the empty string.
    fn exact_value(&mut self) -> Result<String, SelectorError> {
        match self.peek_word() {
            (Token::End | Token::Comma, _) => Ok(String::new()),
            (Token::Word, _) => Ok(self.take_word().1),
            (_, found) => fail(format!("found '{found}', expected: identifier")),
        }
    }

    /// A parenthesised list; an empty place stands for the empty string.
    fn values(&mut self) -> Result<Vec<String>, SelectorError> {
        let (token, found) = self.take_word();
        if token != Token::Open {
            return fail(format!("found '{found}' expected: '('"));
        }
        let mut values: Vec<String> = Vec::new();
        match self.peek_word() {
            (Token::Close, _) => {
                self.next += 1;
                return Ok(vec![String::new()]);
            }
            (Token::Word | Token::Comma, _) => {}
            (_, found) => return fail(format!("found '{found}', expected: ',', ')' or identifier")),
        }
        loop {
            match self.take_word() {
                (Token::Word, value) => {
                    values.push(value);
                    match self.peek_word() {
                        (Token::Comma, _) => {}
                        (Token::Close, _) => break,
                        (_, found) => return fail(format!("found '{found}', expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    let (following, _) = self.peek_word();
                    if values.is_empty() || matches!(following, Token::Close | Token::Comma) {
                        values.push(String::new());
                    }
                    if following == Token::Close {
                        break;
                    }
                }
                (_, found) => return fail(format!("found '{found}', expected: ',', or identifier")),
            }
        }
        self.next += 1;
        values.sort();
        values.dedup();
        Ok(values)
    }
}

/// A field selector of one resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    /// Field as the request names it, such as `spec.nodeName`.
    field: String,
    value: String,
    equal: bool,
}

impl Fields {
    /// Reads a `fieldSelector` for one resource. `extra_selectable` are the
    /// `selectableFields` of a CRD, without the leading dot.
    ///
    /// # Errors
    /// Upstream's sentence for a malformed selector or an unknown field.
    pub fn parse(text: &str, group: &str, resource: &str, extra_selectable: &[String]) -> Result<Self, SelectorError> {
        let mut terms = Vec::new();
        for part in split_unescaped(text) {
            if part.is_empty() {
                continue;
            }
            let Some((field, equal, raw)) = split_term(part) else {
                return fail(format!("invalid selector: '{text}'; can't understand '{part}'"));
            };
            let value = unescape(raw)?;
            let field = known_field(field, group, resource, extra_selectable)?;
            terms.push(Term { field, value, equal });
        }
        Ok(Self { terms })
    }

    /// Whether the object satisfies every requirement.
    pub fn matches(&self, object: &Value) -> bool {
        self.terms
            .iter()
            .all(|term| (field_text(object, &term.field) == term.value) == term.equal)
    }

    /// Whether everything matches.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The name that `metadata.name=` asks for.
    pub fn name(&self) -> Option<&str> {
        self.required("metadata.name")
    }

    /// The namespace that `metadata.namespace=` asks for.
    pub fn namespace(&self) -> Option<&str> {
        self.required("metadata.namespace")
    }

    fn required(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|term| term.equal && term.field == field)
            .map(|term| term.value.as_str())
    }
}

/// Splits at commas that no backslash protects.
fn split_unescaped(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.sort_unstable();
    parts
}

/// Field, whether equality is asked, and the raw value.
fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let begins = |at: &usize| term[*at..].starts_with("!=") || term[*at..].starts_with('=');
    let at = term.char_indices().map(|(at, _)| at).find(begins)?;
    let rest = &term[at..];
    let (equal, operator) = match rest {
        _ if rest.starts_with("!=") => (false, 2),
        _ if rest.starts_with("==") => (true, 2),
        _ => (true, 1),
    };
    Some((&term[..at], equal, &rest[operator..]))
}

fn unescape(raw: &str) -> Result<String, SelectorError> {
    let mut value = String::with_capacity(raw.len());
    let mut escaped = false;
    for c in raw.chars() {
        match (escaped, c) {
            (true, '\\' | ',' | '=') => {
                value.push(c);
                escaped = false;
            }
            (true, _) => return fail(format!("invalid field selector: invalid escape sequence: \\{c}")),
            (false, '\\') => escaped = true,
            (false, ',' | '=') => {
                return fail(format!("invalid field selector: unescaped character in value: {c}"));
            }
            (false, _) => value.push(c),
        }
    }
    if escaped {
        return fail("invalid field selector: invalid escape sequence: \\");
    }
    Ok(value)
}

const POD: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
];
const EVENT: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
    "metadata.namespace",
    "metadata.name",
];
const NEW_EVENT: &[&str] = &[
    "reason",
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "regarding.apiVersion",
    "regarding.resourceVersion",
    "regarding.fieldPath",
    "reportingController",
    "type",
    "metadata.namespace",
    "metadata.name",
];

/// The fields a resource offers; `None` for the two that every resource has.
fn offered(group: &str, resource: &str) -> Option<&'static [&'static str]> {
    Some(match (group, resource) {
        ("", "pods") => POD,
        ("", "nodes") => &["metadata.name", "spec.unschedulable"],
        ("", "replicationcontrollers") => &["metadata.name", "metadata.namespace", "status.replicas"],
        ("apps", "replicasets") => &["metadata.name", "metadata.namespace", "status.replicas"],
        ("", "events") => EVENT,
        ("events.k8s.io", "events") => NEW_EVENT,
        ("", "namespaces") => &["status.phase", "metadata.name"],
        ("", "secrets") => &["type", "metadata.namespace", "metadata.name"],
        ("", "services") => &["metadata.namespace", "metadata.name", "spec.clusterIP", "spec.type"],
        ("batch", "jobs") => &["metadata.name", "metadata.namespace", "status.successful"],
        _ => return None,
    })
}

/// Groups whose unknown fields are answered in the manner of custom resources.
fn is_builtin_group(group: &str) -> bool {
    !group.contains('.') || (group.ends_with(".k8s.io") && super::schema::has_group(group))
}

fn known_field(field: &str, group: &str, resource: &str, extra: &[String]) -> Result<String, SelectorError> {
    let unsupported = || fail(format!("field label not supported: {field}"));
    if let Some(fields) = offered(group, resource) {
        return match field {
            "spec.host" if resource == "pods" => Ok("spec.nodeName".to_owned()),
            _ if fields.contains(&field) => Ok(field.to_owned()),
            _ if resource == "jobs" => fail(format!("field label {field:?} not supported for Job")),
            _ => unsupported(),
        };
    }
    if matches!(field, "metadata.name" | "metadata.namespace")
        || extra.iter().any(|e| e.trim_start_matches('.') == field)
    {
        return Ok(field.to_owned());
    }
    if is_builtin_group(group) {
        return fail(format!(
            "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        ));
    }
    unsupported()
}

/// The text a field has for selectors: what is missing is its zero value.
fn field_text(object: &Value, field: &str) -> String {
    let at = |path: &str| {
        let mut value = object;
        for part in path.split('.') {
            value = &value[part];
        }
        value
    };
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        _ => String::new(),
    };
    match field {
        "spec.unschedulable" | "spec.hostNetwork" => at(field).as_bool().unwrap_or(false).to_string(),
        "status.replicas" => at(field).as_i64().unwrap_or(0).to_string(),
        "status.successful" => at("status.succeeded").as_i64().unwrap_or(0).to_string(),
        "status.podIP" => text(at(field)),
        "status.podIPs" => at(field)
            .as_array()
            .map(|ips| ips.iter().map(|ip| text(&ip["ip"])).collect::<Vec<_>>().join(","))
            .unwrap_or_default(),
        "source" => match at("source.component") {
            Value::String(component) if !component.is_empty() => component.clone(),
            _ => text(at("reportingComponent")),
        },
        _ => text(at(field)),
    }
}

#[cfg(test)]
mod tests;
