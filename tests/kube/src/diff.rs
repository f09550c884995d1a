//! Field-by-field differences between two records of the same story.

use crate::story::Step;
use serde_json::Value;
use std::fmt;

/// The longest value shown.
const SHOWN: usize = 260;

/// One place where the servers differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The step, as `2 GET /api/...`.
    pub step: String,
    /// The place within it, as `body.spec.replicas`.
    pub at: String,
    /// What the real server showed, if anything.
    pub real: Option<String>,
    /// What the other showed, if anything.
    pub ours: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |side: &Option<String>| side.as_deref().map_or_else(|| "(absent)".to_owned(), shorten);
        write!(out, "{}: real {}, ours {}", self.at, show(&self.real), show(&self.ours))
    }
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    let head: String = text.chars().take(SHOWN).collect();
    format!("{head}... ({} bytes)", text.len())
}

/// All differences, in the order of the story.
#[must_use]
pub fn compare(real: &[Step], ours: &[Step]) -> Vec<Difference> {
    let mut found = Vec::new();
    for index in 0..real.len().max(ours.len()) {
        let number = index + 1;
        match (real.get(index), ours.get(index)) {
            (Some(left), Some(right)) if left.title == right.title => {
                let mut at = Finding {
                    step: format!("{number} {}", left.title),
                    found: &mut found,
                };
                at.values("", Some(&left.seen), Some(&right.seen));
            }
            (left, right) => {
                let title = |step: Option<&Step>| step.map(|step| format!("{} {}", step.title, step.seen));
                found.push(Difference {
                    step: number.to_string(),
                    at: "step".to_owned(),
                    real: title(left),
                    ours: title(right),
                });
                // From here on the two tell different stories.
                break;
            }
        }
    }
    found
}

struct Finding<'a> {
    step: String,
    found: &'a mut Vec<Difference>,
}

impl Finding<'_> {
    fn values(&mut self, at: &str, real: Option<&Value>, ours: Option<&Value>) {
        match (real, ours) {
            (Some(left), Some(right)) if left == right => {}
            (Some(Value::Object(left)), Some(Value::Object(right))) => {
                let mut keys: Vec<&String> = left.keys().chain(right.keys()).collect();
                keys.sort();
                keys.dedup();
                for key in keys {
                    let joint = if at.is_empty() { "" } else { "." };
                    self.values(&format!("{at}{joint}{key}"), left.get(key), right.get(key));
                }
            }
            (Some(Value::Array(left)), Some(Value::Array(right))) if all_text(left) && all_text(right) => {
                self.lines(at, left, right);
            }
            (Some(Value::Array(left)), Some(Value::Array(right))) => {
                for index in 0..left.len().max(right.len()) {
                    self.values(&format!("{at}[{index}]"), left.get(index), right.get(index));
                }
            }
            (left, right) => self.push(at, left.map(Value::to_string), right.map(Value::to_string)),
        }
    }

    fn push(&mut self, at: &str, real: Option<String>, ours: Option<String>) {
        self.found.push(Difference {
            step: self.step.clone(),
            at: at.to_owned(),
            real,
            ours,
        });
    }

    /// Lines of text: those in common are left out, the others shown in order.
    fn lines(&mut self, at: &str, real: &[Value], ours: &[Value]) {
        let (left, right) = (texts(real), texts(ours));
        let common = longest_common(&left, &right);
        let (mut i, mut j) = (0, 0);
        for (next_i, next_j) in common.into_iter().chain([(left.len(), right.len())]) {
            let paired = (next_i - i).min(next_j - j);
            for offset in 0..paired {
                self.push(
                    at,
                    Some(left[i + offset].to_owned()),
                    Some(right[j + offset].to_owned()),
                );
            }
            for line in &left[i + paired..next_i] {
                self.push(at, Some((*line).to_owned()), None);
            }
            for line in &right[j + paired..next_j] {
                self.push(at, None, Some((*line).to_owned()));
            }
            (i, j) = (next_i + 1, next_j + 1);
        }
    }
}

fn all_text(items: &[Value]) -> bool {
    items.iter().all(Value::is_string)
}

fn texts(items: &[Value]) -> Vec<&str> {
    items.iter().filter_map(Value::as_str).collect()
}

/// Index pairs of a longest common subsequence.
fn longest_common(left: &[&str], right: &[&str]) -> Vec<(usize, usize)> {
    let mut lengths = vec![vec![0_usize; right.len() + 1]; left.len() + 1];
    for i in (0..left.len()).rev() {
        for j in (0..right.len()).rev() {
            lengths[i][j] = if left[i] == right[j] {
                lengths[i + 1][j + 1] + 1
            } else {
                lengths[i + 1][j].max(lengths[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < left.len() && j < right.len() {
        if left[i] == right[j] {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if lengths[i + 1][j] >= lengths[i][j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn step(seen: Value) -> Vec<Step> {
        vec![Step {
            title: "GET /x".to_owned(),
            seen,
        }]
    }

    #[test]
    fn a_differing_field_is_named_by_its_path() {
        let found = compare(
            &step(json!({"body": {"a": [{"b": 1}]}})),
            &step(json!({"body": {"a": [{"b": 2, "c": 3}]}})),
        );
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            ["body.a[0].b: real 1, ours 2", "body.a[0].c: real (absent), ours 3"]
        );
    }

    #[test]
    fn of_text_only_the_lines_that_differ_are_shown() {
        let found = compare(
            &step(json!({"stdout": ["a", "b", "d"]})),
            &step(json!({"stdout": ["a", "c", "d", "e"]})),
        );
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["stdout: real b, ours c", "stdout: real (absent), ours e"]);
    }

    #[test]
    fn a_story_that_takes_another_turn_is_compared_no_further() {
        let real = [step(json!(1)), step(json!(2))].concat();
        let ours = vec![Step {
            title: "GET /y".to_owned(),
            seen: json!(1),
        }];
        assert_eq!(compare(&real, &ours).len(), 1);
    }
}
