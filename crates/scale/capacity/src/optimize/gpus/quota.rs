//! Who may use how many GPUs, whatever is free.

use std::collections::{BTreeMap, BTreeSet};

/// Most GPUs a quota may give; more is a mistake.
pub const MAX_QUOTA: i64 = 1_048_576;

/// GPUs that may be used, by accelerator. -1 is without limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quota {
    /// By short name.
    pub accelerators: BTreeMap<String, i64>,
    /// For each accelerator that is not named; without it, those get nothing.
    pub default: Option<i64>,
}

/// Who may use how many GPUs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quotas {
    /// All namespaces together.
    pub cluster: Option<Quota>,
    /// Single namespaces.
    pub namespaces: BTreeMap<String, Quota>,
    /// Each namespace that is not named. Without it, those are free where no
    /// namespace is named at all, and get nothing where any is.
    pub default: Option<Quota>,
    /// Namespaces that no quota counts or binds.
    pub excluded: BTreeSet<String>,
}

/// A quota that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaError {
    /// Path of the key.
    pub path: String,
    /// Its value.
    pub value: i64,
}

impl std::fmt::Display for QuotaError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} is {}: it must be a number of GPUs from 0 to {MAX_QUOTA}, or -1 for no limit",
            self.path, self.value
        )
    }
}

impl std::error::Error for QuotaError {}

impl Quotas {
    /// Checks every figure.
    ///
    /// # Errors
    /// The first one that is out of range, with its path.
    pub fn validate(&self) -> Result<(), QuotaError> {
        let check = |path: &str, quota: &Quota| {
            let named = quota.accelerators.iter().map(|(name, value)| (name.as_str(), *value));
            match named
                .chain(quota.default.map(|value| ("default", value)))
                .find(|(_, value)| !(-1..=MAX_QUOTA).contains(value))
            {
                Some((name, value)) => Err(QuotaError {
                    path: format!("{path}.{name}"),
                    value,
                }),
                None => Ok(()),
            }
        };
        if let Some(quota) = &self.cluster {
            check("quotas.cluster", quota)?;
        }
        for (namespace, quota) in &self.namespaces {
            check(&format!("quotas.namespaces.{namespace}"), quota)?;
        }
        self.default
            .as_ref()
            .map_or(Ok(()), |quota| check("quotas.default", quota))
    }

    /// What the cluster may use of an accelerator; None is without limit.
    pub(crate) fn of_cluster(&self, accelerator: &str) -> Option<u64> {
        self.cluster.as_ref().and_then(|quota| quota.of(accelerator))
    }

    /// What a namespace may use of an accelerator; None is without limit.
    pub(crate) fn of_namespace(&self, namespace: &str, accelerator: &str) -> Option<u64> {
        match self.namespaces.get(namespace).or(self.default.as_ref()) {
            Some(quota) => quota.of(accelerator),
            None if self.namespaces.is_empty() => None,
            None => Some(0),
        }
    }
}

impl Quota {
    fn of(&self, accelerator: &str) -> Option<u64> {
        let value = self
            .accelerators
            .get(accelerator)
            .copied()
            .or(self.default)
            .unwrap_or(0);
        u64::try_from(value).ok()
    }
}
