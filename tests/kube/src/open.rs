//! Cases that are known to fail and are to be fixed.

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    case: String,
    reason: String,
}

/// The whole file, and which of its cases were told.
#[derive(Debug, Default)]
pub struct Open {
    cases: BTreeMap<String, String>,
    told: BTreeSet<String>,
}

/// What a told case counts as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// No difference.
    Passed,
    /// Differences that nobody knew of.
    Failed,
    /// Differences that are known, for this reason.
    Open(String),
    /// Listed, but there is no difference any more.
    Fixed,
}

impl Open {
    /// Reads the file.
    ///
    /// # Errors
    /// When it is not a list of entries, a case stands twice or a reason is empty.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        let entries: Vec<Entry> = serde_saphyr::from_str(text)?;
        let mut cases = BTreeMap::new();
        for Entry { case, reason } in entries {
            ensure!(!reason.trim().is_empty(), "{case} has no reason");
            ensure!(!cases.contains_key(&case), "{case} stands twice");
            cases.insert(case, reason);
        }
        Ok(Self {
            cases,
            told: BTreeSet::new(),
        })
    }

    /// What a case counts as that showed differences, or none.
    pub fn judge(&mut self, case: &str, differs: bool) -> Verdict {
        let listed = self.cases.get(case);
        if listed.is_some() {
            self.told.insert(case.to_owned());
        }
        match (listed, differs) {
            (None, false) => Verdict::Passed,
            (None, true) => Verdict::Failed,
            (Some(reason), true) => Verdict::Open(reason.clone()),
            (Some(_), false) => Verdict::Fixed,
        }
    }

    /// Listed cases that were never told: of a whole run, those that do not exist.
    #[must_use]
    pub fn untold(&self) -> Vec<&str> {
        self.cases
            .keys()
            .map(String::as_str)
            .filter(|case| !self.told.contains(*case))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_case_is_open_until_it_is_fixed() {
        let mut open = Open::parse("- {case: a/b, reason: later}\n- {case: c/d, reason: later}").unwrap();
        assert_eq!(open.judge("a/b", true), Verdict::Open("later".to_owned()));
        assert_eq!(open.judge("a/b", false), Verdict::Fixed);
        assert_eq!(open.judge("e/f", true), Verdict::Failed);
        assert_eq!(open.judge("e/f", false), Verdict::Passed);
        assert_eq!(open.untold(), ["c/d"]);
    }

    #[test]
    fn entries_stand_once_and_with_a_reason() {
        assert!(Open::parse("- {case: a/b, reason: ''}").is_err());
        assert!(Open::parse("- {case: a/b, reason: x}\n- {case: a/b, reason: y}").is_err());
    }

    #[test]
    fn the_file_in_the_repository_names_cases_that_exist() {
        let mut open = Open::read(&testkit::root().unwrap().join("tests/kube/open.yaml")).unwrap();
        for case in crate::cases::all() {
            open.judge(case.name, true);
        }
        assert!(open.untold().is_empty(), "{:?}", open.untold());
    }
}
