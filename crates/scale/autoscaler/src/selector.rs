//! Label selectors as text, the form in which a scale subresource gives them.

use kube::core::{Expression, Selector};
use std::collections::BTreeSet;

/// Reads `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
///
/// # Errors
/// A sentence naming the requirement that cannot be read.
pub(crate) fn parse(text: &str) -> Result<Selector, String> {
    requirements(text)
        .into_iter()
        .map(|part| requirement(part.trim()))
        .collect()
}

/// Splits at commas outside parentheses.
fn requirements(text: &str) -> Vec<&str> {
    let (mut parts, mut from, mut depth) = (Vec::new(), 0, 0_i32);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth <= 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    if !text[from..].trim().is_empty() {
        parts.push(&text[from..]);
    }
    parts
}

fn requirement(part: &str) -> Result<Expression, String> {
    let unreadable = || format!("selector requirement `{part}` cannot be read");
    let key = |text: &str| {
        let text = text.trim();
        let sound = !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'));
        sound.then(|| text.to_owned()).ok_or_else(unreadable)
    };
    let set = |text: &str| {
        let inner = text
            .trim()
            .strip_prefix('(')
            .and_then(|text| text.strip_suffix(')'))
            .ok_or_else(unreadable)?;
        Ok::<BTreeSet<String>, String>(inner.split(',').map(|value| value.trim().to_owned()).collect())
    };
    if let Some((name, values)) = part.split_once(" notin ") {
        return Ok(Expression::NotIn(key(name)?, set(values)?));
    }
    if let Some((name, values)) = part.split_once(" in ") {
        return Ok(Expression::In(key(name)?, set(values)?));
    }
    if let Some((name, value)) = part.split_once("!=") {
        return Ok(Expression::NotEqual(key(name)?, value.trim().to_owned()));
    }
    if let Some((name, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Expression::Equal(key(name)?, value.trim().to_owned()));
    }
    match part.strip_prefix('!') {
        Some(name) => Ok(Expression::DoesNotExist(key(name)?)),
        None => Ok(Expression::Exists(key(part)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::SelectorExt;
    use std::collections::BTreeMap;

    #[test]
    fn every_form_of_requirement_is_read() {
        let labels: BTreeMap<String, String> = [("app", "m"), ("tier", "gpu")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        let cases = [
            ("app=m", true),
            ("app==m,tier = gpu", true),
            ("app!=m", false),
            ("app in (x, m),tier notin (cpu)", true),
            ("app in (x)", false),
            ("tier,!gone", true),
            ("!tier", false),
            ("", true),
        ];
        for (text, matches) in cases {
            assert_eq!(parse(text).unwrap().matches(&labels), matches, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for text in ["a b", "app in x", "=m", "a,,b", "(("] {
            assert!(parse(text).unwrap_err().contains("cannot be read"), "{text}");
        }
    }
}
