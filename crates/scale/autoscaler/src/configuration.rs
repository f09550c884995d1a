//! The predecessor's ConfigMaps, in their published formats.
//!
//! Reading is pure: a [`Book`] is told what ConfigMaps say and answers what is
//! in force for a model. A ConfigMap that cannot be used changes nothing: its
//! last good content stays in force, and everybody concerned is told why.

mod book;
mod classes;
mod costs;
mod fields;
mod process;
mod quotas;
mod saturation;
mod watch;
mod zero;

pub use book::{Book, ConfigMapRecord, Kind, ModelConfig, Names};
pub use capacity::Analyzer;
pub use classes::{Classes, ServiceLevel, parse as parse_classes};
pub use costs::{Costs, parse as parse_costs};
pub use fields::{ConfigError, duration};
pub use process::{LogLevel, Process, ProcessError, Prometheus, Publishing, address};
pub use quotas::{Limits, parse as parse_limits};
pub use saturation::{Saturation, parse as parse_saturation};
pub(crate) use watch::ConfigMaps;
pub use zero::{Zero, parse as parse_zero};

use fields::Fields;

/// The entry that holds for every model without one of its own.
const DEFAULT_KEY: &str = "default";

/// Where the ConfigMaps are.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope {
    /// Namespace of those that hold for everybody.
    pub system_namespace: String,
    /// What they are called.
    pub names: Names,
    /// Whether models go to zero where no ConfigMap says anything
    /// (`WVA_SCALE_TO_ZERO`).
    pub scale_to_zero: Option<bool>,
}

/// A value for all models, and values for some.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides<T> {
    /// For every model without an entry of its own.
    pub default: T,
    /// Entries for single models, by key; what they leave out is inherited.
    pub models: Vec<Override<T>>,
}

/// An entry for one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Override<T> {
    /// Key in the ConfigMap.
    pub key: String,
    /// The model.
    pub model: String,
    /// The namespace it holds in; everywhere if absent.
    pub namespace: Option<String>,
    /// What holds.
    pub value: T,
}

impl<T> Overrides<T> {
    /// What holds for `model` in `namespace`, and the key that says so: an
    /// entry for model and namespace before one for the model, before
    /// `default`; among equals the first key.
    #[must_use]
    pub fn of(&self, namespace: &str, model: &str) -> (&str, &T) {
        let of_model = || self.models.iter().filter(|entry| entry.model == model);
        of_model()
            .find(|entry| entry.namespace.as_deref() == Some(namespace))
            .or_else(|| of_model().find(|entry| entry.namespace.is_none()))
            .map_or((DEFAULT_KEY, &self.default), |entry| (entry.key.as_str(), &entry.value))
    }

    /// Keys that never count because an earlier one is for the same model.
    fn shadowed(&self) -> Vec<(&str, &str)> {
        let earlier = |at: usize, entry: &Override<T>| {
            let same = |other: &&Override<T>| other.model == entry.model && other.namespace == entry.namespace;
            self.models[..at].iter().find(same).map(|other| other.key.as_str())
        };
        let entries = self.models.iter().enumerate();
        entries
            .filter_map(|(at, entry)| Some((entry.key.as_str(), earlier(at, entry)?)))
            .collect()
    }
}

/// Reads whom an entry is for.
fn owner(fields: &mut Fields) -> Result<(String, Option<String>), ConfigError> {
    let model = fields.name("model_id", "the model this entry is for")?;
    let namespace = fields.text("namespace")?.filter(|namespace| !namespace.is_empty());
    Ok((model, namespace))
}

/// Refuses an owner in the `default` entry.
fn no_owner(fields: &mut Fields) -> Result<(), ConfigError> {
    for field in ["model_id", "namespace"] {
        if fields.text(field)?.is_some_and(|text| !text.is_empty()) {
            return Err(fields.refuse(
                field,
                "makes no sense here, for this entry holds for every model: put it under a key of its own",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
