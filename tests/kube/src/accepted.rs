//! Differences that are meant to be, each with its reason.

use crate::diff::Difference;
use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;

/// One accepted difference; `*` stands for any text in every pattern.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its name.
    pub id: String,
    /// Cases it may show in.
    pub case: String,
    /// The place in the answer.
    #[serde(default = "any")]
    pub at: String,
    /// What the real server shows.
    #[serde(default = "any")]
    pub real: String,
    /// What ours shows.
    #[serde(default = "any")]
    pub ours: String,
    /// Why this is right as it is.
    pub reason: String,
}

fn any() -> String {
    "*".to_owned()
}

/// The whole file, and which entries were of use.
#[derive(Debug, Default)]
pub struct Accepted {
    entries: Vec<Entry>,
    used: BTreeSet<String>,
}

impl Accepted {
    /// Reads the file.
    ///
    /// # Errors
    /// When it is not a list of entries, an id stands twice or a reason is empty.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let entries: Vec<Entry> = serde_saphyr::from_str(&text).with_context(|| path.display().to_string())?;
        let mut ids = BTreeSet::new();
        for entry in &entries {
            ensure!(
                ids.insert(&entry.id),
                "{}: id {} stands twice",
                path.display(),
                entry.id
            );
            ensure!(
                !entry.reason.trim().is_empty(),
                "{}: {} has no reason",
                path.display(),
                entry.id
            );
        }
        Ok(Self {
            entries,
            used: BTreeSet::new(),
        })
    }

    /// Whether a difference of a case is accepted; the entry is then used.
    pub fn accepts(&mut self, case: &str, difference: &Difference) -> bool {
        let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "(absent)".to_owned());
        let (real, ours) = (side(&difference.real), side(&difference.ours));
        let found = self.entries.iter().find(|entry| {
            matches(&entry.case, case)
                && matches(&entry.at, &difference.at)
                && matches(&entry.real, &real)
                && matches(&entry.ours, &ours)
        });
        if let Some(entry) = found {
            self.used.insert(entry.id.clone());
        }
        found.is_some()
    }

    /// Entries that no difference needed.
    #[must_use]
    pub fn unused(&self) -> Vec<&str> {
        self.entries
            .iter()
            .map(|entry| entry.id.as_str())
            .filter(|id| !self.used.contains(*id))
            .collect()
    }
}

/// Whether `text` matches `pattern`, in which `*` stands for any text.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("a*c", "abc", true),
            ("a*b*c", "a-c-b", false),
            ("kubectl/*", "kubectl/get", true),
            ("*.status", "body.status", true),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_file_in_the_repository_reads() {
        Accepted::read(&testkit::root().unwrap().join("tests/kube/accepted.yaml")).unwrap();
    }
}
